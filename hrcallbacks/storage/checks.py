"""Checks what a store holds, whoever wrote it.

Its attributes must be JSON of a known form, and its arrays must hold numbers in the
codecs that `zarr_store` writes. Anything else is rejected with its place named.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrcallbacks.storage.store import EMPTY_INDEX
from hrcallbacks.storage.zarr_format import is_shared

# Zarr uses `zstd` by default.
CODECS = ("bytes", "blosc", "zstd", "crc32c")
_NUMBERS = "biufc"  # Kinds of NumPy's dtypes.


@dataclass(frozen=True)
class _Leaf:
    """One value: what is expected, and a check of it."""

    said: str
    holds: Callable[[Any], bool]


@dataclass(frozen=True)
class _Named:
    """An object whose fields may have any name."""

    of: Any


def _is_dtype(value: Any) -> bool:
    try:
        return isinstance(value, str) and np.dtype(value).kind in _NUMBERS
    except TypeError:
        return False


_TEXT = _Leaf("text", lambda v: isinstance(v, str))
_TEXT_OR_NONE = _Leaf("text or null", lambda v: v is None or isinstance(v, str))
_BOOL = _Leaf("true or false", lambda v: isinstance(v, bool))
_COUNT = _Leaf("a whole number, 0 or more", lambda v: type(v) is int and v >= 0)
_FREQ = _Leaf("text or a whole number", lambda v: isinstance(v, str) or type(v) is int)
_WHEN = _Leaf("'before' or 'after'", lambda v: v in ("before", "after"))
_DTYPE = _Leaf("a type of numbers, such as 'float32'", _is_dtype)
_OBJECT = _Leaf("an object", lambda v: isinstance(v, dict))

# A list has items of one form, a tuple is a list of that length, `?` marks optional
# fields.
_FORM = {
    "attributes": {
        "variables?": [(_TEXT, [_COUNT])],
        "reductions?": _Named(_Named(_OBJECT)),
        "record_freq?": _FREQ,
        "epoch_gradient?": _TEXT,
        "weights_at?": _WHEN,
        "optimizer?": {"class_name": _TEXT_OR_NONE},
        "backend?": _TEXT,
        "versions?": _Named(_TEXT),
    },
    "columns": [
        {
            "name": _TEXT,
            "keys": [(_TEXT, _TEXT, _TEXT)],
            "dtypes": [_DTYPE],
            "shape": [_COUNT],
            "shared?": _BOOL,
        }
    ],
    "fits": [
        {
            "first": _COUNT,
            "ended": _BOOL,
            "fault": _TEXT_OR_NONE,
            "has_weights": _BOOL,
            "optimizers": _Named({"class_name": _TEXT_OR_NONE, "has_state": _BOOL}),
        }
    ],
}
_INDEX_COLUMN = {"name": _TEXT, "place": _COUNT}


def check_attributes(attributes: dict[str, Any], path: str) -> None:
    """Rejects a store whose attributes do not have the form that `zarr_store` writes.

    Args:
        attributes: The attributes of the store's group.
        path: Where the store is, for the message.

    Raises:
        ValueError: If something is missing or malformed; the message names it.
    """
    try:
        for name, form in _FORM.items():
            _check(attributes.get(name), form, name)
        for number, column in enumerate(attributes["columns"]):
            _check_column(column, f"columns[{number}]")
    except _Unexpected as error:
        raise ValueError(
            f"The recording at {path!r} is damaged, or hrcallbacks did not write it: "
            f"in its attributes, {error}."
        ) from error


def check_rows(array: Any, shape: tuple[int, ...], path: str) -> Any:
    """Rejects an array whose rows do not have the shape that its column states.

    Args:
        array: What `check_array` returned.
        shape: Shape of a row.
        path: Where the store is, for the message.

    Returns:
        The array.

    Raises:
        ValueError: If they do not.
    """
    if array.shape[1:] != shape or not array.shape:
        raise ValueError(
            f"The array {array.path!r} of the recording at {path!r} has shape "
            f"{array.shape}; its rows should have shape {shape}."
        )
    return array


def check_records(attributes: Any, path: str) -> int:
    """The number of records that the group of the index states.

    Args:
        attributes: The group's attributes.
        path: Where the store is, for the message.

    Raises:
        ValueError: If that is not a number of records.
    """
    records = attributes.get("records", 0)
    if not _COUNT.holds(records):
        raise ValueError(
            f"The index of the recording at {path!r} is damaged: its attribute "
            f"'records' should be {_COUNT.said} and is {records!r:.120}."
        )
    return records


def check_index(arrays: list[Any], path: str) -> None:
    """Rejects an index that lacks columns, or has one without a name.

    Args:
        arrays: Its arrays, as `check_array` returned them.
        path: Where the store is, for the message.

    Raises:
        ValueError: If arrays do not state their names and places, or one is missing.
    """
    try:
        for array in arrays:
            _check(dict(array.attrs), _INDEX_COLUMN, array.path)
    except _Unexpected as error:
        raise ValueError(
            f"The index of the recording at {path!r} is damaged: in the attributes of "
            f"its arrays, {error}."
        ) from error
    there = [array.attrs["name"] for array in arrays]
    if missing := [name for name in EMPTY_INDEX if name not in there]:
        raise ValueError(
            f"The index of the recording at {path!r} is damaged: it has the columns "
            f"{there}, but lacks {missing}."
        )


def check_array(array: Any, path: str) -> Any:
    """Rejects an array that does not hold numbers, or that needs other codecs.

    Args:
        array: A `zarr.Array`; nothing has been read from it.
        path: Where the store is, for the message.

    Returns:
        The array.

    Raises:
        ValueError: If it is not an array of Zarr format 3 with numbers and our codecs.
    """
    problem = _problem(array)
    if problem:
        raise ValueError(
            f"The array {getattr(array, 'path', array)!r} of the recording at "
            f"{path!r} is not read: {problem}. hrcallbacks reads only arrays of "
            f"numbers in Zarr format 3, with the codecs {', '.join(CODECS)}."
        )
    return array


def _problem(array: Any) -> str:
    if not hasattr(array, "chunks"):
        return "it is a group"
    if array.metadata.zarr_format != 3:
        return f"it has Zarr format {array.metadata.zarr_format}"
    if array.dtype.kind not in _NUMBERS:
        return f"it holds {array.dtype}"
    described = array.metadata.to_dict()
    names = [codec["name"] for codec in described["codecs"]]
    for name in names:
        if name not in CODECS:
            return f"it has the codec {name!r}"
    if described.get("storage_transformers"):
        return "it has storage transformers"
    return ""


class _Unexpected(Exception):
    def __init__(self, place: str, expected: str, value: Any) -> None:
        super().__init__(f"{place} should be {expected} and is {value!r:.120}")


def _check(value: Any, form: Any, place: str) -> None:
    if isinstance(form, _Leaf):
        if not form.holds(value):
            raise _Unexpected(place, form.said, value)
    elif isinstance(form, dict | _Named):
        _check_fields(value, form, place)
    else:
        _check_items(value, form, place)


def _check_items(value: Any, form: list[Any] | tuple[Any, ...], place: str) -> None:
    if not isinstance(value, list):
        raise _Unexpected(place, "a list", value)
    if isinstance(form, list):
        form = (form[0],) * len(value)
    if len(value) != len(form):
        raise _Unexpected(place, f"a list of {len(form)}", value)
    for number, (item, of) in enumerate(zip(value, form, strict=True)):
        _check(item, of, f"{place}[{number}]")


def _check_fields(value: Any, form: dict[str, Any] | _Named, place: str) -> None:
    if not isinstance(value, dict):
        raise _Unexpected(place, "an object", value)
    fields = dict.fromkeys(value, form.of) if isinstance(form, _Named) else form
    for name, of in fields.items():
        known = name.removesuffix("?") if isinstance(form, dict) else name
        if known in value or known == name:
            _check(value.get(known), of, f"{place}[{known!r:.120}]")


def _check_column(column: dict[str, Any], place: str) -> None:
    """A column of single numbers has one per key; any other has one key."""
    keys, shared = len(column["keys"]), is_shared(column)
    if not keys or (not shared and keys != 1):
        raise _Unexpected(f"{place}['keys']", "a list of one key", column["keys"])
    if len(column["dtypes"]) != keys:
        raise _Unexpected(f"{place}['dtypes']", f"a list of {keys}", column["dtypes"])
    if shared and column["shape"] != [keys]:
        raise _Unexpected(f"{place}['shape']", f"[{keys}]", column["shape"])
