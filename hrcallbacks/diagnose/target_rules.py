"""Rules about targets: whether the model can answer them. They need `batch=`."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hrcallbacks.diagnose.rules import CannotLook, Rule

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.structure import Loss, Node
    from hrcallbacks.diagnose.survey import Survey
    from hrcallbacks.recording.records import Records

_DISTANCES = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh")
_SPARSE = ("sparse_categorical_crossentropy",)
_PROBABILITIES = (
    *("categorical_crossentropy", "categorical_focal_crossentropy"),
    *("binary_crossentropy", "binary_focal_crossentropy"),
)
# What an activation can answer.
_RANGES = {
    "relu": (0.0, np.inf),
    "softplus": (0.0, np.inf),
    "sigmoid": (0.0, 1.0),
    "hard_sigmoid": (0.0, 1.0),
    "softmax": (0.0, 1.0),
    "tanh": (-1.0, 1.0),
}


@dataclass(frozen=True)
class Targets(Rule):
    """Targets that the model cannot answer, or that the loss does not take.

    Labels have to be below the number of classes, counted from 0; probabilities lie
    between 0 and 1; a relu answers nothing below 0. And where a row of targets has
    another number of values than the output has units, a distance such as the mean
    squared error compares each with each, without a word. It needs the targets:
    `GradientRecorder(batch={"y": ["min", "max"]})`, or `batch={"y": "raw"}`, which also
    has their shape.
    """

    name: ClassVar[str] = "targets"
    explains: ClassVar[tuple[str, ...]] = (
        *("nan", "undefined_loss", "negative_loss", "loss_rises", "exploding"),
        *("silent_outputs", "frozen", "no_progress", "metric_stuck", "dead_units"),
        *("saturated_units", "saturated_layer", "vanishing", "update_size"),
    )

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        structure = survey.need_structure()
        if len(structure.losses) != 1 or len(structure.outputs) != 1:
            raise CannotLook("the model has not a single output with a single loss")
        (loss,), (output,) = structure.losses, structure.outputs
        seen = range_of(survey.recording)
        if seen is None:
            raise CannotLook("the targets were not recorded: batch={'y': 'raw'}")
        node, activations = structure.head(output)
        last = activations[-1] if activations else None
        width = _width(survey.recording) if node is output else None
        for evidence, advice in (
            *_of_labels(loss, node, *seen),
            *_of_range(loss, last, *seen),
            *_of_width(loss, node, width),
        ):
            yield self.found(
                "warning",
                evidence,
                advice,
                path=node.variable("kernel") or node.path,
                step=survey.steps[0],
            )


def range_of(recording: Records) -> tuple[float, float] | None:
    """The smallest and the largest of the targets that were recorded.

    Returns:
        None if they were not, or if none of them is finite.
    """
    try:
        low, high = (
            np.asarray(recording.statistic("batch", name)["y"], np.float64)
            for name in ("min", "max")
        )
    except (KeyError, ValueError):
        return None
    finite = np.isfinite(low) & np.isfinite(high)
    if not finite.any():
        return None
    return float(low[finite].min()), float(high[finite].max())


def _width(recording: Records) -> int | None:
    """How many values a row of the targets has; None if whole rows are not recorded."""
    if "y" not in [*recording.batch]:
        return None
    shape = recording.batch["y"].shape[2:]
    return int(shape[-1]) if shape else 1


def _of_labels(
    loss: Loss, node: Node, low: float, high: float
) -> Iterator[tuple[str, str]]:
    if loss.own or loss.name not in _SPARSE or node.units is None:
        return
    if "ignore_class" in loss.options and loss.options["ignore_class"] is not None:
        return
    if low >= 0 and high < node.units:
        return
    fewer = low >= 1 and high == node.units
    yield (
        f"the labels reach from {low:g} to {high:g}, and the {node.units} units of the "
        f"output are for the classes 0 to {node.units - 1}",
        "count the classes from 0: y - 1."
        if fewer
        else f"an output of {int(high) + 1} units, or other labels."
        if low >= 0
        else "labels from 0 on.",
    )


def _of_range(
    loss: Loss, activation: str | None, low: float, high: float
) -> Iterator[tuple[str, str]]:
    if loss.own:
        return
    if loss.name in _PROBABILITIES:
        if low < 0 or high > 1:
            yield (
                f"{loss.name} takes targets from 0 to 1, and they reach from {low:g} "
                f"to {high:g}",
                "labels of 0 and 1; for amounts, a distance such as mse and no "
                "activation at the output.",
            )
        return
    least, most = _RANGES.get(activation or "", (-np.inf, np.inf))
    if loss.name in _DISTANCES and (low < least or high > most):
        yield (
            f"the targets reach from {low:g} to {high:g}, and {activation} at the "
            f"output answers nothing {'below' if low < least else 'above'} "
            f"{least if low < least else most:g}",
            "no activation at the output, or targets scaled to what it answers.",
        )


def _of_width(loss: Loss, node: Node, width: int | None) -> Iterator[tuple[str, str]]:
    if width is None or node.units in (None, width) or loss.own:
        return
    if loss.name in _DISTANCES:
        values = f"{width} value{'s' if width > 1 else ''}"
        units = f"{node.units} unit{'s' if node.units != 1 else ''}"
        yield (
            f"a row of the targets has {values}, and the output {units}: the loss "
            "compares each with each",
            "as many units at the output as there are values to answer.",
        )
