"""Of whole tensors, what a diagnosis needs: read once, in blocks of records."""

from dataclasses import dataclass

import numpy as np

# Of how many bytes of float32 a block is made.
_BLOCK_BYTES = 16 * 1024**2


@dataclass(frozen=True)
class Activity:
    """When something was last, first and longest not seen, for each of several units.

    Attributes:
        first: Number of the first record in which it was, or the largest int.
        last: Number of the last record in which it was, or -1.
        gap: Length of the longest run of records without it, before one with it.
    """

    first: np.ndarray
    last: np.ndarray
    gap: np.ndarray

    @classmethod
    def none(cls, count):
        """Nothing was seen of any unit."""
        never = np.full(count, np.iinfo(np.int64).max)
        return cls(never, np.full(count, -1), np.zeros(count, np.int64))

    def followed_by(self, seen, start):
        """With the records that follow.

        Args:
            seen: Array of bool, records by units.
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

    def or_(self, other):
        """When either of two was seen; `gap` is then an upper bound."""
        both = [np.stack(pair) for pair in zip(self.parts, other.parts, strict=True)]
        return Activity(*both).any()

    def any(self):
        """When any of the units along the first axis was seen; see `or_`."""
        last = self.last.max(axis=0)
        # None was seen for so long as one of them was not, up to the last of all.
        gap = np.maximum(self.gap, last - self.last - 1).min(axis=0)
        return Activity(self.first.min(axis=0), last, gap)

    def arranged(self, order):
        """The units in another order or shape.

        Args:
            order: A function of an array of units.
        """
        return Activity(*map(order, self.parts))

    @property
    def parts(self):
        """The three arrays."""
        return self.first, self.last, self.gap


_NEVER = np.iinfo(np.int64).max


class Track:
    """What was seen so far of one variable's gradients, or of its weights' changes.

    A longer recording of the same run goes on where the shorter one ended.

    Args:
        shape: The variable's shape.
        changes: Whether it is the differences from one record to the next that count.

    Attributes:
        count: How many records were read.
        activity: Dict from axis to an `Activity`: where along it something was not
            zero.
    """

    def __init__(self, shape, *, changes):
        self.count = 0
        self._shape = tuple(shape)
        self._changes = changes
        self._previous = None
        self._norms = []
        self._change_norms = []
        self._nonfinite = []
        axes = {-1, -len(self._shape), -2} if len(self._shape) > 1 else {-1}
        axes = axes if self._shape else set()
        self.activity = {axis: Activity.none(self._shape[axis]) for axis in axes}

    @property
    def norms(self):
        """Frobenius norm of each record, float64."""
        return _joined(self._norms)

    @property
    def change_norms(self):
        """Norm of each record's change since the one before; NaN of the first."""
        return _joined(self._change_norms)

    @property
    def nonfinite(self):
        """Whether a record has NaN or infinity."""
        return _joined(self._nonfinite, "bool")

    def read(self, array, there):
        """Reads the records that are new.

        Args:
            array: Array of shape `(records, *shape)`, in memory or on disk.
            there: Array of bool: which records hold anything.
        """
        size = max(int(np.prod(self._shape)) * 4, 1)
        rows = max(_BLOCK_BYTES // size, 1)
        for start in range(self.count, len(there), rows):
            stop = min(start + rows, len(there))
            block = np.asarray(array[start:stop])
            self._add(block.reshape(stop - start, *self._shape), there[start:stop])

    def _add(self, block, there):
        with np.errstate(all="ignore"):
            norms = _norms(block)
            self._norms.append(np.where(there, norms, np.nan))
            finite = np.isfinite(block).reshape(len(block), -1).all(axis=1)
            self._nonfinite.append(there & ~finite)
            signal = self._differences(block) if self._changes else block
            if self._changes:
                self._change_norms.append(_norms(signal))
                if self.count == 0:
                    self._change_norms[0][0] = np.nan
        self._see(signal != 0, there)
        self.count += len(block)

    def _differences(self, block):
        before = block[:1] if self._previous is None else self._previous
        self._previous = block[-1:].copy()
        return np.diff(np.concatenate([before, block]).astype(np.float64), axis=0)

    def _see(self, nonzero, there):
        for axis, activity in self.activity.items():
            others = tuple(range(1 - nonzero.ndim, 0))
            others = tuple(a for a in others if a != axis)
            seen = nonzero.any(axis=others) & there[:, np.newaxis]
            self.activity[axis] = activity.followed_by(seen, self.count)


def _norms(block):
    flat = block.reshape(len(block), -1).astype(np.float64)
    return np.sqrt(np.einsum("ij,ij->i", flat, flat))


def _joined(parts, dtype="float64"):
    return np.concatenate(parts) if parts else np.empty(0, dtype)
