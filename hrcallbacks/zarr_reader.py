"""Recordings on disk, as they are read: see `zarr_store` for the layout."""

import importlib.metadata
import os
import warnings
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage import EMPTY_INDEX, Column, Snapshot
from hrcallbacks.store_checks import (
    check_array,
    check_attributes,
    check_index,
    check_records,
    check_rows,
)
from hrcallbacks.terminal import visible

FORMAT = "hrcallbacks recording"
VERSION = 1


class Stored:
    """A store that is read.

    Args:
        path: A path, or an fsspec URL.

    Raises:
        FileNotFoundError: If nothing is there.
        ValueError: If what is there is no recording, of an unknown format, or has
            something in it that no recording has.
    """

    def __init__(self, path):
        import_zarr()
        path = self._path = checked_path(path)
        self._numbers = {}  # Columns of single numbers that were read.
        try:
            self._group: Any = open_group(path, mode="r")
            attributes: dict[str, Any] = dict(self._group.attrs)
        except FileNotFoundError as error:
            _refuse_format_2(path)
            raise FileNotFoundError(
                f"There is no recording at {path!r}. GradientRecorder(store={path!r}) "
                "writes one, and recording.save(path)."
            ) from error
        except Exception as error:
            raise ValueError(
                f"What is at {path!r} is not a readable Zarr group: {error!r}."
            ) from error
        if attributes.get("format") != FORMAT:
            raise ValueError(
                f"The Zarr group at {path!r} is no recording of hrcallbacks: its "
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
        check_attributes(attributes, path)
        self.id = attributes.get("recording_id")
        self.attributes = attributes["attributes"]
        self.attributes["variables"] = [
            (name, tuple(shape)) for name, shape in self.attributes.get("variables", ())
        ]
        self.columns = [
            Column(c["name"], [*map(tuple, c["keys"])], c["dtypes"], tuple(c["shape"]))
            for c in attributes["columns"]
        ]
        self.fits = [
            _read_arrays(self._group, number, fit, path)
            for number, fit in enumerate(attributes["fits"])
        ]
        self.count = 0
        if "index" in self._group:
            self.count = check_records(self._group["index"].attrs, path)
        self.epochs = []
        if "epochs" in self._group:
            epochs = check_array(self._group["epochs"], path)
            self.epochs = [*map(tuple, check_rows(epochs, (3,), path)[:].tolist())]

    def index(self):
        """The records' index, a DataFrame."""
        if not self.count:
            return pd.DataFrame(columns=EMPTY_INDEX)
        columns = {}
        found = arrays_of(self._group["index"]).values()
        arrays = [check_array(array, self._path) for array in found]
        check_index(arrays, self._path)
        for array in sorted(arrays, key=lambda a: a.attrs["place"]):
            name = array.attrs["name"]
            values = StoredArray(array, self.count, f"{name!r} of the index")[:]
            columns[name] = values if values.ndim == 1 else list(values)
        return pd.DataFrame(columns)

    def snapshot(self):
        """The records, to be read when they are asked for."""
        return Snapshot(
            self.columns, self.attributes, self.fits, self.index(), self.rows
        )

    def array(self, column: Column) -> Any:
        """The array of a column, a `zarr.Array`, of which nothing is read.

        Raises:
            ValueError: If it is none that `zarr_store` writes.
        """
        array = check_array(self._group[column.name], self._path)
        return check_rows(array, column.shape, self._path)

    def rows(self, column):
        """The rows of a column, read when they are asked for."""
        if column.shared and column.name in self._numbers:
            return self._numbers[column.name]
        what = "numbers" if column.shared else " ".join(column.keys[0])
        array = StoredArray(self.array(column), self.count, what)
        if not column.shared:
            return array
        return self._numbers.setdefault(column.name, array[:])


class StoredArray:
    """An array on disk, of which what is indexed is read.

    Indexing gives NumPy arrays; `np.asarray` reads it whole.

    Attributes:
        shape: Its shape, `(records, ...)`.
        dtype: Its dtype.
        ndim: Its number of axes.
    """

    def __init__(self, array, count, what):
        self._array = array
        self._what = what
        self.shape = (count, *array.shape[1:])
        self.dtype = array.dtype
        self.ndim = array.ndim
        self._block = None  # The chunk that was read last, and its first row.

    def __len__(self):
        """Number of records."""
        return self.shape[0]

    def __getitem__(self, key):
        """Reads what is indexed, as NumPy does."""
        key = key if isinstance(key, tuple) else (key,)
        if not key or key[0] is Ellipsis:
            return np.asarray(self)[key]
        first, *others = key
        if isinstance(first, int | np.integer):
            return self._row(int(first))[(*others,)]
        if isinstance(first, slice):
            start, stop, step = first.indices(len(self))
            if step > 0:
                plain = all(isinstance(o, int | slice | np.integer) for o in others)
                inner = tuple(others) if plain else ()
                read = self._read(slice(start, max(start, stop), step), inner)
                return read if plain else read[(slice(None), *others)]
        return np.asarray(self)[key]

    def _row(self, number):
        if not -len(self) <= number < len(self):
            raise IndexError(f"record {number} is out of range: there are {len(self)}")
        number %= len(self)
        rows = self._array.chunks[0]
        start = number // rows * rows
        if self._block is None or self._block[0] != start:
            stop = min(start + rows, len(self))
            self._block = start, self._read(slice(start, stop), ())
        return self._block[1][number - start]

    def _read(self, rows, others):
        available = min(len(self), self._array.shape[0])
        try:
            read = np.asarray(self._array[(rows, *others)])
        except Exception as error:
            raise self._damage(rows, error) from error
        missing = len(range(*rows.indices(len(self)))) - len(read)
        if missing > 0 and available < len(self):
            pad = np.full((missing, *read.shape[1:]), np.nan, read.dtype)
            read = np.concatenate([read, pad])
        return read

    def _damage(self, rows, error):
        size = self._array.chunks[0]
        for start in range(rows.start // size * size, rows.stop, size):
            stop = min(start + size, len(self))
            try:
                self._array[start:stop]
            except Exception:
                return OSError(
                    f"Records {start} to {stop - 1} of {self._what} cannot be read: "
                    f"their chunk of the array {self._array.path!r} is damaged "
                    f"({error!r}). The others can: [:{start}] and [{stop}:]."
                )
        return error

    def __array__(self, dtype=None, copy=None):
        """All of it."""
        array = self._read(slice(0, len(self)), ())
        return array if dtype is None else array.astype(dtype)

    def __repr__(self):
        """What it is; reads nothing."""
        return f"<{visible(self._what)} on disk: shape {self.shape}, {self.dtype}>"


def checked_path(path):
    """A path or URL of a store, as a string."""
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(
            "Expected a path or URL of a Zarr store, such as 'run.zarr'. "
            f"Received: {path!r}."
        )
    return os.fspath(path)


def open_group(path: str, *, mode: Any) -> Any:
    """Opens a Zarr group of format 3.

    In format 2, arrays name what decodes them, and Python's pickle is among it.

    Args:
        path: A path, or an fsspec URL.
        mode: Zarr's.
    """
    # Consolidated metadata, which we do not write, may speak of arrays of format 2.
    return import_zarr().open_group(
        path, mode=mode, zarr_format=3, use_consolidated=False
    )


def arrays_of(group: Any) -> dict[str, Any]:
    """The arrays in a group, by name.

    While a run writes, there are also files that Zarr is about to put in place.
    """
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", r"Object at .*\.partial is not recognized")
        return dict(group.arrays())


def _refuse_format_2(path: str) -> None:
    """Says so, where a group of Zarr format 2 lies; reads its attributes alone."""
    try:
        import_zarr().open_group(path, mode="r", zarr_format=2, use_consolidated=False)
    except Exception:
        return
    raise ValueError(
        f"What is at {path!r} is a Zarr group of format 2 (it has a .zgroup). "
        "Recordings have format 3, and no other is opened: what decodes an array of "
        "format 2 may run code."
    ) from None


def _read_arrays(group, number, fit, path):
    """A fit with its arrays again."""

    def read(folder):
        arrays = arrays_of(group[f"fits/{number}/{folder}"])
        parts = {place: check_array(array, path) for place, array in arrays.items()}
        ordered = sorted(parts, key=int)
        return [(parts[p].attrs["name"], np.asarray(parts[p][...])) for p in ordered]

    fit = dict(fit)
    fit["weights"] = dict(read("weights")) if fit.pop("has_weights") else None
    for name, optimizer in fit["optimizers"].items():
        has_state = optimizer.pop("has_state")
        state = [v for _, v in read(f"optimizers/{name}")] if has_state else None
        optimizer["state"] = state
    return fit


def import_zarr():
    """The module zarr, or an error that says how to install it."""
    try:
        import zarr
    except ImportError as error:
        raise missing_zarr(error) from error
    return zarr


def missing_zarr(error):
    """The error for a package that a store needs."""
    return ImportError(
        f"A recording on disk needs Zarr ({error}). Install it with: "
        'pip install "hrcallbacks[zarr]".'
    )
