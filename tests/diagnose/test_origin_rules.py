"""Where NaN begins, in runs where it is known."""

import keras
import numpy as np
import pandas as pd
import pytest
from keras import layers, ops

import hrcallbacks as hr
from hrcallbacks.diagnose import RULES
from hrcallbacks.diagnose.causes import fold
from hrcallbacks.diagnose.origin_rules import _inner_first
from hrcallbacks.recording.arrays import Arrays

pytestmark = pytest.mark.filterwarnings("ignore::RuntimeWarning")
ROWS, BATCH = 12, 4
COMPILED = {} if keras.config.backend() == "torch" else {"jit_compile": False}


def log_of(x):
    return ops.log(x)


def root_of(x):
    return ops.sqrt(x)


class Spoils(layers.Layer):
    """Applies a function to `x * scale`, which is well unless it meets 0 or less."""

    def __init__(self, function, **kwargs):
        super().__init__(**kwargs)
        self.function = function

    def call(self, x):
        return self.function(x)


@pytest.fixture(scope="module")
def models():
    """Compiled once: what is trained is spoiled by the data."""
    made = {}

    def of(function):
        if function not in made:
            x = keras.Input((2,))
            hidden = layers.Dense(2, kernel_initializer="identity", name="hidden")(x)
            spoilt = Spoils(function, name="spoils")(hidden)
            y = layers.Dense(1, name="out")(spoilt)
            model = keras.Model(x, y, name="m")
            model.compile(keras.optimizers.SGD(0.0), "mse", **COMPILED)
            made[function] = model, model.get_weights()
        model, weights = made[function]
        model.set_weights(weights)
        return model

    return of


def diagnosed(model, x, y=None, **wanted):
    recorder = hr.GradientRecorder(record_freq=1, **wanted)
    y = np.ones((ROWS, 1), "float32") if y is None else y
    settings = {"batch_size": BATCH, "epochs": 2, "shuffle": False, "verbose": 0}
    model.fit(x, y, callbacks=[recorder], **settings)
    return recorder.recording


def first(recording):
    found = recording.diagnose().to_frame()
    origin = found[found["rule"] == "nan_origin"]
    assert len(origin) == 1
    assert found.iloc[0]["rule"] == "nan_origin"  # The first cause.
    consequences = found[found["cause"] == "nan_origin"]["rule"]
    assert "nan" in set(consequences)
    return origin.iloc[0]


def inputs():
    return np.random.RandomState(0).uniform(1, 2, (ROWS, 2)).astype("float32")


def test_it_begins_in_the_output_of_a_layer_whose_inputs_are_finite(models):
    x = inputs()
    x[6, 1] = -1  # In the second batch, its row 2.
    wanted = {"spoils": ["nonfinite", "raw", hr.PerUnit("nonfinite")]}
    recording = diagnosed(
        models(log_of), x, outputs=wanted | {"*": "nonfinite"}, batch={"x": "nonfinite"}
    )
    found = first(recording)
    assert (found["step"], found["path"].rpartition("/")[2]) == (2, "spoils")
    said = found["evidence"]
    assert "rows 2 of the batch, from 0; units 2" in said
    assert "hidden' before it is finite, and the batch is finite" in said


def test_the_batch_itself(models):
    x = inputs()[:11]  # The last batch has three rows.
    x[[8, 10], 0] = np.inf
    recording = diagnosed(
        models(log_of),
        x,
        np.ones((11, 1), "float32"),
        outputs={"*": "nonfinite"},
        batch="raw",
        sinks=[hr.Alert("nan", keep_batch=True)],
    )
    found = first(recording)
    assert found["step"] == 3
    assert (
        "the batch itself is not finite: 'x' (rows 0, 2 of the batch"
        in (found["evidence"])
    )
    assert "recording.batches[3]" in found["advice"]
    rows = ~np.isfinite(recording.batches[3]["x"]).all(axis=1)
    assert np.flatnonzero(rows).tolist() == [0, 2]


def test_it_begins_on_the_way_back(models):
    x = inputs()
    x[5] = 0  # The root of 0 is 0; its derivative is infinite.
    recording = diagnosed(
        models(root_of), x, outputs={"*": "nonfinite"}, output_gradients={"*": "norm"}
    )
    found = first(recording)
    assert (found["step"], found["path"].rpartition("/")[2]) == (2, "hidden")
    said = found["evidence"]
    assert "on the way back, in the gradient with respect to the output of" in said
    assert "spoils' after it is finite; all outputs recorded are finite" in said


