"""Rules about whether a run learns: progress, metrics, validation, a negative loss."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hrcallbacks.diagnose.progress import data_losses, penalties
from hrcallbacks.diagnose.rules import CannotLook, Rule

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey

# Losses that cannot be negative, whatever is predicted.
_NEVER_NEGATIVE = (
    *("binary_crossentropy", "categorical_crossentropy", "mean_squared_error"),
    *("sparse_categorical_crossentropy", "mean_absolute_error", "huber", "log_cosh"),
    *("mean_squared_logarithmic_error", "mean_absolute_percentage_error", "hinge"),
    *("categorical_focal_crossentropy", "binary_focal_crossentropy"),
)


@dataclass(frozen=True)
class NegativeLoss(Rule):
    """A loss below zero that cannot be, or that falls without end.

    A cross-entropy is below 0 only for targets outside of 0 to 1; a squared error
    never is. A loss of your own may be (a log likelihood, say), but one that falls and
    falls, faster and faster, has no lowest value: its sign is likely to be wrong.

    Args:
        times: How many times its size at the start it must have fallen by.
    """

    name: ClassVar[str] = "negative_loss"
    explains: ClassVar[tuple[str, ...]] = (
        *("update_size", "loss_rises", "exploding", "nan", "no_progress", "frozen"),
        *("dead_units", "saturated_units", "metric_stuck", "one_batch", "vanishing"),
    )
    times: float = 10.0

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        loss = survey.losses
        if np.isnan(loss).all():
            raise CannotLook(survey.no_loss)
        negative = loss < 0
        if not negative.any():
            return
        first = int(np.argmax(negative))
        lowest = float(np.nanmin(loss))
        structure = survey.structure
        known = structure.losses if structure else []
        said = f"the loss is negative from {survey.when(first)} on, {lowest:.3g} at its"
        if known and not known[0].own and known[0].name in _NEVER_NEGATIVE:
            yield self.found(
                "severe",
                f"{said} lowest: {known[0].name} cannot be, of targets as it expects "
                "them",
                "targets from 0 to 1 (0 and 1 in place of -1 and 1, say).",
                step=survey.steps[first],
            )
            return
        finite = loss[np.isfinite(loss)]
        start = max(abs(float(finite[0])), float(np.abs(finite[:3]).max()))
        fallen = finite[0] - lowest > self.times * start
        half = float(np.median(finite[len(finite) // 2 :][:3]))
        # Faster and faster: most of the fall is in the second half.
        if len(finite) >= 10 and fallen and half - lowest > (finite[0] - half):
            yield self.found(
                "severe",
                f"{said} lowest, and falls faster and faster: a loss without a lowest "
                "value",
                "the other sign of the loss (errors are to be small); or a bound.",
                step=survey.steps[first],
            )


@dataclass(frozen=True)
class Regularization(Rule):
    """Regularizers that outweigh the data.

    An L1 or L2 penalty is known from the weights. Without it, what is left of the loss
    is that of the data; if that does not fall while the penalty is most of the loss,
    the penalty is what is trained on.

    Args:
        share: Of which share of the loss at the start the penalty must be.
    """

    name: ClassVar[str] = "regularization"
    explains: ClassVar[tuple[str, ...]] = (
        *("no_progress", "metric_stuck", "dead_units", "vanishing", "frozen"),
        *("update_size", "exploding", "saturated_units", "saturated_layer"),
    )
    share: float = 0.5

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need_structure()
        loss = survey.losses
        if np.isnan(loss).all():
            raise CannotLook(survey.no_loss)
        penalty = penalties(survey)
        if penalty is None or not len(penalty) or survey.progress is None:
            return
        with np.errstate(all="ignore"):
            share = float(penalty[0] / abs(loss[0]))
        if not share > self.share or survey.learns or survey.progress.steps < 10:
            return
        data = data_losses(survey)
        yield self.found(
            "warning",
            f"the penalty of the regularizers is {share:.0%} of the loss at the start "
            f"({penalty[0]:.3g} of {loss[0]:.3g}), and the loss without it goes from "
            f"{data[0]:.3g} to {survey.progress.end:.3g}",
            "a hundredth of the regularizers' factor, or less (1e-4 is usual).",
            step=survey.steps[0],
        )


@dataclass(frozen=True)
class NoProgress(Rule):
    """A loss that has not fallen.

    The loss at the start is compared with the median of the last tenth of the records,
    both without the penalty of regularizers where the weights were recorded. A loss
    that is low already, or an accuracy that is high, is no failure.

    Args:
        fall: By what share of its start the loss must have fallen.
        least: Below this share it is severe.
        min_steps: How many steps must have been run.
        min_epochs: How many epochs must have been run, if they have several batches.
        accuracy: An accuracy from which on all is well.
    """

    name: ClassVar[str] = "no_progress"
    explains: ClassVar[tuple[str, ...]] = ("metric_stuck",)
    fall: float = 0.05
    least: float = 0.02
    min_steps: int = 30
    min_epochs: int = 3
    accuracy: float = 0.9

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        progress = survey.progress
        if progress is None:
            raise CannotLook(survey.no_loss)
        if not math.isfinite(progress.end):
            raise CannotLook("the loss is not finite at the end")
        if progress.steps < self.min_steps - 1 or len(survey) < 4:
            raise CannotLook(
                f"it needs {self.min_steps} steps, and there are {progress.steps + 1}"
            )
        several = survey.batches > 1 and progress.epochs < self.min_epochs
        if progress.fall >= self.fall or progress.knows or several:
            return
        if progress.whole_fall >= self.fall and not progress.still:
            return
        if survey.accuracy is not None and survey.accuracy[-1] >= self.accuracy:
            return
        if abs(progress.end) < 1e-6:
            return
        fall = progress.fall
        falls = fall >= self.least and progress.start - progress.end > progress.noise
        at = ""
        if progress.chance is not None and progress.end > 0.95 * progress.chance:
            at = f"; a model that knows nothing gets {progress.chance:.3g}"
        went = f"falls by {fall:.1%}" if fall > 0 else "does not fall"
        yield self.found(
            "warning" if falls else "severe",
            f"the loss {went}, from {progress.start:.4g} to {progress.end:.4g} in "
            f"{progress.steps + 1:,} steps" + at,
            "to overfit ten samples first: if that fails, see whether inputs and "
            "targets belong together (shuffled alike?), whether their scale and the "
            "loss fit the output, and other learning rates, by tens.",
            step=survey.steps[0],
        )


@dataclass(frozen=True)
class MetricStuck(Rule):
    """An accuracy that stands still while the loss falls.

    Then the loss falls for another reason than better answers, or the metric does not
    suit the targets. With `record_freq=1` the accuracy is the mean over the epoch so
    far.

    Args:
        fall: By what share the loss must have fallen.
        change: By how much the accuracy may differ between epochs.
        min_epochs: How many epochs it needs.
        accuracy: An accuracy from which on all is well.
    """

    name: ClassVar[str] = "metric_stuck"
    fall: float = 0.3
    change: float = 0.005
    min_epochs: int = 3
    accuracy: float = 0.9

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        accuracy, progress = survey.accuracy, survey.progress
        if progress is None:
            raise CannotLook(survey.no_loss)
        if accuracy is None:
            raise CannotLook("no accuracy was recorded (metrics=['accuracy'])")
        if len(accuracy) < self.min_epochs:
            raise CannotLook(
                f"it needs {self.min_epochs} epochs, and there are {len(accuracy)}"
            )
        still = np.ptp(accuracy) <= self.change and accuracy[-1] < self.accuracy
        total = survey.losses
        falls = total[-1] < (1 - self.fall) * total[0]
        if still and falls:
            yield self.found(
                "warning",
                f"the accuracy stays at {accuracy[-1]:.3g} for {len(accuracy)} epochs "
                f"while the loss falls from {total[0]:.3g} to {total[-1]:.3g}",
                "to see whether the targets are what the metric expects, whether the "
                "answer is a constant, and weaker regularizers.",
                step=survey.steps[-1],
            )


@dataclass(frozen=True)
class Overfits(Rule):
    """A validation loss that rises while the training loss falls.

    It is recorded with `record_freq="epoch"` and `validation_data`. From its lowest on
    it must rise in the median of the last epochs, and the loss go on falling.

    Args:
        rise: By what share of its lowest the validation loss must rise.
        epochs: For how many epochs after its lowest, and a quarter of all.
    """

    name: ClassVar[str] = "overfits"
    rise: float = 0.2
    epochs: int = 3

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        index = survey.recording.index
        if "val_loss" not in index:
            raise CannotLook(
                "no validation loss was recorded (record_freq='epoch' has it, of "
                "validation_data)"
            )
        known = np.isfinite(index["val_loss"].to_numpy(float))
        numbers = np.flatnonzero(known)
        losses = index["val_loss"].to_numpy(float)[known]
        train = survey.losses[known]
        if len(losses) < 2 * self.epochs:
            raise CannotLook(f"it needs {2 * self.epochs} epochs with validation")
        low = int(np.argmin(losses))
        after = len(losses) - 1 - low
        end = float(np.median(losses[-self.epochs :]))
        if after < max(self.epochs, len(losses) // 4):
            return
        # The loss of single batches is noisy: both ends are medians.
        window = slice(max(low - self.epochs + 1, 0), low + 1)
        before = float(np.median(train[window]))
        falls = float(np.median(train[-self.epochs :])) < before
        if end > losses[low] * (1 + self.rise) and losses[low] > 0 and falls:
            yield self.found(
                "warning",
                f"the validation loss rises from {losses[low]:.3g} in epoch "
                f"{survey.epochs[numbers[low]]} to {end:.3g}, while the training loss "
                f"falls to {train[-1]:.3g}: the model learns its samples by heart",
                "keras.callbacks.EarlyStopping(restore_best_weights=True), more data "
                "or augmentation, dropout, a smaller model.",
                step=survey.steps[numbers[low]],
            )
