"""Checks beforehand that a recording fits into memory, and says what would fit."""

from __future__ import annotations

import math
from collections.abc import Iterator
from numbers import Integral


def too_large(
    *,
    held: int,
    record_bytes: int,
    count: int,
    variables: int,
    record_freq: object,
    max_bytes: int,
) -> ValueError:
    """The error for records that do not fit into memory; it says what would fit.

    Args:
        held: How many records are held already.
        record_bytes: Size of a record, in bytes.
        count: How many records will be added.
        variables: How many variables are recorded.
        record_freq: The recorder's `record_freq`.
        max_bytes: The limit.
    """
    size = record_bytes
    total = size * (held + count)
    remedies = [
        *_norms(3 * variables * count, max_bytes),
        *_larger_freq(record_freq, count, max_bytes // size - held),
        "store='run.zarr', which keeps it on disk.",
    ]
    return ValueError(
        f"{count:,} records of {variables:,} variables take {_bytes(total)} of memory, "
        f"{_bytes(size)} each: {total:,} bytes, over max_bytes={max_bytes:,}. What "
        f"would fit: {', or '.join(remedies)}"
    )


def _norms(numbers: int, max_bytes: int) -> Iterator[str]:
    if 8 * numbers <= max_bytes:
        size = _bytes(8 * numbers)
        yield f"gradients='norm', weights='norm' ({size}, plus the index)"


def _larger_freq(freq: object, count: int, room: int) -> Iterator[str]:
    if isinstance(freq, Integral) and room > 0:
        yield f"record_freq={int(freq) * count // (room + 1) + 1} or more"


def _bytes(size: int) -> str:
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(max(size, 1)) // 10), len(units) - 1)
    return f"{size / 1024**power:.3g} {units[power]}"
