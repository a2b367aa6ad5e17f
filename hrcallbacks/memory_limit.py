"""What a recording may take in memory: checked before training, with what would fit."""

import math
from numbers import Integral


def checked_limit(max_bytes):
    """The limit, if it is one.

    Raises:
        ValueError: If it is no int, or below 1.
    """
    if isinstance(max_bytes, bool) or not isinstance(max_bytes, int) or max_bytes < 1:
        raise ValueError(
            "Expected max_bytes: an int, such as 2 * 1024**3 for 2 GiB. "
            f"Received: {max_bytes!r}."
        )
    return max_bytes


def too_large(*, held, record_bytes, count, variables, record_freq, max_bytes):
    """The error for records that memory has no room for: says what would fit.

    Args:
        held: How many records it holds already.
        record_bytes: Size of a record.
        count: How many records will come.
        variables: Of how many variables.
        record_freq: The recorder's.
        max_bytes: The limit.

    Returns:
        A `ValueError`.
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


def _norms(numbers, max_bytes):
    if 8 * numbers <= max_bytes:
        size = _bytes(8 * numbers)
        yield f"gradients='norm', weights='norm' ({size}, plus the index)"


def _larger_freq(freq, count, room):
    if isinstance(freq, Integral) and room > 0:
        yield f"record_freq={int(freq) * count // (room + 1) + 1} or more"


def _bytes(size):
    units = ("bytes", "KiB", "MiB", "GiB", "TiB")
    power = min(int(math.log2(max(size, 1)) // 10), len(units) - 1)
    return f"{size / 1024**power:.3g} {units[power]}"
