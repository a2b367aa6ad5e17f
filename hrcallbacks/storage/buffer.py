"""Rows of a column in memory."""

from collections.abc import Mapping

import numpy as np

from hrcallbacks.storage.columns import Column
from hrcallbacks.types import Key

# Bytes in a chunk while the number of records is unknown.
_CHUNK_BYTES = 4 * 1024**2
# A larger row is kept as it is: copying it into a chunk is slower.
_LARGE_ROW = 64 * 1024


class Buffer:
    """The rows of a column, in chunks that are never moved while records are added.

    Large rows are kept as they are. When first read, they are copied into one chunk and
    freed one by one, so that memory never holds all of them twice.
    """

    def __init__(self, column: Column, missing: int) -> None:
        self._column = column
        self._chunks: list[np.ndarray] = []
        self._ends: list[int] = []  # Number of the row after each chunk's last.
        self._filled = 0
        self._large = column.row_bytes > _LARGE_ROW and not column.is_shared
        for number in range(missing):  # Records from before the column was declared.
            self.put(number, {}, missing)

    def put(self, number: int, values: Mapping[Key, np.ndarray], expected: int) -> None:
        """Sets the next row, or sets it again if storing a record was interrupted.

        Args:
            number: The record's number.
            values: Its arrays by key.
            expected: How many records there will be; 0 if that is not known.
        """
        self._begin(number)
        self._filled = number + 1
        row = values.get(self._column.keys[0]) if self._large else None
        if row is not None:
            row = np.asarray(row, self._column.dtype)
            self._add(row.reshape(1, *self._column.shape), number + 1)
            return
        if not self._ends or number >= self._ends[-1]:
            self._grow(number, 1 if self._large else expected)
        self._column.fill(self._chunks[-1], number - self._ends[-1], values)

    def put_all(
        self, first: int, arrays: Mapping[Key, np.ndarray], records: slice, room: int
    ) -> None:
        """Sets the next rows, of a column whose rows are not large.

        Args:
            first: Number of the first record.
            arrays: Arrays by key, `(records, *shape)`.
            records: Which of the records in them.
            room: How many records there will be; 0 if that is not known.
        """
        self._begin(first)
        start, number = records.start, first
        while start < records.stop:
            if not self._ends or number >= self._ends[-1]:
                self._grow(number, room)
            place = number - self._start_of_last
            count = min(records.stop - start, self._ends[-1] - number)
            rows = self._chunks[-1][place : place + count]
            self._column.fill_all(rows, arrays, slice(start, start + count))
            start, number = start + count, number + count
            self._filled = number

    def _begin(self, number: int) -> None:
        """Drops chunks that begin with this row or a later one."""
        while self._chunks and self._start_of_last >= number:
            self._chunks.pop()
            self._ends.pop()

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
        """The first rows, as a read-only view."""
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
        # The new array takes memory as it is written; the old ones give theirs back.
        start = 0
        chunks, self._chunks = self._chunks, [joined]
        for stop in self._ends:
            chunk = chunks.pop(0)[: max(0, self._filled - start)]
            joined[start : start + len(chunk)] = chunk
            del chunk
            start = stop
        self._ends = [end]
