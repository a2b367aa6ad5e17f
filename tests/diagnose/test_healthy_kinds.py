import pytest
from healthy_kinds import KINDS, train_kind


@pytest.mark.parametrize("name", KINDS)
def test_no_kind_of_model_that_learns_is_warned_of(name):
    recording = train_kind(name, seed=1)
    loss = recording.index["loss"]
    assert loss.iloc[-8:].mean() < 0.7 * loss.iloc[0]  # It does learn.
    found = recording.diagnose()
    assert set(found["severity"]) <= {"note"}, found
    assert {"output_activation", "hidden_activation", "initial_weights"} <= set(
        found.looked
    )
