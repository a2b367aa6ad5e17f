"""What each sink promises: see `hrcallbacks.sinks.sink.Sink`.

A sink of your own passes if its maker joins `MAKERS`.
"""

import copy
import importlib.util
import warnings
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.types import Key, Record, RunInfo, Step


class Counts(hr.Sink):
    """The least that a sink can be: it has no __init__ to call ours."""

    records = 0

    def add(self, record: Record) -> None:
        self.records += 1


MAKERS: dict[str, Callable[[Any], hr.Sink]] = {
    "toy": lambda folder: Counts(),
    "alert": lambda folder: hr.Alert("nan"),
    "alert that looks": lambda folder: hr.Alert(["nan", "dead_units"]),
    "tensorboard": lambda folder: hr.TensorBoard(folder / "logs"),
    "tracker": lambda folder: hr.Tracker(lambda sent: None, histogram=dict),
    "logs": lambda folder: hr.Logs(by="variable"),
}
RUN = RunInfo({"gradients": {"norm": {"kind": "norm"}}, "weights": {}}, per_epoch=False)
NORM = Key("gradients", "norm", "a/kernel")


@pytest.fixture(params=MAKERS)
def sink(request: pytest.FixtureRequest, tmp_path: Any) -> hr.Sink:
    if request.param == "tensorboard" and not importlib.util.find_spec("tensorboard"):
        pytest.skip("needs the extra 'tensorboard'")
    return MAKERS[request.param](tmp_path)


def record(step: int, norm: float = 1.0) -> Record:
    return Record(Step(step, 1, step), 1 / step, {NORM: np.float64(norm)})


def hear(sink: hr.Sink, logs: Mapping[str, Any] | None = None) -> None:
    """A fit of one epoch with two records, without its beginning."""
    for step in (1, 2):
        sink.see_step(step, {})
        sink.add(record(step))
        sink.log_batch({}, range(step, step + 1))
    sink.log_epoch({})
    sink.end_epoch(1, {"loss": 0.5} if logs is None else logs)
    sink.end()


def test_a_healthy_fit_is_heard_without_a_word(sink):
    sink.begin(RUN)
    hear(sink)
    assert [*sink.messages()] == []


def test_it_can_be_used_for_fit_after_fit(sink):
    for _ in range(2):
        sink.begin(RUN)
        hear(sink)


def test_a_fit_that_broke_off_may_end_twice_or_never(sink):
    sink.begin(RUN)
    sink.add(record(1))
    sink.begin(RUN)  # That one never ended.
    hear(sink)
    sink.end()


def test_what_it_says_is_said_once(sink):
    sink.say("One.")
    sink.say("Two.", stop=True)
    assert [(m.text, m.stop) for m in sink.messages()] == [
        ("One.", False),
        ("Two.", True),
    ]
    assert [*sink.messages()] == []


def test_values_of_others_give_no_metrics(sink):
    sink.begin(RUN)
    assert sink.metrics({}) == {}
    assert sink.metrics({"somebody_elses": np.ones(2)}) == {}


def test_what_it_takes_has_names_of_its_own_and_is_apart(sink):
    taken = [*sink.takes()]
    assert len({quantity.name for quantity in taken}) == len(taken)
    assert all(quantity.is_apart for quantity in taken)


def test_a_copy_hears_by_itself(sink):
    sink.begin(RUN)
    sink.add(record(1))
    twin = copy.deepcopy(sink)
    assert type(twin) is type(sink)
    twin.say("Mine.")
    assert [*sink.messages()] == []
    sink.end()
    assert repr(twin) == repr(sink) or isinstance(sink, Counts)


@pytest.mark.parametrize("stored", [False, True])
def test_training_and_recording_are_as_without_it(sink, line, tmp_path, stored):
    """The oracle is a fit without sinks."""
    if stored:
        pytest.importorskip("zarr")
    records, weights = {}, {}
    for name, sinks in {"without": [], "with": [sink]}.items():
        keras.utils.set_random_seed(7)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)], name="one")
        model.compile("sgd", loss="mse", jit_compile=False)
        recorder = hr.GradientRecorder(
            gradients="norm",
            record_freq=1,
            store=tmp_path / f"{name}.zarr" if stored else None,
            sinks=sinks,
        )
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            model.fit(*line, batch_size=5, epochs=2, verbose=0, callbacks=[recorder])
        recording = recorder.recording
        assert recording.attributes["complete"]
        # Without their paths: Keras numbers the layers of all models.
        arrays = recording.arrays("gradients", "norm").values()
        records[name] = [np.asarray(array) for array in arrays]
        weights[name] = model.get_weights()
    for one, other in zip(records["with"], records["without"], strict=True):
        assert len(one) == 8
        np.testing.assert_array_equal(one, other)
    for one, other in zip(weights["with"], weights["without"], strict=True):
        np.testing.assert_array_equal(one, other)
