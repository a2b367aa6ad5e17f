"""The recorder's warnings, raised in the training thread."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

from hrcallbacks.session.settings import Settings

_MOST_NAMED = 30


def recording_stopped(epoch: int, error: Exception, records: int) -> None:
    """Warns that a fault stopped the recording."""
    warnings.warn(
        f"Recording stopped in epoch {epoch}: {error!r}. Training goes "
        f"on; the {records} records made before that are in "
        "recorder.recording, which is marked incomplete.",
        RuntimeWarning,
        stacklevel=5,
    )


def no_optimizer(epoch: int, model: Any) -> None:
    """Warns that the training steps of an epoch called no optimizer."""
    warnings.warn(
        f"No optimizer was called in the training steps of epoch {epoch}, so there was "
        "no gradient to record. This covers the "
        f"optimizers that {model.name!r} holds as attributes, or in a list "
        "or dict. If train_step uses another one, store it on the model.",
        UserWarning,
        stacklevel=6,
    )


def never_called(unseen: Mapping[tuple[str, str], Sequence[str]]) -> None:
    """Warns of layers that are to be recorded, and that a training step never calls.

    Args:
        unseen: See `Plan.unseen`.
    """
    for (quantity, glob), paths in unseen.items():
        warnings.warn(
            f"{quantity}={glob!r} asks for {list(paths)[:_MOST_NAMED]}, which the "
            "training step did not call: nothing of it is recorded. A layer may be "
            "used in evaluate and predict alone, and a model's call may use the "
            "weights of a layer without calling it.",
            UserWarning,
            stacklevel=6,
        )


def nothing_recorded(settings: Settings, steps: int) -> None:
    """Warns that a fit ended and none of its steps was selected."""
    why = (
        "record_freq='epoch' records an epoch's last step, and no epoch reached it"
        if settings.cadence.per_epoch
        else f"record_freq={settings.record_freq!r} selects none of the {steps} steps "
        "that were run"
    )
    warnings.warn(
        f"Nothing was recorded: {why}. To record every step, use record_freq=1.",
        UserWarning,
        stacklevel=5,
    )


def nothing_seen() -> None:
    """Warns that nothing trained the model in a loop."""
    warnings.warn(
        "Nothing was seen to train the model while the recorder was attached: "
        "neither model.train_on_batch nor an optimizer that the model holds. "
        "Pass the others: recorder.attached(model, optimizer).",
        UserWarning,
        stacklevel=6,
    )
