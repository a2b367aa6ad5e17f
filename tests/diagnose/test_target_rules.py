"""Whether the model can answer the targets, where these were recorded."""

import keras
import numpy as np
import pytest
from structures import layer, model
from synthetic import recording_of

import hrcallbacks as hr

BCE, MSE = "binary_crossentropy", "mean_squared_error"
CCE, SPARSE = "categorical_crossentropy", "sparse_categorical_crossentropy"


def found(y, *, loss, activation=None, units=1, rule="targets", reduced=False, **more):
    y = np.broadcast_to(np.asarray(y, "float32"), (40, *np.shape(y)))
    targets = {"y": y}
    if reduced:
        axes = tuple(range(1, y.ndim))
        targets = {"y:min": y.min(axes), "y:max": y.max(axes)}
    output = layer("out", units=units, activation=activation)
    return recording_of(
        {"out/kernel": np.ones((40, 2, units))},
        batch=targets,
        model=model(layer("in", activation="relu"), output, loss=loss, **more),
    ).diagnose(rule)


@pytest.mark.parametrize("reduced", [False, True])
@pytest.mark.parametrize(
    ("y", "about", "said", "advice"),
    [
        ([0, 1, 2], {"loss": SPARSE, "units": 3, "activation": "softmax"}, None, ""),
        ([1, 2, 3], {"loss": SPARSE, "units": 3}, "from 1 to 3, and the 3", "y - 1"),
        ([0, 1, 5], {"loss": SPARSE, "units": 3}, "from 0 to 5", "of 6 units"),
        ([-1, 1], {"loss": SPARSE, "units": 2}, "from -1 to 1", "from 0 on"),
        ([-1, 1], {"loss": SPARSE, "units": 2, "ignore_class": -1}, None, ""),
        ([[0.0], [1.0]], {"loss": BCE, "activation": "sigmoid"}, None, ""),
        ([[-1.0], [1.0]], {"loss": BCE, "activation": "tanh"}, "from -1 to 1", "0 and"),
        ([[0.0, 7.0]], {"loss": CCE, "units": 2}, "they reach from 0 to 7", "amounts"),
        ([[2.0], [9.0]], {"loss": MSE, "activation": "relu"}, None, ""),
        ([[-2.0], [9.0]], {"loss": MSE, "activation": "relu"}, "nothing below 0", "no"),
        ([[0.0], [9.0]], {"loss": MSE, "activation": "sigmoid"}, "nothing above 1", ""),
        ([[-0.5], [0.5]], {"loss": MSE, "activation": "tanh"}, None, ""),
        ([[-5.0], [5.0]], {"loss": MSE}, None, ""),
    ],
)
def test_what_the_model_cannot_answer_is_said(y, about, said, advice, reduced):
    got = found(y, reduced=reduced, **about)
    assert [said in e for e in got["evidence"]] == ([] if said is None else [True])
    if said:
        assert advice in got["advice"][0]
        assert (got["severity"][0], got["path"][0]) == ("warning", "out/kernel")


@pytest.mark.parametrize(
    ("y", "units", "said"),
    [
        (np.zeros((8, 3)), 3, False),
        (np.zeros((8, 3)), 1, True),
        (np.zeros(8), 3, True),
        (np.zeros(8), 1, False),
    ],
)
def test_rows_of_another_width_are_compared_each_with_each(y, units, said):
    got = found(y, loss=MSE, units=units)
    assert ["each with each" in e for e in got["evidence"]] == [True] * said


def test_a_bounded_output_that_covers_the_targets_is_no_news():
    about = {"loss": MSE, "activation": "sigmoid", "rule": "output_range"}
    assert found([[0.2], [0.8]], **about).empty
    rule = hr.diagnose.RULES["targets"].name
    assert rule in found([[0.2]], loss=MSE, rule=None).looked


def test_without_targets_it_says_what_to_record():
    layers = (layer("in"), layer("out", units=1))
    recording = recording_of({"out/kernel": np.ones((40, 2, 1))}, model=model(*layers))
    assert "batch={'y': 'raw'}" in recording.diagnose("targets").not_looked["targets"]


def test_labels_counted_from_one_in_a_real_run():
    keras.utils.set_random_seed(1)
    labels = np.arange(40) % 3 + 1
    model = keras.Sequential([keras.Input((2,)), keras.layers.Dense(4, "softmax")])
    model.compile("sgd", SPARSE)
    recorder = hr.GradientRecorder(record_freq=1, batch={"y": ["min", "max"]})
    x = np.random.default_rng(0).normal(size=(40, 2)).astype("float32")
    model.fit(x, labels, epochs=2, verbose=0, callbacks=[recorder])
    assert recorder.recording.diagnose("targets").empty  # Four units are enough.
    assert recorder.recording.statistic("batch", "max")["y"].tolist() == [3.0] * 4
