"""Where a format has its arrays: formats differ in that alone."""

from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from hrcallbacks.storage.checks import check_count, check_rows, damaged
from hrcallbacks.storage.chunked_array import ChunkedArray
from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.files import Files
from hrcallbacks.storage.zarr_format import INDEX


@dataclass(frozen=True)
class Start:
    """An array that does not change: a replay starts from it, or a step was given it.

    Attributes:
        array: The array; none of its chunks has been read.
        name: The variable's path, or "".
    """

    array: ChunkedArray
    name: str = ""

    def read(self) -> np.ndarray:
        """Reads it.

        Raises:
            OSError: If it is damaged.
        """
        return self.array.all()


class Layout(ABC):
    """Finds the arrays of a store.

    Args:
        files: The store's files.

    Attributes:
        files: The same.
        records: How many records count.
    """

    def __init__(self, files: Files) -> None:
        self.files: Files = files
        self.said: Mapping[str, Any] = self._of_index()
        self.records: int = check_count(self.said, "records", files.path)

    def _of_index(self) -> Mapping[str, Any]:
        """The attributes of the group of the index; none before the first record."""
        try:
            found = self.files.json(f"{INDEX}/zarr.json")
        except FileNotFoundError:
            return {}
        except (OSError, ValueError) as error:
            why = f"{INDEX + '/zarr.json'!r} cannot be read: {error}"
            raise damaged(self.files.path, why) from error
        attributes = found.get("attributes", {}) if isinstance(found, dict) else None
        if not isinstance(attributes, dict):
            raise damaged(self.files.path, f"{INDEX + '/zarr.json'!r} is {found!r:.80}")
        return attributes

    def column(self, column: Column) -> ChunkedArray:
        """The array of a column, as long as the recording.

        Raises:
            ValueError: If it is not one that we write.
        """
        array = self.rows(self.open(column.name))
        check_rows(array, column.shape, column.dtype, self.files.path)
        return array

    @abstractmethod
    def open(self, path: str) -> ChunkedArray:
        """An array; none of its chunks is read."""

    @abstractmethod
    def rows(self, array: ChunkedArray) -> ChunkedArray:
        """An array with a row per record, as long as the recording."""

    @abstractmethod
    def index(self) -> dict[str, ChunkedArray]:
        """The arrays of the index by its columns, in order."""

    @abstractmethod
    def epochs(self) -> ChunkedArray | None:
        """A row `(fit, epoch, last step)` for each ended epoch."""

    @abstractmethod
    def weights(self, number: int, json: Mapping[str, Any]) -> Sequence[Start]:
        """The weights that a fit started from, by its number and JSON."""

    @abstractmethod
    def state(self, number: int, name: str, json: Mapping[str, Any]) -> Sequence[Start]:
        """What an optimizer started from, by its fit, name and JSON."""

    def said_arrays(self, said: Sequence[Sequence[Any]]) -> Sequence[Start]:
        """The arrays of which the attributes say where and what they are."""
        return []
