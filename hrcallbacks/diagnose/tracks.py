"""What a diagnosis needs of whole tensors: read once, in blocks of records."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from hrcallbacks.blocks import blocks

_NEVER = np.iinfo(np.int64).max


@dataclass(frozen=True)
class Activity:
    """When something was first and last seen, for each of several units.

    Attributes:
        first: Number of the first record with it, or the largest int, shape `(units,)`.
        last: Number of the last record with it, or -1, shape `(units,)`.
        gap: Length of the longest run of records without it that one with it ended,
            shape `(units,)`.
    """

    first: np.ndarray
    last: np.ndarray
    gap: np.ndarray

    @classmethod
    def none(cls, count: int) -> Self:
        """Nothing was seen of any unit."""
        return cls(
            np.full(count, _NEVER), np.full(count, -1), np.zeros(count, np.int64)
        )

    def followed_by(self, seen: npt.NDArray[np.bool_], start: int) -> Activity:
        """The activity with the records that follow.

        Args:
            seen: In which records, for which units: shape `(records, units)`.
            start: Number of the first of those records.
        """
        numbers = np.arange(start, start + len(seen))[:, np.newaxis]
        at = np.where(seen, numbers, -1)
        latest = np.maximum.accumulate(np.vstack([self.last, at]))
        silent = np.where(seen, numbers - latest[:-1] - 1, 0)
        first = np.where(seen, numbers, self.first).min(axis=0, initial=_NEVER)
        return Activity(
            np.minimum(self.first, first),
            latest[-1],
            np.maximum(self.gap, silent.max(axis=0, initial=0)),
        )

    def or_(self, other: Activity) -> Activity:
        """When either of two was seen; `gap` is then an upper bound."""
        both = [np.stack(pair) for pair in zip(self.parts, other.parts, strict=True)]
        return Activity(*both).any()

    def any(self) -> Activity:
        """When any of the units along the first axis was seen; see `or_`."""
        last = self.last.max(axis=0)
        # All were silent no longer than any one of them was, up to the last of all.
        gap = np.maximum(self.gap, last - self.last - 1).min(axis=0)
        return Activity(self.first.min(axis=0), last, gap)

    def arranged(self, order: Callable[[np.ndarray], np.ndarray]) -> Activity:
        """The units in another order or shape.

        Args:
            order: Takes an array of units, and returns it rearranged.
        """
        return Activity(*map(order, self.parts))

    @property
    def parts(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The three arrays."""
        return self.first, self.last, self.gap


class Track:
    """What was seen so far of one variable's gradients, or of its weights' changes.

    Reading a longer recording of the same run continues where the shorter one ended.

    Args:
        shape: The variable's shape.
        changes: Whether to look at the differences between records.

    Attributes:
        count: How many records were read.
        activity: For each axis, counted from the end, when the units along it had
            something other than zero.
    """

    def __init__(self, shape: Sequence[int], *, changes: bool) -> None:
        self.count: int = 0
        self._shape = tuple(shape)
        self._changes = changes
        self._previous: np.ndarray | None = None
        self._norms: list[np.ndarray] = []
        self._change_norms: list[np.ndarray] = []
        self._nonfinite: list[np.ndarray] = []
        axes = {-1, -2, -len(self._shape)} if len(self._shape) > 1 else {-1}
        axes = axes if self._shape else set[int]()
        self.activity: dict[int, Activity] = {
            axis: Activity.none(self._shape[axis]) for axis in axes
        }

    @property
    def norms(self) -> np.ndarray:
        """Frobenius norm of each record, float64, shape `(records,)`."""
        return _joined(self._norms)

    @property
    def change_norms(self) -> np.ndarray:
        """Norm of each record's change since the one before; NaN for the first."""
        return _joined(self._change_norms)

    @property
    def nonfinite(self) -> np.ndarray:
        """How many elements of each record are NaN or infinite, `(records,)`.

        NaN where there is nothing.
        """
        return _joined(self._nonfinite)

    def read(self, array: Any, there: npt.NDArray[np.bool_]) -> None:
        """Reads the records that are new.

        Args:
            array: Array of shape `(records, *shape)`, in memory or on disk.
            there: Which records hold anything, shape `(records,)`.
        """
        for where, block in blocks(array, self.count):
            self._add(block.reshape(len(block), *self._shape), there[where])

    def _add(self, block: np.ndarray, there: npt.NDArray[np.bool_]) -> None:
        with np.errstate(all="ignore"):
            norms = _norms(block)
            self._norms.append(np.where(there, norms, np.nan))
            self._nonfinite.append(np.where(there, _nonfinite(block, norms), np.nan))
            signal = self._differences(block) if self._changes else block
            if self._changes:
                self._change_norms.append(_norms(signal))
                if self.count == 0:
                    self._change_norms[0][0] = np.nan
        self._see(signal != 0, there)
        self.count += len(block)

    def _differences(self, block: np.ndarray) -> np.ndarray:
        before = block[:1] if self._previous is None else self._previous
        self._previous = block[-1:].copy()
        return np.diff(np.concatenate([before, block]).astype(np.float64), axis=0)

    def _see(
        self, nonzero: npt.NDArray[np.bool_], there: npt.NDArray[np.bool_]
    ) -> None:
        for axis, activity in self.activity.items():
            others = tuple(range(1 - nonzero.ndim, 0))
            others = tuple(a for a in others if a != axis)
            seen = nonzero.any(axis=others) & there[:, np.newaxis]
            self.activity[axis] = activity.followed_by(seen, self.count)


def _norms(block: np.ndarray) -> np.ndarray:
    flat = block.reshape(len(block), -1).astype(np.float64)
    return np.sqrt(np.einsum("ij,ij->i", flat, flat))


def _nonfinite(block: np.ndarray, norms: np.ndarray) -> np.ndarray:
    counts = np.zeros(len(block))
    # In float64, a sum of squares is finite if they are.
    (suspects,) = np.nonzero(~np.isfinite(norms))
    for n in suspects:
        counts[n] = block[n].size - np.isfinite(block[n]).sum()
    return counts


def _joined(parts: Sequence[np.ndarray]) -> np.ndarray:
    return np.concatenate(parts) if parts else np.empty(0)
