import numpy as np
import pytest
from structures import layer, model
from synthetic import noise, recording_of

PARTS = [
    layer("a", activation="relu"),
    layer("b", units=3, activation="relu"),
]


def silent(kernel_of=(), bias_of=(), parts=PARTS, **options):
    """Gradients of a network with three outputs, some of them exactly 0."""
    gradients = {
        "a/kernel": noise(20, 2, 4),
        "b/kernel": noise(20, 4, 3, seed=1),
        "b/bias": noise(20, 3, seed=2),
    }
    gradients["b/kernel"][..., list(kernel_of)] = 0
    gradients["b/bias"][..., list(bias_of)] = 0
    recording = recording_of(gradients, model=model(*parts), **options)
    return recording.diagnose("silent_outputs")


def test_outputs_without_any_gradient():
    found = silent([1], [1])
    assert found[["path", "unit", "severity"]].values.tolist() == [
        ["b/kernel", 2, "warning"]
    ]
    assert "behind a relu" in found["evidence"][0]


def test_an_output_whose_inputs_are_0_is_not_silent():
    assert silent([0, 1, 2]).empty


def test_without_a_relu_it_is_a_note_in_a_run_that_learns():
    plain = [PARTS[0], layer("b", units=3)]
    assert silent([1], [1], plain)["severity"].tolist() == ["note"]
    stuck = silent([1], [1], plain, loss=np.ones(20))
    assert stuck["severity"].tolist() == ["warning"]


@pytest.mark.parametrize(("share", "count"), [(1.0, 1), (0.5, 0)])
def test_units_are_alike_only_if_they_always_are(share, count):
    gradients = {"a/kernel": noise(20, 5, 4), "b/kernel": noise(20, 4, 2)}
    alike = int(20 * share)
    gradients["a/kernel"][:alike] = gradients["a/kernel"][:alike, :, :1]
    found = recording_of(gradients).diagnose("identical_units")
    assert found["severity"].tolist() == ["severe"] * count


def test_rounding_makes_no_difference_between_units():
    alike = np.repeat(noise(20, 5, 1), 4, axis=2) * (1 + 1e-6 * noise(20, 5, 4, seed=3))
    gradients = {"a/kernel": alike, "b/kernel": noise(20, 4, 2)}
    assert len(recording_of(gradients).diagnose("identical_units")) == 1
