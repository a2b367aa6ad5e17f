"""Reads recordings from disk: see `zarr_format` for the layout."""

import importlib.metadata
import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.optional import optional
from hrcallbacks.storage.checks import (
    check_array,
    check_attributes,
    check_index,
    check_records,
    check_rows,
)
from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.place import checked_path
from hrcallbacks.storage.store import Snapshot, empty_index
from hrcallbacks.storage.stored_array import StoredArray
from hrcallbacks.storage.zarr_batches import read_batch, steps_of_batches
from hrcallbacks.storage.zarr_format import (
    FORMAT,
    VERSION,
    column_of,
    fit_of,
    state_folder,
    weights_folder,
)
from hrcallbacks.types import Fit


class Stored:
    """A store that is being read.

    Args:
        path: A path or an fsspec URL.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is not a recording, has an unknown format, or holds something
            that no recording holds.
    """

    def __init__(self, path: object) -> None:
        import_zarr()
        path = self._path = checked_path(path)
        self._numbers: dict[str, np.ndarray] = {}  # Shared columns already read.
        self._group: Any = _opened(path)
        attributes: dict[str, Any] = dict(self._group.attrs)
        _check_format(attributes, path)
        check_attributes(attributes, path)
        self.id: str | None = attributes.get("recording_id")
        self.attributes: dict[str, Any] = attributes["attributes"]
        self.attributes["variables"] = [
            (name, tuple(shape)) for name, shape in self.attributes.get("variables", ())
        ]
        columns = [column_of(column) for column in attributes["columns"]]
        self.columns: list[Column] = columns
        self.fits: list[Fit] = [
            self._fit(number, fit) for number, fit in enumerate(attributes["fits"])
        ]
        self.count: int = 0
        if "index" in self._group:
            self.count = check_records(self._group["index"].attrs, path)

    def epochs(self) -> list[list[int]]:
        """For each ended epoch: the fit's number, its own number and its last step."""
        if "epochs" not in self._group:
            return []
        epochs = check_array(self._group["epochs"], self._path)
        return check_rows(epochs, (3,), self._path)[:].tolist()

    def _fit(self, number: int, json: Mapping[str, Any]) -> Fit:
        weights = self._arrays(weights_folder(number)) if json["has_weights"] else None
        states = {
            name: [array for _, array in self._arrays(state_folder(number, name))]
            for name, optimizer in json["optimizers"].items()
            if optimizer["has_state"]
        }
        return fit_of(json, dict(weights) if weights is not None else None, states)

    def _arrays(self, folder: str) -> list[tuple[str, np.ndarray]]:
        """The arrays of a folder, each with its name."""
        arrays = arrays_of(self._group[folder])
        parts = {place: check_array(a, self._path) for place, a in arrays.items()}
        ordered = sorted(parts, key=int)
        return [(parts[p].attrs["name"], np.asarray(parts[p][...])) for p in ordered]

    def index(self) -> pd.DataFrame:
        """The records' index, a DataFrame."""
        if not self.count:
            return empty_index()
        columns: dict[str, Any] = {}
        found = arrays_of(self._group["index"]).values()
        arrays = [check_array(array, self._path) for array in found]
        check_index(arrays, self._path)
        for array in sorted(arrays, key=lambda a: a.attrs["place"]):
            name = array.attrs["name"]
            values = StoredArray(array, self.count, f"{name!r} of the index")[:]
            columns[name] = values if values.ndim == 1 else list(values)
        return pd.DataFrame(columns)

    def snapshot(self) -> Snapshot:
        """The records, read on demand."""
        return Snapshot(
            self.columns,
            self.attributes,
            self.fits,
            self.index(),
            self.rows,
            steps_of_batches(self._group),
            lambda step: read_batch(self._group, step, self._path),
        )

    def array(self, column: Column) -> Any:
        """The `zarr.Array` of a column; nothing is read from it.

        Raises:
            ValueError: If it is not one that `zarr_store` writes.
        """
        array = check_array(self._group[column.name], self._path)
        return check_rows(array, column.shape, self._path)

    def rows(self, column: Column) -> Any:
        """The rows of a column, read on demand."""
        if column.is_shared and column.name in self._numbers:
            return self._numbers[column.name]
        key = column.keys[0]
        alone = f"{key.quantity} {key.reduction} {key.path}"
        what = "numbers" if column.is_shared else alone
        array = StoredArray(self.array(column), self.count, what)
        if not column.is_shared:
            return array
        return self._numbers.setdefault(column.name, array[:])


def open_group(path: str, *, mode: Any) -> Any:
    """Opens a Zarr group of format 3.

    In format 2, arrays can name Python's pickle as their decoder.

    Args:
        path: A path or an fsspec URL.
        mode: Zarr's `mode`.
    """
    # Consolidated metadata, which we do not write, may list arrays of format 2.
    return import_zarr().open_group(
        path, mode=mode, zarr_format=3, use_consolidated=False
    )


def arrays_of(group: Any) -> dict[str, Any]:
    """The arrays in a group, by name.

    While a run writes, there are also files that Zarr has yet to rename.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Object at .*\.partial is not recognized")
        return dict(group.arrays())


def _refuse_format_2(path: str) -> None:
    """Raises if there is a group of Zarr format 2; reads only its attributes."""
    try:
        import_zarr().open_group(path, mode="r", zarr_format=2, use_consolidated=False)
    except Exception:
        return
    raise ValueError(
        f"What is at {path!r} is a Zarr group of format 2 (it has a .zgroup). "
        "Only format 3 is opened, as recordings have it: decoding an array of format 2 "
        "may run code."
    ) from None


def _opened(path: str) -> Any:
    try:
        return open_group(path, mode="r")
    except FileNotFoundError as error:
        _refuse_format_2(path)
        raise FileNotFoundError(
            f"There is no recording at {path!r}. GradientRecorder(store={path!r}) or "
            "recording.save(path) writes one."
        ) from error
    except Exception as error:
        raise ValueError(
            f"What is at {path!r} is not a readable Zarr group: {error!r}."
        ) from error


def _check_format(attributes: Mapping[str, Any], path: str) -> None:
    if attributes.get("format") != FORMAT:
        raise ValueError(
            f"The Zarr group at {path!r} is not a recording of hrcallbacks: its "
            f"attribute 'format' is {attributes.get('format')!r}, not {FORMAT!r}."
        )
    if attributes.get("format_version") != VERSION:
        raise ValueError(
            f"The recording at {path!r} has format version "
            f"{attributes.get('format_version')!r}, written by "
            f"{attributes.get('written_by')}. This is hrcallbacks "
            f"{importlib.metadata.version('hrcallbacks')}, which reads version "
            f"{VERSION}. Try: pip install --upgrade hrcallbacks"
        )


def import_zarr() -> Any:
    """The module `zarr`.

    Raises:
        ImportError: If it is not installed; the message says how to install it.
    """
    with optional("Zarr", extra="zarr", needed_by="A recording on disk"):
        import zarr
    return zarr
