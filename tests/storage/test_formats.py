"""Stores that earlier versions wrote: they open for ever, with what they held."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.storage.saving import convert
from hrcallbacks.storage.zarr_reader import Stored

pytest.importorskip("zarr")
DATA = Path(__file__).parent / "data"
# Written by a version with format 1, on the worked example's network, and kept
# with its numbers as JSON.
OLD = DATA / "format_1_with_statistics.zarr"


@pytest.fixture(scope="module")
def expected():
    """What the store held when it was written."""
    return json.loads(OLD.with_suffix(".json").read_text())


def assert_holds(recording, expected):
    assert list(recording.index) == list(expected["index"])
    for name, values in expected["index"].items():
        np.testing.assert_array_equal(recording.index[name], values)
    assert recording.paths == expected["paths"]
    for name in ("complete", "weights_at", "reductions"):
        assert recording.attributes[name] == expected[name]
    arrays = {
        f"{quantity}:{reduction}:{path}": np.asarray(array)
        for (quantity, reduction), by_path in recording.arrays_by_kind.items()
        for path, array in by_path.items()
    }
    assert arrays.keys() == expected["arrays"].keys()
    for name, values in expected["arrays"].items():
        np.testing.assert_array_equal(arrays[name], values)
    assert len(recording.fits) == len(expected["fits"])
    for fit, known in zip(recording.fits, expected["fits"], strict=True):
        assert (fit.first, fit.ended) == (known["first"], known["ended"])
        assert fit.weights.keys() == known["weights"].keys()
        for path, values in known["weights"].items():
            np.testing.assert_array_equal(fit.weights[path], values)
        state = fit.optimizers["0"].state or []
        assert len(state) == len(known["state"])
        for array, values in zip(state, known["state"], strict=True):
            np.testing.assert_array_equal(array, values)


def test_format_1_opens_with_all_that_it_held(expected):
    recording = hr.open_recording(OLD)
    assert_holds(recording, expected)
    if keras.config.backend() == "tensorflow":
        assert recording.replay().max_error == 0


def test_store_of_the_first_format_opens():
    """Written before the one above, by version 0.1."""
    recording = hr.open_recording(DATA / "format_1.zarr")
    assert recording.index["step"].tolist() == [1, 2, 3, 4]
    assert recording.paths == ["net/hidden/kernel", "net/hidden/bias"]
    weights, gradients = recording.weights["hidden/kernel"], recording.gradients
    # Plain SGD at 0.5: the weights tell the gradients.
    moved = np.diff(weights[:], axis=0)
    np.testing.assert_allclose(
        moved, -0.5 * gradients["hidden/kernel"][1:], rtol=1e-5, atol=1e-7
    )
    assert recording.statistic("gradients", "norm").shape == (4, 2)
    assert recording.attributes["complete"]
    if keras.config.backend() == "tensorflow":
        assert recording.replay().max_error < 1e-6


def test_a_recording_of_format_1_is_not_continued(tiny, line, tmp_path):
    path = shutil.copytree(OLD, tmp_path / "old.zarr")
    recorder = hr.GradientRecorder(store=path, resume=True)
    with pytest.raises(ValueError, match=r"has format 1.*hrcallbacks convert .*old"):
        tiny.fit(*line, verbose=0, callbacks=[recorder])
    assert int(tiny.optimizer.iterations) == 0


def test_a_converted_store_holds_what_the_old_one_did(expected, tmp_path):
    path = tmp_path / "new.zarr"
    assert convert(OLD, path) == 6
    assert Stored(path).version == 2
    recording, old = hr.open_recording(path), hr.open_recording(OLD)
    assert_holds(recording, expected)
    assert recording.attributes == old.attributes
    assert (
        Stored(path).epochs()
        == Stored(OLD).epochs()
        == [[1, 1, 2], [1, 2, 4], [2, 1, 6]]
    )
    assert [f.optimizers["0"].config for f in recording.fits] == [
        f.optimizers["0"].config for f in old.fits
    ]
    if keras.config.backend() == "tensorflow":
        assert recording.replay().max_error == 0
    again = tmp_path / "again.zarr"
    convert(path, again)
    assert_holds(hr.open_recording(again), expected)
    with pytest.raises(FileExistsError, match=r"already exists at .*new\.zarr"):
        convert(OLD, path)


def test_nothing_is_left_of_a_conversion_that_failed(tmp_path):
    damaged = shutil.copytree(OLD, tmp_path / "old.zarr")
    (damaged / "weights/raw/net.hidden.kernel/c/0/0/0").write_bytes(b"damaged")
    with pytest.raises(OSError, match=r"'weights/raw/net\.hidden\.kernel'"):
        convert(damaged, tmp_path / "new.zarr")
    assert not (tmp_path / "new.zarr").exists()


def test_a_run_goes_on_in_the_converted_store(tiny, line, tmp_path):
    """It is told which epochs have ended, as the old store was."""
    old, new = tmp_path / "old.zarr", tmp_path / "new.zarr"
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    options = {"batch_size": 5, "epochs": 3, "verbose": 0}
    start = tiny.get_weights()

    class Dies(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 2:
                raise RuntimeError("died")

    recorder = hr.GradientRecorder(record_freq=1, store=old, resume=True)
    with pytest.raises(RuntimeError, match="died"):
        tiny.fit(*line, callbacks=[recorder, backup, Dies()], **options)
    recorder.reset()
    convert(old, new)
    tiny.set_weights(start)
    tiny.compile("adam", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, store=new, resume=True)
    tiny.fit(*line, callbacks=[recorder, backup], **options)
    recording = hr.open_recording(new)
    assert recording.index["step"].tolist() == list(range(1, 13))
    assert recording.attributes["complete"]
    assert recording.replay().max_error < 1e-6
