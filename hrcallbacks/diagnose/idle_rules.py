"""Rules about what does not change: frozen, saturated, never touched."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from hrcallbacks.diagnose.rules import CannotLook, Rule

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey
    from hrcallbacks.diagnose.tracks import Track


@dataclass(frozen=True)
class Frozen(Rule):
    """Variables that stand still while others learn, and a model that learns nothing.

    In the last records there is no gradient at all, so that nothing leads from the
    variable to the loss; or the gradient of a whole kernel is exactly 0; or there is a
    gradient, but the weights do not move; or all gradients of the model are exactly 0
    though the loss is not.

    Args:
        min_records: How many records in a row, up to the last, it must last; or twice
            as many steps as an optimizer accumulates gradients over, if that is more.
        min_epochs: If an epoch has several batches, how many epochs it must last too.
        most_records: How many records are enough even so.
        times: How many times as long as ever before it must last.
    """

    name: ClassVar[str] = "frozen"
    explains: ClassVar[tuple[str, ...]] = ("no_progress", "metric_stuck")
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100
    times: float = 3.0

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need(self.min_records)
        norms = survey.norms()
        total = survey.total_norms()
        quiet = _run_at_end(total == 0)
        if quiet >= survey.patience(self):
            yield from self._whole(survey, quiet)
            return
        updates = _update_norms(survey)
        for path, norm in norms.items():
            there = survey.has_gradient(path)
            if not there.any():
                yield self._none(survey, path)
                continue
            yield from self._zero(survey, path, norm[there], np.flatnonzero(there))
            if path in updates:
                yield from self._still(survey, path, norm, updates[path])

    def _whole(self, survey: Survey, quiet: int) -> Iterator[Finding]:
        loss = survey.losses[-1]
        if loss == 0:
            return
        first = len(survey) - quiet
        yield self.found(
            "warning" if np.isnan(loss) else "severe",
            f"every gradient of the model is exactly 0 from {survey.when(first)} on, "
            f"in {quiet:,} records, at a loss of {loss:.3g}",
            "a last layer without an activation that can die or saturate (relu, say); "
            "and see whether the loss depends on the output.",
            step=survey.steps[first],
        )

    def _none(self, survey: Survey, path: str) -> Finding:
        return self.found(
            "warning",
            f"it got no gradient in any of {len(survey):,} records: nothing leads "
            "from it to the loss",
            "using the layer's output in the loss, or layer.trainable = False.",
            path=path,
            step=survey.steps[0],
        )

    def _zero(
        self,
        survey: Survey,
        path: str,
        norm: np.ndarray,
        records: npt.NDArray[np.integer],
    ) -> Iterator[Finding]:
        zeros = _run_at_end(norm == 0)
        if path not in survey.kernels or zeros < survey.patience(self):
            return
        first = records[len(norm) - zeros]
        if zeros < self.times * _longest(norm[:-zeros] == 0):
            return
        yield self.found(
            "warning",
            f"its gradient is exactly 0 as a whole from {survey.when(first)} on, in "
            f"{zeros:,} records, while others are not",
            "to find units that have died or saturated behind it, outgoing weights of "
            "0, or inputs of 0.",
            path=path,
            step=survey.steps[first],
        )

    def _still(
        self, survey: Survey, path: str, norm: np.ndarray, updates: np.ndarray
    ) -> Iterator[Finding]:
        pushed = (updates == 0) & (norm > 0)
        still = _run_at_end(pushed)
        first = len(updates) - still
        usual = 2 * survey.setting("gradient_accumulation_steps")
        before = self.times * _longest(pushed[:first])
        if still < max(survey.patience(self), usual, before):
            return
        yield self.found(
            "warning",
            f"its weights do not move from {survey.when(first)} on, in {still:,} "
            f"records, though it has a gradient (norm {norm[-1]:.2g})",
            "a higher learning rate; and see whether a schedule has come to 0, a "
            "constraint holds the weights, or float16 rounds the update away.",
            path=path,
            step=survey.steps[first],
        )


@dataclass(frozen=True)
class SaturatedLayer(Rule):
    """A layer whose gradient fades against those behind it, as units saturate.

    The ratio that `Vanishing` looks at is compared between the first quarter of the
    records and the last. Exact zeros do not count.

    Args:
        factor: By more than which factor the ratio must have fallen.
        min_records: How many records it needs.
    """

    name: ClassVar[str] = "saturated_layer"
    explains: ClassVar[tuple[str, ...]] = ("no_progress", "metric_stuck")
    factor: float = 1000.0
    min_records: int = 8

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need(self.min_records)
        rms = survey.rms()
        if len(rms) < 2:
            raise CannotLook("gradients of fewer than two kernels were recorded")
        paths = list(rms)
        for number, path in enumerate(paths[:-1]):
            behind = np.vstack([rms[p] for p in paths[number + 1 :]])
            behind = np.where(np.isfinite(behind), behind, 0).max(axis=0)
            known = np.isfinite(rms[path]) & (rms[path] > 0) & (behind > 0)
            records = np.flatnonzero(known)
            if len(records) >= self.min_records:
                ratio = rms[path][records] / behind[records]
                yield from self._of(survey, path, ratio, records)

    def _of(
        self,
        survey: Survey,
        path: str,
        ratio: np.ndarray,
        records: npt.NDArray[np.integer],
    ) -> Iterator[Finding]:
        quarter = len(records) // 4
        early = np.median(ratio[:quarter])
        late = np.median(ratio[-quarter:])
        if late * self.factor >= early:
            return
        first = records[np.argmax(ratio * self.factor < early)]
        yield self.found(
            "warning",
            f"its gradient fell from {early:.1e} of those behind it to {late:.1e}: "
            f"to one part in {early / late:,.0f}",
            "a lower learning rate, normalization before the activation, a weight "
            "decay, or an activation without flat ends.",
            path=path,
            step=survey.steps[first],
        )


@dataclass(frozen=True)
class UntouchedRows(Rule):
    """Rows of an embedding that no batch has looked up.

    A row that is not looked up has a gradient of exactly 0. Nothing is said until it is
    settled which rows are: the later half of the records must bring few new ones. If
    not every step was recorded, rows whose weights moved count as touched.

    Args:
        min_records: How many records it needs.
        share: From which share of untouched rows on there is a note.
        warning_share: From which share on it is a warning.
        small: Of up to how many rows it is a note at most: these are kinds, not words.
        new_share: At most what share of the rows may be new in the later half.
    """

    name: ClassVar[str] = "untouched_rows"
    min_records: int = 10
    share: float = 0.1
    warning_share: float = 0.5
    small: int = 8
    new_share: float = 0.01

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        tables = [
            p
            for p in survey.recording.paths
            if "embedding" in p.rpartition("/")[2] and len(survey.shapes[p]) == 2
        ]
        if not tables:
            raise CannotLook("no embedding was recorded")
        raw = {p: t for p in tables if (t := survey.track("gradients", p))}
        if not raw:
            raise CannotLook(
                f"no raw gradients of {tables} were recorded; {survey.there_are}"
            )
        survey.need(self.min_records)
        for path, track in raw.items():
            yield from self._of_table(survey, path, track)

    def _of_table(self, survey: Survey, path: str, track: Track) -> Iterator[Finding]:
        touched = track.activity[-2]
        weights = survey.track("weights", path)
        unseen = survey.misses_steps
        if unseen and weights and not survey.setting("weight_decay"):
            touched, unseen = touched.or_(weights.activity[-2]), False
        rows = len(touched.first)
        late = (touched.first < len(survey)) & (touched.first >= len(survey) // 2)
        untouched = np.flatnonzero(touched.last < 0)
        share = len(untouched) / rows
        if share < self.share or late.sum() > self.new_share * rows:
            return
        few = ", ".join(map(str, untouched[:8]))
        few += ", ..." if len(untouched) > 8 else ""
        yield self.found(
            "warning" if share >= self.warning_share and rows > self.small else "note",
            f"{len(untouched):,} of {rows:,} rows ({share:.0%}; from 0: {few}) were "
            f"never looked up in {len(survey):,} records"
            + ("; other steps were not seen" if unseen else ""),
            "a smaller vocabulary (input_dim); and see whether the indices are what "
            "they should be.",
            path=path,
            step=survey.steps[0],
        )


def _run_at_end(flags: npt.NDArray[np.bool_]) -> int:
    """Length of the run of True that ends an array."""
    return int(np.argmin(flags[::-1])) if not flags.all() else len(flags)


def _longest(flags: npt.NDArray[np.bool_]) -> int:
    """Length of the longest run of True."""
    places = np.flatnonzero(~np.concatenate([[False], flags, [False]]))
    return int(np.diff(places).max(initial=1)) - 1


def _update_norms(survey: Survey) -> dict[str, np.ndarray]:
    """By path, how far the weights moved between records; one number a record."""
    found = dict(survey.numbers("weights", "update_norm"))
    for path in survey.recording.paths:
        track = None if path in found else survey.track("weights", path)
        if track:
            found[path] = track.change_norms
    return found
