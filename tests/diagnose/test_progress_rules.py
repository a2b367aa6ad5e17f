import numpy as np
import pytest
from structures import layer, model
from synthetic import noise, recording_of

CCE = "categorical_crossentropy"


def course(losses, rule, *, weights=None, columns=None, loss=CCE, own=False, **part):
    """What a rule finds in a softmax of ten classes whose loss went so."""
    recording = recording_of(
        {"a/kernel": noise(len(losses), 2, 10)},
        weights,
        loss=losses,
        batches=10,
        model=model(
            layer("a", units=10, activation="softmax", **part), loss=loss, own=own
        ),
    )
    for name, column in (columns or {}).items():
        recording.index[name] = column
    return recording.diagnose(rule)


def straight(start, end, records=60):
    return np.linspace(start, end, records)


@pytest.mark.parametrize(
    ("losses", "severity"),
    [
        (straight(2.3, 2.29), "severe"),
        (straight(2.3, 2.2), "warning"),
        (straight(2.3, 1.9), None),
        (straight(2.3, 5.0), "severe"),
        # Down to what a model that knows nothing gets, and no further.
        (np.concatenate([straight(9, 2.3, 10), np.full(50, 2.3)]), "severe"),
        (straight(9, 2.3), None),  # Still falling.
        (np.full(60, 0.2), None),  # Learnt before.
        (straight(2.3, 2.29, 12), None),  # Too early to tell.
    ],
)
def test_no_progress(losses, severity):
    found = course(losses, "no_progress")
    assert found["severity"].tolist() == ([severity] if severity else [])


def test_an_accuracy_that_is_high_is_progress():
    high = {"accuracy": np.full(60, 0.97)}
    assert course(np.full(60, 2.3), "no_progress", columns=high).empty
    low = {"accuracy": np.full(60, 0.1)}
    assert len(course(np.full(60, 2.3), "no_progress", columns=low)) == 1


def test_a_penalty_that_outweighs_the_data():
    norms = np.linspace(30, 1, 60)
    weights = {"a/kernel": norms[:, None, None] * np.ones((60, 2, 10)) / np.sqrt(20)}
    before = np.concatenate([norms[:1], norms[:-1]])
    decay = {"kernel": {"class": "L2", "options": {"l2": 10.0}}}
    rules = ["regularization", "no_progress"]
    for data, names in (
        (np.full(60, 2.3), ["regularization", "no_progress"]),
        (straight(2.3, 0.1), []),
    ):
        losses = data + 10 * before**2
        found = course(losses, rules, weights=weights, regularizers=decay)
        assert found["rule"].tolist() == names


@pytest.mark.parametrize(
    ("losses", "own", "count"),
    [
        (straight(2, 0.1), False, 0),
        (straight(2, -1), False, 1),  # No cross-entropy is below 0.
        (straight(-1, -3), True, 0),  # A log likelihood may be.
        (-np.exp(np.linspace(0, 9, 60)), True, 1),
    ],
)
def test_a_negative_loss(losses, own, count):
    found = course(losses, "negative_loss", own=own)
    assert found["severity"].tolist() == ["severe"] * count


@pytest.mark.parametrize(
    ("accuracy", "count"), [(0.1, 1), (np.linspace(0.1, 0.5, 60), 0), (0.95, 0)]
)
def test_an_accuracy_that_stands_still_while_the_loss_falls(accuracy, count):
    columns = {"accuracy": np.broadcast_to(accuracy, 60)}
    assert len(course(straight(2.3, 1), "metric_stuck", columns=columns)) == count


@pytest.mark.parametrize(
    ("validation", "count"),
    [
        (np.concatenate([straight(2, 1, 6), straight(1, 2, 6)]), 1),
        (straight(2, 1, 12), 0),
        (np.concatenate([straight(2, 1, 10), straight(1, 1.5, 2)]), 0),  # Just begun.
        (np.concatenate([straight(2, 1, 6), straight(1, 1.1, 6)]), 0),  # By little.
    ],
)
def test_validation_that_rises_while_training_falls(validation, count):
    recording = recording_of(
        {"a/kernel": noise(12, 2, 2)},
        loss=straight(2, 0.1, 12),
        steps=range(10, 130, 10),
        batches=10,
    )
    recording.index["val_loss"] = validation
    assert len(recording.diagnose("overfits")) == count


def test_a_loss_that_is_nan_from_the_first_step_is_not_an_unknown_one():
    columns = {"accuracy": np.full(60, 0.1)}
    losses = np.full(60, np.nan)
    found = course(losses, ["undefined_loss", "nan"], columns=columns, own=True)
    assert found["rule"].tolist() == ["undefined_loss", "nan"]
    assert found["cause"].tolist() == [None, "undefined_loss"]
    blind = course(losses, "loss_rises", columns=columns).not_looked
    assert blind == {"loss_rises": "the loss is NaN in every record"}
    assert course(losses, "nan").empty  # A step that names no loss.
