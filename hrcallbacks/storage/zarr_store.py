"""Records on disk: a Zarr store that is written while training runs.

See `zarr_format` for the layout.
"""

import contextlib
import time
import warnings
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage.columns import Column, Columns
from hrcallbacks.storage.resumption import resume
from hrcallbacks.storage.store import Snapshot, Store, empty_index
from hrcallbacks.storage.zarr_group import RecordingGroup
from hrcallbacks.storage.zarr_index import (
    CHUNK,
    Epoch,
    IndexWriter,
    trim_epochs,
    write_epochs,
)
from hrcallbacks.storage.zarr_reader import Stored
from hrcallbacks.storage.zarr_writers import ColumnWriters
from hrcallbacks.types import Block, Fit, Key, Record, Spec

# The longest that a record waits for others.
_FLUSH_SECONDS = 10.0
# An epoch's end flushes, but not more often than this.
_SHORTEST_SECONDS = 1.0


class ZarrStore(Store):
    """Writes records to a Zarr store.

    Args:
        path: A path or an fsspec URL. `{n}` in it stands for the first number that is
            free.
        resume: Whether to continue a recording that is already there.

    Attributes:
        epochs: The epochs that have ended.
    """

    def __init__(self, path: object, *, resume: bool = False) -> None:
        super().__init__()
        self._group = RecordingGroup(path, resume=resume)
        self._resume = resume
        self._begin()

    def _begin(self) -> None:
        """Resets to a store that has not been opened."""
        self.columns: Columns = Columns()
        self.attributes: dict[str, Any] = {}
        self.fits: list[Fit] = []
        self._continues = False  # Whether to continue the last fit on disk.
        self._continued = False  # Whether the latest fit is a continued one.
        self._count = 0
        self._written = 0  # Number of records that count on disk.
        self._writers: ColumnWriters | None = None
        self._index: IndexWriter | None = None
        self.epochs: list[Epoch] = []
        self._written_epochs = 0
        self._flushed = time.monotonic()
        self._begun = False
        self._writes = True

    def __len__(self) -> int:
        """Number of records."""
        return self._count

    @property
    def path(self) -> str:
        """Where it writes, with `{n}` in it until the number is known."""
        return self._group.path

    # A fit begins.

    def check_place(self) -> None:
        """See `Store.check_place`.

        Raises:
            FileExistsError: If something is there that must not be continued.
            BlockingIOError: If another recorder is writing there.
        """
        if not self._begun:
            self._group.check_place()

    def open(self, *, chief: bool = True) -> None:
        """See `Store.open`.

        Raises:
            FileExistsError: For the same reasons as `check_place`.
            BlockingIOError: For the same reasons as `check_place`.
            FileNotFoundError: If the recording of this recorder's earlier fits is gone.
            ValueError: If what is there cannot be continued.
            OSError: If it cannot be written.
        """
        self._writes = chief
        if not chief:
            return
        if self._begun:
            self._group.reopen()
            return
        try:
            stored = self._group.open()
            if stored is None:
                self._index = IndexWriter(self._group.zarr, empty_index(), {})
                self._writers = ColumnWriters(self._group.zarr, self._group.check_ours)
                self._save_attributes()
            else:
                self._load(stored)
        except BaseException:
            self._group.release()
            raise
        self._begun = True

    def _load(self, stored: Stored) -> None:
        self.columns = Columns(stored.columns)
        self.fits = stored.fits
        self.attributes = stored.attributes
        self._count = self._written = stored.count
        for column in self.columns:
            stored.array(column)  # Rejects an array that is not ours.
        self._writers = ColumnWriters(self._group.zarr, self._group.check_ours)
        self._writers.add(self.columns)
        self.epochs = [Epoch(*epoch) for epoch in stored.epochs()]
        self._written_epochs = len(self.epochs)
        self._restore(stored, stored.index(), stored.index_names)
        self._continues = bool(self.fits) and not self.fits[-1].ended

    def _restore(
        self, stored: Stored, index: pd.DataFrame, names: Mapping[str, str]
    ) -> None:
        """Loads what follows the last whole chunks back into memory."""
        if self._writers is not None:
            self._writers.restore(self._count, stored.rows)
        index = index.iloc[: self._count]
        self._index = IndexWriter(self._group.zarr, index, names)

    def check(self, specs: Mapping[Key, Spec]) -> None:
        """See `Store.check`."""
        if self._continues and len(self.columns) and self.columns.keys != set(specs):
            raise ValueError(
                f"The recording at {self.path!r} cannot be continued: it holds "
                "other variables or reductions than this recorder would record. "
                "Record the same ones, or choose another path."
            )
        super().check(specs)

    def declare(
        self, specs: Mapping[Key, Spec], attributes: Mapping[str, Any]
    ) -> list[Column]:
        """See `Store.declare`."""
        self.check(specs)
        new = super().declare(specs, attributes)
        if self._writers is not None:
            reductions = self.attributes.get("reductions", {})
            self._writers.create(new, self.columns, reductions, self._count)
        self._save_attributes()
        return new

    def begin_fit(self, fit: Fit) -> None:
        """See `Store.begin_fit`."""
        self._continued = self._continues
        if self._continues:
            # A replay starts from where that fit started.
            self.update_fit(fault=None)
        else:
            super().begin_fit(fit)
        self._save_attributes()

    def begin_epoch(self, epoch: int, steps: int, batches: int | None) -> int:
        """Drops what will be trained again; see `Store.begin_epoch`."""
        if not self._continues:
            return max([steps, *(e.step for e in self.epochs)])
        self._continues = False
        stored = Stored(self.path)
        index = stored.index()
        found = resume(
            index,
            self.epochs,
            fit=len(self.fits),
            first=self.fits[-1].first,
            epoch=epoch,
            steps=steps,
            batches=batches,
        )
        self.epochs = found.epochs
        self._cut(stored, index, found.kept)
        self._group.drop_batches(after=found.steps)
        if found.gap is not None:
            self.update_fit(fault=found.gap)
            self._save_attributes()
            said = f"The recording at {self.path!r} is incomplete: {found.gap}."
            warnings.warn(said, RuntimeWarning, stacklevel=2)
        return found.steps

    def _cut(self, stored: Stored, index: pd.DataFrame, count: int) -> None:
        self._count = self._written = count
        self._written_epochs = min(self._written_epochs, len(self.epochs))
        self._restore(stored, index, self._index.names if self._index else {})
        if self._index is not None:
            self._index.commit(count, self._written_epochs)

    # The fit runs.

    def append(self, record: Record) -> None:
        """See `Store.append`."""
        values = {key: np.asarray(a)[np.newaxis] for key, a in record.values.items()}
        self.extend(Block([record.row], values))

    def extend(self, block: Block) -> None:
        """See `Store.extend`."""
        start, count = 0, len(block.rows)
        if self._index is None or self._writers is None or not self._writes:
            self._count += count
            return
        while start < count:  # The index is written chunk by chunk.
            stop = min(count, start + CHUNK - self._count % CHUNK)
            records = slice(start, stop)
            self._writers.put_all(self._count, block.values, records, flush=False)
            self._index.put(self._count, *block.rows[records])
            self._count += stop - start
            start = stop
            if self._count % CHUNK == 0:
                self.flush()

    def save(self, index: pd.DataFrame, arrays: Mapping[Key, Any]) -> None:
        """Adds all records of a recording: rows of its index, and arrays by key."""
        if self._index is None or self._writers is None:
            return
        records = slice(0, len(index))
        self._writers.put_all(self._count, arrays, records, flush=True)
        self._index.put_all(self._count, index)
        self._count += len(index)

    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """See `Store.add_metrics`."""
        if self._index is not None and metrics:
            self._index.add_metrics(first, metrics)
            self._written = min(self._written, first)  # These are written again.

    def end_epoch(self, epoch: int, step: int) -> None:
        """Notes an epoch's last step, and flushes."""
        self.epochs.append(Epoch(len(self.fits), epoch, step))
        # A resumed run continues from the end of an epoch.
        if self._resume or time.monotonic() - self._flushed > _SHORTEST_SECONDS:
            self.flush()

    def keep_batch(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
        """See `Store.keep_batch`; it is on disk at once."""
        if self._index is not None and self._writes:
            self._group.check_ours()
            self._group.keep_batch(step, batch)
            self._save_attributes()

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
        if self._index is None or self._writers is None:
            return
        self._group.check_ours()
        self._writers.flush(self._count)
        write_epochs(self._group.zarr, self.epochs, self._written_epochs)
        self._save_attributes()
        if self._count > self._written:
            self._index.write(self._count)
        self._index.commit(self._count, len(self.epochs))
        self._written, self._written_epochs = self._count, len(self.epochs)
        self._index.forget(self._count)
        self._flushed = time.monotonic()

    def _save_attributes(self) -> None:
        self._group.save(self.columns, self.attributes, self.fits)

    # The fit ends.

    def withdraw_fit(self) -> None:
        """See `Store.withdraw_fit`; removes a store that was made for that fit."""
        if not self._continued:  # A continued fit stays an interrupted one.
            self._group.forget_fit(len(self.fits) - 1)
            super().withdraw_fit()

    def remove(self) -> None:
        """Removes what it has written."""
        self._group.forget()
        self._begin()

    def abandon(self) -> None:
        """See `Store.abandon`; releases the lock."""
        self._group.release()
        if not (self.fits or self._count):
            self.remove()

    def close(self) -> None:
        """See `Store.close`."""
        try:
            if self._begun:
                self.flush()
            if self._begun and self._index is not None and self._writers is not None:
                # Leaves a store that other readers open.
                self._writers.trim(self._count)
                self._index.trim(self._count)
                trim_epochs(self._group.zarr, len(self.epochs))
                self._save_attributes()
                self._group.consolidate()
        finally:
            with contextlib.suppress(Exception):  # Keeps the fault, if it can.
                self._group.check_ours()
                self._save_attributes()
            self._group.release()

    def snapshot(self) -> Snapshot:
        """What a reader of the store would find."""
        if self._begun and self._group.is_ours():
            snapshot = Stored(self.path).snapshot()
            # With a full disk, more is known than could be written.
            return replace(snapshot, fits=_with_faults(snapshot.fits, self.fits))
        return Snapshot(
            [], dict(self.attributes), list(self.fits), empty_index(), lambda _: None
        )


def _with_faults(fits: list[Fit], known: list[Fit]) -> list[Fit]:
    pairs = zip(fits, known, strict=False)
    return [replace(stored, fault=ours.fault) for stored, ours in pairs]
