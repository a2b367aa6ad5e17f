"""Finds NaN and infinity in records as they are stored."""

import math
from collections.abc import Iterator

import numpy as np

from hrcallbacks.types import ROWS_OF, Key, Record, RunInfo, Step

_MOST_NAMED = 5


class Nonfinite:
    """Looks for NaN and infinity in the records of a fit.

    The loss, and each variable's gradients and weights, are reported once each.

    Args:
        run: The fit. If an optimizer skips steps whose gradients are not finite, those
            gradients are ignored.
    """

    def __init__(self, run: RunInfo) -> None:
        self._ignored = "gradients" if run.skips_nonfinite else None
        # Of each reduction, its `nonfinite`.
        self._kinds: dict[tuple[str, str], str | None] = {
            (quantity, name): about.get("nonfinite")
            for quantity, names in run.reductions.items()
            for name, about in names.items()
        }
        self._told: set[tuple[str, str]] = set()

    def look(self, record: Record) -> str | None:
        """What is newly found in a record, as a sentence, or None."""
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
            if kind == "sample" and key.quantity in ROWS_OF:
                continue  # NaN may stand for rows that the batch lacks.
            value = np.asarray(value)
            if kind == "elements":
                value = value[: _rows(record, key)]
            if what := _what(kind, key.reduction, value):
                text = f"{key.quantity} of {key.path!r} ({what})"
                yield (key.quantity, key.path), text


def _rows(record: Record, key: Key) -> int | None:
    """How many rows a batch had: those that it lacks are NaN. None for no batch."""
    rows = record.values.get(Key(ROWS_OF.get(key.quantity, ""), "", key.path))
    return None if rows is None else int(rows)


def _what(kind: str, name: str, value: np.ndarray) -> str | None:
    """What is nonfinite in a recorded value, in words, or None."""
    if kind in ("counts", "tail"):
        count = int(np.sum(value[-2:] if kind == "tail" else value))
        return f"{count:,} elements" if count else None
    count = value.size - int(np.isfinite(value).sum())
    if not count:
        return None
    if kind in ("elements", "sample"):
        return f"{count:,} of {value.size:,} elements"
    return f"{name}: {float(value)}" if value.ndim == 0 else name


def _sentence(step: Step, texts: list[str]) -> str:
    named = ", ".join(texts[:_MOST_NAMED])
    more = len(texts) - _MOST_NAMED
    where = f"step {step.step} (epoch {step.epoch}, batch {step.batch})"
    others = f", and {more} more" if more > 0 else ""
    return f"NaN or infinity at {where}: {named}{others}."
