"""Reads recordings from disk: see `zarr_format` for the layout.

Nothing is left to Zarr, which would take a missing chunk for zeros, follow links, and
run whatever codec a store names.
"""

import importlib.metadata
from collections.abc import Mapping
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.optional import optional
from hrcallbacks.storage.checks import check_attributes
from hrcallbacks.storage.checksums import is_signed
from hrcallbacks.storage.chunked_array import ChunkedArray
from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.files import Files
from hrcallbacks.storage.format_1 import Format1
from hrcallbacks.storage.format_2 import Format2
from hrcallbacks.storage.layout import Layout
from hrcallbacks.storage.place import checked_path
from hrcallbacks.storage.starts import StoredArrays, StoredState
from hrcallbacks.storage.store import Snapshot, empty_index
from hrcallbacks.storage.stored_array import StoredArray
from hrcallbacks.storage.zarr_format import FORMAT, VERSION, column_of, fit_of
from hrcallbacks.types import Fit

_LAYOUTS: dict[int, type[Layout]] = {1: Format1, 2: Format2}


class Stored:
    """A store that is being read.

    Args:
        path: A path or an fsspec URL.

    Attributes:
        version: Its format's version.
        json: Its attributes.
        id: Identifies the recording; None in some of format 1.
        layout: Finds its arrays.
        columns: Its columns.
        attributes: `Recording.attributes`.
        fits: The fits; what a replay starts from is read on demand.
        batches: By step, its data, where they were kept; read on demand.
        count: Number of records.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If it is not a recording, has an unknown format, or holds something
            that no recording holds.
    """

    def __init__(self, path: object) -> None:
        import_zarr()
        path = checked_path(path)
        self._numbers: dict[str, np.ndarray] = {}  # Columns of numbers already read.
        files = Files(path)
        attributes = _attributes(files)
        _check_format(attributes, path)
        self.version: int = attributes["format_version"]
        if self.version > 1 and not is_signed(attributes):
            raise ValueError(
                f"The recording at {path!r} is damaged: its attributes, in "
                "'zarr.json', do not match their checksum."
            )
        check_attributes(attributes, path)
        self.json: Mapping[str, Any] = attributes
        self.id: str | None = attributes.get("recording_id")
        self.attributes: dict[str, Any] = attributes["attributes"]
        self.attributes["variables"] = [
            (name, tuple(shape)) for name, shape in self.attributes.get("variables", ())
        ]
        columns = [column_of(column) for column in attributes["columns"]]
        self.columns: list[Column] = columns
        self.layout: Layout = _LAYOUTS[self.version](files)
        self.fits: list[Fit] = [
            self._fit(number, fit) for number, fit in enumerate(attributes["fits"])
        ]
        self.batches: dict[int, Mapping[str, np.ndarray]] = {
            step: StoredArrays(partial(self.layout.said_arrays, said))
            for step, said in attributes.get("batches", ())
        }
        self.count: int = self.layout.records

    def epochs(self) -> list[list[int]]:
        """For each ended epoch: the fit's number, its own number and its last step."""
        epochs = self.layout.epochs()
        return [] if epochs is None else epochs.all().tolist()

    @property
    def index_names(self) -> dict[str, str]:
        """By column of the index, the name of its array; for format 2."""
        assert isinstance(self.layout, Format2)
        return self.layout.names

    def _fit(self, number: int, json: Mapping[str, Any]) -> Fit:
        layout, weights = self.layout, None
        if json["has_weights"]:
            weights = StoredArrays(partial(layout.weights, number, json))
        states = {
            name: StoredState(partial(layout.state, number, name, json))
            for name, optimizer in json["optimizers"].items()
            if optimizer["has_state"]
        }
        return fit_of(json, weights, states)

    def index(self) -> pd.DataFrame:
        """The records' index, a DataFrame."""
        if not self.count:
            return empty_index()
        columns: dict[str, Any] = {}
        for name, array in self.layout.index().items():
            values = StoredArray(array, f"{name!r} of the index")[:]
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
            list(self.batches),
            self.batches.__getitem__,
        )

    def array(self, column: Column) -> ChunkedArray:
        """The array of a column; nothing is read from it.

        Raises:
            ValueError: If it is not one that `zarr_store` writes.
        """
        return self.layout.column(column)

    def rows(self, column: Column) -> Any:
        """The rows of a column, read on demand; those of numbers are read and kept."""
        if column.name in self._numbers:
            return self._numbers[column.name]
        key = column.keys[0]
        path = "" if column.is_shared else f" {key.path}"
        array = StoredArray(self.array(column), f"{key.quantity} {key.reduction}{path}")
        if not column.is_shared or column.each:
            return array
        return self._numbers.setdefault(column.name, array[:])


def _attributes(files: Files) -> dict[str, Any]:
    """The attributes of a store's group."""
    path = files.path
    try:
        found = files.json("zarr.json")
    except (FileNotFoundError, NotADirectoryError) as error:
        _refuse_format_2(files)
        raise FileNotFoundError(
            f"There is no recording at {path!r}. GradientRecorder(store={path!r}) or "
            "recording.save(path) writes one."
        ) from error
    except (OSError, ValueError) as error:
        raise ValueError(
            f"What is at {path!r} is not a readable Zarr group: of its 'zarr.json', "
            f"{error}."
        ) from error
    kind = {"zarr_format": 3, "node_type": "group"}
    if not isinstance(found, dict) or {k: found.get(k) for k in kind} != kind:
        raise ValueError(
            f"What is at {path!r} is not a readable Zarr group: its 'zarr.json' does "
            f"not say {kind}."
        )
    attributes = found.get("attributes", {})
    return attributes if isinstance(attributes, dict) else {}


def _refuse_format_2(files: Files) -> None:
    """Raises if there is a group of Zarr format 2."""
    try:
        files.json(".zgroup")
    except (OSError, ValueError):
        return
    raise ValueError(
        f"What is at {files.path!r} is a Zarr group of format 2 (it has a .zgroup). "
        "Only format 3 is opened, as recordings have it: decoding an array of format 2 "
        "may run code."
    ) from None


def _check_format(attributes: Mapping[str, Any], path: str) -> None:
    if attributes.get("format") != FORMAT:
        raise ValueError(
            f"The Zarr group at {path!r} is not a recording of hrcallbacks: its "
            f"attribute 'format' is {attributes.get('format')!r:.80}, not {FORMAT!r}."
        )
    version = attributes.get("format_version")
    if type(version) is not int or version not in _LAYOUTS:
        raise ValueError(
            f"The recording at {path!r} has format version {version!r:.80}, written by "
            f"{attributes.get('written_by')!r:.80}. This is hrcallbacks "
            f"{importlib.metadata.version('hrcallbacks')}, which reads versions 1 to "
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
