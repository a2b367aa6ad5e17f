"""Writes the index and the epochs of a store to disk."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage.checksums import signed
from hrcallbacks.storage.column_names import GROUPS, INDEX_NAMES
from hrcallbacks.storage.described import described_index
from hrcallbacks.storage.names import distinct, on_disk
from hrcallbacks.storage.zarr_arrays import create_array, writes_all
from hrcallbacks.storage.zarr_format import EPOCHS, INDEX

CHUNK = 4096
_INTEGERS = ("step", "epoch", "batch")


@dataclass(frozen=True)
class Epoch:
    """An epoch that ended.

    Attributes:
        fit: Number of its fit, from 1.
        epoch: Its number in that fit.
        step: Its last step, numbered over the run.
    """

    fit: int
    epoch: int
    step: int


class IndexWriter:
    """Writes the index, and keeps the rows of its last chunk until that is full.

    Its columns are arrays at the top of the store. The attributes of the group `index`
    name them and say how many records and ended epochs count.

    Args:
        group: The store's Zarr group.
        index: The rows of the index that are already on disk.
        names: Names of its columns on disk: by column, that of its array.
    """

    def __init__(
        self,
        group: Any,
        index: pd.DataFrame,
        names: Mapping[str, str],
    ) -> None:
        self._group = group
        whole = len(index) - len(index) % CHUNK
        self._rows: list[dict[Any, Any]] = index.iloc[whole:].to_dict("records")
        self._first = whole  # Record number of the first of these rows.
        self._names = dict(names)
        self._taken = {name.casefold() for name in (*INDEX_NAMES, *GROUPS)}
        self._taken |= {name.casefold() for name in names.values()}
        self._arrays = {name: writes_all(group[at]) for name, at in names.items()}
        self._said: dict[str, Any] | None = None

    @property
    def names(self) -> dict[str, str]:
        """By column of the index, the name of its array."""
        return dict(self._names)

    def put(self, number: int, *rows: dict[str, Any]) -> None:
        """Sets the next rows, or again if storing their records was interrupted."""
        self._rows[number - self._first :] = rows

    def put_all(self, first: int, index: pd.DataFrame) -> None:
        """Sets the next rows, and writes them.

        Args:
            first: How many there are already.
            index: The rows.
        """
        for start in range(0, len(index), CHUNK):
            rows = index.iloc[start : start + CHUNK].to_dict("records")
            self.put(first + start, *rows)
            self.write(first + start + len(rows))
            self.forget(first + start + len(rows))

    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """Adds numbers to the latest rows, if they are still kept."""
        start = max(first - self._first, 0)
        self._rows[start:] = [row | dict(metrics) for row in self._rows[start:]]

    def write(self, count: int) -> None:
        """Writes the rows that are kept."""
        frame = pd.DataFrame(self._rows[: count - self._first])
        made = {
            str(name): np.stack([np.asarray(v) for v in frame[name]]) for name in frame
        }
        for name, values in made.items():
            if name not in self._arrays:
                self._create(name, values)
        for name, array in self._arrays.items():
            chunk = np.full(array.chunks, array.fill_value, array.dtype)
            if name in made:
                chunk[: len(made[name])] = made[name]
            end = self._first + CHUNK
            if array.shape[0] < end:
                array.resize((end, *array.shape[1:]))
            array[self._first : end] = chunk

    def commit(self, count: int, epochs: int) -> None:
        """Says how many records and ended epochs count, once all is written."""
        columns = [[name, at] for name, at in self._names.items()]
        said = {"records": count, "ended_epochs": epochs, "columns": columns}
        if said != self._said:
            # In one write: a reader finds either the old ones or the new ones.
            self._group.require_group(INDEX).update_attributes(signed(said))
            self._said = said

    def forget(self, count: int) -> None:
        """Drops whole chunks that were written."""
        whole = count - count % CHUNK
        self._rows = self._rows[whole - self._first : count - self._first]
        self._first = whole

    def trim(self, count: int) -> None:
        """Makes each array as long as the recording."""
        for array in self._arrays.values():
            if array.shape[0] != count:
                array.resize((count, *array.shape[1:]))

    def _create(self, name: str, values: np.ndarray) -> None:
        integer = values.dtype.kind in "iu" and name in _INTEGERS
        at = name if name in INDEX_NAMES else distinct(on_disk(name), self._taken)
        about = described_index(name, values.ndim - 1)
        self._arrays[name] = create_array(
            self._group,
            at,
            shape=(0, *values.shape[1:]),
            chunks=(CHUNK, *values.shape[1:]),
            dtype="int64" if integer else "float64",
            dimensions=about.dimensions,
            attributes=about.attributes,
            first=self._first,
            overwrite=True,  # A crash may have left one.
        )
        self._names[name] = at
        self._taken.add(at.casefold())


def write_epochs(group: Any, epochs: Sequence[Epoch], written: int) -> None:
    """Writes the ended epochs that are not on disk yet.

    Args:
        group: The store's Zarr group.
        epochs: All that ended.
        written: How many of them are on disk.
    """
    if len(epochs) <= written:
        return
    array = _epochs(group)
    start = written // CHUNK * CHUNK
    for first in range(start, len(epochs), CHUNK):
        chunk = np.zeros((CHUNK, 3), "int64")
        rows = [(e.fit, e.epoch, e.step) for e in epochs[first : first + CHUNK]]
        chunk[: len(rows)] = rows
        if array.shape[0] < first + CHUNK:
            array.resize((first + CHUNK, 3))
        array[first : first + CHUNK] = chunk


def trim_epochs(group: Any, count: int) -> None:
    """Makes the array of ended epochs as long as there are."""
    if count and (array := _epochs(group)).shape[0] != count:
        array.resize((count, 3))


def _epochs(group: Any) -> Any:
    if EPOCHS in group:
        return writes_all(group[EPOCHS])
    return create_array(
        group,
        EPOCHS,
        shape=(0, 3),
        chunks=(CHUNK, 3),
        dtype="int64",
        dimensions=("ended_epoch", "fit_epoch_last_step"),
        attributes={"long_name": "fit, epoch in it and last step of each ended epoch"},
    )
