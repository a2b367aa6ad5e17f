"""Writes the index and the epochs of a store to disk."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage.names import distinct, on_disk
from hrcallbacks.storage.zarr_reader import arrays_of

CHUNK = 4096


class IndexWriter:
    """Writes the index, and keeps the rows of its last chunk until that is full.

    Args:
        group: The store's Zarr group.
        index: The rows of the index that are already on disk.
    """

    def __init__(self, group: Any, index: pd.DataFrame) -> None:
        self._group = group
        whole = len(index) - len(index) % CHUNK
        self._rows: list[dict[Any, Any]] = index.iloc[whole:].to_dict("records")
        self._first = whole  # Record number of the first of these rows.
        # The arrays on disk: a crash may have left some, but no record.
        arrays = arrays_of(group["index"]) if "index" in group else {}
        self._arrays = {array.attrs["name"]: array for array in arrays.values()}

    def put(self, number: int, row: dict[str, Any]) -> None:
        """Sets the next row, or sets it again if storing a record was interrupted."""
        self._rows[number - self._first :] = [row]

    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """Adds numbers to the latest rows, if they are still kept."""
        start = max(first - self._first, 0)
        self._rows[start:] = [row | dict(metrics) for row in self._rows[start:]]

    def write(self, count: int) -> None:
        """Writes the rows that are kept, then the number of records."""
        start = self._first
        frame = pd.DataFrame(self._rows[: count - start])
        for name in frame:
            values = np.stack([np.asarray(v) for v in frame[name]])
            array = self._array(str(name), values)
            if array.shape[0] < count:
                array.resize((start + CHUNK, *values.shape[1:]))
            array[start:count] = values
        self._group["index"].attrs["records"] = count

    def forget(self, count: int) -> None:
        """Drops whole chunks that were written."""
        whole = count - count % CHUNK
        self._rows = self._rows[whole - self._first : count - self._first]
        self._first = whole

    def _array(self, name: str, values: np.ndarray) -> Any:
        if name not in self._arrays:
            taken = {a.basename.casefold() for a in self._arrays.values()}
            integer = values.dtype.kind in "iu" and name in ("step", "epoch", "batch")
            self._arrays[name] = self._group.create_array(
                f"index/{distinct(on_disk(name), taken)}",
                shape=(0, *values.shape[1:]),
                chunks=(CHUNK, *values.shape[1:]),
                dtype="int64" if integer else "float64",
                fill_value=0 if integer else math.nan,
                attributes={"name": name, "place": len(self._arrays)},
            )
        return self._arrays[name]


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


def write_epochs(group: Any, epochs: list[Epoch]) -> None:
    """Writes the ended epochs that are not on disk yet."""
    if not epochs:
        return
    if "epochs" not in group:
        group.create_array("epochs", shape=(0, 3), chunks=(CHUNK, 3), dtype="int64")
    array = group["epochs"]
    count = len(epochs)
    start = max(0, min(array.shape[0], count - 1) // CHUNK * CHUNK)
    if array.shape[0] != count:
        array.resize((count, 3))
    rows = [(e.fit, e.epoch, e.step) for e in epochs[start:]]
    array[start:count] = np.array(rows, "int64")
