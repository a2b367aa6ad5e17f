"""Rules about the size of gradients: vanishing, exploding."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np

from hrcallbacks.diagnose.rules import CannotLook, Rule

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey


@dataclass(frozen=True)
class Vanishing(Rule):
    """Layers whose gradient is far smaller than that of the layers behind them.

    The root mean square of a kernel's gradient is compared with the largest among the
    kernels later in the model. A gradient vanishes on its way to the model's input:
    what reaches the kernels before it must be as small. Exact zeros do not count: other
    rules look for those.

    Args:
        ratio: A gradient vanishes below this ratio.
        severe_ratio: Below this one it is severe, unless the run learns all the same.
        share: In what share of the records it must vanish.
        min_records: How many records it needs.
    """

    name: ClassVar[str] = "vanishing"
    explains: ClassVar[tuple[str, ...]] = (
        "no_progress",
        "saturated_layer",
        "frozen",
        "metric_stuck",
    )
    ratio: float = 1e-4
    severe_ratio: float = 1e-6
    share: float = 0.5
    min_records: int = 3

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need(self.min_records)
        for path, ratios, later in _against_later(survey):
            small = (ratios < self.ratio) & (ratios > 0)
            if small.sum() < self.share * np.isfinite(ratios).sum() or not small.any():
                return
            typical = np.median(ratios[small])
            severe = typical < self.severe_ratio and not survey.learns
            yield self.found(
                "severe" if severe else "warning",
                f"its gradient (rms per element) is {typical:.1e} of that of {later}, "
                f"the largest behind it, in {small.sum():,} of {len(ratios):,} records",
                "ReLU-like activations with He initialization in place of sigmoid or "
                "tanh, batch or layer normalization, residual connections, fewer "
                "layers.",
                path=path,
                step=survey.steps[np.argmax(small)],
            )


@dataclass(frozen=True)
class Exploding(Rule):
    """Gradients that grow beyond all that was seen, or from layer to layer.

    In time, the norm of a variable's gradient is compared with the largest norm of all
    gradients together in the first records. From layer to layer, the root mean square
    of a kernel's gradient is compared with that of the model's last kernel.

    Args:
        factor: A gradient explodes above this many times the norm at the start.
        ratio: So does a kernel's gradient above this many times that of the last one.
        share: In what share of the records the latter must hold.
        start: How many records count as the start.
        min_records: How many records it needs.
    """

    name: ClassVar[str] = "exploding"
    explains: ClassVar[tuple[str, ...]] = (
        "nan",
        "dead_units",
        "saturated_units",
        "frozen",
        "no_progress",
        "one_batch",
    )
    factor: float = 100.0
    ratio: float = 1e4
    share: float = 0.5
    start: int = 5
    min_records: int = 3

    _advice: ClassVar[str] = (
        "clipnorm=1.0 in the optimizer, a lower learning rate, a warm-up, smaller "
        "initial weights, inputs and targets of mean 0 and deviation 1."
    )

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need(self.min_records)
        norms = survey.norms()
        yield from self._in_time(survey, norms)
        rms = survey.rms()
        *paths, behind = [*rms] or [""]
        for path in paths:
            with np.errstate(all="ignore"):
                ratios = np.where(rms[behind] > 0, rms[path] / rms[behind], np.nan)
            large = ratios > self.ratio
            if large.sum() < self.share * np.isfinite(ratios).sum() or not large.any():
                continue
            yield self.found(
                "warning",
                f"its gradient (rms per element) is {np.median(ratios[large]):.1e} "
                f"times that of {behind}, the last kernel, in {large.sum():,} of "
                f"{len(ratios):,} records",
                self._advice,
                path=path,
                step=survey.steps[np.argmax(large)],
            )

    def _in_time(
        self, survey: Survey, norms: dict[str, np.ndarray]
    ) -> Iterator[Finding]:
        total = survey.total_norms()
        start = total[: min(self.start, len(total) - 1)]
        start = start[np.isfinite(start)]
        if not len(start) or not start.max() > 0:
            return
        for path, norm in norms.items():
            large = norm > self.factor * start.max()
            if not large.any():
                continue
            first = int(np.argmax(large))
            highest = norm[np.isfinite(norm)].max(initial=0)
            lasting = large[-1] or not np.isfinite(norm[-1])
            yield self.found(
                "severe" if lasting else "warning",
                f"its gradient's norm is {norm[first]:.3g} at {survey.when(first)}, "
                f"{norm[first] / start.max():,.0f} times the largest of all gradients "
                f"together in the first {len(start)} records ({start.max():.3g})"
                + (f"; at most {highest:.3g}" if highest > norm[first] else ""),
                self._advice,
                path=path,
                step=survey.steps[first],
            )


class _Ratios(NamedTuple):
    """A kernel's gradient against those behind it.

    Attributes:
        path: The kernel.
        ratios: Its rms gradient over the largest behind it, one number a record.
        later: The kernel with the largest.
    """

    path: str
    ratios: np.ndarray
    later: str


def _against_later(survey: Survey) -> Iterator[_Ratios]:
    rms = survey.rms()
    paths = list(rms)
    if len(paths) < 2:
        raise CannotLook("gradients of fewer than two kernels were recorded")
    for number, path in enumerate(paths[:-1]):
        later = np.vstack([rms[p] for p in paths[number + 1 :]])
        finite = np.isfinite(later)
        largest = np.where(finite, later, 0).max(axis=0)
        which = np.where(finite, later, 0).max(axis=1).argmax()
        with np.errstate(all="ignore"):
            ratios = np.where(largest > 0, rms[path] / largest, np.nan)
        yield _Ratios(path, ratios, paths[number + 1 + which])
