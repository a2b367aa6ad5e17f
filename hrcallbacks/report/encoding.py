"""Data of a page: arrays as base64, everything else as JSON that is never markup."""

from __future__ import annotations

import base64
import json
import math
from typing import Any

import numpy as np
import numpy.typing as npt

# A `<script>` of data ends at "</script", and "<!--" changes how it is read.
_ESCAPED = {"<": "\\u003c", ">": "\\u003e", "&": "\\u0026"}


def float32(values: npt.ArrayLike) -> str:
    """Numbers as base64 of little-endian float32; NaN and infinities stay.

    Example:
        >>> float32([1.0, float("nan")])
        'AACAPwAAwH8='
    """
    with np.errstate(over="ignore"):
        return _base64(np.asarray(values).astype("<f4"))


def float64(values: npt.ArrayLike) -> str:
    """Numbers as base64 of little-endian float64."""
    return _base64(np.asarray(values).astype("<f8"))


def uint8(values: npt.ArrayLike) -> str:
    """Numbers from 0 to 255 as base64, a byte each."""
    return _base64(np.asarray(values).astype(np.uint8))


def _base64(array: np.ndarray) -> str:
    return base64.b64encode(np.ascontiguousarray(array).tobytes()).decode("ascii")


def number(value: Any) -> float | str | None:
    """A number for JSON: NaN and infinities, which it lacks, as text.

    Example:
        >>> number(np.float32(0.5)), number(float("inf")), number(None)
        (0.5, 'inf', None)
    """
    if value is None:
        return None
    value = float(value)
    return value if math.isfinite(value) else str(value)


def as_json(data: Any) -> str:
    r"""JSON, in ASCII, that can stand inside a `<script>` element.

    Args:
        data: What `json` can write, without NaN and infinities.

    Raises:
        ValueError: If there is a NaN or an infinity.

    Example:
        >>> print(as_json({"path": "</script><!--"}))
        {"path":"\u003c/script\u003e\u003c!--"}
    """
    text = json.dumps(data, allow_nan=False, separators=(",", ":"))
    for character, escape in _ESCAPED.items():
        text = text.replace(character, escape)
    return text
