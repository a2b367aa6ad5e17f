import numpy as np
import pytest
from synthetic import network, noise, recording_of

from hrcallbacks.diagnose import OneBatch


def not_finite(recording):
    found = recording.diagnose("nan")
    assert found.looked == ["nan"]
    return [(f.path, int(f.step), f.severity) for f in found.itertuples()]


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_the_first_step_and_path_that_are_not_finite(value):
    gradients = network()
    gradients["net/output/kernel"][4, 1, 1] = value
    gradients["net/hidden/kernel"][6, 1, 1] = value
    assert not_finite(recording_of(gradients)) == [
        ("net/output/kernel", 5, "severe"),
        ("net/hidden/kernel", 7, "severe"),
    ]


def test_finite_numbers_are_finite():
    assert not_finite(recording_of(network(), network(seed=9))) == []


def test_the_whole_model_at_once_is_one_finding():
    gradients = network()
    for array in gradients.values():
        array[7:] = np.nan
    assert not_finite(recording_of(gradients)) == [(None, 8, "severe")]


def test_weights_and_loss_are_looked_at():
    weights = network()
    weights["net/output/bias"][3] = np.inf
    loss = np.ones(12)
    loss[2] = np.inf
    found = not_finite(recording_of(network(), weights, loss=loss))
    assert found == [("net/output/bias", 4, "severe"), (None, 3, "severe")]


def test_a_variable_without_gradient_is_finite():
    gradients = network()
    gradients["net/output/bias"][:] = np.nan
    lacking = ["net/output/bias"]
    assert not_finite(recording_of(gradients, lacking=lacking)) == []


@pytest.mark.parametrize(
    ("reduction", "values"), [("nonfinite", [0, 0, 3]), ("norm", [1, 2, np.inf])]
)
def test_reductions_will_do(reduction, values):
    gradients = {f"a/kernel:{reduction}": values, f"b/kernel:{reduction}": [0, 0, 0]}
    shapes = {"a/kernel": (2, 2), "b/kernel": (2, 2)}
    found = not_finite(recording_of(gradients, shapes=shapes))
    assert found == [("a/kernel", 3, "severe")]


def test_steps_that_a_loss_scale_skips_are_a_note():
    gradients = network()
    gradients["net/output/kernel"][4] = np.inf
    scaled = {"optimizer": {"class_name": "LossScaleOptimizer"}}
    found = not_finite(recording_of(gradients, **scaled))
    assert found == [("net/output/kernel", 5, "note")]
    gradients["net/output/kernel"][4:] = np.inf
    found = not_finite(recording_of(gradients, **scaled))
    assert found == [("net/output/kernel", 5, "severe")]


def test_where_nothing_is_known_it_says_so():
    recording = recording_of(
        {"a/kernel:zero_fraction": [0.0]}, shapes={"a/kernel": (2, 2)}, loss=[np.nan]
    )
    why = recording.diagnose("nan").not_looked["nan"]
    assert "there are: gradients 'zero_fraction'" in why


def spiked(records, factor=30.0, count=48):
    gradients = {"a/kernel": noise(count, 6, 6)}
    for record in records:
        gradients["a/kernel"][record] *= factor
    return recording_of(gradients, batches=16)


def test_a_batch_that_outweighs_its_neighbours_is_a_note_once():
    found = spiked([20]).diagnose("one_batch")
    assert found[["severity", "step"]].to_numpy().tolist() == [["note", 21]]
    assert "atch 5: " in found["evidence"][0]
    assert "such are 1 of 48 records" in found["evidence"][0]


def test_the_same_batch_in_each_epoch_is_a_warning():
    found = spiked([7, 23, 39]).diagnose("one_batch")
    assert found["severity"].tolist() == ["warning"]
    assert "batch 8" in found["evidence"][0]
    assert "in 3 epochs" in found["evidence"][0]


def test_noise_and_trends_are_not_one_batchs():
    assert spiked([]).diagnose("one_batch").empty
    assert spiked([20], factor=4.0).diagnose("one_batch").empty
    assert len(spiked([20], factor=4.0).diagnose(OneBatch(factor=2.0))) == 1
    # Large at the start, a thousand times smaller at the end.
    size = 10.0 ** -np.linspace(0, 3, 48)[:, None, None]
    recording = recording_of({"a/kernel": noise(48, 6, 6) * size}, batches=16)
    assert recording.diagnose("one_batch").empty


def test_full_batches_and_means_are_not_batches():
    full = recording_of({"a/kernel": noise(20, 2, 2)}).diagnose("one_batch")
    assert full.not_looked == {"one_batch": "each epoch is a single batch"}
    mean = recording_of(
        {"a/kernel": noise(20, 2, 2)}, batches=4, epoch_gradient="mean"
    ).diagnose("one_batch")
    assert "means over an epoch" in mean.not_looked["one_batch"]
