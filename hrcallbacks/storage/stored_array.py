"""Arrays on disk, read on demand."""

from typing import Any

import numpy as np
import numpy.typing as npt

from hrcallbacks.terminal import visible


class StoredArray:
    """An array on disk, of which only what is indexed is read.

    Indexing gives NumPy arrays; `np.asarray` reads it whole.

    Attributes:
        shape: Its shape, `(records, ...)`.
        dtype: Its dtype.
        ndim: Its number of axes.
    """

    def __init__(self, array: Any, count: int, what: str) -> None:
        self._array = array
        self._what = what
        self.shape: tuple[int, ...] = (count, *array.shape[1:])
        self.dtype: Any = array.dtype
        self.ndim: Any = array.ndim
        # The latest chunk read, and its first row.
        self._block: tuple[int, np.ndarray] | None = None

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
                plain = all(isinstance(o, int | slice | np.integer) for o in others)
                inner = tuple(others) if plain else ()
                read = self._read(slice(start, max(start, stop), step), inner)
                return read if plain else read[(slice(None), *others)]
        return np.asarray(self)[key]

    def _row(self, number: int) -> np.ndarray:
        if not -len(self) <= number < len(self):
            raise IndexError(f"record {number} is out of range: there are {len(self)}")
        number %= len(self)
        rows = self._array.chunks[0]
        start = number // rows * rows
        if self._block is None or self._block[0] != start:
            stop = min(start + rows, len(self))
            self._block = start, self._read(slice(start, stop), ())
        return self._block[1][number - start]

    def _read(self, rows: slice, others: tuple[Any, ...]) -> np.ndarray:
        available = min(len(self), self._array.shape[0])
        try:
            read = np.asarray(self._array[(rows, *others)])
        except Exception as error:
            raise self._damage(rows, error) from error
        missing = len(range(*rows.indices(len(self)))) - len(read)
        if missing > 0 and available < len(self):
            pad = np.full((missing, *read.shape[1:]), np.nan, read.dtype)
            read = np.concatenate([read, pad])
        return read

    def _damage(self, rows: slice, error: Exception) -> Exception:
        size = self._array.chunks[0]
        for start in range(rows.start // size * size, rows.stop, size):
            stop = min(start + size, len(self))
            try:
                self._array[start:stop]
            except Exception:
                return OSError(
                    f"Records {start} to {stop - 1} of {self._what} cannot be read: "
                    f"their chunk of the array {self._array.path!r} is damaged "
                    f"({error!r}). The others can be: [:{start}] and [{stop}:]."
                )
        return error

    def __array__(
        self, dtype: npt.DTypeLike | None = None, copy: bool | None = None
    ) -> np.ndarray:
        """The whole array."""
        array = self._read(slice(0, len(self)), ())
        return array if dtype is None else array.astype(dtype)

    def __repr__(self) -> str:
        """Describes it; reads nothing."""
        return f"<{visible(self._what)} on disk: shape {self.shape}, {self.dtype}>"
