"""Stores that earlier versions wrote: they open for ever, with what they held."""

import json
import shutil
from pathlib import Path

import keras
import numpy as np
import pytest

import hrcallbacks as hr

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
