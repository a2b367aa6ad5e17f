"""Where records go: into columns of numbers, one row a record.

A key, `(quantity, reduction, path)`, has a column of its own, `(records, *shape)`. All
keys that are single numbers share one, `(records, keys)`: a thousand norms are one
vector a record. A number that a record lacks is NaN.
"""

import hashlib
import math
from collections.abc import Callable, Container
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pandas as pd

HAS_GRADIENT = ("has_gradient", "")
# Bytes of a name on disk.
_LONGEST = 120


@dataclass
class Column:
    """A column: the key that it holds, or several that are single numbers.

    Attributes:
        name: Its name.
        keys: The keys.
        dtypes: Their dtypes; numbers that share a column are kept in float64.
        shape: Shape of a row.
    """

    name: str
    keys: list
    dtypes: list
    shape: tuple

    @property
    def shared(self):
        """Whether it holds single numbers."""
        return self.name.startswith("numbers")

    @property
    def dtype(self):
        """Dtype of its rows."""
        return np.dtype("float64" if self.shared else self.dtypes[0])

    @property
    def row_bytes(self):
        """Size of a row."""
        return math.prod(self.shape) * self.dtype.itemsize

    def row(self, values):
        """The row of a record.

        Args:
            values: Dict from key to array.

        Returns:
            An array, or None if the record lacks it.
        """
        if not self.shared:
            return values.get(self.keys[0])
        return np.array([values.get(key, np.nan) for key in self.keys])

    def of(self, rows, key):
        """The array of one key, from all rows of the column."""
        if not self.shared:
            return rows
        place = self.keys.index(key)
        return rows[:, place].astype(self.dtypes[place], copy=False)


@dataclass
class Columns:
    """The columns of a store, and what is known of the whole of it.

    Attributes:
        columns: The `Column`s.
        attributes: What holds for the whole recording; see `Recording.attributes`.
        fits: What each fit started from, whether it ended, and what fault stopped its
            recording.
    """

    columns: list[Column] = field(default_factory=list)
    attributes: dict[str, Any] = field(default_factory=dict)
    fits: list[dict] = field(default_factory=list)

    def check(self, specs):
        """Refuses what cannot be declared.

        Args:
            specs: Dict from key to `(shape, dtype)`.

        Raises:
            ValueError: If a key was declared with another shape.
        """
        known = {k: c for c in self.columns for k in c.keys}
        for key, (shape, _) in specs.items():
            was = () if key in known and known[key].shared else None
            was = known[key].shape if key in known and was is None else was
            if key in known and was != tuple(shape):
                raise ValueError(
                    f"This recorder holds {key[0]} of {key[2]!r} with shape {was}; in "
                    f"this model its shape is {tuple(shape)}. Call recorder.reset(), "
                    "or use another recorder for another model."
                )

    def declare(self, specs):
        """Adds columns for what is to come, as `check` allows.

        Returns:
            The new columns.
        """
        self.check(specs)
        known = {k for c in self.columns for k in c.keys}
        fresh = {k: s for k, s in specs.items() if k not in known}
        new = [
            Column(_name(key), [key], [dtype], tuple(shape))
            for key, (shape, dtype) in fresh.items()
            if shape
        ]
        if numbers := {k: dtype for k, (shape, dtype) in fresh.items() if not shape}:
            name = f"numbers/{len(self.columns)}"
            shape = (len(numbers),)
            new.append(Column(name, [*numbers], [*numbers.values()], shape))
        self._tell_apart(new)
        self.columns += new
        return new

    def _tell_apart(self, new):
        taken = {c.name.casefold() for c in self.columns}
        for column in new:
            column.name = distinct(column.name, taken)
            taken.add(column.name.casefold())

    @property
    def record_bytes(self):
        """Size of a record."""
        return sum(column.row_bytes for column in self.columns)

    def record_bytes_with(self, specs):
        """Size of a record once what is to come is declared too."""
        columns = Columns(list(self.columns))
        columns.declare(specs)
        return columns.record_bytes

    def update_fit(self, **items):
        """Notes what became known of the latest fit."""
        # In place: the thread that stores records does so too.
        self.fits[-1].update(items)

    def note_fault(self, fault):
        """Says what the latest fit's recording lacks; the first fault stands."""
        if self.fits and not self.fits[-1]["fault"]:
            self.update_fit(fault=fault)

    def end_fit(self):
        """Says that the latest fit came to its end."""
        self.update_fit(ended=True)

    def withdraw_fit(self):
        """Forgets the latest fit, in which nothing was trained."""
        self.fits.pop()


