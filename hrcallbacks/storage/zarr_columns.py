"""Writes columns to disk."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hrcallbacks.storage.columns import Column

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
        group: The store's Zarr group.
        column: The column.
        columns: How many columns there are.
        check: Raises if the store is gone.
    """

    def __init__(
        self, group: Any, column: Column, columns: int, check: Callable[[], None]
    ) -> None:
        self._column = column
        self._check = check
        chunk_bytes = min(_CHUNK_BYTES, _WAITING_BYTES // max(columns, 1))
        if column.name in group:
            array = group[column.name]
        else:
            array = _create(group, column, chunk_bytes)
        # Looking for chunks of only NaN is slower than writing them.
        self._array = array.with_config({"write_empty_chunks": True})
        self._rows = array.chunks[0]
        self._tail = np.full((self._rows, *column.shape), np.nan, column.dtype)
        self._dirty = False

    def put(self, number: int, row: np.ndarray | None) -> None:
        """Sets the next row, and writes the chunk once it is full."""
        place = number % self._rows
        self._tail[place] = np.nan if row is None else row
        self._dirty = True
        if place == self._rows - 1:
            self._check()
            self._write(number + 1)

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
            self._array.resize((ahead, *self._column.shape))
        self._array[start:end] = self._tail
        self._dirty = False

    def restore(self, count: int) -> None:
        """Loads the rows of the chunk that is not full from the store."""
        start = count // self._rows * self._rows
        self._tail[:] = np.nan
        if start < min(count, self._array.shape[0]):
            end = min(count, self._array.shape[0])
            self._tail[: end - start] = self._array[start:end]
        self._dirty = False

    def trim(self, count: int) -> None:
        """Makes the array as long as the recording."""
        if self._array.shape[0] != count:
            self._array.resize((count, *self._column.shape))


def _create(group: Any, column: Column, chunk_bytes: int) -> Any:
    rows = max(1, chunk_bytes // max(column.row_bytes, 1))
    keys = [[key.quantity, key.reduction, key.path] for key in column.keys]
    return group.create_array(
        column.name,
        shape=(0, *column.shape),
        chunks=(rows, *_chunk_of_row(column)),
        dtype=column.dtype,
        fill_value=math.nan,
        compressors=_compressors(column),
        attributes={"keys": keys},
    )


def _chunk_of_row(column: Column) -> tuple[int, ...]:
    """Shape of a chunk within a row, 32 MiB at most: the first axes are divided."""
    shape, size = list(column.shape), column.row_bytes
    for axis, length in enumerate(shape):
        if size <= 4 * _CHUNK_BYTES:
            break
        parts = min(length, math.ceil(size / (4 * _CHUNK_BYTES)))
        shape[axis] = math.ceil(length / parts)
        size = size // parts
    return tuple(shape)


def _compressors(column: Column) -> list[Any]:
    from zarr.codecs import BloscCodec, Crc32cCodec

    # Shuffling bits would shrink a large tensor by a tenth, but take the thread half as
    # much time again. The checksum finds damage.
    shuffle = "noshuffle" if column.row_bytes > _LARGE_ROW else "bitshuffle"
    return [BloscCodec(cname="lz4", clevel=1, shuffle=shuffle), Crc32cCodec()]


def write_array(group: Any, path: str, value: np.ndarray, name: str = "") -> None:
    """Writes an array that does not change."""
    value = np.asarray(value)
    # A failed attempt may have left one.
    array = group.create_array(
        path,
        shape=value.shape,
        dtype=value.dtype,
        attributes={"name": name},
        overwrite=True,
    )
    array[...] = value
