"""What a store is: where records are written to and read from."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.storage.columns import Column, Columns
from hrcallbacks.types import Block, Fit, Key, Record, Spec

EMPTY_INDEX = ["step", "epoch", "batch", "loss"]


def empty_index() -> pd.DataFrame:
    """The index without any records."""
    return pd.DataFrame(columns=EMPTY_INDEX)


@dataclass(frozen=True)
class Snapshot:
    """The records at one moment; later ones do not change it.

    Attributes:
        columns: The `Column`s.
        attributes: What describes the whole recording; see `Recording.attributes`.
        fits: The fits.
        index: The records' index.
        rows: Called with a column, returns its rows.
        batch_steps: The steps whose data are kept.
        batch: Called with one of them, returns its data by name.
    """

    columns: list[Column]
    attributes: dict[str, Any]
    fits: list[Fit]
    index: pd.DataFrame
    rows: Callable[[Column], Any]
    batch_steps: Sequence[int] = ()
    batch: Callable[[int], Mapping[str, np.ndarray]] = {}.__getitem__


class Store(ABC):
    """Keeps the records of one recording.

    Methods are called in this order: `check_place` any number of times; then for each
    fit `open`, `declare` (again whenever more variables turn up), `begin_fit`,
    `begin_epoch`, `append` or `extend`, and `end_epoch`, `end_fit`, `close`. `snapshot`
    may be called at any time. One thread adds the records.

    A store promises that a record counts only once it is complete, even after a crash
    or a fault; that it holds no record that was not appended; and that it raises
    whatever keeps it from writing.

    Attributes:
        columns: What each column holds.
        attributes: What describes the whole recording; see `Recording.attributes`.
        fits: The fits so far.
    """

    def __init__(self) -> None:
        self.columns: Columns = Columns()
        self.attributes: dict[str, Any] = {}
        self.fits: list[Fit] = []
        # The thread that stores records also notes facts about a fit.
        self._fit_lock = threading.Lock()

    @abstractmethod
    def __len__(self) -> int:
        """Number of records."""

    @property
    def path(self) -> str | None:
        """Where it writes; None for memory."""
        return None

    # A fit begins.

    def check_place(self) -> None:
        """Rejects a place that cannot be written to; changes nothing.

        Raises:
            OSError: If it cannot be written to.
        """

    def open(self, *, chief: bool) -> None:
        """Gets ready for records.

        Args:
            chief: Whether this process writes for all. The others only count records.

        Raises:
            OSError: If it cannot be written.
            ValueError: If what is there cannot be continued.
        """

    def check(self, specs: Mapping[Key, Spec]) -> None:
        """Rejects what cannot be declared.

        Raises:
            ValueError: If a key was declared with another shape, or the store would
                continue a recording of something else.
        """
        self.columns.check(specs)

    def declare(
        self, specs: Mapping[Key, Spec], attributes: Mapping[str, Any]
    ) -> list[Column]:
        """Makes room for new keys, which `check` must allow.

        Args:
            specs: What a record holds.
            attributes: What describes it; see `Recording.attributes`.

        Returns:
            The new columns.
        """
        self.columns.check(specs)
        self.attributes.update(attributes)
        return self.columns.declare(specs)

    def fits_in(self, records: int, record_bytes: int) -> bool:
        """Whether that many more records of that size fit."""
        return True

    def expect(self, records: int | None) -> None:
        """Says how many more records to expect; None if unknown."""

    def begin_fit(self, fit: Fit) -> None:
        """A fit begins.

        Args:
            fit: The fit, with what a replay starts from.
        """
        self.fits.append(replace(fit, first=len(self)))

    def begin_epoch(self, epoch: int, steps: int, batches: int | None) -> int:
        """A fit's first epoch begins.

        Args:
            epoch: Its number.
            steps: How many steps were run before.
            batches: How many steps an epoch has, or None if unknown.

        Returns:
            How many steps were run before; more, if the store continues a recording.
        """
        return steps

    # The fit runs.

    @abstractmethod
    def append(self, record: Record) -> None:
        """Adds a record.

        Raises:
            MemoryError: If it does not fit.
            OSError: If it cannot be written.
        """

    @abstractmethod
    def extend(self, block: Block) -> None:
        """Adds the records of a block; a large record comes alone, by `append`.

        Raises:
            MemoryError: If they do not all fit. Those that fit were added.
            OSError: If they cannot be written.
        """

    @abstractmethod
    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """Adds an epoch's metrics to the index of its records.

        Args:
            first: Number of the first of these records.
            metrics: Numbers by name.
        """

    def end_epoch(self, epoch: int, step: int) -> None:
        """An epoch has ended; `step` was its last in the run."""

    def keep_batch(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
        """Keeps the data of a step. By default they are not kept.

        Args:
            step: The step.
            batch: Arrays by name; they do not change.

        Raises:
            MemoryError: If they do not fit.
            OSError: If they cannot be written.
        """

    def flush_if_due(self) -> None:
        """Flushes, if the last time was long ago."""

    def flush(self) -> None:
        """Makes the records so far survive a crash.

        Raises:
            OSError: If they cannot be written.
        """

    def update_fit(self, **items: Any) -> None:
        """Updates attributes of the latest `Fit`."""
        with self._fit_lock:
            self.fits[-1] = replace(self.fits[-1], **items)

    def note_fault(self, fault: str) -> None:
        """Notes what the latest fit's recording lacks; the first fault is kept."""
        if self.fits and not self.fits[-1].fault:
            self.update_fit(fault=fault)

    # The fit ends.

    def end_fit(self) -> None:
        """Notes that the latest fit finished."""
        self.update_fit(ended=True)

    def withdraw_fit(self) -> None:
        """Forgets the latest fit, which trained nothing."""
        self.fits.pop()
        if not self.fits:
            self.abandon()

    def abandon(self) -> None:
        """Returns to the state before the first fit, if nothing was recorded."""

    def close(self) -> None:
        """Flushes, and lets others write."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """The records so far."""
