"""Checks what a store holds, whoever wrote it.

Its attributes must be JSON of a known form, and its arrays must have the shapes that
these state. Anything else is rejected with its place named. See `array_metadata` for
what an array may be.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrcallbacks.storage.chunked_array import ChunkedArray
from hrcallbacks.storage.files import is_place
from hrcallbacks.storage.store import EMPTY_INDEX
from hrcallbacks.storage.zarr_format import is_shared

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
_PLACE = _Leaf("a place in it", lambda v: isinstance(v, str) and is_place(v))
_OBJECT_OR_NONE = _Leaf("an object or null", lambda v: v is None or _OBJECT.holds(v))
# An array that is no column: its place, the variable's path, dtype and shape.
_ARRAY = (_PLACE, _TEXT, _DTYPE, [_COUNT])

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
            "name": _PLACE,
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
            "weights?": [_ARRAY],
            "variables?": _Named((_TEXT, _OBJECT_OR_NONE)),
            "sparse?": [_TEXT],
            "optimizers": _Named(
                {
                    "class_name": _TEXT_OR_NONE,
                    "has_state": _BOOL,
                    "state?": [_ARRAY],
                }
            ),
        }
    ],
    "batches?": [(_COUNT, [_ARRAY])],
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
            if name.endswith("?") and name[:-1] not in attributes:
                continue
            _check(attributes.get(name.rstrip("?")), form, name.rstrip("?"))
        for number, column in enumerate(attributes["columns"]):
            _check_column(column, f"columns[{number}]")
    except _Unexpected as error:
        raise ValueError(
            f"The recording at {path!r} is damaged, or hrcallbacks did not write it: "
            f"in its attributes, {error}."
        ) from error


def damaged(path: str, why: str) -> ValueError:
    """The error for an index that cannot be trusted.

    Args:
        path: Where the store is.
        why: What is wrong with it.
    """
    return ValueError(f"The index of the recording at {path!r} is damaged: {why}.")


def check_rows(
    array: ChunkedArray,
    shape: tuple[int, ...],
    dtype: Any,
    path: str,
    *,
    rows: bool = True,
) -> None:
    """Rejects an array that does not hold what the attributes state.

    Args:
        array: The array.
        shape: Shape of a row.
        dtype: Its dtype.
        path: Where the store is, for the message.
        rows: Whether it has a row per record; else `shape` is that of all of it.

    Raises:
        ValueError: If it does not.
    """
    found = array.shape[1:] if rows else array.shape
    if found != shape or (rows and not array.shape):
        raise ValueError(
            f"The array {array.path!r} of the recording at {path!r} has shape "
            f"{array.shape}; {'its rows' if rows else 'it'} should have shape {shape}."
        )
    if array.dtype.name != np.dtype(dtype).name:
        raise ValueError(
            f"The array {array.path!r} of the recording at {path!r} holds "
            f"{array.dtype.name}; it should hold {np.dtype(dtype).name}."
        )


def check_count(attributes: Mapping[str, Any], name: str, path: str) -> int:
    """A number that the attributes of the index state, or 0.

    Args:
        attributes: The attributes.
        name: The number's name.
        path: Where the store is, for the message.

    Raises:
        ValueError: If it is not one.
    """
    count = attributes.get(name, 0)
    if not _COUNT.holds(count):
        why = f"its attribute {name!r} should be {_COUNT.said} and is {count!r:.120}"
        raise damaged(path, why)
    return count


def check_names(attributes: Mapping[str, Any], path: str) -> dict[str, str]:
    """The columns of the index with their arrays.

    Args:
        attributes: The attributes of the index.
        path: Where the store is, for the message.

    Raises:
        ValueError: If they have another form, or columns are missing.
    """
    columns = attributes.get("columns", [])
    try:
        _check(columns, [(_TEXT, _PLACE)], "columns")
    except _Unexpected as error:
        raise damaged(path, f"in its attributes, {error}") from error
    names = dict(columns)
    if attributes.get("records"):
        _check_there(list(names), path)
    return names


def check_index(arrays: list[ChunkedArray], path: str) -> None:
    """Rejects an index of format 1 that lacks columns, or has one without a name.

    Args:
        arrays: Its arrays.
        path: Where the store is, for the message.

    Raises:
        ValueError: If arrays do not state their names and places, or one is missing.
    """
    try:
        for array in arrays:
            _check(array.attributes, _INDEX_COLUMN, array.path)
    except _Unexpected as error:
        why = f"in the attributes of its arrays, {error}"
        raise damaged(path, why) from error
    _check_there([array.attributes["name"] for array in arrays], path)


def _check_there(names: list[str], path: str) -> None:
    if missing := [name for name in EMPTY_INDEX if name not in names]:
        raise damaged(path, f"it has the columns {names}, but lacks {missing}")


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
    """A shared column has an entry per key; any other has one key."""
    keys, shared = len(column["keys"]), is_shared(column)
    if not keys or (not shared and keys != 1):
        raise _Unexpected(f"{place}['keys']", "a list of one key", column["keys"])
    if len(column["dtypes"]) != keys:
        raise _Unexpected(f"{place}['dtypes']", f"a list of {keys}", column["dtypes"])
    if shared and column["shape"][:1] != [keys]:
        raise _Unexpected(f"{place}['shape']", f"[{keys}, ...]", column["shape"])
