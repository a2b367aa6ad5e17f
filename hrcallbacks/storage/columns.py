"""Columns of numbers, one row per record.

Raw arrays have a column each, `(records, *shape)`. What a reduction makes of several
variables shares one, `(records, keys, *shape)`, if it has the same shape for all of
them: a thousand norms are one vector per record. What is missing from a record is NaN.
"""

import functools
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrcallbacks.reductions.reduction import RAW
from hrcallbacks.storage.column_names import ColumnNames
from hrcallbacks.types import Key, Spec


@dataclass(frozen=True)
class Column:
    """A column: it holds one key, or several that have the same shape.

    Attributes:
        name: Its name, with slashes.
        keys: The keys.
        dtypes: Their dtypes; single numbers that share a column are stored in float64.
        shape: Shape of a row: of a shared column `(keys, *shape)`.
        is_shared: Whether it may hold several keys.
    """

    name: str
    keys: Sequence[Key]
    dtypes: Sequence[str]
    shape: tuple[int, ...]
    is_shared: bool

    @functools.cached_property
    def each(self) -> tuple[int, ...]:
        """Shape of what it holds of one key."""
        return self.shape[1:] if self.is_shared else self.shape

    @functools.cached_property
    def dtype(self) -> np.dtype:
        """Dtype of its rows."""
        is_numbers = self.is_shared and not self.each
        return np.dtype("float64" if is_numbers else self.dtypes[0])

    @functools.cached_property
    def row_bytes(self) -> int:
        """Size of a row."""
        return math.prod(self.shape) * self.dtype.itemsize

    def fill(
        self, rows: np.ndarray, number: int, values: Mapping[Key, np.ndarray]
    ) -> None:
        """Writes a record into its row; NaN for what it lacks.

        Args:
            rows: Some rows.
            number: Which of them.
            values: The record's arrays by key.
        """
        if not self.is_shared:
            rows[number] = values.get(self.keys[0], np.nan)
        elif not self.each:
            rows[number] = [values.get(key, np.nan) for key in self.keys]
        else:
            for place, key in enumerate(self.keys):
                rows[number, place] = values.get(key, np.nan)

    def fill_all(
        self, rows: np.ndarray, arrays: Mapping[Key, Any], records: slice
    ) -> None:
        """Writes several records into as many rows; NaN for what they lack.

        Args:
            rows: The rows.
            arrays: Arrays by key, `(records, *shape)`.
            records: Which of the records in them.
        """
        for place, key in enumerate(self.keys):
            into = rows[:, place] if self.is_shared else rows
            into[...] = arrays[key][records] if key in arrays else np.nan

    def of(self, rows: Any, key: Key) -> Any:
        """The array of one key, from all rows of the column."""
        if not self.is_shared:
            return rows
        place = self.keys.index(key)
        if not isinstance(rows, np.ndarray):  # On disk.
            return rows.entry(place, f"{key.quantity} {key.reduction} {key.path}")
        return rows[:, place].astype(self.dtypes[place], copy=False)


class Columns:
    """The columns of a store, in the order of declaration.

    Attributes:
        record_bytes: Size of a record.
    """

    def __init__(self, columns: Sequence[Column] = ()) -> None:
        self._columns = list(columns)
        self._count_bytes()

    def _count_bytes(self) -> None:
        # Size of a record.
        self.record_bytes: int = sum(column.row_bytes for column in self._columns)

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

    @property
    def specs(self) -> dict[Key, Spec]:
        """What they hold, and what it is like."""
        return {
            key: Spec(column.each, dtype)
            for column in self._columns
            for key, dtype in zip(column.keys, column.dtypes, strict=True)
        }

    def check(self, specs: Mapping[Key, Spec]) -> None:
        """Rejects what cannot be declared.

        Raises:
            ValueError: If a key was declared with another shape.
        """
        shapes = {key: column.each for column in self._columns for key in column.keys}
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
        shared = _shared(fresh)
        names = ColumnNames(self._columns)
        new: list[Column] = []
        for key, spec in fresh.items():
            if key not in shared:
                name = names.of_array(key)
                new.append(Column(name, [key], [spec.dtype], spec.shape, False))
            elif (keys := shared[key])[0] == key:
                dtypes = [fresh[k].dtype for k in keys]
                name, shape = names.of_statistic(key), (len(keys), *spec.shape)
                new.append(Column(name, keys, dtypes, shape, True))
        # Numbers last, after the arrays that they are of.
        new.sort(key=lambda column: column.is_shared and not column.each)
        self._columns += new
        self._count_bytes()
        return new

    def record_bytes_with(self, specs: Mapping[Key, Spec]) -> int:
        """Size of a record once these keys are declared too."""
        columns = Columns(self._columns)
        columns.declare(specs)
        return columns.record_bytes


def _shared(specs: Mapping[Key, Spec]) -> dict[Key, list[Key]]:
    """By key, all those that it shares a column with."""
    kinds: dict[tuple[str, str, bool], list[Key]] = {}
    for key, spec in specs.items():
        if key.reduction != RAW:
            kind = key.quantity, key.reduction, not spec.shape
            kinds.setdefault(kind, []).append(key)
    return {
        key: keys
        for (*_, are_numbers), keys in kinds.items()
        if are_numbers or len({specs[key] for key in keys}) == 1
        for key in keys
    }