def test_targets_that_are_not_finite_are_seen_in_the_loss(models):
    y = np.ones((ROWS, 1), "float32")
    y[0] = np.nan
    recording = diagnosed(
        models(log_of),
        inputs(),
        y,
        outputs={"*": "nonfinite"},
        output_gradients={"*": hr.Rows(2)},
    )
    found = first(recording)
    assert (found["step"], found["path"]) == (1, None)
    assert "in the loss, nan (rows 0 of the batch" in found["evidence"]


def test_a_run_without_any_has_no_finding(models):
    recording = diagnosed(
        models(log_of), inputs()[:11], np.ones((11, 1)), outputs="raw", batch="raw"
    )
    findings = recording.diagnose()
    assert "nan_origin" in findings.looked
    assert "nan_origin" not in set(findings["rule"])


def test_weights_that_were_not_finite_before_are_said(models):
    model = models(log_of)
    weights = model.get_weights()
    model.set_weights([weights[0] * np.nan, *weights[1:]])
    found = first(diagnosed(model, inputs(), outputs={"*": "nonfinite"}))
    assert (found["step"], found["path"].rpartition("/")[2]) == (1, "hidden")
    assert "hidden/kernel were not finite before this step" in found["advice"]
    assert "batch={'*': 'nonfinite'} would tell" in found["evidence"]


def test_without_outputs_it_says_what_it_needs(models):
    findings = diagnosed(models(log_of), inputs()).diagnose()
    assert "outputs={'*': 'nonfinite'}" in findings.not_looked["nan_origin"]


def test_what_is_inside_comes_before_what_is_around_it():
    names = ["m/a", "m/mha", "m/mha/query", "m/mha/out", "m/b/preactivation", "m/b"]
    assert _inner_first(names) == [
        "m/a",
        "m/mha/query",
        "m/mha/out",
        "m/mha",
        "m/b/preactivation",
        "m/b",
    ]


@pytest.mark.parametrize(
    ("optimizer", "bad", "severity"),
    [
        ("LossScaleOptimizer", [2], "note"),
        ("LossScaleOptimizer", [2, 3], "severe"),
        ("Adam", [2], "severe"),
    ],
)
def test_steps_that_a_loss_scale_makes_the_optimizer_skip_are_a_note(
    optimizer, bad, severity
):
    norms = np.ones(4)
    norms[bad] = np.inf
    arrays = {"spoils": np.zeros(4)}, {"spoils": norms}
    recording = hr.Recording(
        pd.DataFrame({"step": [1, 2, 3, 4], "epoch": 1, "batch": 1, "loss": 1.0}),
        {
            ("outputs", "nonfinite"): Arrays(arrays[0].get, arrays[0], ""),
            ("output_gradients", "norm"): Arrays(arrays[1].get, arrays[1], ""),
        },
        {
            "optimizer": {"class_name": optimizer},
            "complete": True,
            "reductions": {
                "outputs": {"nonfinite": {"nonfinite": "counts"}},
                "output_gradients": {"norm": {"nonfinite": "numbers"}},
            },
        },
    )
    (found,) = recording.diagnose("nan_origin").itertuples()
    assert (found.step, found.severity) == (3, severity)


def test_what_came_before_does_not_follow_from_it():
    rules = [RULES["nan_origin"], RULES["dead_units"]]
    for step, cause in ((4, None), (6, "nan_origin")):
        found = [
            rule.found("severe", "", "", step=at)
            for rule, at in zip(rules, (5, step), strict=True)
        ]
        assert fold(found, rules)[1].cause == cause


def test_on_the_way_back_the_last_layer_is_the_first():
    flags = {"a": [0.0], "b": [1.0], "c": [1.0], "d": [0.0]}
    arrays = {name: np.array(flag) for name, flag in flags.items()}
    recording = hr.Recording(
        pd.DataFrame({"step": [1], "epoch": 1, "batch": 1, "loss": 1.0}),
        {("output_gradients", "nonfinite"): Arrays(arrays.get, arrays, "")},
        {
            "complete": True,
            "reductions": {"output_gradients": {"nonfinite": {"nonfinite": "counts"}}},
        },
    )
    (found,) = recording.diagnose("nan_origin").itertuples()
    assert found.path == "c"
    assert "that of the output of 'd' after it is finite" in found.evidence
