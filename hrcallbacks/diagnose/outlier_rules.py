"""Rules about outliers: NaN, infinity, a single batch."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np
import numpy.typing as npt

from hrcallbacks.diagnose.rules import CannotLook, Rule

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding, Severity
    from hrcallbacks.diagnose.survey import Survey
    from hrcallbacks.types import QuantityName


@dataclass(frozen=True)
class NotFinite(Rule):
    """NaN or infinity in gradients, weights or the loss, with the first step and path.

    Looks at whatever was recorded: raw tensors, `"nonfinite"`, or a norm, which is then
    not finite either. A loss that is NaN in every record is unknown, and ignored. A
    `LossScaleOptimizer` skips steps with such gradients, so there they are a note,
    unless the last record has them.
    """

    name: ClassVar[str] = "nan"
    explains: ClassVar[tuple[str, ...]] = (
        "dead_units",
        "frozen",
        "no_progress",
        "metric_stuck",
        "saturated_units",
        "exploding",
        "vanishing",
    )

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        bad: dict[QuantityName, dict[str, npt.NDArray[np.bool_]]] = {
            "gradients": _bad(survey, "gradients"),
            "weights": _bad(survey, "weights"),
        }
        loss = survey.losses
        unknown = np.isnan(loss).all() and not survey.loss_is_nan
        if not any(bad.values()) and unknown:
            raise CannotLook(
                "neither raw tensors, nor 'nonfinite', nor norms, nor the loss were "
                f"recorded; {survey.there_are}"
            )
        for quantity, rows in bad.items():
            yield from self._of(survey, quantity, rows)
        wrong = ~np.isfinite(loss)
        if wrong.any() and not unknown:
            first = int(np.argmax(wrong))
            yield self._found(survey, f"the loss is {loss[first]}", wrong, first, None)

    def _of(
        self,
        survey: Survey,
        quantity: QuantityName,
        rows: Mapping[str, npt.NDArray[np.bool_]],
    ) -> Iterator[Finding]:
        firsts = {p: int(np.argmax(bad)) for p, bad in rows.items() if bad.any()}
        for first in sorted(set(firsts.values())):
            paths = [p for p, n in firsts.items() if n == first]
            if len(paths) == len(rows) > 1:  # One finding for the whole model.
                anywhere = np.any([rows[p] for p in paths], axis=0)
                what = f"the {quantity} of every variable have NaN or infinity"
                yield self._found(survey, what, anywhere, first, None)
                continue
            for path in paths:
                what = f"{quantity} have NaN or infinity"
                yield self._found(survey, what, rows[path], first, path)

    def _found(
        self,
        survey: Survey,
        what: str,
        bad: npt.NDArray[np.bool_],
        first: int,
        path: str | None,
    ) -> Finding:
        skipped = is_scaled(survey.recording.attributes.get("optimizer"))
        harmless = skipped and not bad[-1]
        advice = _advice(survey, first) or (
            "a lower learning rate and clipnorm=1.0; and see whether the data hold "
            "NaN, and whether a logarithm, root or quotient is taken of what may be 0."
        )
        return self.found(
            "note" if harmless else "severe",
            f"{what} from {survey.when(first)} on, in {bad.sum():,} of "
            f"{len(bad):,} records"
            + (". The optimizer scales the loss and skips such steps" * harmless),
            "nothing, as long as such steps are few." if harmless else advice,
            path=path,
            step=survey.steps[first],
        )


@dataclass(frozen=True)
class UndefinedLoss(Rule):
    """A loss of your own, NaN or infinite at once though the weights are finite.

    Keras' losses keep their logarithms away from 0. One written by hand seldom does:
    a softmax underflows to 0, an output without activation is below it.

    Args:
        records: Within how many of the first records.
    """

    name: ClassVar[str] = "undefined_loss"
    explains: ClassVar[tuple[str, ...]] = (
        *("nan", "dead_units", "frozen", "no_progress", "metric_stuck", "exploding"),
        *("saturated_units", "vanishing", "update_size", "loss_rises"),
    )
    records: int = 3

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        losses = survey.need_structure().losses
        if len(losses) != 1 or not losses[0].own:
            return
        loss = survey.losses[: self.records]
        if np.isfinite(loss).all() or (np.isnan(loss).all() and not survey.loss_is_nan):
            return
        first = int(np.argmax(~np.isfinite(loss)))
        start = [
            w for p in survey.recording.paths if (w := survey.initial(p)) is not None
        ]
        if not all(np.isfinite(w).all() for w in start):
            return
        yield self.found(
            "severe",
            f"your own loss, {losses[0].name}, is {loss[first]} at "
            f"{survey.when(first)}: a logarithm, root or quotient in it is likely to "
            "meet 0 or less",
            "Keras' own loss with from_logits=True and no activation at the output; or "
            "keras.ops.log(keras.ops.maximum(p, 1e-7)), and a mean over the batch.",
            step=survey.steps[first],
        )


@dataclass(frozen=True)
class OneBatch(Rule):
    """A batch whose gradient outweighs those of its neighbours by far.

    The norm of all gradients together is compared with the largest among the records
    just before and just after it. That is a note, for noise has such tails, unless it
    is the same batch of the epoch over and over.

    Args:
        factor: How many times as large as each neighbour it must be.
        neighbours: How many records on each side are its neighbours.
        min_epochs: In how many epochs, and half of those recorded, the same batch must
            stick out for a warning.
    """

    name: ClassVar[str] = "one_batch"
    factor: float = 10.0
    neighbours: int = 5
    min_epochs: int = 3

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        batches = np.asarray(survey.recording.index["batch"])
        if batches.max() == 1:
            raise CannotLook("each epoch is a single batch")
        if survey.recording.attributes.get("epoch_gradient") == "mean":
            raise CannotLook("gradients are means over an epoch's batches")
        survey.need(2 * self.neighbours + 1)
        total = survey.total_norms()
        spikes = self._spikes(total)
        often = max(self.min_epochs, len(np.unique(survey.epochs)) / 2)
        numbers, counts = np.unique(batches[spikes], return_counts=True)
        again = numbers[counts >= often]
        for batch in again:
            records = spikes[batches[spikes] == batch]
            said = f"; so in {len(records)} epochs"
            yield self._found(survey, total, int(records[0]), "warning", said)
        single = spikes[~np.isin(batches[spikes], again)]
        if len(single):
            said = f"; such are {len(single):,} of {len(total):,} records"
            largest = int(single[np.argmax(total[single])])
            yield self._found(survey, total, largest, "note", said)

    def _found(
        self,
        survey: Survey,
        total: np.ndarray,
        record: int,
        severity: Severity,
        said: str,
    ) -> Finding:
        batch = int(survey.recording.index["batch"].iloc[record])
        with np.errstate(divide="ignore"):
            times = total[record] / self._around(total, record).max()
        around = f"the {2 * self.neighbours} records around it"
        much = f", {times:,.0f} times the largest of {around}{said}"
        said = f"; {around} have none{said}" if times == np.inf else much
        return self.found(
            severity,
            f"batch {batch:,}: the norm of all gradients is {total[record]:.3g} at "
            f"{survey.when(record)}{said}",
            "clipnorm=1.0, a robust loss (Huber), shuffling, larger batches; and see "
            "whether that batch has outliers or wrong labels.",
            step=survey.steps[record],
        )

    def _spikes(self, total: np.ndarray) -> npt.NDArray[np.integer]:
        inner = range(self.neighbours, len(total) - self.neighbours)
        high = [n for n in inner if self._is_spike(total, n)]
        return np.array(high, int)

    def _is_spike(self, total: np.ndarray, number: int) -> bool:
        around = self._around(total, number)
        return bool(self.factor * around.max() < total[number] < np.inf)

    def _around(self, total: np.ndarray, number: int) -> np.ndarray:
        width = self.neighbours
        after = total[number + 1 : number + 1 + width]
        return np.concatenate([total[number - width : number], after])


def _advice(survey: Survey, first: int) -> str | None:
    """What to do about a loss that is not finite before any weights are to blame."""
    if first > 0:
        return None
    return (
        "to see whether inputs or targets hold NaN or infinity "
        "(numpy.isfinite(x).all()), then whether the first outputs overflow."
    )


def _bad(survey: Survey, quantity: QuantityName) -> dict[str, npt.NDArray[np.bool_]]:
    """By path, which records are not finite."""
    found: dict[str, npt.NDArray[np.bool_]] = {}
    for path in survey.recording.paths:
        there = survey.has_gradient(path)
        there = there if quantity == "gradients" else np.ones(len(survey), bool)
        counts = survey.numbers(quantity, "nonfinite").get(path)
        norms = survey.numbers(quantity, "norm").get(path)
        if counts is not None:
            found[path] = counts > 0  # NaN where there was no gradient.
        elif track := survey.track(quantity, path):
            found[path] = track.nonfinite > 0
        elif norms is not None:
            found[path] = there & ~np.isfinite(norms)
    return found


def is_scaled(optimizer: Mapping[str, Any] | None) -> bool:
    """Whether a described optimizer scales the loss."""
    return "LossScale" in str((optimizer or {}).get("class_name"))
