import numpy as np
import pytest
from synthetic import noise, recording_of

from hrcallbacks.diagnose import Exploding, Vanishing


def deep(factor, records=10, layers=6, **options):
    """A deep network: each layer's gradient is `factor` that of the next."""
    gradients = {
        f"dense_{n}/kernel": np.sign(noise(records, 4, 4, seed=n))
        * factor ** (layers - n)
        for n in range(1, layers + 1)
    }
    return recording_of(gradients, **options)


def test_vanishing_gradients_by_layer():
    found = deep(0.04, loss=np.ones(10)).diagnose("vanishing")
    # 0.04^3 is 6.4e-5, 0.04^5 is 1e-7.
    assert sorted(found["path"]) == [f"dense_{n}/kernel" for n in (1, 2, 3)]
    severe = found[found["severity"] == "severe"]
    assert severe["path"].tolist() == ["dense_1/kernel"]
    assert "1.0e-07 of that of dense_6/kernel" in severe["evidence"].iloc[0]


def test_vanishing_in_a_run_that_learns_is_not_severe():
    assert set(deep(0.04).diagnose("vanishing")["severity"]) == {"warning"}


@pytest.mark.parametrize("factor", [0.2, 1.0, 5.0])
def test_gradients_of_like_size_neither_vanish_nor_explode(factor):
    found = deep(factor).diagnose(["vanishing", "exploding"])
    assert found.empty
    assert found.looked == ["vanishing", "exploding"]


def test_vanishing_needs_most_of_the_records():
    gradients = {"a/kernel": noise(10, 2, 2), "b/kernel": noise(10, 2, 2, seed=1)}
    gradients["a/kernel"][:4] *= 1e-9
    assert recording_of(gradients).diagnose("vanishing").empty
    gradients["a/kernel"][:6] *= 1e-9
    assert len(recording_of(gradients).diagnose("vanishing")) == 1


def test_a_kernel_that_lies_aside_does_not_vanish():
    # As the queries of attention, whose input has a way around them.
    gradients = {f"{n}/kernel": noise(9, 2, 2, seed=k) for k, n in enumerate("abc")}
    gradients["b/kernel"] *= 1e-6
    assert recording_of(gradients).diagnose("vanishing").empty
    gradients["a/kernel"] *= 1e-6
    assert len(recording_of(gradients).diagnose("vanishing")) == 2


def test_an_exact_zero_does_not_vanish():
    gradients = {"a/kernel": np.zeros((9, 2, 2)), "b/kernel": noise(9, 2, 2)}
    assert recording_of(gradients).diagnose("vanishing").empty


def test_norms_alone_will_do():
    norms = {"a/kernel:norm": np.full(9, 1e-6), "b/kernel:norm": np.ones(9)}
    shapes = {"a/kernel": (2, 2), "b/kernel": (2, 2)}
    found = recording_of(norms, shapes=shapes).diagnose("vanishing")
    assert found["path"].tolist() == ["a/kernel"]


def test_thresholds_can_be_set():
    assert deep(0.2).diagnose(Vanishing(ratio=1e-2))["path"].tolist() == [
        "dense_1/kernel",
        "dense_2/kernel",
        "dense_3/kernel",
    ]
    growing = {"a/kernel": noise(9, 2, 2) * 2.0 ** np.arange(9)[:, None, None]}
    assert recording_of(growing).diagnose("exploding").empty
    assert len(recording_of(growing).diagnose(Exploding(factor=2.0, start=3))) == 1


def test_gradients_that_grow_from_layer_to_layer_explode():
    found = deep(30.0).diagnose("exploding")
    assert sorted(found["path"]) == [f"dense_{n}/kernel" for n in (1, 2, 3)]


@pytest.mark.parametrize(
    ("grow", "severity"), [(slice(8, None), "severe"), (slice(8, 9), "warning")]
)
def test_gradients_that_grow_in_time_explode(grow, severity):
    gradients = {"a/kernel": noise(12, 2, 2), "b/kernel": noise(12, 2, 2, seed=1)}
    gradients["a/kernel"][grow] *= 1e4
    found = recording_of(gradients).diagnose("exploding")
    found = found[found["evidence"].str.contains("norm")]
    assert found[["path", "severity", "step"]].to_numpy().tolist() == [
        ["a/kernel", severity, 9]
    ]


def test_a_layer_that_wakes_up_does_not_explode():
    # A last layer that starts at 0 gives those before it no gradient at first.
    gradients = {"a/kernel": noise(12, 2, 2), "b/kernel": noise(12, 2, 2, seed=1)}
    gradients["a/kernel"][0] = 0
    gradients["a/kernel"][1] *= 1e-6
    assert recording_of(gradients).diagnose("exploding").empty


@pytest.mark.parametrize("rule", ["vanishing", "exploding"])
def test_what_is_missing_is_said(rule):
    recording = recording_of(weights={"a/kernel": noise(9, 2, 2)})
    why = recording.diagnose(rule).not_looked[rule]
    assert "neither gradients nor their norms were recorded" in why
    assert "there are: weights 'raw'" in why
    one = recording_of({"a/kernel": noise(9, 2, 2)}).diagnose("vanishing")
    assert "fewer than two kernels" in one.not_looked["vanishing"]
