import dataclasses

import numpy as np
import pytest
from structures import layer, model
from synthetic import noise, recording_of

from hrcallbacks.types import Fit


def started(weights, *, losses=None, **about):
    """A recording of layers that start with these kernels."""
    gradients = {f"{p}/kernel": noise(12, *w.shape, seed=1) for p, w in weights.items()}
    parts = [layer(p, activation="relu", units=w.shape[-1]) for p, w in weights.items()]
    recording = recording_of(gradients, loss=losses, model=model(*parts, **about))
    start = {f"{p}/kernel": w for p, w in weights.items()}
    recording.fits = [dataclasses.replace(Fit(), weights=start)]
    return recording


def kernel(inputs, units, deviation, seed=0):
    return np.random.default_rng(seed).normal(0, deviation, (inputs, units))


def he(inputs, units, times=1.0, seed=0):
    return kernel(inputs, units, times * np.sqrt(2 / inputs), seed)


def test_usual_weights_are_fine():
    weights = {"a": he(50, 40), "b": he(40, 30), "c": he(30, 10)}
    assert started(weights).diagnose("initial_weights").empty


@pytest.mark.parametrize(
    ("times", "said"),
    [(20, "are large"), (0.02, "are small"), (3, None), (0.3, None)],
)
def test_weights_out_of_scale(times, said):
    weights = {"a": he(50, 40, times), "b": he(40, 30, times), "c": he(30, 10)}
    found = started(weights).diagnose("initial_weights")
    assert [said in e for e in found["evidence"]] == ([] if said is None else [True])


def test_large_weights_with_a_first_loss_far_above_chance_are_a_warning():
    weights = {"a": he(50, 40, 20), "b": he(40, 30, 20)}
    losses = 900 / np.arange(1, 13)
    recording = started(weights, losses=losses, loss="categorical_crossentropy")
    recording.model["layers"][-1]["activation"] = "softmax"
    found = recording.diagnose("initial_weights")
    assert found["severity"].tolist() == ["warning"]
    assert "knowing nothing gets 3.4" in found["evidence"][0]  # The log of 30.


def test_weights_that_are_alike_and_what_comes_of_it():
    weights = {"a": np.full((5, 4), 0.1), "b": he(4, 2)}
    recording = started(weights)
    assert recording.diagnose("initial_weights")["severity"].tolist() == ["note"]
    alike = np.repeat(noise(12, 5, 1), 4, axis=2)
    gradients = {"a/kernel": alike, "b/kernel": noise(12, 4, 2)}
    same = recording_of(gradients, model=recording.model)
    same.fits = recording.fits
    found = same.diagnose(["initial_weights", "identical_units"])
    assert found["rule"].tolist() == ["initial_weights", "identical_units"]
    assert found["severity"][0] == "severe"
    gradients["a/kernel"] = alike * np.arange(1, 5)  # Alike but for their size.
    assert recording_of(gradients).diagnose("identical_units").empty


def fed(size, *, batches=4, inputs=6, shape="dense", spread=1.0, **about):
    """Gradients of a first layer whose inputs are of a size: x' d, and the sum of d."""
    random = np.random.default_rng(0)
    kernels, biases = [], []
    for _ in range(20):
        x = size * random.normal(spread, 1, (32, inputs))
        if shape == "one-hot":
            x = np.eye(inputs)[random.integers(0, inputs, 32)]
        errors = random.normal(0.3, 1, (32, 3))
        kernels.append(x.T @ errors)
        biases.append(errors.sum(axis=0))
    gradients = {"a/kernel": np.array(kernels), "a/bias": np.array(biases)}
    gradients["b/kernel"] = noise(20, 3, 1)
    parts = [layer("a", activation="relu"), layer("b")]
    if about.get("normalized"):
        parts.insert(1, layer("norm", "BatchNormalization", units=None))
        parts[0]["activation"] = "linear"
    return recording_of(gradients, batches=batches, model=model(*parts))


@pytest.mark.parametrize(
    ("size", "severity"),
    [(1, None), (0.2, None), (8, None), (300, "warning"), (0.002, "warning")],
)
def test_inputs_out_of_scale(size, severity):
    found = fed(size).diagnose("input_scale")
    assert found["severity"].tolist() == ([severity] if severity else [])
    assert found.looked == ["input_scale"]


def test_inputs_that_are_seldom_1_are_not_small():
    assert fed(1, shape="one-hot", inputs=2000).diagnose("input_scale").empty


def test_inputs_before_a_normalization_may_have_any_scale():
    found = fed(300, normalized=True).diagnose("input_scale")
    assert "normalization" in found.not_looked["input_scale"]


def test_the_gradient_of_an_l2_penalty_is_taken_off():
    recording = fed(1)
    gradients = {p: np.asarray(a) for p, a in recording.gradients.items()}
    weights = {"a/kernel": noise(20, 6, 3, seed=4)}
    before = np.concatenate([np.ones((1, 6, 3)), weights["a/kernel"][:-1]])
    gradients["a/kernel"] = gradients["a/kernel"] + 2 * 1e4 * before
    about = recording.model
    about["layers"][0]["regularizers"] = {
        "kernel": {"class": "L2", "options": {"l2": 1e4}}
    }
    decayed = recording_of(gradients, weights, batches=4, model=about)
    decayed.fits = [dataclasses.replace(Fit(), weights={"a/kernel": np.ones((6, 3))})]
    found = decayed.diagnose("input_scale")
    assert found.looked == ["input_scale"]
    assert found.empty
