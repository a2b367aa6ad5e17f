"""Arrays of a recording, read block by block: they may be larger than memory."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np

# What is read at once, from a disk; at least a chunk.
_READ_BYTES = 16 * 1024**2
# What is handed on at once: few enough that what is made of them stays in the caches.
_ELEMENTS = 2**17


def blocks(
    array: Any, first: int = 0, *, rows: int | None = None
) -> Iterator[tuple[slice, np.ndarray]]:
    """Consecutive blocks of an array's records.

    Args:
        array: Array of shape `(records, ...)`, in memory or on disk.
        first: The number of the record to begin with.
        rows: How many records a block has; None for as many as are handled best.

    Yields:
        Which records these are, and their values.
    """
    size, few, chunk = _size(array), rows or _few(array), chunk_rows(array)
    many = max(_READ_BYTES // (size * array.dtype.itemsize), chunk, few)
    many -= many % (rows or chunk)
    count = len(array)
    for start in range(first, count, many):
        read = np.asarray(array[start : min(start + many, count)])
        for place in range(0, len(read), few):
            part = read[place : place + few]
            yield slice(start + place, start + place + len(part)), part


def rows_for(*arrays: Any) -> int:
    """How many records to read of several arrays at a time."""
    return max(*map(chunk_rows, arrays), min(map(_few, arrays)))


def chunk_rows(array: Any) -> int:
    """How many records are read together from a disk; 1 in memory."""
    return getattr(array, "chunk_rows", 1)


def _few(array: Any) -> int:
    return max(_ELEMENTS // _size(array), 1)


def _size(array: Any) -> int:
    return max(math.prod(array.shape[1:]), 1)
