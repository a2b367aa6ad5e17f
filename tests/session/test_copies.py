"""A copy of a recorder has its settings, and nothing recorded."""

import copy
import pickle

import keras
import numpy as np
import pytest

import hrcallbacks as hr


def fit(model, data, recorder):
    model.fit(*data, batch_size=5, verbose=0, callbacks=[recorder])


def by_pickle(recorder):
    return pickle.loads(pickle.dumps(recorder))


COPIES = [copy.deepcopy, copy.copy, by_pickle]


@pytest.mark.parametrize("duplicate", COPIES, ids=lambda c: c.__name__)
@pytest.mark.parametrize("trained", [False, True])
@pytest.mark.parametrize("stored", [False, True])
def test_a_copy_has_the_settings_and_nothing_recorded(
    tiny, line, duplicate, trained, stored, tmp_path
):
    recorder = hr.GradientRecorder(
        "*/kernel",
        gradients=["norm", hr.Sample(2, seed=3)],
        weights=None,
        record_freq=2,
        store=tmp_path / "{n}.zarr" if stored else None,
    )
    if trained:
        fit(tiny, line, recorder)
    twin = duplicate(recorder)
    assert len(twin.recording) == 0
    other = keras.models.clone_model(tiny)
    other.compile("sgd", loss="mse", jit_compile=False)
    fit(other, line, twin)
    recording = twin.recording
    assert recording.index["step"].tolist() == [2, 4]
    assert recording.attributes["complete"]
    assert [*recording.attributes["reductions"]["gradients"]] == ["norm", "sample"]
    assert len(recorder._session.recording()) == (2 if trained else 0)
    if stored:
        assert twin.store == str(tmp_path / f"{int(trained)}.zarr")


def test_each_copy_writes_to_a_place_of_its_own(tiny, line, tmp_path):
    recorder = hr.GradientRecorder(record_freq=1, store=tmp_path / "runs/{n}.zarr")
    assert recorder.store == str(tmp_path / "runs/{n}.zarr")
    for _ in range(3):
        fit(tiny, line, copy.deepcopy(recorder))
    fit(tiny, line, recorder)
    fit(tiny, line, recorder)  # Its second fit appends.
    assert recorder.store == str(tmp_path / "runs/3.zarr")
    lengths = [
        len(hr.open_recording(path)) for path in sorted((tmp_path / "runs").iterdir())
    ]
    assert lengths == [4, 4, 4, 8]
    recorder.reset()
    fit(tiny, line, recorder)
    assert recorder.store == str(tmp_path / "runs/4.zarr")


def test_a_number_that_another_recorder_writes_to_is_left_alone(tiny, line, tmp_path):
    class Second(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            other = keras.models.clone_model(tiny)
            other.compile("sgd", loss="mse", jit_compile=False)
            fit(other, line, second)

    recorder = hr.GradientRecorder(record_freq=1, store=tmp_path / "{n}.zarr")
    second = copy.deepcopy(recorder)
    tiny.fit(*line, batch_size=5, verbose=0, callbacks=[recorder, Second()])
    assert len(hr.open_recording(tmp_path / "0.zarr")) == 4
    assert len(hr.open_recording(tmp_path / "1.zarr")) == 4
    assert sorted(p.name for p in tmp_path.iterdir()) == ["0.zarr", "1.zarr"]


def test_the_recorder_that_was_copied_says_where_records_are(tiny, line):
    recorder = hr.GradientRecorder()
    fit(tiny, line, copy.deepcopy(recorder))
    with pytest.warns(UserWarning, match=r"copies of it have.*store='runs/\{n\}.zarr'"):
        assert len(recorder.recording) == 0
    fit(tiny, line, recorder)  # It has records of its own: nothing to say.
    assert len(recorder.recording) == 1


def test_a_copy_of_a_fixed_path_says_what_to_type(tiny, line, tmp_path):
    recorder = hr.GradientRecorder(store=tmp_path / "run.zarr")
    fit(tiny, line, copy.deepcopy(recorder))
    with pytest.raises(FileExistsError, match=r"runs/\{n\}.zarr"):
        fit(tiny, line, copy.deepcopy(recorder))


def test_a_copy_may_be_made_while_a_fit_runs(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    twins = []

    class Copies(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            twins.append(copy.deepcopy(recorder))

    tiny.fit(*line, batch_size=5, verbose=0, callbacks=[recorder, Copies()])
    assert len(recorder.recording) == 4
    assert recorder.recording.attributes["complete"]
    assert [len(twin.recording) for twin in twins] == [0] * 4


def test_a_subclass_keeps_what_it_added(tiny, line):
    class Named(hr.GradientRecorder):
        def __init__(self, name):
            super().__init__(record_freq=1)
            self.name = name

    twin = copy.deepcopy(Named("first"))
    fit(tiny, line, twin)
    assert twin.name == "first"
    assert np.isfinite(twin.recording.gradients["hidden/kernel"]).all()


def test_a_numbered_store_is_not_resumed():
    with pytest.raises(ValueError, match=r"resume=True continues one store"):
        hr.GradientRecorder(store="{n}.zarr", resume=True)
