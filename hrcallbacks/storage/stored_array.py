"""Arrays on disk, read on demand."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from hrcallbacks.storage.chunked_array import ChunkedArray, DamagedChunk
from hrcallbacks.terminal import visible


class StoredArray:
    """An array on disk, of which only what is indexed is read.

    Indexing gives NumPy arrays; `np.asarray` reads it whole.

    Attributes:
        shape: Its shape, `(records, ...)`.
        dtype: Its dtype.
        ndim: Its number of axes.
    """

    def __init__(self, array: ChunkedArray, what: str) -> None:
        self._array = array
        self._what = what
        self._place: tuple[int, ...] = ()  # Which entry of the second axis, if of one.
        self.shape: tuple[int, ...] = array.shape
        self.dtype: Any = array.dtype.newbyteorder("=")
        self.ndim: Any = len(self.shape)
        # The latest chunk read, and its first row.
        self._block: tuple[int, np.ndarray] | None = None

    def entry(self, place: int, what: str) -> "StoredArray":
        """One entry of the second axis, read on demand too.

        Args:
            place: Its place.
            what: What it holds, for messages.
        """
        made = StoredArray(self._array, what)
        made._place = (place,)
        made.shape = (self.shape[0], *self.shape[2:])
        made.ndim = len(made.shape)
        return made

    @property
    def chunk_rows(self) -> int:
        """How many records a chunk has: reading fewer reads all of them."""
        return self._array.chunks[0]

    def __len__(self) -> int:
        """Number of records."""
        return self.shape[0]

    def __getitem__(self, key: Any) -> Any:
        """Reads what is indexed, as NumPy does."""
        key = key if isinstance(key, tuple) else (key,)
        if not key or key[0] is Ellipsis:
            return np.asarray(self)[key]
        first, *others = key
        if isinstance(first, int | np.integer):
            return self._row(int(first))[(*others,)]
        if isinstance(first, slice):
            start, stop, step = first.indices(len(self))
            if step > 0:
                return self._of_rows(range(start, max(start, stop), step), others)
        return np.asarray(self)[key]

    def _of_rows(self, rows: range, others: Sequence[Any]) -> Any:
        """Rows, of which no more is read than plain slices ask for."""
        plain = len(others) < self.ndim and all(isinstance(o, slice) for o in others)
        if not plain or any((o.step or 1) < 0 for o in others):
            return self._read(rows)[(slice(None), *others)]
        lengths = zip(others, self.shape[1:], strict=False)
        return self._read(rows, [range(*o.indices(length)) for o, length in lengths])

    def _row(self, number: int) -> np.ndarray:
        if not -len(self) <= number < len(self):
            raise IndexError(f"record {number} is out of range: there are {len(self)}")
        number %= len(self)
        rows = self._array.chunks[0]
        start = number // rows * rows
        if self._block is None or self._block[0] != start:
            self._block = start, self._read(range(start, min(start + rows, len(self))))
        return self._block[1][number - start]

    def _read(self, rows: range, others: Sequence[range] = ()) -> np.ndarray:
        whole = [range(length) for length in self.shape[1 + len(others) :]]
        inner = [range(place, place + 1) for place in self._place]
        try:
            read = self._array.read([rows, *inner, *others, *whole])
        except DamagedChunk as error:
            size = self._array.chunks[0]
            start = error.number * size
            stop = min(start + size, len(self))
            raise OSError(
                f"Records {start} to {stop - 1} of {self._what} cannot be read: "
                f"{error}. The others can be: [:{start}] and [{stop}:]."
            ) from error
        return read.reshape(len(read), *read.shape[1 + len(inner) :])

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        """The whole array."""
        array = self._read(range(len(self)))
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        """Describes it; reads nothing."""
        return f"<{visible(self._what)} on disk: shape {self.shape}, {self.dtype}>"
