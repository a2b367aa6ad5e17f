import re

import numpy as np
import pandas as pd
import pytest

from hrcallbacks.recording.recording import Recording
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.types import HAS_GRADIENT, Key, Record, Spec, Step

SHAPES = {"net/a/kernel": (2, 3), "net/a/bias": (3,), "net/b/kernel": (3, 1)}


def specs():
    return {
        Key(quantity, "raw", path): Spec(shape, "float32")
        for quantity in ("gradients", "weights")
        for path, shape in SHAPES.items()
    } | {Key(HAS_GRADIENT, "", path): Spec((), "float64") for path in SHAPES}


def values(gradient, weight):
    of = {Key("gradients", "raw", path): filled(path, gradient) for path in SHAPES}
    of |= {Key("weights", "raw", path): filled(path, weight) for path in SHAPES}
    return of | {Key(HAS_GRADIENT, "", path): 1.0 for path in SHAPES}


def record(t, values, **metrics):
    return Record(Step(10 * t, t, 5), 1 / t, values, metrics=metrics)


@pytest.fixture
def store():
    """Two records of a 2-3-1 network without a last bias."""
    store = MemoryStore()
    attributes = {
        "complete": True,
        "weights_at": "after",
        "variables": list(SHAPES.items()),
    }
    store.declare(specs(), attributes)
    for t in (1, 2):
        store.append(record(t, values(-t, t), mae=0.5))
    return store


@pytest.fixture
def recording(store):
    return Recording.of(store.snapshot())


def filled(path, t):
    """An array that tells path, record and place."""
    shape = SHAPES[path]
    start = 100 * t + 10 * list(SHAPES).index(path)
    return (start + np.arange(np.prod(shape))).reshape(shape).astype("float32")


def test_arrays_have_a_row_a_record(recording):
    assert len(recording) == 2
    assert recording.paths == list(SHAPES)
    for path, shape in SHAPES.items():
        assert recording.weights[path].shape == (2, *shape)
        np.testing.assert_array_equal(recording.gradients[path][1], filled(path, -2))


def test_the_end_of_a_path_will_do(recording):
    assert recording.weights["a/kernel"] is recording.weights["net/a/kernel"]
    with pytest.raises(KeyError, match=r"several.*net/a/kernel.*net/b/kernel"):
        recording.weights["kernel"]
    with pytest.raises(KeyError, match=r"none.*gradients.*net/a/bias"):
        recording.gradients["a/gamma"]
    assert "kernel" not in recording.weights


def test_index_has_a_row_a_record(recording):
    assert list(recording.index) == ["step", "epoch", "batch", "loss", "mae"]
    assert recording.index["step"].tolist() == [10, 20]


def test_wide_table_by_path(recording):
    frame = recording.to_frame()
    assert len(frame) == 2
    assert list(frame)[:5] == list(recording.index)
    assert list(frame)[5:7] == [
        "weight:net/a/kernel[0,0]",
        "gradient:net/a/kernel[0,0]",
    ]
    assert len(list(frame)) == 5 + 2 * (6 + 3 + 3)
    for path in SHAPES:
        for quantity, arrays in (("weight", "weights"), ("gradient", "gradients")):
            columns = [c for c in frame if c.startswith(f"{quantity}:{path}[")]
            np.testing.assert_array_equal(
                frame[columns].to_numpy(),
                getattr(recording, arrays)[path].reshape(2, -1),
            )


def test_wide_table_by_symbol_numbers_kernels_and_their_elements(recording):
    frame = recording.to_frame(names="symbol")
    kernels = [f"{q}^1_{i}" for i in range(1, 7) for q in "wg"]
    kernels += [f"{q}^2_{i}" for i in range(1, 4) for q in "wg"]
    assert list(frame)[5:] == kernels
    np.testing.assert_array_equal(
        frame["w^1_5"], recording.weights["a/kernel"][:, 1, 1]
    )
    np.testing.assert_array_equal(
        frame["g^2_3"], recording.gradients["b/kernel"][:, 2, 0]
    )


def test_biases_on_request(recording):
    frame = recording.to_frame(names="symbol", biases=True)
    np.testing.assert_array_equal(frame["b^1_2"], recording.weights["a/bias"][:, 1])
    np.testing.assert_array_equal(frame["gb^1_2"], recording.gradients["a/bias"][:, 1])