@dataclass
class Snapshot:
    """Records as they are at one moment; later ones leave it alone.

    Attributes:
        columns: The `Column`s.
        attributes: See `Columns`.
        fits: See `Columns`.
        index: The records' index, a DataFrame.
        rows: Called with a column, gives its rows.
    """

    columns: list[Column]
    attributes: dict[str, Any]
    fits: list[dict]
    index: pd.DataFrame
    rows: Callable


class MemoryStore(Columns):
    """Keeps records in memory, in buffers that are not moved once they are filled.

    Args:
        max_bytes: What it may hold, or None for no limit.
    """

    def __init__(self, max_bytes=None):
        super().__init__()
        self._max_bytes = max_bytes
        self._index = []
        self._buffers: dict[str, _Buffer] = {}
        self._expected = 0

    def __len__(self):
        """Number of records."""
        return len(self._index)

    def declare(self, specs):
        """See `Columns.declare`."""
        new = super().declare(specs)
        for column in new:
            self._buffers[column.name] = _Buffer(column, len(self))
        return new

    def check_place(self):
        """Memory is always there."""

    def open(self, *, chief):
        """Nothing has to be opened: each process has a memory of its own."""

    def withdraw_fit(self):
        """See `Columns.withdraw_fit`."""
        super().withdraw_fit()
        if not self.fits:
            self.abandon()

    def abandon(self):
        """Is as before the first fit, if nothing was recorded."""
        if not (self.fits or self._index):
            self.__init__(self._max_bytes)

    def begin_epoch(self, epoch, steps, batches):
        """Called before a fit's first epoch.

        Args:
            epoch: Its number.
            steps: How many steps were run before.
            batches: How many steps an epoch has, or None where that is not known.

        Returns:
            How many steps were run before.
        """
        return steps

    def fits_in(self, records, record_bytes):
        """Whether a number of further records of such a size fit in."""
        size = (len(self) + records) * record_bytes
        return self._max_bytes is None or size <= self._max_bytes

    def expect(self, records):
        """How many further records will come, or None where that is not known."""
        self._expected = records or 0

    def begin_fit(self, snapshot):
        """Says that a fit begins.

        Args:
            snapshot: What a replay of it starts from; see `hrcallbacks.snapshot`.
        """
        fit = {"first": len(self), "ended": False, "fault": None}
        self.fits.append(fit | snapshot)

    def append(self, row, values):
        """Adds a record.

        Args:
            row: The index' row: a dict of step, epoch, batch, loss and metrics.
            values: Dict from key to array.

        Raises:
            MemoryError: If it does not fit in.
        """
        count = len(self)
        size = (count + 1) * self.record_bytes
        if self._max_bytes is not None and size > self._max_bytes:
            raise MemoryError(
                f"with another record it would hold more than max_bytes="
                f"{self._max_bytes:,}"
            )
        for column in self.columns:
            row_of_column = column.row(values)
            self._buffers[column.name].put(count, row_of_column, self._expected)
        # The index last: a record counts once it is whole.
        self._index.append(row)

    def end_epoch(self, epoch, step):
        """Nothing waits here."""

    def flush_if_due(self):
        """Nothing waits here."""

    def flush(self):
        """Nothing waits here."""

    def close(self):
        """Nothing is open."""

    def snapshot(self):
        """A `Snapshot` of the records so far."""
        rows = self._index[:]
        return Snapshot(
            list(self.columns),
            dict(self.attributes),
            [dict(fit) for fit in self.fits],
            pd.DataFrame(rows or None, columns=None if rows else EMPTY_INDEX),
            lambda column: self._buffers[column.name].rows(len(rows)),
        )


EMPTY_INDEX = ["step", "epoch", "batch", "loss"]

