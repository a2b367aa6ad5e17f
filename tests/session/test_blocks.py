"""Records that are made together are those that are made one by one."""

import keras
import numpy as np
import pandas as pd
import pytest

import hrcallbacks as hr
from hrcallbacks.session import record_maker
from hrcallbacks.session.record_maker import RecordMaker

KINDS = {
    "raw": {},
    "norms": {"gradients": "norm", "weights": "norm"},
    "several": {"gradients": ["norm", hr.Histogram(bins=4)], "weights": hr.Sample(3)},
    "outputs": {"outputs": ["norm", "raw"], "output_gradients": hr.PerUnit("mean")},
    "optimizer": {"optimizer": "norm", "batch": {"x": "raw", "y": "mean"}},
    "every third": {"record_freq": 3},
    "before": {"weights_at": "before"},
}


class Hears(hr.Sink):
    """A sink has to be given records one by one."""

    def add(self, record):
        """Does nothing."""


@pytest.fixture
def blocks(monkeypatch):
    """How many records each block had; 0 where there was none."""
    made, block = [], RecordMaker.block

    def counted(self, steps):
        found = block(self, steps)
        made.append(len(found.rows) if found else 0)
        return found

    monkeypatch.setattr(RecordMaker, "block", counted)
    return made


def same(one, other):
    pd.testing.assert_frame_equal(one.index, other.index, check_exact=True)
    assert one.attributes["complete"]
    assert one.attributes["reductions"] == other.attributes["reductions"]
    for quantity, reductions in one.attributes["reductions"].items():
        for reduction in reductions:
            arrays = one.arrays(quantity, reduction)
            for path, array in other.arrays(quantity, reduction).items():
                np.testing.assert_array_equal(arrays[path], array)
                assert arrays[path].dtype == array.dtype
    pd.testing.assert_frame_equal(one.has_gradient, other.has_gradient)


@pytest.mark.parametrize("store", ["memory", "zarr"])
@pytest.mark.parametrize("kind", KINDS)
def test_blocks_hold_the_same(kind, store, tiny, line, blocks, tmp_path):
    wanted = {"record_freq": 1} | KINDS[kind]
    places = [{"store": tmp_path / n} for n in "ab"] if store == "zarr" else [{}, {}]
    together = hr.GradientRecorder(**wanted, **places[0])
    one_by_one = hr.GradientRecorder(**wanted, **places[1], sinks=[Hears()])
    callbacks = [together, one_by_one]
    tiny.compile("adam", loss="mse", metrics=["mae"], jit_compile=False)
    tiny.fit(
        *line, batch_size=5, epochs=5, shuffle=False, verbose=0, callbacks=callbacks
    )
    assert max(blocks) > 1
    same(together.recording, one_by_one.recording)


def test_steps_that_differ_are_made_apart(tiny, line, blocks):
    """A smaller last batch, rows of which are raw, and a large record."""
    recorder = hr.GradientRecorder(record_freq=1, batch={"x": "raw"})
    options = {"batch_size": 8, "shuffle": False, "verbose": 0}
    tiny.fit(*line, epochs=2, callbacks=[recorder], **options)
    x = np.asarray(recorder.recording.arrays("batch", "raw")["x"])
    assert np.isnan(x[:, :, 0]).sum(axis=1).tolist() == [0, 0, 4] * 2
    np.testing.assert_array_equal(x[2, :4], line[0][16:])


def test_a_block_that_fails_is_made_one_by_one(tiny, line, monkeypatch):
    """So of a step that cannot be read, those before it are kept."""
    steps = 0

    def unreadable(probe, values, count):
        nonlocal steps
        steps += 1
        raise RuntimeError("torn")

    monkeypatch.setattr(record_maker, "_complete", unreadable)
    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(*line, batch_size=5, epochs=2, verbose=0, callbacks=[recorder])
    assert steps
    assert len(recorder.recording) == 8
    assert recorder.recording.attributes["complete"]


def test_steps_without_an_optimizer_make_no_records(line, blocks):
    class Idle(keras.Sequential):
        def train_step(self, *state_and_data):
            logs = {"loss": keras.ops.zeros(())}
            state = state_and_data[0]
            return (logs, state) if keras.config.backend() == "jax" else logs

    model = Idle([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1)
    options = {"batch_size": 5, "epochs": 2, "verbose": 0, "callbacks": [recorder]}
    with pytest.warns(UserWarning, match="No optimizer was called"):
        model.fit(*line, **options)
    assert set(blocks) <= {0}
    assert len(recorder.recording) == 0
    assert recorder.recording.attributes["complete"]


def test_large_records_are_not_copied_together(line, blocks):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(5000)])
    model.compile("sgd", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(*line, batch_size=5, verbose=0, callbacks=[recorder])
    assert set(blocks) == {0}
    assert len(recorder.recording) == 4