def test_superscript_counts_the_models_kernels_not_the_chosen_ones(recording):
    frame = recording.to_frame(names="symbol", variables="b/*")
    assert [c for c in frame if "^" in c][:2] == ["w^2_1", "g^2_1"]


def test_tidy_table_has_a_row_an_element(recording):
    frame = recording.to_frame(layout="tidy")
    assert list(frame) == ["step", "epoch", "path", "element", "weight", "gradient"]
    assert len(frame) == 2 * 12
    pivoted = frame[frame["path"] == "net/a/kernel"].pivot(
        index="step", columns="element", values="gradient"
    )
    np.testing.assert_array_equal(
        pivoted.to_numpy(), recording.gradients["a/kernel"].reshape(2, 6)
    )
    assert frame["step"].is_monotonic_increasing


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"layout": "long"}, "layout.*'wide', 'tidy'.*'long'"),
        ({"names": "latex"}, "names.*'path', 'symbol'.*'latex'"),
        ({"variables": "*/gamma"}, r"No recorded variable.*net/a/bias"),
        ({"biases": True}, "names='symbol'"),
        ({"layout": "tidy", "names": "symbol"}, "belongs to layout='wide'"),
        ({"names": "symbol", "variables": "*/bias"}, "names kernels"),
    ],
)
def test_bad_table_arguments_are_refused(recording, arguments, text):
    with pytest.raises(ValueError, match=text):
        recording.to_frame(**arguments)


def test_wide_table_of_a_large_model_is_refused_with_what_to_do():
    store = MemoryStore()
    key, shape = Key("weights", "raw", "kernel"), (200, 100)
    store.declare({key: Spec(shape, "float32")}, {"variables": [("kernel", shape)]})
    store.append(record(1, {}))
    with pytest.raises(ValueError, match=r"40,000 columns.*layout='tidy'"):
        Recording.of(store.snapshot()).to_frame()


def test_scalar_variables_have_a_column():
    store = MemoryStore()
    key = Key("weights", "raw", "scale")
    store.declare({key: Spec((), "float32")}, {"variables": [("scale", ())]})
    store.append(record(1, {key: np.float32(3)}))
    assert Recording.of(store.snapshot()).to_frame()["weight:scale[]"].tolist() == [3.0]


def test_missing_gradient_is_nan_and_flagged(store):
    some = {
        key: value
        for key, value in values(3, 3).items()
        if key.quantity == "weights" or key.path == "net/a/bias"
    }
    store.append(record(3, some))
    recording = Recording.of(store.snapshot())
    assert np.isnan(recording.gradients["a/kernel"][2]).all()
    assert recording.has_gradient.loc[2].tolist() == [False, True, False]
    assert recording.has_gradient.loc[:1].to_numpy().all()


def test_recording_is_left_alone_by_later_records(store, recording):
    store.append(record(3, {}))
    assert len(recording) == 2
    assert recording.weights["a/bias"].shape == (2, 3)
    assert len(Recording.of(store.snapshot())) == 3


def test_path_of_another_shape_is_refused(store):
    with pytest.raises(ValueError, match=r"net/a/bias.*\(3,\).*\(4,\).*reset\(\)"):
        store.declare({Key("weights", "raw", "net/a/bias"): Spec((4,), "float32")}, {})


def test_repr_says_what_was_recorded(recording):
    text = repr(recording)
    assert "2 records of 3 variables, 12 elements; steps 10 to 20" in text
    assert "gradients and weights after the update; complete" in text
    assert re.search(r"net/a/kernel +\(2, 3\)", text)


def test_html_repr_escapes_and_shows_the_index(recording):
    recording.attributes["variables"].append(("<b>", (1,)))
    page = recording._repr_html_()
    assert "net/a/kernel" in page
    assert page.count("<table") == 2
    assert "0.5" in page


def test_empty_recording_says_so():
    recording = Recording.of(MemoryStore().snapshot())
    assert len(recording) == 0
    assert repr(recording) == "<Recording: empty>"
    assert "empty" in recording._repr_html_()
    assert list(recording.index) == ["step", "epoch", "batch", "loss"]
    assert isinstance(recording.has_gradient, pd.DataFrame)
    with pytest.raises(ValueError, match=r"empty.*callbacks="):
        recording.to_frame()
