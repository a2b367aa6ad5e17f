"""Rows of a column in memory."""

import numpy as np

from hrcallbacks.storage.columns import Column

# Of how many bytes a chunk is made while nobody knows how many records will come.
_CHUNK_BYTES = 4 * 1024**2
# A larger row is kept as it came: copying it into a chunk takes longer.
_LARGE_ROW = 64 * 1024


class Buffer:
    """The rows of a column, in chunks that are never moved while records come.

    Large rows are kept as they come. When they are first read, they are put into one
    chunk, and let go one by one: at no moment are all of them held twice.
    """

    def __init__(self, column: Column, missing: int) -> None:
        self._column = column
        self._chunks: list[np.ndarray] = []
        self._ends: list[int] = []  # Number of the row that follows each chunk's last.
        self._filled = 0
        self._large = column.row_bytes > _LARGE_ROW
        for number in range(missing):  # Records from before the column was declared.
            self.put(number, None, missing)

    def put(self, number: int, row: np.ndarray | None, expected: int) -> None:
        """Sets the next row; again, where storing a record was broken off."""
        while self._chunks and self._start_of_last >= number:
            self._chunks.pop()
            self._ends.pop()
        self._filled = number + 1
        if self._large and row is not None:
            row = np.asarray(row, self._column.dtype)
            self._add(row.reshape(1, *self._column.shape), number + 1)
            return
        if not self._ends or number >= self._ends[-1]:
            self._grow(number, 1 if self._large else expected)
        self._chunks[-1][number - self._ends[-1]] = np.nan if row is None else row

    @property
    def _start_of_last(self) -> int:
        return self._ends[-2] if len(self._ends) > 1 else 0

    def _grow(self, number: int, expected: int) -> None:
        size = max(self._column.row_bytes, 1)
        grown = min(number, 16 * _CHUNK_BYTES // size)
        rows = expected or max(_CHUNK_BYTES // size, grown, 1)
        chunk = np.empty((rows, *self._column.shape), self._column.dtype)
        self._add(chunk, number + rows)

    def _add(self, chunk: np.ndarray, end: int) -> None:
        self._chunks.append(chunk)
        self._ends.append(end)

    def rows(self, count: int) -> np.ndarray:
        """The first rows, not to be written to: a view of what lies here."""
        if len(self._chunks) > 1:
            self._join()
        if not self._chunks:
            return np.empty((0, *self._column.shape), self._column.dtype)
        rows = self._chunks[0][:count]
        rows.flags.writeable = False
        return rows

    def _join(self) -> None:
        end = self._ends[-1]
        joined = np.empty((end, *self._column.shape), self._column.dtype)
        # Memory of the new array is taken as it is written, that of the old given back.
        start = 0
        chunks, self._chunks = self._chunks, [joined]
        for stop in self._ends:
            chunk = chunks.pop(0)[: max(0, self._filled - start)]
            joined[start : start + len(chunk)] = chunk
            del chunk
            start = stop
        self._ends = [end]
