"""Writes all columns of a store."""

from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.zarr_columns import ColumnWriter, arrays_in, create_column
from hrcallbacks.types import Key


class ColumnWriters:
    """The writers of a store's columns.

    Args:
        group: The store's Zarr group.
        check: Raises if the store is gone.
    """

    def __init__(self, group: Any, check: Callable[[], None]) -> None:
        self._group = group
        self._check = check
        self._writers: list[ColumnWriter] = []

    def add(self, columns: Iterable[Column]) -> None:
        """Adds columns that are on disk."""
        for column in columns:
            array = self._group[column.name]
            self._writers.append(ColumnWriter(array, column, self._check))

    def create(
        self,
        new: Iterable[Column],
        columns: Iterable[Column],
        reductions: Mapping[str, Any],
        first: int,
    ) -> None:
        """Makes columns on disk.

        Args:
            new: The columns.
            columns: All of the store.
            reductions: `Recording.attributes["reductions"]`.
            first: How many records there are already.
        """
        waiting = sum(arrays_in(column) for column in columns)
        for column in new:
            create_column(self._group, column, reductions, columns=waiting, first=first)
            self.add([column])

    def restore(self, count: int, rows: Callable[[Column], Any]) -> None:
        """Loads what follows the last whole chunks back into memory.

        Args:
            count: How many records count.
            rows: Called with a column, returns its rows on disk.
        """
        for writer in self._writers:
            writer.restore(count, rows(writer.column))

    def put_all(
        self, first: int, arrays: Mapping[Key, Any], records: slice, *, flush: bool
    ) -> None:
        """Sets the next records, column by column; see `ColumnWriter.put_all`.

        Args:
            first: How many there are already.
            arrays: Arrays by key, `(records, *shape)`.
            records: Which of the records in them.
            flush: Whether to write each column to its end before the next.
        """
        for writer in self._writers:
            writer.put_all(first, arrays, records)
            if flush:
                writer.flush(first + records.stop - records.start)

    def flush(self, count: int) -> None:
        """Writes the chunks that are not yet full."""
        for writer in self._writers:
            writer.flush(count)

    def trim(self, count: int) -> None:
        """Makes each array as long as the recording."""
        for writer in self._writers:
            writer.trim(count)
