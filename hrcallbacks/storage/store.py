"""What a store is: where records go, and come from."""

import threading
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import pandas as pd

from hrcallbacks.storage.columns import Column, Columns
from hrcallbacks.types import Fit, Key, Record, Spec

EMPTY_INDEX = ["step", "epoch", "batch", "loss"]


def empty_index() -> pd.DataFrame:
    """The index of no records."""
    return pd.DataFrame(columns=EMPTY_INDEX)


@dataclass(frozen=True)
class Snapshot:
    """Records as they are at one moment; later ones leave it alone.

    Attributes:
        columns: The `Column`s.
        attributes: What holds for the whole recording; see `Recording.attributes`.
        fits: The fits.
        index: The records' index.
        rows: Called with a column, gives its rows.
    """

    columns: list[Column]
    attributes: dict[str, Any]
    fits: list[Fit]
    index: pd.DataFrame
    rows: Callable[[Column], Any]


class Store(ABC):
    """Keeps the records of one recording.

    Methods are called in this order: `check_place` as often as one likes; then for each
    fit `open`, `declare` (again whenever more variables turn up), `begin_fit`,
    `begin_epoch`, `append` and `end_epoch`, `end_fit`, `close`. `snapshot` may be asked
    for at any time. Records are appended by one thread.

    A store promises that a record counts once it is whole, also after a crash or a
    fault; that it holds no record which was not appended; and that what keeps it from
    writing is raised.

    Attributes:
        columns: What lies in which column.
        attributes: What holds for the whole recording; see `Recording.attributes`.
        fits: The fits so far.
    """

    def __init__(self) -> None:
        self.columns: Columns = Columns()
        self.attributes: dict[str, Any] = {}
        self.fits: list[Fit] = []
        # The thread that stores records notes what it sees of a fit, too.
        self._fit_lock = threading.Lock()

    @abstractmethod
    def __len__(self) -> int:
        """Number of records."""

    @property
    def path(self) -> str | None:
        """Where it writes; None if that is nowhere."""
        return None

    # A fit begins.

    def check_place(self) -> None:
        """Refuses a place where nothing could be written; changes nothing.

        Raises:
            OSError: If it could not.
        """

    def open(self, *, chief: bool) -> None:
        """Gets ready for records.

        Args:
            chief: Whether this process is the one that writes for all. The others
                count records, and write none.

        Raises:
            OSError: If it cannot be written.
            ValueError: If what is there cannot be continued.
        """

    def check(self, specs: Mapping[Key, Spec]) -> None:
        """Refuses what cannot be declared.

        Raises:
            ValueError: If a key was declared with another shape, or the store is to
                continue a recording of something else.
        """
        self.columns.check(specs)

    def declare(
        self, specs: Mapping[Key, Spec], attributes: Mapping[str, Any]
    ) -> list[Column]:
        """Makes room for what is to come, as `check` allows.

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
        """Whether a number of further records of such a size fit in."""
        return True

    def expect(self, records: int | None) -> None:
        """Says how many further records will come, or None where nobody knows."""

    def begin_fit(self, fit: Fit) -> None:
        """A fit begins.

        Args:
            fit: What a replay of it starts from.
        """
        self.fits.append(replace(fit, first=len(self)))

    def begin_epoch(self, epoch: int, steps: int, batches: int | None) -> int:
        """A fit's first epoch begins.

        Args:
            epoch: Its number.
            steps: How many steps were run before.
            batches: How many steps an epoch has, or None where that is not known.

        Returns:
            How many steps were run before; more, if the store continues a recording.
        """
        return steps

    # It goes on.

    @abstractmethod
    def append(self, record: Record) -> None:
        """Adds a record.

        Raises:
            MemoryError: If it does not fit in.
            OSError: If it cannot be written.
        """

    @abstractmethod
    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        """Adds an epoch's metrics to the index of its records.

        Args:
            first: Number of the first of these records.
            metrics: Numbers by name.
        """

    def end_epoch(self, epoch: int, step: int) -> None:
        """An epoch has ended, with that step of the run."""

    def flush_if_due(self) -> None:
        """Has records so far count after a crash, if the last time is long ago."""

    def flush(self) -> None:
        """Has records so far count after a crash.

        Raises:
            OSError: If they cannot be written.
        """

    def update_fit(self, **items: Any) -> None:
        """Notes what became known of the latest fit: attributes of `Fit`."""
        with self._fit_lock:
            self.fits[-1] = replace(self.fits[-1], **items)

    def note_fault(self, fault: str) -> None:
        """Says what the latest fit's recording lacks; the first fault stands."""
        if self.fits and not self.fits[-1].fault:
            self.update_fit(fault=fault)

    # It ends.

    def end_fit(self) -> None:
        """Says that the latest fit came to its end."""
        self.update_fit(ended=True)

    def withdraw_fit(self) -> None:
        """Forgets the latest fit, in which nothing was trained."""
        self.fits.pop()
        if not self.fits:
            self.abandon()

    def abandon(self) -> None:
        """Is as before the first fit, if nothing was recorded."""

    def close(self) -> None:
        """Flushes, and lets others write."""

    @abstractmethod
    def snapshot(self) -> Snapshot:
        """The records so far."""
