"""Records on disk: a Zarr store that is written while training goes on.

See `zarr_format` for the layout.
"""

import contextlib
import json
import shutil
import time
import uuid
import warnings
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from hrcallbacks.storage.columns import Column, Columns
from hrcallbacks.storage.place import (
    NUMBER,
    Lock,
    checked_path,
    claim,
    exists,
    is_local,
)
from hrcallbacks.storage.resumption import resume
from hrcallbacks.storage.store import Snapshot, Store, empty_index
from hrcallbacks.storage.zarr_columns import ColumnWriter, write_array
from hrcallbacks.storage.zarr_format import attributes_json, fit_arrays
from hrcallbacks.storage.zarr_index import CHUNK, Epoch, IndexWriter, write_epochs
from hrcallbacks.storage.zarr_reader import Stored, import_zarr, open_group
from hrcallbacks.types import Fit, Key, Record, Spec

# How long a record waits at the most while others come.
_FLUSH_SECONDS = 10.0
# An epoch's end flushes, but not more often than this.
_SHORTEST_SECONDS = 1.0


class ZarrStore(Store):
    """Writes records to a Zarr store.

    Args:
        path: A path, or an fsspec URL. The first number for which nothing is there
            takes the place of `{n}` in it.
        resume: Whether to go on with the recording that is there, if one is.
    """

    def __init__(self, path: object, *, resume: bool = False) -> None:
        super().__init__()
        import_zarr()
        self._pattern = self._path = checked_path(path)
        self._resume = resume
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        """Is a store that has not been opened yet."""
        self.columns: Columns = Columns()
        self.attributes: dict[str, Any] = {}
        self.fits: list[Fit] = []
        self._path = self._pattern
        self._continues = False  # Whether the last fit on disk is to be continued.
        self._continued = False  # Whether the latest fit is one that was continued.
        self._group: Any = None
        self._count = 0
        self._written = 0  # Records that count on disk.
        self._writers: dict[str, ColumnWriter] = {}
        self._index: IndexWriter | None = None
        self._epochs: list[Epoch] = []
        self._flushed = time.monotonic()
        self._saved_attributes: str | None = None
        self._saved: set[str] = set()  # Folders of arrays of fits that lie on disk.
        self._id = uuid.uuid4().hex  # Tells our recording from others at that path.
        self._made = False  # Whether this store made what lies at the path.
        self._begun = False
        self._writes = True

    def __len__(self) -> int:
        """Number of records."""
        return self._count

    @property
    def path(self) -> str:
        """Where it writes; with `{n}` in it until that is known."""
        return self._path

    # A fit begins.

    def check_place(self) -> None:
        """Refuses a path where nothing could be written; changes nothing.

        Raises:
            FileExistsError: If a recording is there that is not to be continued, or
                something else.
            BlockingIOError: If another recorder is writing there.
        """
        if self._begun or self._is_numbered or not exists(self._path):
            return
        self._lock.take(self._path)
        self._lock.release()
        self._check_resumes()

    def _check_resumes(self) -> None:
        if not self._resume:
            raise FileExistsError(
                f"There is something at store={self._path!r} already. Choose "
                "another path, delete it, or go on with the recording in it: "
                "GradientRecorder(..., resume=True). A recorder with {n} in its store, "
                "such as store='runs/{n}.zarr', takes a new place each time."
            )

    @property
    def _is_numbered(self) -> bool:
        return NUMBER in self._pattern

    def open(self, *, chief: bool = True) -> None:
        """See `Store.open`.

        Raises:
            ImportError: If Zarr is not installed.
            FileExistsError: If a recording is there that is not to be continued, or
                something else.
            BlockingIOError: If another recorder is writing there.
            ValueError: If what is there cannot be continued.
            OSError: If it cannot be written.
        """
        self._writes = chief
        if not chief:
            return
        if self._is_numbered and not self._begun:
            self._path = claim(self._pattern, self._lock)
        self._lock.take(self._path)
        if self._begun:  # A further fit of the same recorder.
            if not self._is_there():
                raise FileNotFoundError(
                    f"The store {self._path!r} of this recorder's earlier fits is "
                    "gone. Call recorder.reset() to begin another recording there."
                )
            return
        try:
            if exists(self._path):
                self._check_resumes()
                self._load()
            else:
                self._group = open_group(self._path, mode="w-")
                self._made = True
                self._index = IndexWriter(self._group, empty_index())
                self._save_attributes()
        except BaseException:
            self.close()
            raise
        self._begun = True

    def _load(self) -> None:
        stored = Stored(self._path)
        self.columns = Columns(stored.columns)
        self.fits = stored.fits
        self.attributes = stored.attributes
        for number, fit in enumerate(self.fits):
            self._saved |= {folder for folder, _ in fit_arrays(number, fit)}
        self._group = open_group(self._path, mode="r+")
        self._id = stored.id or self._id
        if stored.id is None:  # It was written before there was one.
            self._group.update_attributes({"recording_id": self._id})
        self._count = self._written = stored.count
        for column in self.columns:
            if column.name in self._group:
                stored.array(column)  # Refuses what is no array of ours.
            self._writers[column.name] = self._writer(column)
        self._epochs = [Epoch(*epoch) for epoch in stored.epochs()]
        self._restore(stored.index())
        self._continues = bool(self.fits) and not self.fits[-1].ended

    def _restore(self, index: pd.DataFrame) -> None:
        """Brings what follows the last whole chunks back into memory."""
        for writer in self._writers.values():
            writer.restore(self._count)
        self._index = IndexWriter(self._group, index.iloc[: self._count])

    def _writer(self, column: Column) -> ColumnWriter:
        return ColumnWriter(self._group, column, len(self.columns), self._check_there)

    def check(self, specs: Mapping[Key, Spec]) -> None:
        """See `Store.check`."""
        if self._continues and len(self.columns) and self.columns.keys != set(specs):
            raise ValueError(
                f"The recording at {self._path!r} holds other variables or "
                "reductions than this recorder is to record, and cannot be "
                "continued. Record the same, or choose another path."
            )
        super().check(specs)

    def declare(
        self, specs: Mapping[Key, Spec], attributes: Mapping[str, Any]
    ) -> list[Column]:
        """See `Store.declare`."""
        self.check(specs)
        new = super().declare(specs, attributes)
        for column in new if self._writes else ():
            self._writers[column.name] = self._writer(column)
        self._save_attributes()
        return new

    def begin_fit(self, fit: Fit) -> None:
        """See `Store.begin_fit`."""
        self._continued = self._continues
        if self._continues:
            # What a replay starts from is what that fit started from.
            self.update_fit(fault=None)
        else:
            super().begin_fit(fit)
        self._save_attributes()

    def begin_epoch(self, epoch: int, steps: int, batches: int | None) -> int:
        """Drops what will be trained again; see `Store.begin_epoch`."""
        if not self._continues:
            return max([steps, *(e.step for e in self._epochs)])
        self._continues = False
        index = Stored(self._path).index()
        found = resume(
            index,
            self._epochs,
            fit=len(self.fits),
            first=self.fits[-1].first,
            epoch=epoch,
            steps=steps,
            batches=batches,
        )
        self._epochs = found.epochs
        self._cut(index, found.kept)
        if found.gap is not None:
            self.update_fit(fault=found.gap)
            self._save_attributes()
            warnings.warn(
                f"The recording at {self._path!r} is incomplete: {found.gap}.",
                RuntimeWarning,
                stacklevel=2,
            )
        return found.steps

    def _cut(self, index: pd.DataFrame, count: int) -> None:
        self._count = self._written = count
        if "index" in self._group:
            self._group["index"].attrs["records"] = count
        write_epochs(self._group, self._epochs)
        self._restore(index.iloc[:count])

    # It goes on.

    def append(self, record: Record) -> None:
        """See `Store.append`."""
        if self._index is None or not self._writes:
            self._count += 1
            return
        for column in self.columns:
            self._writers[column.name].put(self._count, column.row(record.values))
        self._index.put(self._count, record.row)
        self._count += 1
        if self._count % CHUNK == 0:
            self.flush()

    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """See `Store.add_metrics`."""
        if self._index is not None and metrics:
            self._index.add_metrics(first, metrics)
            self._written = min(self._written, first)  # They are to be written again.

    def end_epoch(self, epoch: int, step: int) -> None:
        """Notes an epoch's last step, and flushes."""
        self._epochs.append(Epoch(len(self.fits), epoch, step))
        # A run that is to be resumed goes on at the end of an epoch.
        if self._resume or time.monotonic() - self._flushed > _SHORTEST_SECONDS:
            self.flush()

    def flush_if_due(self) -> None:
        """See `Store.flush_if_due`."""
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """See `Store.flush`.

        Raises:
            FileNotFoundError: If the store has vanished.
            OSError: If it cannot be written.
        """
        if self._index is None:
            return
        self._check_there()
        for writer in self._writers.values():
            writer.flush(self._count)
        write_epochs(self._group, self._epochs)
        self._save_attributes()
        if self._count > self._written:
            self._index.write(self._count)
        self._written = self._count
        self._index.forget(self._count)
        self._flushed = time.monotonic()

    def _check_there(self) -> None:
        # Zarr would make the folders again, and a store without a beginning; or write
        # into the recording of somebody else.
        if not self._is_there():
            local = is_local(self._path)
            replaced = local and Path(self._path, "zarr.json").is_file()
            what = "was replaced by another one" if replaced else "has vanished"
            raise FileNotFoundError(f"the store {self._path!r} {what}")

    def _is_there(self) -> bool:
        """Whether what lies at the path is this recording."""
        if not is_local(self._path):
            return True
        try:
            found = json.loads(Path(self._path, "zarr.json").read_bytes())
            return found["attributes"].get("recording_id") == self._id
        except (OSError, ValueError, LookupError, AttributeError):
            return False

    def _save_attributes(self) -> None:
        if self._group is None:
            return
        for number, fit in enumerate(self.fits):
            for folder, arrays in fit_arrays(number, fit):
                self._save_arrays(folder, arrays)
        attributes = attributes_json(
            self._id, self.columns, self.attributes, self.fits, self._saved
        )
        text = json.dumps(attributes, default=str)
        if text != self._saved_attributes:
            # At once: a reader finds the old ones or the new ones.
            self._group.update_attributes(json.loads(text))
            self._saved_attributes = text

    def _save_arrays(self, folder: str, arrays: list[tuple[str, Any]]) -> None:
        """What a replay of a fit starts from, once."""
        if folder in self._saved:
            return
        for place, (name, value) in enumerate(arrays):
            write_array(self._group, f"{folder}/{place}", value, name)
        self._saved.add(folder)

    # It ends.

    def withdraw_fit(self) -> None:
        """See `Store.withdraw_fit`; removes a store that was made for that fit."""
        if not self._continued:  # Otherwise it goes on being the one that broke off.
            super().withdraw_fit()

    def abandon(self) -> None:
        """See `Store.abandon`; lets others write."""
        self._lock.release()
        if self.fits or self._count:
            return
        if self._made and is_local(self._path) and self._is_there():
            shutil.rmtree(self._path)
        self._begin()

    def close(self) -> None:
        """See `Store.close`."""
        try:
            if self._begun:
                self.flush()
                for writer in self._writers.values():
                    writer.trim(self._count)
        finally:
            with contextlib.suppress(Exception):  # What went wrong, if that still goes.
                self._check_there()
                self._save_attributes()
            self._lock.release()

    def snapshot(self) -> Snapshot:
        """What a reader of the store finds."""
        if self._begun and self._is_there():
            snapshot = Stored(self._path).snapshot()
            # Of a disk that takes no more, what is known is more than what is written.
            return replace(snapshot, fits=self._with_faults(snapshot.fits))
        return Snapshot(
            [], dict(self.attributes), list(self.fits), empty_index(), lambda _: None
        )

    def _with_faults(self, fits: list[Fit]) -> list[Fit]:
        pairs = zip(fits, self.fits, strict=False)
        return [replace(stored, fault=known.fault) for stored, known in pairs]
