"""Rules about what stands still: frozen, saturated, never touched."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hrcallbacks.diagnose.rules import CannotLook, Rule


@dataclass(frozen=True)
class Frozen(Rule):
    """Variables that stand still while others learn, and a model that learns nothing.

    In the last records: no gradient at all, so that nothing leads from the variable to
    the loss; a gradient of exactly 0 in a whole kernel; a gradient, but weights that do
    not move; or all gradients of the model exactly 0 though the loss is not.

    Args:
        min_records: So many records in a row, up to the last; twice as many steps as
            an optimizer accumulates gradients over, if that is more.
        min_epochs: And, where an epoch has several batches, all of so many epochs.
        most_records: But no more records than these.
        times: And so many times as many as it ever stood still before.
    """

    name: ClassVar[str] = "frozen"
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100
    times: float = 3.0

    def look(self, survey):
        """See the class."""
        survey.need(self.min_records)
        norms = survey.norms()
        total = survey.total_norms()
        quiet = _run_at_end(total == 0)
        if quiet >= survey.patience(self):
            yield from self._whole(survey, quiet)
            return
        for path, norm in norms.items():
            there = survey.has_gradient(path)
            if not there.any():
                yield self._none(survey, path)
                continue
            yield from self._zero(survey, path, norm[there], np.flatnonzero(there))
            yield from self._still(survey, path, norm)

    def _whole(self, survey, quiet):
        loss = survey.recording.index["loss"].to_numpy(np.float64)[-1]
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

    def _none(self, survey, path):
        return self.found(
            "warning",
            f"it got no gradient in any of {len(survey):,} records: nothing leads "
            "from it to the loss",
            "using the layer's output in the loss, or layer.trainable = False.",
            path=path,
            step=survey.steps[0],
        )

    def _zero(self, survey, path, norm, records):
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

    def _still(self, survey, path, norm):
        updates = _update_norms(survey).get(path)
        if updates is None:
            return
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

    Compared is the ratio that `Vanishing` looks at, in the last quarter of the records,
    with that in the first. Exact zeros do not count.

    Args:
        factor: It must have fallen to less than one in so many.
        min_records: So many records it needs.
    """

    name: ClassVar[str] = "saturated_layer"
    factor: float = 1000.0
    min_records: int = 8

    def look(self, survey):
        """See the class."""
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

    def _of(self, survey, path, ratio, records):
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

    A row that is not looked up has a gradient of exactly 0. Said only once it has
    settled which rows are: few new ones in the later half of the records. Where not
    every step was recorded, rows whose weights moved count as touched.

    Args:
        min_records: So many records it needs.
        share: So large a share of untouched rows is a note.
        warning_share: And this one a warning.
        new_share: At most such a share of the rows was first touched in the later half.
    """

    name: ClassVar[str] = "untouched_rows"
    min_records: int = 10
    share: float = 0.1
    warning_share: float = 0.5
    new_share: float = 0.01

    def look(self, survey):
        """See the class."""
        tables = [
            p
            for p in survey.recording.paths
            if "embedding" in p.rpartition("/")[2] and len(survey.shapes[p]) == 2
        ]
        if not tables:
            raise CannotLook("no embedding was recorded")
        raw = [p for p in tables if survey.track("gradients", p)]
        if not raw:
            raise CannotLook(
                f"no raw gradients of {tables} were recorded; {survey.there_are}"
            )
        survey.need(self.min_records)
        for path in raw:
            yield from self._of_table(survey, path)

    def _of_table(self, survey, path):
        touched = survey.track("gradients", path).activity[-2]
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
            "warning" if share >= self.warning_share else "note",
            f"{len(untouched):,} of {rows:,} rows ({share:.0%}; from 0: {few}) were "
            f"never looked up in {len(survey):,} records"
            + ("; other steps were not seen" if unseen else ""),
            "a smaller vocabulary (input_dim); and see whether the indices are what "
            "they should be.",
            path=path,
            step=survey.steps[0],
        )


def _run_at_end(flags):
    """Length of the run of True that ends an array."""
    return int(np.argmin(flags[::-1])) if not flags.all() else len(flags)


def _longest(flags):
    """Length of the longest run of True."""
    places = np.flatnonzero(~np.concatenate([[False], flags, [False]]))
    return int(np.diff(places).max(initial=1)) - 1


def _update_norms(survey):
    """How far weights moved up to each record, dict from path to array."""
    found = dict(survey.numbers("weights", "update_norm"))
    for path in survey.recording.paths:
        track = None if path in found else survey.track("weights", path)
        if track:
            found[path] = track.change_norms
    return found
