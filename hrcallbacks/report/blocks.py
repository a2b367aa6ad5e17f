"""Long series thinned: the extremes of each block of consecutive records."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

# Why a block has records without a finite number: bits that may add up.
NAN, INFINITE, ABSENT = 1, 2, 4


@dataclass(frozen=True)
class Thinned:
    """A series as it is drawn.

    Attributes:
        values: Float32. One a record, or the smallest and the largest finite number of
            each block, in the order in which they came. NaN where there is none.
        flags: One a record or block: 0, or the sum of `NAN`, `INFINITE`, `ABSENT`.
    """

    values: npt.NDArray[np.float32]
    flags: npt.NDArray[np.uint8]


@dataclass(frozen=True)
class Blocks:
    """How many consecutive records are drawn as one block.

    Attributes:
        count: How many records there are.
        size: How many of them make a block; 1 if all are drawn.
    """

    count: int
    size: int

    @classmethod
    def of(cls, count: int, most: int) -> Blocks:
        """The blocks of `count` records, if `most` of them are to be drawn.

        Each block is drawn as two points, so up to `2 * most` records need no thinning.

        Example:
            >>> Blocks.of(100_000, 1000).size, Blocks.of(2000, 1000).size
            (100, 1)
        """
        return cls(count, 1 if count <= 2 * most else -(-count // most))

    def times(self, times: npt.ArrayLike) -> npt.NDArray[np.float64]:
        """Where the points lie in time: at both ends of each block."""
        times = np.asarray(times, np.float64)
        if self.size == 1:
            return times
        last = np.minimum(np.arange(0, self.count, self.size) + self.size, self.count)
        return np.stack([times[:: self.size], times[last - 1]], axis=1).ravel()

    def thin(
        self,
        values: npt.ArrayLike,
        *,
        absent: npt.NDArray[np.bool_] | None = None,
        every: int = 1,
    ) -> Thinned:
        """A series with its peaks, and with flags where a number is not finite.

        Args:
            values: One number a record.
            absent: Where there is no number because there was nothing to record.
            every: Only each so many records were read; the others are not known.
        """
        with np.errstate(over="ignore"):
            values = np.asarray(values).astype(np.float32)
        nothing = np.zeros(len(values), bool) if absent is None else np.asarray(absent)
        finite = np.isfinite(values)
        kinds = {NAN: np.isnan(values), INFINITE: np.isinf(values)}
        flags = sum(kind * (where & ~nothing) for kind, where in kinds.items())
        flags = (flags + ABSENT * nothing).astype(np.uint8)
        flags[np.arange(len(values)) % every > 0] = 0
        if self.size == 1:
            return Thinned(np.where(finite & ~nothing, values, np.nan), flags)
        flags = np.bitwise_or.reduce(self._rows(flags, 0), axis=1)
        return Thinned(self._extremes(values, finite & ~nothing), flags)

    def _extremes(
        self, values: npt.NDArray[np.float32], there: npt.NDArray[np.bool_]
    ) -> npt.NDArray[np.float32]:
        low = self._rows(np.where(there, values, np.inf), np.inf)
        high = self._rows(np.where(there, values, -np.inf), -np.inf)
        first, last = low.argmin(axis=1), high.argmax(axis=1)
        rows = np.arange(len(low))
        pairs = np.stack([low[rows, first], high[rows, last]], axis=1)
        falls = last < first
        pairs[falls] = pairs[falls, ::-1]
        pairs[~np.isfinite(pairs).all(axis=1)] = np.nan
        return pairs.ravel()

    def _rows(self, values: np.ndarray, pad: float) -> np.ndarray:
        """A row a block, the last one padded."""
        lacking = -len(values) % self.size
        padded = np.pad(values, (0, lacking), constant_values=pad)
        return padded.reshape(-1, self.size)
