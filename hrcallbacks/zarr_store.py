"""Records on disk: a Zarr store that is written while training goes on.

Layout of format 1. A Zarr 3 group with an array for each column of `storage.Columns`,
one row a record; `index/<column>` with the columns of `Recording.index`; `epochs`, a
row `(fit, epoch, last step)` for each epoch that ended; `fits/<n>/...` with the arrays
that a replay starts from. The group's attributes are JSON: what the columns hold and
`Recording.attributes`. Arrays may be longer than there are records: the attribute
`records` of the group `index` says how many count. It is set last, once all else is
written, so that a record counts only when it is whole. Opening runs nothing that a
store holds.
"""

import contextlib
import importlib.metadata
import itertools
import json
import math
import os
import shutil
import time
import uuid
import warnings
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage import EMPTY_INDEX, Columns, Snapshot, distinct, on_disk
from hrcallbacks.zarr_reader import (
    FORMAT,
    VERSION,
    Stored,
    arrays_of,
    checked_path,
    import_zarr,
    missing_zarr,
    open_group,
)

# A chunk of a column: so many bytes, if a record has no more. Each costs Zarr half a
# millisecond, whatever its size.
_CHUNK_BYTES = 8 * 1024**2
# All columns' chunks together: they wait in memory until they are full.
_WAITING_BYTES = 256 * 1024**2
# Bytes of a row above which a column holds whole tensors, mostly noise to a compressor.
_LARGE_ROW = 64 * 1024
_INDEX_CHUNK = 4096
# In a path: a number of its own for each recording.
NUMBER = "{n}"
# How long a record waits at the most while others come.
_FLUSH_SECONDS = 10.0
# An epoch's end flushes, but not more often than this.
_SHORTEST_SECONDS = 1.0


