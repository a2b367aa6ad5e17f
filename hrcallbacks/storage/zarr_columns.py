"""Writes columns to disk."""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.described import described
from hrcallbacks.storage.zarr_arrays import create_array, write_coordinate, writes_all
from hrcallbacks.types import Key

# Bytes in a column's chunk, unless a single record has more. Each chunk costs Zarr half
# a millisecond, whatever its size.
_CHUNK_BYTES = 8 * 1024**2
# Bytes in the chunks of all columns together, which stay in memory until full.
_WAITING_BYTES = 256 * 1024**2
# A column with larger rows holds whole tensors, mostly noise to a compressor.
_LARGE_ROW = 64 * 1024


class ColumnWriter:
    """Writes a column in whole chunks, so that nothing has to be read first.

    Args:
        array: The column's `zarr.Array`.
        column: The column.
        check: Raises if the store is gone.

    Attributes:
        column: The same.
    """

    def __init__(self, array: Any, column: Column, check: Callable[[], None]) -> None:
        self.column: Column = column
        self._check = check
        self._array = writes_all(array)
        self._rows = array.chunks[0]
        self._tail = np.full((self._rows, *column.shape), np.nan, column.dtype)
        self._dirty = False

    def put_all(self, first: int, arrays: Mapping[Key, Any], records: slice) -> None:
        """Sets the next rows, chunk by chunk.

        Args:
            first: How many there are already.
            arrays: Arrays by key, `(records, *shape)`.
            records: Which of the records in them.
        """
        start, number = records.start, first
        while start < records.stop:
            place = number % self._rows
            count = min(records.stop - start, self._rows - place)
            rows = self._tail[place : place + count]
            self.column.fill_all(rows, arrays, slice(start, start + count))
            self._dirty, start, number = True, start + count, number + count
            if number % self._rows == 0:
                self._check()
                self._write(number)

    def flush(self, count: int) -> None:
        """Writes the chunk that is not yet full."""
        if self._dirty:
            self._tail[count % self._rows or self._rows :] = np.nan
            self._write(count)

    def _write(self, count: int) -> None:
        start = (count - 1) // self._rows * self._rows
        end = start + self._rows
        if self._array.shape[0] < end:
            # Grown ahead: each change of the length rewrites the metadata.
            ahead = max(end, 2 * self._array.shape[0]) // self._rows * self._rows
            self._array.resize((ahead, *self.column.shape))
        self._array[start:end] = self._tail
        self._dirty = False

    def restore(self, count: int, rows: Any) -> None:
        """Loads the rows of the chunk that is not full.

        Args:
            count: How many records count.
            rows: The column's rows on disk, read on demand.
        """
        start = count // self._rows * self._rows
        self._tail[:] = np.nan
        if start < count:
            self._tail[: count - start] = rows[start:count]
        self._dirty = False

    def trim(self, count: int) -> None:
        """Makes the array as long as the recording."""
        if self._array.shape[0] != count:
            self._array.resize((count, *self.column.shape))


def create_column(
    group: Any,
    column: Column,
    reductions: Mapping[str, Any],
    *,
    columns: int,
    first: int,
) -> Any:
    """Makes the array of a column, and its coordinates.

    Args:
        group: The store's Zarr group.
        column: The column.
        reductions: `Recording.attributes["reductions"]`.
        columns: How many chunks wait in memory until they are full.
        first: How many records there are already.

    Returns:
        A `zarr.Array`.
    """
    about = described(column, reductions)
    folder = column.name.rpartition("/")[0]
    for coordinate in about.coordinates:
        write_coordinate(group, folder, coordinate)
    beside = [c.name for c in about.coordinates if c.name != c.dimension]
    if beside:  # As in the CF conventions.
        group[folder].update_attributes({"coordinates": " ".join(beside)})
    chunk_bytes = min(_CHUNK_BYTES, _WAITING_BYTES // max(columns, 1))
    row_bytes = column.row_bytes // arrays_in(column)
    rows = max(1, chunk_bytes // max(row_bytes, 1))
    # Shuffling bits would shrink a large tensor by a tenth, but take the thread half as
    # much time again.
    shuffle = "noshuffle" if row_bytes > _LARGE_ROW else "bitshuffle"
    return create_array(
        group,
        column.name,
        shape=(0, *column.shape),
        chunks=(rows, *_chunk_of_row(column)),
        dtype=column.dtype,
        dimensions=about.dimensions,
        attributes=about.attributes,
        first=first,
        shuffle=shuffle,
        overwrite=True,  # A crash may have left one that no column is known to have.
    )


def arrays_in(column: Column) -> int:
    """How many chunks of a column are written at a time."""
    return column.shape[0] if _by_path(column) else 1


def _by_path(column: Column) -> bool:
    """Whether each path has chunks of its own: one is then read without the others."""
    return column.is_shared and bool(column.each)


def _chunk_of_row(column: Column) -> tuple[int, ...]:
    """Shape of a chunk within a row, 32 MiB at most: the first axes are divided."""
    shape, size = list(column.shape), column.row_bytes
    if _by_path(column):
        size, shape[0] = size // shape[0], 1
    for axis, length in enumerate(shape):
        if size <= 4 * _CHUNK_BYTES:
            break
        parts = min(length, math.ceil(size / (4 * _CHUNK_BYTES)))
        shape[axis] = math.ceil(length / parts)
        size = size // parts
    return tuple(shape)
