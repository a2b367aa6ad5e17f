import threading
import warnings

import keras
import numpy as np
import pytest
from training import full_state

import hrcallbacks as hr
from hrcallbacks.export import event_file

pytest.importorskip("tensorboard")
import events


def fit(model, line, *callbacks, epochs=3, **options):
    options = {"batch_size": 5, "shuffle": False, "verbose": 0} | options
    return model.fit(*line, epochs=epochs, callbacks=[*callbacks], **options)


@pytest.mark.parametrize("store", [None, "run.zarr"])
def test_a_full_disk_is_said_once_and_ends_neither_recording_nor_training(
    tiny, line, tmp_path, monkeypatch, store
):
    if store:
        pytest.importorskip("zarr")
        store = tmp_path / store
    write = event_file.EventFile._write
    room = iter(range(20))

    def full(self, event):
        if next(room, None) is None:
            raise OSError(28, "No space left on device")
        write(self, event)

    monkeypatch.setattr(event_file.EventFile, "_write", full)
    recorder = hr.GradientRecorder(
        record_freq=1, store=store, sinks=[hr.TensorBoard(tmp_path / "logs")]
    )
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit(tiny, line, recorder)
    ours = [str(w.message) for w in seen if "TensorBoard" in str(w.message)]
    assert len(ours) == 1
    assert "No space left on device" in ours[0]
    assert "Training and recording go on" in ours[0]
    assert len(recorder.recording) == 12
    assert recorder.recording.attributes["complete"]
    assert events.read(tmp_path / "logs" / "train")


def test_a_folder_that_cannot_be_made_is_refused_before_training(tiny, line, tmp_path):
    (tmp_path / "file").write_text("")
    recorder = hr.GradientRecorder(sinks=[hr.TensorBoard(tmp_path / "file")])
    with pytest.raises(OSError, match="file"):
        fit(tiny, line, recorder)
    assert int(tiny.optimizer.iterations) == 0


def test_the_thread_that_writes_the_store_writes_these_files(
    tiny, line, tmp_path, monkeypatch
):
    pytest.importorskip("zarr")
    threads = set()
    scalar = event_file.EventFile.scalar

    def noted(self, *args):
        threads.add(threading.current_thread())
        scalar(self, *args)

    monkeypatch.setattr(event_file.EventFile, "scalar", noted)
    recorder = hr.GradientRecorder(
        record_freq=1,
        store=tmp_path / "run.zarr",
        sinks=[hr.TensorBoard(tmp_path / "logs")],
    )
    fit(tiny, line, recorder)
    assert len(threads) == 1
    assert threading.current_thread() not in threads


def test_training_is_unchanged(tiny, line, tmp_path):
    start = tiny.get_weights()
    ends = []
    for callbacks in ([], [hr.GradientRecorder(sinks=[hr.TensorBoard(tmp_path)])]):
        tiny.set_weights(start)
        tiny.compile("adam", "mse", jit_compile=False)
        history = fit(tiny, line, *callbacks).history
        ends.append((history, full_state(tiny)))
    assert ends[0][0] == ends[1][0]
    for plain, written in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(plain, written)


def test_what_was_written_before_an_interruption_can_be_read(tiny, line, tmp_path):
    class Interrupts(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                raise KeyboardInterrupt

    recorder = hr.GradientRecorder(sinks=[hr.TensorBoard(tmp_path)])
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, line, recorder, Interrupts())
    found = events.read(tmp_path / "train")
    assert events.steps(found["epoch_loss"]) == [0, 1]
    fit(tiny, line, recorder, initial_epoch=2)
    found = events.read(tmp_path / "train")
    assert events.steps(found["tiny/hidden/kernel/histogram"]) == [0, 1, 2]


def test_attached_records_are_written(tiny, line, tmp_path):
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.TensorBoard(tmp_path)])
    with recorder.attached(tiny):
        for _ in range(3):
            tiny.train_on_batch(*line)
    found = events.read(tmp_path / "train")
    assert events.steps(found["tiny/output/bias/gradients/norm"]) == [1, 2, 3]


def test_the_norm_in_the_logs_is_there(tiny, line, tmp_path):
    recorder = hr.GradientRecorder(sinks=[hr.Logs(), hr.TensorBoard(tmp_path)])
    norms = fit(tiny, line, recorder).history["gradient_norm"]
    points = events.read(tmp_path / "train")["epoch_gradient_norm"]
    np.testing.assert_allclose(events.values(points), norms, rtol=1e-6)


class Scale(keras.layers.Layer):
    """Multiplies by a variable without axes."""

    def build(self, shape):
        self.scale = self.add_weight(shape=(), initializer="ones", name="scale")

    def call(self, x):
        return x * self.scale


def test_a_variable_without_axes_is_an_array_in_records_too(line, tmp_path):
    seen = []

    class Values(hr.Sink):
        def add(self, record):
            seen.extend(record.values.values())

    model = keras.Sequential([keras.Input((1,)), Scale()])
    model.compile("sgd", loss="mse", jit_compile=False)
    sinks = [hr.TensorBoard(tmp_path), Values()]
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        fit(model, line, hr.GradientRecorder(record_freq=1, sinks=sinks))
    assert all(isinstance(value, np.ndarray) for value in seen)
    assert any(
        tag.endswith("scale/histogram") for tag in events.read(tmp_path / "train")
    )
