"""Whether a run learns: its loss, without the penalty of regularizers."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from hrcallbacks.diagnose.structure import Node
    from hrcallbacks.diagnose.survey import Survey

_EXCLUSIVE = ("categorical_crossentropy", "sparse_categorical_crossentropy")
_BINARY = "binary_crossentropy"


@dataclass(frozen=True)
class Progress:
    """How the loss of the data went.

    Attributes:
        start: At the start: of the first records.
        end: At the end: the median of the last records.
        middle: The same in the middle of the run.
        noise: Standard error of the difference between start and end.
        steps: Steps between them.
        epochs: Epochs seen.
        chance: What a model that knows nothing gets; None where that is not known.
    """

    start: float
    end: float
    middle: float
    noise: float
    steps: int
    epochs: int
    chance: float | None

    @property
    def still(self) -> bool:
        """Whether the loss did not fall in the later half of the run."""
        return self.middle - self.end < 0.05 * abs(self.middle)

    @property
    def whole_fall(self) -> float:
        """By what share of its start the loss has fallen."""
        return (self.start - self.end) / max(abs(self.start), 1e-12)

    @property
    def fall(self) -> float:
        """By what share the loss has fallen; below 0 if it has risen.

        Of its start, or of what a model that knows nothing gets, if that is less: to
        come down to this from a bad start is no progress.
        """
        base = self.start if self.chance is None else min(self.start, self.chance)
        return (base - self.end) / max(abs(base), 1e-12)

    @property
    def knows(self) -> bool:
        """Whether the loss is well below that of a model that knows nothing."""
        return self.chance is not None and self.end < 0.7 * self.chance

    @property
    def learns(self) -> bool:
        """Whether the run has learnt something."""
        if self.knows:
            return True
        falls = self.fall >= 0.1 or (self.whole_fall >= 0.1 and not self.still)
        return math.isfinite(self.end) and falls


def progress_of(survey: Survey) -> Progress | None:
    """How the loss went; None if it is not known."""
    loss = data_losses(survey)
    finite = np.isfinite(loss)
    if not finite.any():
        return None
    if not finite[-1]:
        return Progress(loss[finite][0], math.inf, math.inf, 0.0, 0, 0, None)
    loss = loss[finite]
    batches = int(survey.recording.index["batch"].to_numpy().max())
    width = 1 if batches == 1 else max(min(len(loss) // 10, 50), min(3, len(loss)))
    first, last = loss[:width], loss[-width:]
    spread = math.hypot(float(np.std(first)), float(np.std(last)))
    return Progress(
        start=max(float(loss[0]), float(np.median(first))),
        end=float(np.median(last)),
        middle=float(np.median(loss[len(loss) // 2 :][:width])),
        noise=spread / math.sqrt(width),
        steps=int(survey.steps[-1] - survey.steps[0]),
        epochs=len(np.unique(survey.epochs)),
        chance=chance_of(survey),
    )


def data_losses(survey: Survey) -> np.ndarray:
    """Loss of each record, without the penalty of regularizers where it is known."""
    loss = survey.losses
    penalty = penalties(survey)
    return loss if penalty is None else loss - penalty


def penalties(survey: Survey) -> np.ndarray | None:
    """What L1 and L2 regularizers add to the loss of each record; None if nothing.

    The sum of absolute values is estimated from the norm, as of normal weights.
    """
    structure = survey.structure
    if structure is None:
        return None
    total: np.ndarray | None = None
    for node in structure.nodes.values():
        for part, about in node.regularizers.items():
            added = _penalty(survey, node, part, about.get("options") or {})
            if added is not None:
                total = added if total is None else total + added
    return total


def _penalty(
    survey: Survey, node: Node, part: str, options: object
) -> np.ndarray | None:
    path = node.variable(part)
    norms = None if path is None else survey.weight_norms(path)
    if norms is None or path is None or not isinstance(options, dict):
        return None
    size = math.prod(survey.shapes[path])
    l1, l2 = (float(options.get(name) or 0) for name in ("l1", "l2"))
    with np.errstate(all="ignore"):
        return l2 * norms**2 + l1 * norms * math.sqrt(2 * size / math.pi)


def chance_of(survey: Survey) -> float | None:
    """Cross-entropy of a model that gives each class the same probability."""
    structure = survey.structure
    if structure is None or len(structure.losses) != 1 or len(structure.outputs) != 1:
        return None
    loss = structure.losses[0]
    if loss.own or loss.options.get("reduction") == "sum":
        return None
    units = structure.head(structure.outputs[0])[0].units
    if loss.name in _EXCLUSIVE and units and units > 1:
        return math.log(units)
    return math.log(2) if loss.name == _BINARY else None
