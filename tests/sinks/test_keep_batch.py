"""The data of the steps of which an alert warns: `Alert(keep_batch=True)`."""

import pickle
from typing import ClassVar

import keras
import numpy as np
import pytest
from training import full_state

import hrcallbacks as hr
from hrcallbacks.diagnose import Rule
from hrcallbacks.sinks.recent_batches import RecentBatches
from hrcallbacks.storage.memory import MemoryStore

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
KEPT = r"Its batch is kept: recording.batches\[%d\]"
# The last batch has two rows.
FIT = {"batch_size": 6, "epochs": 2, "shuffle": False, "verbose": 0}


def spoiled(line, sample):
    x, y = line
    y = y.copy()
    y[sample] = np.nan
    return x, y


@pytest.mark.parametrize("place", ["memory", "disk"])
def test_the_batch_that_made_the_nan_is_in_the_recording(tiny, line, place, tmp_path):
    x, y = spoiled(line, 19)
    store = tmp_path / "run.zarr" if place == "disk" else None
    recorder = hr.GradientRecorder(
        gradients="norm",
        weights=None,
        record_freq=1,
        store=store,
        sinks=[hr.Alert("nan", keep_batch=True)],
    )
    with pytest.warns(RuntimeWarning, match=KEPT % 4):
        tiny.fit(x, y, callbacks=[recorder], **(FIT | {"epochs": 1}))
    recording = recorder.recording
    recording.save(tmp_path / "saved.zarr")
    for found in [
        recording.batches,
        hr.open_recording(tmp_path / "saved.zarr").batches,
        pickle.loads(pickle.dumps(recording.batches)),
    ]:
        assert list(found) == [4]
        assert list(found[4]) == ["x", "y"]
        np.testing.assert_array_equal(found[4]["x"], x[18:])
        np.testing.assert_array_equal(found[4]["y"], y[18:])
    with pytest.raises(KeyError, match=r"step 1 was not kept.*\[4\]"):
        recording.batches[1]
    assert recording.attributes["complete"]


class AtStep(Rule):
    """Finds something at a step, whenever it looks."""

    name: ClassVar[str] = "at_step"

    def __init__(self, step):
        object.__setattr__(self, "step", step)

    def look(self, survey):
        yield self.found("warning", "seen", "nothing", step=self.step)


def test_a_finding_at_an_epochs_end_has_the_batch_of_its_step(tiny, line):
    recorder = hr.GradientRecorder(
        record_freq=1, sinks=[hr.Alert(AtStep(2), keep_batch=True)]
    )
    with pytest.warns(RuntimeWarning, match=KEPT % 2):
        tiny.fit(*line, callbacks=[recorder], **(FIT | {"epochs": 1}))
    (step,) = recorder.recording.batches
    np.testing.assert_array_equal(recorder.recording.batches[step]["x"], line[0][6:12])


def test_training_is_unchanged_and_nothing_else_is_kept(tiny, line):
    weights = tiny.get_weights()
    recorder = hr.GradientRecorder(
        record_freq=1, sinks=[hr.Alert("nan", keep_batch=True)]
    )
    tiny.fit(*line, callbacks=[recorder], **FIT)
    assert len(recorder.recording.batches) == 0
    assert recorder.recording.quantities.count("whole_batch") == 0
    watched = full_state(tiny)
    for variable in tiny.optimizer.variables:
        if "learning_rate" not in variable.path:
            variable.assign(np.zeros(variable.shape, variable.dtype))
    tiny.set_weights(weights)
    tiny.fit(*line, **FIT)
    for ours, plain in zip(watched, full_state(tiny), strict=True):
        np.testing.assert_array_equal(ours, plain)


def test_a_batch_that_memory_has_no_room_for_stops_the_recording(tiny, line):
    recorder = hr.GradientRecorder(
        gradients="norm",
        weights=None,
        record_freq=lambda step: step <= 4,
        max_bytes=350,
        sinks=[Everything()],
    )
    with pytest.warns(RuntimeWarning, match="would exceed max_bytes=350"):
        tiny.fit(*line, callbacks=[recorder], **FIT)
    assert 0 < len(recorder.recording.batches) < 4
    assert int(tiny.optimizer.iterations) == 8


def test_a_memory_store_takes_no_more_than_it_may():
    store = MemoryStore(100)
    store.keep_batch(1, {"x": np.zeros(60, "uint8")})
    with pytest.raises(MemoryError, match=r"batch of step 2 .* max_bytes=100"):
        store.keep_batch(2, {"x": np.zeros(60, "uint8")})
    assert store.snapshot().batch_steps == [1]
    assert not store.fits_in(1, 50)


class Everything(hr.Sink):
    """A sink of a user's own that keeps each batch."""

    needs_batch = True

    def add(self, record):
        self.keep(record.step.step, record.batch)


def test_a_sink_of_ones_own_keeps_what_it_likes(line):
    model = keras.Sequential(
        [keras.Input((1,), dtype="int32"), keras.layers.Embedding(4, 1)]
    )
    model.compile("sgd", "mse", run_eagerly=True)
    x = np.arange(20, dtype="int32")[:, None] % 4
    recorder = hr.GradientRecorder(record_freq=2, sinks=[Everything()])
    model.fit(x, line[1][:, None], callbacks=[recorder], **FIT)
    batches = recorder.recording.batches
    assert list(batches) == [2, 4, 6, 8]
    assert batches[2]["x"].dtype == "int32"
    np.testing.assert_array_equal(batches[4]["x"], x[18:])


def test_the_oldest_are_forgotten():
    recent = RecentBatches(max_bytes=20)
    for step in (1, 2, 3):
        recent.add(step, {"x": np.full(2, step, "float32")})
    assert [len(recent.of(step)) for step in (1, 2, 3, None)] == [0, 1, 1, 0]
    recent.add(4, {"x": np.zeros(9, "float32")})  # More than there is room for.
    assert [len(recent.of(step)) for step in (2, 3, 4)] == [0, 0, 1]


def test_on_disk_damage_to_a_batch_leaves_the_rest(tiny, line, tmp_path):
    path = tmp_path / "run.zarr"
    recorder = hr.GradientRecorder(record_freq=2, store=path, sinks=[Everything()])
    tiny.fit(*line, callbacks=[recorder], **FIT)
    (chunk,) = (f for f in (path / "batches/4/0/c").rglob("*") if f.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-1] + b"?")
    batches = hr.open_recording(path).batches
    assert list(batches) == [2, 4, 6, 8]
    np.testing.assert_array_equal(batches[2]["x"], line[0][6:12])
    with pytest.raises(OSError, match="batches/4/0"):
        batches[4]["x"]


def test_a_resumed_run_forgets_the_batches_that_it_trains_again(tiny, line, tmp_path):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            if int(self.model.optimizer.iterations) == 6:
                raise KeyboardInterrupt

    settings = {"record_freq": 1, "store": tmp_path / "run.zarr", "resume": True}
    recorder = hr.GradientRecorder(sinks=[Everything()], **settings)
    with pytest.raises(KeyboardInterrupt):
        tiny.fit(*line, callbacks=[recorder, Stop()], **FIT)
    assert list(recorder.recording.batches) == [1, 2, 3, 4, 5, 6]
    recorder.reset()
    again = hr.GradientRecorder(**settings)
    tiny.fit(*line, callbacks=[again], initial_epoch=1, **FIT)
    assert list(again.recording.batches) == [1, 2, 3, 4]