class ZarrStore(Columns):
    """Writes records to a Zarr store.

    Args:
        path: A path, or an fsspec URL. The first number for which nothing is there
            takes the place of `{n}` in it.
        resume: Whether to go on with the recording that is there, if one is.
    """

    def __init__(self, path, *, resume=False):
        super().__init__()
        import_zarr()
        self._pattern = self._path = checked_path(path)
        self._local = "://" not in self._path
        self._resume = resume
        self._continues = False  # Whether the last fit on disk is to be continued.
        self._continued = False  # Whether the latest fit is one that was continued.
        self._group: Any = None
        self._lock: Any = None
        self._count = 0
        self._written = 0  # Records that count on disk.
        self._writers: dict[str, _ColumnWriter] = {}
        self._rows = []  # The index' rows since its last whole chunk.
        self._first_row = 0  # Number of the record of the first of them.
        self._index_arrays = {}
        self._epochs = []
        self._flushed = time.monotonic()
        self._saved_attributes = None
        self._saved = set()  # Folders of arrays that lie on disk.
        self._id = uuid.uuid4().hex  # Tells our recording from others at that path.
        self._made = False  # Whether this store made what lies at the path.
        self._begun = False
        self._writes = True

    def __len__(self):
        """Number of records."""
        return self._count

    def check_place(self):
        """Refuses a path where nothing could be written; changes nothing.

        Raises:
            FileExistsError: If a recording is there that is not to be continued, or
                something else.
            BlockingIOError: If another recorder is writing there.
        """
        if self._begun or self._is_numbered or not _exists(self._path):
            return
        if self._local:
            self._lock = self._lock or _locked(self._path)
            self._release()
        if not self._resume:
            raise FileExistsError(
                f"There is something at store={self._path!r} already. Choose "
                "another path, delete it, or go on with the recording in it: "
                "GradientRecorder(..., resume=True). A recorder with {n} in its store, "
                "such as store='runs/{n}.zarr', takes a new place each time."
            )

    @property
    def _is_numbered(self):
        return NUMBER in self._pattern

    @property
    def path(self):
        """Where it writes; with `{n}` in it until that is known."""
        return self._path

    def _claim(self):
        """Takes the first numbered place where nothing is, and nobody is writing."""
        for number in itertools.count():
            path = self._pattern.replace(NUMBER, str(number))
            if _exists(path):
                continue
            lock = None
            if self._local:
                try:
                    lock = _locked(path)
                except BlockingIOError:
                    continue
            self._path, self._lock = path, lock
            if not _exists(path):
                return
            self._release()  # Another process was quicker.

    def open(self, *, chief=True):
        """Opens the store for writing.

        Args:
            chief: Whether this process is the one that writes for all. The others
                count records, and write none.

        Raises:
            ImportError: If Zarr is not installed.
            FileExistsError: If a recording is there that is not to be continued, or
                something else.
            BlockingIOError: If another recorder is writing there.
            ValueError: If what is there cannot be continued.
            OSError: If it cannot be written.
        """
        import_zarr()
        self._writes = chief
        if not chief:
            return
        if self._is_numbered and not self._begun:
            self._claim()
        if self._lock is None and self._local:
            self._lock = _locked(self._path)
        if self._begun:  # A further fit of the same recorder.
            if not self._is_there():
                raise FileNotFoundError(
                    f"The store {self._path!r} of this recorder's earlier fits is "
                    "gone. Call recorder.reset() to begin another recording there."
                )
            return
        try:
            self.check_place()
            if _exists(self._path):
                self._load()
            else:
                self._group = open_group(self._path, mode="w-")
                self._made = True
                self._save_attributes()
        except BaseException:
            self.close()
            raise
        self._begun = True

    def _load(self):
        stored = Stored(self._path)
        self.columns = stored.columns
        self.fits = stored.fits
        self.attributes = stored.attributes
        for number, fit in enumerate(self.fits):
            if fit["weights"] is not None:
                self._saved.add(f"fits/{number}/weights")
            for name, optimizer in fit["optimizers"].items():
                if optimizer["state"] is not None:
                    self._saved.add(f"fits/{number}/optimizers/{name}")
        self._group = open_group(self._path, mode="r+")
        self._id = stored.id or self._id
        if stored.id is None:  # It was written before there was one.
            self._group.update_attributes({"recording_id": self._id})
        self._count = self._written = stored.count
        for column in self.columns:
            if column.name in self._group:
                stored.array(column)  # Refuses what is no array of ours.
            self._writers[column.name] = self._writer(column)
        self._epochs = stored.epochs
        self._restore_tails(stored.index())
        self._continues = bool(self.fits) and not self.fits[-1]["ended"]

    def _restore_tails(self, index):
        """Brings what follows the last whole chunks back into memory."""
        for writer in self._writers.values():
            writer.restore(self._count)
        whole = self._count - self._count % _INDEX_CHUNK
        self._rows = index.iloc[whole : self._count].to_dict("records")
        self._first_row = whole
        # Those on disk: a crash may have left some of them, and no record.
        arrays = arrays_of(self._group["index"]) if "index" in self._group else {}
        self._index_arrays = {array.attrs["name"]: array for array in arrays.values()}

    def check(self, specs):
        """See `Columns.check`."""
        if self._continues and self.columns:
            known = {k for c in self.columns for k in c.keys}
            if known != set(specs):
                raise ValueError(
                    f"The recording at {self._path!r} holds other variables or "
                    "reductions than this recorder is to record, and cannot be "
                    "continued. Record the same, or choose another path."
                )
        super().check(specs)

    def declare(self, specs):
        """See `Columns.declare`."""
        new = super().declare(specs)
        for column in new if self._writes else ():
            self._writers[column.name] = self._writer(column)
        self._save_attributes()
        return new

    def _writer(self, column):
        share = _WAITING_BYTES // max(len(self.columns), 1)
        size = min(_CHUNK_BYTES, share)
        return _ColumnWriter(self._group, column, size, self._check_there)

    def begin_fit(self, snapshot):
        """Says that a fit begins; see `MemoryStore.begin_fit`."""
        self._continued = self._continues
        if self._continues:
            # What a replay starts from is what that fit started from.
            self.fits[-1]["fault"] = None
            self.fits[-1]["described"] = snapshot["described"]
            self._save_attributes()
            return
        fit = {"first": len(self), "ended": False, "fault": None}
        self.fits.append(fit | snapshot)
        self._save_attributes()

    def begin_epoch(self, epoch, steps, batches):
        """Drops what will be trained again; see `MemoryStore.begin_epoch`.

        Returns:
            How many steps were run before this epoch.
        """
        number, first = len(self.fits), self.fits[-1]["first"]
        if not self._continues:
            return max([steps, *(step for *_, step in self._epochs)])
        self._continues = False
        self._epochs = [e for e in self._epochs if e[0] < number or e[1] < epoch]
        index = self._stored_index()
        again = (index["epoch"] >= epoch).to_numpy(copy=True)
        again[:first] = False
        kept = int(again.argmax()) if again.any() else self._count
        self._cut(kept)
        steps = max([steps, *(step for *_, step in self._epochs)])
        if any(fit == number for fit, *_ in self._epochs):
            last = self._epochs[-1][1]
        else:
            last = 0 if kept == first else int(index["epoch"].iloc[first]) - 1
        if last < epoch - 1:
            steps = self._note_gap(epoch, steps, (epoch - 1 - last) * (batches or 0))
        return steps

    def _note_gap(self, epoch, steps, missing):
        """Says that training goes on behind where the store ends."""
        lost = f"steps {steps + 1} to {steps + missing}" if missing else "steps"
        fault = f"of {lost}, before epoch {epoch}, a crash left what was flushed alone"
        self.fits[-1]["fault"] = fault
        self._save_attributes()
        warnings.warn(
            f"The recording at {self._path!r} is incomplete: {fault}.",
            RuntimeWarning,
            stacklevel=3,
        )
        return steps + missing

    def _stored_index(self):
        return Stored(self._path).index()

    def _cut(self, count):
        index = self._stored_index().iloc[:count]
        self._count = self._written = count
        if "index" in self._group:
            self._group["index"].attrs["records"] = count
        self._write_epochs()
        self._restore_tails(index)

    def fits_in(self, records, record_bytes):
        """A disk's room is not asked for: True."""
        return True

    def expect(self, records):
        """Chunks on disk are made as they are needed."""

    def withdraw_fit(self):
        """See `Columns.withdraw_fit`; removes a store that was made for that fit."""
        if self._continued:  # It goes on being the one that broke off.
            return
        super().withdraw_fit()
        if not self.fits:
            self.abandon()

    def append(self, row, values):
        """Adds a record; see `MemoryStore.append`."""
        if not self._writes:
            self._count += 1
            return
        for column in self.columns:
            self._writers[column.name].put(self._count, column.row(values))
        # In place of what is left where storing a record was broken off.
        self._rows[self._count - self._first_row :] = [row]
        self._count += 1
        if self._count % _INDEX_CHUNK == 0:
            self.flush()

    def end_epoch(self, epoch, step):
        """Notes an epoch's last step, and flushes."""
        self._epochs.append((len(self.fits), epoch, step))
        # A run that is to be resumed goes on at the end of an epoch.
        if self._resume or time.monotonic() - self._flushed > _SHORTEST_SECONDS:
            self.flush()

    def flush_if_due(self):
        """Flushes, if the last time is some seconds ago."""
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self):
        """Has every record so far count on disk.

        Raises:
            FileNotFoundError: If the store has vanished.
            OSError: If it cannot be written.
        """
        if self._group is None:
            return
        self._check_there()
        for writer in self._writers.values():
            writer.flush(self._count)
        self._write_epochs()
        self._save_attributes()
        if self._count > self._written:
            self._write_index()
        self._written = self._count
        whole = self._count - self._count % _INDEX_CHUNK
        self._rows = self._rows[whole - self._first_row : self._count - self._first_row]
        self._first_row = whole
        self._flushed = time.monotonic()

    def _check_there(self):
        # Zarr would make the folders again, and a store without a beginning; or write
        # into the recording of somebody else.
        if not self._is_there():
            there = self._local and Path(self._path, "zarr.json").is_file()
            what = "was replaced by another one" if there else "has vanished"
            raise FileNotFoundError(f"the store {self._path!r} {what}")

    def _is_there(self):
        """Whether what lies at the path is this recording."""
        if not self._local:
            return True
        try:
            found = json.loads(Path(self._path, "zarr.json").read_bytes())
            return found["attributes"].get("recording_id") == self._id
        except (OSError, ValueError, LookupError, AttributeError):
            return False

    def _write_index(self):
        start = self._first_row
        frame = pd.DataFrame(self._rows[: self._count - start])
        for name in frame:
            values = np.stack([np.asarray(v) for v in frame[name]])
            array = self._index_array(name, values)
            if array.shape[0] < self._count:
                array.resize((start + _INDEX_CHUNK, *values.shape[1:]))
            array[start : self._count] = values
        self._group["index"].attrs["records"] = self._count

    def _index_array(self, name, values):
        if name not in self._index_arrays:
            taken = {a.basename.casefold() for a in self._index_arrays.values()}
            path = f"index/{distinct(on_disk(name), taken)}"
            integer = values.dtype.kind in "iu" and name in ("step", "epoch", "batch")
            self._index_arrays[name] = self._group.create_array(
                path,
                shape=(0, *values.shape[1:]),
                chunks=(_INDEX_CHUNK, *values.shape[1:]),
                dtype="int64" if integer else "float64",
                fill_value=0 if integer else math.nan,
                attributes={"name": name, "place": len(self._index_arrays)},
            )
        return self._index_arrays[name]

    def _write_epochs(self):
        if not self._epochs:
            return
        if "epochs" not in self._group:
            self._group.create_array(
                "epochs", shape=(0, 3), chunks=(_INDEX_CHUNK, 3), dtype="int64"
            )
        array = self._group["epochs"]
        count = len(self._epochs)
        start = max(0, min(array.shape[0], count - 1) // _INDEX_CHUNK * _INDEX_CHUNK)
        if array.shape[0] != count:
            array.resize((count, 3))
        array[start:count] = np.array(self._epochs[start:], "int64")

    def _save_attributes(self):
        if self._group is None:
            return
        for number, fit in enumerate(self.fits):
            self._save_arrays(number, fit)
        attributes = {
            "format": FORMAT,
            "format_version": VERSION,
            "recording_id": self._id,
            "written_by": f"hrcallbacks {importlib.metadata.version('hrcallbacks')}",
            "units": "gradients: loss per unit of the weight; weights: the model's own",
            "columns": [
                {"name": c.name, "keys": c.keys, "dtypes": c.dtypes, "shape": c.shape}
                for c in self.columns
            ],
            "attributes": self.attributes,
            "fits": [self._plain(n, fit) for n, fit in enumerate(self.fits)],
        }
        text = json.dumps(attributes, default=str)
        if text != self._saved_attributes:
            # At once: a reader finds the old ones or the new ones.
            self._group.update_attributes(json.loads(text))
            self._saved_attributes = text

    def _save_arrays(self, number, fit):
        """What a replay of a fit starts from, once."""
        parts = {f"fits/{number}/weights": fit.get("weights")}
        for name, optimizer in fit.get("optimizers", {}).items():
            parts[f"fits/{number}/optimizers/{name}"] = optimizer["state"]
        for folder, values in parts.items():
            if values is None or folder in self._saved:
                continue
            named = isinstance(values, dict)
            items = values.items() if named else (("", v) for v in values)
            for place, (name, value) in enumerate(items):
                _write_array(self._group, f"{folder}/{place}", value, name)
            self._saved.add(folder)

    def _plain(self, number, fit):
        """A fit without its arrays, which lie beside, where they do."""
        left = {k: v for k, v in fit.items() if k not in ("weights", "described")}
        left["has_weights"] = f"fits/{number}/weights" in self._saved
        left["optimizers"] = {
            name: {k: v for k, v in optimizer.items() if k != "state"}
            | {"has_state": f"fits/{number}/optimizers/{name}" in self._saved}
            for name, optimizer in fit.get("optimizers", {}).items()
        }
        return left

    def abandon(self):
        """Is as before it was opened, if nothing was recorded; lets others write."""
        self._release()
        if self.fits or self._count:
            return
        if self._made and self._local and self._is_there():
            shutil.rmtree(self._path)
        self.__init__(self._pattern, resume=self._resume)

    def _release(self):
        if self._lock is not None:
            lock, self._lock = self._lock, None
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()

    def close(self):
        """Flushes, and lets others write."""
        try:
            if self._group is not None and self._begun:
                self.flush()
                for writer in self._writers.values():
                    writer.trim(self._count)
        finally:
            with contextlib.suppress(Exception):  # What went wrong, if that still goes.
                self._check_there()
                self._save_attributes()
            self._release()

    def snapshot(self):
        """What a reader of the store finds."""
        if self._begun and self._is_there():
            snapshot = Stored(self._path).snapshot()
            # Of a disk that takes no more, what is known is more than what is written.
            return replace(snapshot, fits=self._with_faults(snapshot.fits))
        return Snapshot(
            [],
            dict(self.attributes),
            [dict(fit) for fit in self.fits],
            pd.DataFrame(columns=EMPTY_INDEX),
            lambda column: None,
        )

    def _with_faults(self, fits):
        known = [{"fault": fit["fault"]} for fit in self.fits]
        return [fit | more for fit, more in zip(fits, known, strict=False)]


class _ColumnWriter:
    """Writes a column in whole chunks, so that nothing has to be read first."""

    def __init__(self, group, column, chunk_bytes, check):
        self._column = column
        self._check = check  # Raises where the store is gone.
        if column.name in group:
            array = group[column.name]
        else:
            array = group.create_array(
                column.name,
                shape=(0, *column.shape),
                chunks=(
                    max(1, chunk_bytes // max(column.row_bytes, 1)),
                    *_chunk_of_row(column),
                ),
                dtype=column.dtype,
                fill_value=math.nan,
                compressors=_compressors(column),
                attributes={"keys": [list(key) for key in column.keys]},
            )
        # Looking for chunks that hold nothing but NaN takes longer than writing them.
        self._array = array.with_config({"write_empty_chunks": True})
        self._rows = array.chunks[0]
        self._tail = np.full((self._rows, *column.shape), np.nan, column.dtype)
        self._dirty = False

    def put(self, number, row):
        """Sets the next row; writes a chunk that is full."""
        place = number % self._rows
        self._tail[place] = np.nan if row is None else row
        self._dirty = True
        if place == self._rows - 1:
            self._check()
            self._write(number + 1)

    def flush(self, count):
        """Writes the chunk that is not full yet."""
        if self._dirty:
            self._tail[count % self._rows or self._rows :] = np.nan
            self._write(count)

    def _write(self, count):
        start = (count - 1) // self._rows * self._rows
        end = start + self._rows
        if self._array.shape[0] < end:
            # Ahead of what is there: each change of the length rewrites metadata.
            ahead = max(end, 2 * self._array.shape[0]) // self._rows * self._rows
            self._array.resize((ahead, *self._column.shape))
        self._array[start:end] = self._tail
        self._dirty = False

    def restore(self, count):
        """Takes the rows of the chunk that is not full from the store."""
        start = count // self._rows * self._rows
        self._tail[:] = np.nan
        if start < min(count, self._array.shape[0]):
            end = min(count, self._array.shape[0])
            self._tail[: end - start] = self._array[start:end]
        self._dirty = False

    def trim(self, count):
        """Makes the array as long as the recording."""
        if self._array.shape[0] != count:
            self._array.resize((count, *self._column.shape))


def save(recording, stored, path):
    """Writes a recording to a new store; see `Recording.save`.

    Args:
        recording: A `Recording`.
        stored: Its arrays: dict from (quantity, reduction) to a mapping.
        path: A path, or an fsspec URL, where nothing is yet.
    """
    if _exists(checked_path(path)):
        raise FileExistsError(
            f"There is something at {os.fspath(path)!r} already. Choose another path, "
            "or delete it."
        )
    store = ZarrStore(path)
    store.open()
    try:
        store.attributes.update(recording.attributes)
        specs = {}
        for (quantity, reduction), arrays in stored.items():
            for name, array in arrays.items():
                specs[quantity, reduction, name] = array.shape[1:], str(array.dtype)
        store.declare(specs)
        store.fits += recording.fits
        sources = {key: stored[key[:2]][key[2]] for key in specs}
        for number, row in enumerate(recording.index.to_dict("records")):
            store.append(row, {key: rows[number] for key, rows in sources.items()})
        store.flush()
    finally:
        store.close()


def _write_array(group, path, value, name=""):
    value = np.asarray(value)
    # An attempt that failed may have left one.
    array = group.create_array(
        path,
        shape=value.shape,
        dtype=value.dtype,
        attributes={"name": name},
        overwrite=True,
    )
    array[...] = value


def _chunk_of_row(column):
    """Parts of a row, none above 32 MiB: the first axes are divided."""
    shape, size = list(column.shape), column.row_bytes
    for axis, length in enumerate(shape):
        if size <= 4 * _CHUNK_BYTES:
            break
        parts = min(length, math.ceil(size / (4 * _CHUNK_BYTES)))
        shape[axis] = math.ceil(length / parts)
        size = size // parts
    return tuple(shape)


def _compressors(column):
    from zarr.codecs import BloscCodec, Crc32cCodec

    # Shuffled bits would save a tenth of a large tensor's noise, for half as much again
    # of the thread's time. The checksum finds damage.
    shuffle = "noshuffle" if column.row_bytes > _LARGE_ROW else "bitshuffle"
    return [BloscCodec(cname="lz4", clevel=1, shuffle=shuffle), Crc32cCodec()]


def _exists(path):
    if "://" not in path:
        there = Path(path)
        return there.exists() and not (there.is_dir() and not any(there.iterdir()))
    import fsspec

    system, place = fsspec.core.url_to_fs(path)
    return system.exists(place)


def _locked(path):
    """A lock on a store, that ends with the process at the latest."""
    try:
        import filelock
    except ImportError as error:
        raise missing_zarr(error) from error
    folder = Path(path).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another recorder is writing to {path!r}. Choose another path; to look at "
            f"that recording: hr.open_recording({path!r}). If its fit broke off in "
            "this process: its recorder.reset() lets the store go."
        ) from None
    return lock