# Of how many bytes a chunk is made while nobody knows how many records will come.
_CHUNK_BYTES = 4 * 1024**2
# A larger row is kept as it came: copying it into a chunk takes longer.
_LARGE_ROW = 64 * 1024


class _Buffer:
    """The rows of a column, in chunks that are never moved while records come.

    Large rows are kept as they come. When they are first read, they are put into one
    chunk, and let go one by one: at no moment are all of them held twice.
    """

    def __init__(self, column, missing):
        self._column = column
        self._chunks = []
        self._ends = []  # Number of the row that follows each chunk's last.
        self._filled = 0
        self._large = column.row_bytes > _LARGE_ROW
        for number in range(missing):  # Records from before the column was declared.
            self.put(number, None, missing)

    def put(self, number, row, expected):
        """Sets the next row; again, where storing a record was broken off."""
        while self._chunks and self._start_of_last >= number:
            self._chunks.pop()
            self._ends.pop()
        self._filled = number + 1
        if self._large and row is not None:
            row = np.asarray(row, self._column.dtype)
            self._add(row.reshape(1, *self._column.shape), number + 1)
            return
        if not self._ends or number >= self._ends[-1]:
            self._grow(number, 1 if self._large else expected)
        self._chunks[-1][number - self._ends[-1]] = np.nan if row is None else row

    @property
    def _start_of_last(self):
        return self._ends[-2] if len(self._ends) > 1 else 0

    def _grow(self, number, expected):
        size = max(self._column.row_bytes, 1)
        grown = min(number, 16 * _CHUNK_BYTES // size)
        rows = expected or max(_CHUNK_BYTES // size, grown, 1)
        chunk = np.empty((rows, *self._column.shape), self._column.dtype)
        self._add(chunk, number + rows)

    def _add(self, chunk, end):
        self._chunks.append(chunk)
        self._ends.append(end)

    def rows(self, count):
        """The first rows, not to be written to: a view of what lies here."""
        if len(self._chunks) > 1:
            self._join()
        if not self._chunks:
            return np.empty((0, *self._column.shape), self._column.dtype)
        rows = self._chunks[0][:count]
        rows.flags.writeable = False
        return rows

    def _join(self):
        end = self._ends[-1]
        joined = np.empty((end, *self._column.shape), self._column.dtype)
        # Memory of the new array is taken as it is written, that of the old given back.
        start = 0
        chunks, self._chunks = self._chunks, [joined]
        for stop in self._ends:
            chunk = chunks.pop(0)[: max(0, self._filled - start)]
            joined[start : start + len(chunk)] = chunk
            del chunk
            start = stop
        self._ends = [end]


def on_disk(name: str) -> str:
    """A name for a file or folder, which can be read in it and told from others.

    Letters, digits, `-` and `_` stay. File systems bound the bytes of a name, mostly
    at 255: of a longer one the beginning and the end are left, and a digest.

    Example:
        >>> on_disk("hidden/kernel")
        'hidden.kernel'
        >>> on_disk("x" * 300 + "/kernel")
        'xxxxxxxxxxxxxxxxxxxxxxxx~1e84a00e~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.kernel'
    """
    safe = "".join(c if c.isalnum() or c in "_-" else "." for c in name)
    # Of dots alone, a name would be that of a folder; Zarr has a meaning for the other.
    if safe.strip(".") and safe != "zarr.json" and len(safe.encode()) <= _LONGEST:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{_ascii(safe)[:24]}~{digest}~{_ascii(safe)[-40:]}"


def _ascii(safe: str) -> str:
    """A byte a character."""
    return "".join(c if c.isascii() else "." for c in safe)


def distinct(name: str, taken: Container[str]) -> str:
    """A name that is not taken, also where a file system does not tell `a` from `A`.

    Args:
        name: The name that is wanted.
        taken: Those that are taken, casefolded.

    Example:
        >>> distinct("Loss", {"loss", "step"})
        'Loss~2'
    """
    made, number = name, 1
    while made.casefold() in taken:
        number += 1
        made = f"{name}~{number}"
    return made


def _name(key):
    quantity, reduction, path = key
    return f"{quantity}/{on_disk(reduction)}/{on_disk(path)}"
