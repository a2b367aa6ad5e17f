import numpy as np
import pytest
from synthetic import noise, published, recording_of

from hrcallbacks.diagnose import LossRises, UpdateSize


def rise(loss, **options):
    """Severity, first step and evidence of a rise; None if there is none."""
    found = recording_of(loss=loss, **options).diagnose("loss_rises")
    assert found.looked == ["loss_rises"]
    return None if found.empty else found[["severity", "step", "evidence"]].iloc[0]


def test_the_loss_of_the_published_run_rises_after_epoch_3():
    severity, step, evidence = (
        published(0.3).diagnose("loss_rises")[["severity", "step", "evidence"]].iloc[0]
    )
    assert (severity, step) == ("warning", 4)
    assert "rises after step 3, from 0.643 to 3.68 at step 5; 2 such" in evidence
    assert published(0.1).diagnose("loss_rises").empty


def test_a_loss_that_diverges_is_severe():
    severity, step, _ = rise([1, 2, 4, 8, 16, 32])
    assert (severity, step) == ("severe", 2)


@pytest.mark.parametrize(
    "loss",
    [
        [8, 4, 2, 1, 0.5, 0.25],
        [8, 4, 2, 5, 1, 0.5],  # Back in the next record.
        [8, 4, 2, 2.2, 2.4, 2.2],  # By a fifth.
        [8, 4, 1e-3, 2e-3, 3e-3, 4e-3],  # Next to nothing of what it fell.
        [-1, -2, -3, -4, -5, -6],
    ],
)
def test_losses_that_fall_do_not_rise(loss):
    assert rise(loss) is None


def test_a_negative_loss_can_rise():
    assert rise([0, -8, -10, -6, -1, 0])["step"] == 4


@pytest.mark.parametrize("fall", [0.0, 1.0])
@pytest.mark.parametrize("count", [12, 30, 300])
def test_batch_noise_does_not_rise(fall, count):
    random = np.random.default_rng(3)
    for seed in range(40):
        smooth = fall * np.exp(-5 * np.arange(count) / count) + 0.05
        noisy = smooth * np.exp(random.normal(0, 1.5, count))
        assert rise(noisy, batches=10) is None, seed


def test_a_rise_above_the_noise_is_found():
    random = np.random.default_rng(3)
    mean = np.concatenate([np.linspace(2, 0.5, 100), np.linspace(0.5, 1.8, 100)])
    severity, step, evidence = rise(mean + random.normal(0, 0.1, 200), batches=10)
    assert severity == "warning"
    assert 80 < step < 130
    assert "median loss of 20 records" in evidence


def test_few_noisy_losses_must_diverge():
    assert rise([1, 0.5, 0.7, 0.9, 0.5], steps=range(10, 60, 10), batches=10) is None
    found = rise([1, 0.9, 2, 40, 900], steps=range(10, 60, 10), batches=10)
    assert found["severity"] == "severe"


def test_each_fit_is_looked_at_by_itself():
    loss = [5, 4, 3, 2, 1, 30, 25, 20, 15, 10]
    assert rise([5, 4, 3, 2, 1, 9, 25, 20, 15, 10])["step"] == 6
    assert rise(loss, fits=(0, 5)) is None


def test_thresholds_can_be_set():
    loss = [8, 4, 2, 2.2, 2.5, 2.2]
    assert recording_of(loss=loss).diagnose(LossRises()).empty
    assert len(recording_of(loss=loss).diagnose(LossRises(rise=0.1))) == 1


def test_an_unknown_loss_is_not_looked_at():
    found = recording_of(loss=[np.nan] * 9).diagnose("loss_rises")
    assert found.not_looked == {"loss_rises": "the loss was not recorded"}


def walk(step, records=20, **options):
    """Weights of norm about 4 that change by `step` of it in each step."""
    signs = np.where(np.arange(records) % 2, 1.0, -1.0)[:, None, None]
    weights = np.ones((records, 4, 4)) + step / 2 * signs
    return recording_of(weights={"a/kernel": weights}, **options)


@pytest.mark.parametrize(
    ("step", "severity", "word"),
    [(1e-3, None, ""), (0.5, "warning", "over 0.2"), (1.9, "severe", "over 0.2")],
)
def test_updates_too_large(step, severity, word):
    found = walk(step).diagnose("update_size")
    assert found["severity"].tolist() == ([severity] if severity else [])
    assert all(word in evidence for evidence in found["evidence"])


def test_updates_too_small():
    weights = 1 + 3e-7 * np.arange(20)[:, None, None] * np.ones((20, 4, 4))
    stuck = recording_of(weights={"a/kernel": weights}, loss=np.ones(20))
    found = stuck.diagnose("update_size")
    assert found["severity"].tolist() == ["warning"]
    assert "under 1e-06" in found["evidence"][0]
    assert "higher learning rate" in found["advice"][0]


def test_small_updates_that_learn_are_a_note():
    weights = 1 + 3e-7 * np.arange(20)[:, None, None] * np.ones((20, 4, 4))
    found = recording_of(weights={"a/kernel": weights}).diagnose("update_size")
    assert found["severity"].tolist() == ["note"]


def test_a_run_that_diverges_in_its_first_window_is_severe():
    # A median over 10 records starts where the loss is high already.
    loss = [1.0, 1.5, *np.full(40, 60.0)]
    severity, step, evidence = rise(loss, batches=7)
    assert (severity, step) == ("severe", 1)
    assert "from 1 at the first record to 60" in evidence
    assert rise([1.0, 1.5, *np.full(40, 5.0)], batches=7) is None


def test_first_steps_too_large_for_a_run_that_then_stands_still():
    signs = np.where(np.arange(60) % 2, 1.0, -1.0)[:, None, None]
    size = np.where(np.arange(60) < 12, 0.1, 1e-5)[:, None, None]
    weights = {"a/kernel": np.ones((60, 4, 4)) + size / 2 * signs}
    jump = np.concatenate([[1.0, 9.0], np.full(58, 2.0)])
    found = recording_of(weights=weights, loss=jump, batches=10).diagnose("update_size")
    assert "the loss jumps from 1 to 9" in found["evidence"][0]
    learns = recording_of(weights=weights, batches=10).diagnose("update_size")
    assert learns.empty


def test_recorded_ratios_will_do_and_thresholds_can_be_set():
    weights = {"a/kernel:update_ratio": [np.inf, *np.full(9, 0.05)]}
    recording = recording_of(weights=weights, shapes={"a/kernel": (2, 2)})
    assert recording.diagnose("update_size").empty
    assert len(recording.diagnose(UpdateSize(large=0.01))) == 1


def test_weights_over_several_steps_are_no_updates():
    found = walk(0.5, steps=10 * np.arange(1, 21)).diagnose("update_size")
    assert "no two records in a row" in found.not_looked["update_size"]


def test_a_few_large_updates_are_none():
    weights = noise(1, 4, 4).repeat(20, axis=0)
    weights *= 1 + 1e-3 * np.arange(20)[:, None, None]
    weights[5:] *= 2
    assert recording_of(weights={"a/kernel": weights}).diagnose("update_size").empty
