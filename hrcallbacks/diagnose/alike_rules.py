"""Rules about units that are the same, and outputs that are silent."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.units import Layer, informative, layers

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey


@dataclass(frozen=True)
class IdenticalUnits(Rule):
    """Units of a layer whose gradients are the same.

    They start alike and get the same gradient, so they stay alike: a layer of one unit.
    Some records are looked at, spread over the run.

    Args:
        tolerance: By what share of the largest gradient they may differ.
        records: How many records are looked at.
    """

    name: ClassVar[str] = "identical_units"
    explains: ClassVar[tuple[str, ...]] = ("no_progress", "metric_stuck", "vanishing")
    tolerance: float = 1e-4
    records: int = 8

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        found = layers(survey.shapes)
        raw = survey.recording.arrays("gradients")
        looked = [layer for layer in found if layer.kernel in raw]
        if not looked:
            raise CannotLook(
                "no raw gradients were recorded of a kernel that leads into another; "
                + survey.there_are
            )
        survey.need(3)
        count = min(self.records, len(survey))
        numbers = np.unique(np.linspace(0, len(survey) - 1, count).astype(int))
        for layer in looked:
            if layer.count > 1 and self._alike(raw[layer.kernel], layer, numbers):
                yield self.found(
                    "severe",
                    f"its {layer.count} units have the same gradient in each of "
                    f"{len(numbers)} records looked at: they do the work of one",
                    "random initial weights (kernel_initializer='he_normal', say).",
                    path=layer.kernel,
                    step=survey.steps[0],
                )

    def _alike(self, array: object, layer: Layer, numbers: np.ndarray) -> bool:
        seen = 0
        for number in numbers:
            gradient = np.moveaxis(np.asarray(array[number]), layer.axis, 0)  # type: ignore[index]
            gradient = gradient.reshape(layer.count, -1).astype(np.float64)
            size = np.abs(gradient).max()
            if not np.isfinite(size) or size == 0:
                continue
            if np.abs(gradient - gradient[:1]).max() > self.tolerance * size:
                return False
            seen += 1
        return seen >= 3


@dataclass(frozen=True)
class SilentOutputs(Rule):
    """Output units that get no gradient at all.

    With a softmax, a sigmoid or no activation, each unit gets one from each sample. If
    the gradient of a unit's weights is exactly 0 in each record, the unit answers the
    same whatever comes in: a ReLU at the output is off, or the loss ignores a target.

    Args:
        min_records: In how many records in a row, up to the last, it must be silent.
        min_epochs: If an epoch has several batches, for how many epochs too.
        most_records: How many records are enough even so.
    """

    name: ClassVar[str] = "silent_outputs"
    explains: ClassVar[tuple[str, ...]] = ("no_progress", "metric_stuck", "frozen")
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        structure = survey.need_structure()
        if not structure.known:
            raise CannotLook(
                "what follows what in the model is not known (a subclassed model)"
            )
        survey.need(self.min_records)
        looked = False
        for output in structure.outputs:
            node, activations = structure.head(output)
            path = node.variable("kernel")
            track = survey.track("gradients", path)
            if track is None or path is None or not node.is_weighted:
                continue
            looked = True
            # No input, no gradient of the kernel: the bias has one all the same.
            activity = track.activity[-1]
            bias = survey.track("gradients", node.variable("bias"))
            if bias and bias.activity[-1].last.shape == activity.last.shape:
                activity = activity.or_(bias.activity[-1])
            counts = informative(survey, path)
            since = counts[-1] - counts[activity.last + 1]
            silent = np.flatnonzero(since >= survey.patience(self))
            if not len(silent) or since.min() >= counts[-1] > 0:
                continue
            share = len(silent) / len(since)
            relu = "relu" in activations
            for unit in silent:
                last = int(activity.last[unit])
                yield self.found(
                    "note" if survey.learns and not relu else "warning",
                    f"an output without gradient: exactly 0 since; so are {share:.0%} "
                    "of the outputs" + (", behind a relu" if relu else ""),
                    "no relu at the output (softmax, sigmoid or none, as the loss "
                    "asks)."
                    if relu
                    else "to see whether each output has targets, and the loss uses "
                    "them.",
                    path=path,
                    unit=int(unit) + 1,
                    step=survey.steps[min(last + 1, len(survey) - 1)],
                )
        if not looked:
            raise CannotLook(
                f"no raw gradients of an output's kernel were recorded; "
                f"{survey.there_are}"
            )
