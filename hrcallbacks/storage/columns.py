"""Columns of numbers, one row per record.

A key has its own column, `(records, *shape)`. All keys that are single numbers share
one, `(records, keys)`: a thousand norms are one vector per record. A number missing
from a record is NaN.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrcallbacks.storage.names import distinct, on_disk
from hrcallbacks.types import Key, Spec


@dataclass(frozen=True)
class Column:
    """A column: it holds one key, or several that are single numbers.

    Attributes:
        name: Its name.
        keys: The keys.
        dtypes: Their dtypes; numbers that share a column are stored in float64.
        shape: Shape of a row.
        is_shared: Whether it holds single numbers.
    """

    name: str
    keys: Sequence[Key]
    dtypes: Sequence[str]
    shape: tuple[int, ...]
    is_shared: bool

    @property
    def dtype(self) -> np.dtype:
        """Dtype of its rows."""
        return np.dtype("float64" if self.is_shared else self.dtypes[0])

    @property
    def row_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape) * self.dtype.itemsize

    def row(self, values: Mapping[Key, np.ndarray]) -> np.ndarray | None:
        """A record's row, from its arrays by key; None if the record has none."""
        if not self.is_shared:
            return values.get(self.keys[0])
        return np.array([values.get(key, np.nan) for key in self.keys])

    def of(self, rows: Any, key: Key) -> Any:
        """The array of one key, from all rows of the column."""
        if not self.is_shared:
            return rows
        place = self.keys.index(key)
        return rows[:, place].astype(self.dtypes[place], copy=False)


class Columns:
    """The columns of a store, in the order of declaration."""

    def __init__(self, columns: Sequence[Column] = ()) -> None:
        self._columns = list(columns)

    def __iter__(self) -> Iterator[Column]:
        """The columns."""
        return iter(self._columns)

    def __len__(self) -> int:
        """Number of columns."""
        return len(self._columns)

    @property
    def keys(self) -> set[Key]:
        """The keys that they hold."""
        return {key for column in self._columns for key in column.keys}

    def check(self, specs: Mapping[Key, Spec]) -> None:
        """Rejects what cannot be declared.

        Raises:
            ValueError: If a key was declared with another shape.
        """
        shapes = {
            key: () if column.is_shared else column.shape
            for column in self._columns
            for key in column.keys
        }
        for key, spec in specs.items():
            was = shapes.get(key, spec.shape)
            if was != spec.shape:
                raise ValueError(
                    f"This recorder holds {key.quantity} of {key.path!r} with shape "
                    f"{was}, but in this model the shape is {spec.shape}. Call "
                    "recorder.reset(), or use another recorder for another model."
                )

    def declare(self, specs: Mapping[Key, Spec]) -> list[Column]:
        """Adds columns for new keys, which `check` must allow.

        Returns:
            The new columns.
        """
        self.check(specs)
        known = self.keys
        fresh = {key: spec for key, spec in specs.items() if key not in known}
        taken = {column.name.casefold() for column in self._columns}
        new = []
        for key, spec in fresh.items():
            if spec.shape:
                name = _distinct(_name(key), taken)
                new.append(Column(name, [key], [spec.dtype], spec.shape, False))
        if numbers := {key: s.dtype for key, s in fresh.items() if not s.shape}:
            name = _distinct(f"numbers/{len(self._columns)}", taken)
            keys, dtypes = [*numbers], [*numbers.values()]
            new.append(Column(name, keys, dtypes, (len(numbers),), True))
        self._columns += new
        return new

    @property
    def record_bytes(self) -> int:
        """Size of a record."""
        return sum(column.row_bytes for column in self._columns)

    def record_bytes_with(self, specs: Mapping[Key, Spec]) -> int:
        """Size of a record once these keys are declared too."""
        columns = Columns(self._columns)
        columns.declare(specs)
        return columns.record_bytes


def _name(key: Key) -> str:
    return f"{key.quantity}/{on_disk(key.reduction)}/{on_disk(key.path)}"


def _distinct(name: str, taken: set[str]) -> str:
    name = distinct(name, taken)
    taken.add(name.casefold())
    return name
