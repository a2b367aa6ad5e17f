"""NaN and infinity in records, found as they are stored."""

import math
from collections.abc import Iterator

import numpy as np

from hrcallbacks.reductions.reduction import RAW
from hrcallbacks.types import Record, RunInfo, Step

_MOST_NAMED = 5
# Of these a number that is not finite says that an element is not: not of update_ratio,
# infinite where weights are zero, nor of a function of the user's own.
_TELLING = ("norm", "mean", "std", "min", "max", "abs_max", "update_norm", "Sample")


class Nonfinite:
    """Looks for NaN and infinity in the records of a fit.

    A variable's gradients and its weights are each told of once, and the loss.

    Args:
        run: The fit. Where an optimizer skips steps whose gradients are not finite,
            those are of no account.
    """

    def __init__(self, run: RunInfo) -> None:
        self._ignored = "gradients" if run.skips_nonfinite else None
        self._kinds: dict[tuple[str, str], str] = {
            (quantity, name): RAW if name == RAW else about["kind"]
            for quantity, names in run.reductions.items()
            for name, about in names.items()
        }
        self._told: set[tuple[str, str]] = set()

    def look(self, record: Record) -> str | None:
        """What is new in a record, as a sentence; None if nothing is."""
        found = dict(self._found(record))
        new = [text for what, text in found.items() if what not in self._told]
        self._told |= found.keys()
        return _sentence(record.step, new) if new else None

    def _found(self, record: Record) -> Iterator[tuple[tuple[str, str], str]]:
        if record.loss is not None and not math.isfinite(record.loss):
            yield ("loss", ""), f"the loss ({record.loss})"
        for key, value in record.values.items():
            kind = self._kinds.get((key.quantity, key.reduction))
            if kind is None or key.quantity == self._ignored:
                continue
            if what := _what(kind, key.reduction, np.asarray(value)):
                text = f"{key.quantity} of {key.path!r} ({what})"
                yield (key.quantity, key.path), text


def _what(kind: str, name: str, value: np.ndarray) -> str | None:
    """What of a recorded value is not finite, in words; None if all is."""
    if kind in (RAW, "Sample"):
        count = value.size - int(np.isfinite(value).sum())
        return f"{count:,} of {value.size:,} elements" if count else None
    if kind in ("Histogram", "nonfinite"):
        count = int(value[-2:].sum() if kind == "Histogram" else value)
        return f"{count:,} elements" if count else None
    if kind in _TELLING and not np.isfinite(value):
        return f"{name}: {float(value)}"
    return None


def _sentence(step: Step, texts: list[str]) -> str:
    named = ", ".join(texts[:_MOST_NAMED])
    more = len(texts) - _MOST_NAMED
    where = f"step {step.step} (epoch {step.epoch}, batch {step.batch})"
    others = f", and {more} more" if more > 0 else ""
    return f"NaN or infinity at {where}: {named}{others}."
