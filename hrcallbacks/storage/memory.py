"""Records in memory."""

from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage.buffer import Buffer
from hrcallbacks.storage.columns import Column, Columns
from hrcallbacks.storage.store import Snapshot, Store, empty_index
from hrcallbacks.types import Block, Key, Record, Spec


class MemoryStore(Store):
    """Keeps records in memory, in buffers that are not moved once filled.

    Args:
        max_bytes: The most that it may hold, or None for no limit.
    """

    def __init__(self, max_bytes: int | None = None) -> None:
        super().__init__()
        self._max_bytes = max_bytes
        self._index: list[dict[str, Any]] = []
        self._buffers: dict[str, Buffer] = {}
        self._expected = 0
        self._batches: dict[int, Mapping[str, np.ndarray]] = {}

    def __len__(self) -> int:
        """Number of records."""
        return len(self._index)

    def declare(
        self, specs: Mapping[Key, Spec], attributes: Mapping[str, Any]
    ) -> list[Column]:
        """See `Store.declare`."""
        new = super().declare(specs, attributes)
        for column in new:
            self._buffers[column.name] = Buffer(column, len(self))
        return new

    def fits_in(self, records: int, record_bytes: int) -> bool:
        """See `Store.fits_in`."""
        if self._max_bytes is None:
            return True
        size = (len(self) + records) * record_bytes
        return size + (self._batch_bytes if self._batches else 0) <= self._max_bytes

    @property
    def _batch_bytes(self) -> int:
        arrays = (a for batch in self._batches.values() for a in batch.values())
        return sum(array.nbytes for array in arrays)

    def keep_batch(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
        """See `Store.keep_batch`; it counts towards `max_bytes`.

        Raises:
            MemoryError: If it does not fit.
        """
        self._batches[step] = batch
        if not self.fits_in(0, self.columns.record_bytes):
            del self._batches[step]
            raise MemoryError(
                f"the batch of step {step} would exceed max_bytes={self._max_bytes:,}"
            )

    def expect(self, records: int | None) -> None:
        """See `Store.expect`."""
        self._expected = records or 0

    def append(self, record: Record) -> None:
        """See `Store.append`.

        Raises:
            MemoryError: If it does not fit.
        """
        count = len(self)
        if not self.fits_in(1, self.columns.record_bytes):
            raise self._full()
        for column in self.columns:
            self._buffers[column.name].put(count, record.values, self._expected)
        # The index last: a record counts only once it is complete.
        self._index.append(record.row)

    def extend(self, block: Block) -> None:
        """See `Store.extend`: as many as fit.

        Raises:
            MemoryError: If not all fit.
        """
        first, count = len(self), len(block.rows)
        while count and not self.fits_in(count, self.columns.record_bytes):
            count -= 1
        for column in self.columns:
            buffer = self._buffers[column.name]
            buffer.put_all(first, block.values, slice(0, count), self._expected)
        self._index.extend(block.rows[:count])
        if count < len(block.rows):
            raise self._full()

    def _full(self) -> MemoryError:
        return MemoryError(f"another record would exceed max_bytes={self._max_bytes:,}")

    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """See `Store.add_metrics`."""
        for number in range(first, len(self)):
            self._index[number] = self._index[number] | dict(metrics)

    def abandon(self) -> None:
        """See `Store.abandon`."""
        if not (self.fits or self._index):
            self.columns: Columns = Columns()
            self.attributes: dict[str, Any] = {}
            self._buffers = {}

    def snapshot(self) -> Snapshot:
        """See `Store.snapshot`."""
        rows = self._index[:]
        return Snapshot(
            list(self.columns),
            dict(self.attributes),
            list(self.fits),
            pd.DataFrame(rows) if rows else empty_index(),
            lambda column: self._buffers[column.name].rows(len(rows)),
            list(self._batches),
            self._batches.__getitem__,
        )
