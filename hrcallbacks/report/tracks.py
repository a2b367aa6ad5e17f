"""The series that a page draws: losses and metrics, norms, update ratios."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# The first of these that there is says how large a tensor is.
_SIZES = {
    "norm": "Frobenius norm",
    "abs_max": "largest magnitude",
    "std": "standard deviation",
}
_RATIO = "norm of the update / norm of the weights"
# Whole tensors are read up to this; of more, only every so many records.
_MOST_BYTES = 2 * 1024**3
_BLOCK_BYTES = 64 * 1024**2
_PLACES = ("step", "epoch", "batch", "call")


@dataclass(frozen=True)
class Track:
    """A series, read when it is asked for.

    Attributes:
        name: What it is called: a path, or a column of the index.
        read: Gives one number a record, NaN where it is not known.
        absent: Where there was nothing to record.
    """

    name: str
    read: Callable[[], np.ndarray]
    absent: npt.NDArray[np.bool_] | None = None


@dataclass(frozen=True)
class Panel:
    """Series that are drawn in one chart.

    Attributes:
        key: Names it within the page.
        title: Its heading.
        unit: What its numbers are.
        tracks: Its series.
        every: Its numbers are known of each so many records.
    """

    key: str
    title: str
    unit: str
    tracks: list[Track] = field(default_factory=list)
    every: int = 1


def index_panels(recording: Recording) -> list[Panel]:
    """The numbers of the index: a panel for each metric, with its validation."""
    panels: dict[str, Panel] = {}
    for column in recording.index:
        numbers: Any = pd.to_numeric(recording.index[column], errors="coerce")
        if column in _PLACES or numbers.isna().all():
            continue
        name = str(column)
        group = "learning_rate" if name.startswith("learning_rate") else name
        group = group.removeprefix("val_")
        title = group.replace("_", " ")
        panel = panels.setdefault(group, Panel(group, title.capitalize(), title))
        values = np.asarray(numbers, np.float64)
        # Metrics are known at an epoch's end; only a loss that is NaN is news.
        absent = None if name == "loss" else np.isnan(values)
        panel.tracks.append(Track(name, lambda values=values: values, absent))
    return sorted(panels.values(), key=lambda panel: panel.key != "loss")


def size_panels(recording: Recording) -> Iterator[Panel]:
    """The size of each variable's gradients, weights and whatever else there is."""
    for quantity in recording.quantities:
        panel = _sizes(recording, quantity)
        if panel is not None:
            yield panel
    panel = _ratios(recording)
    if panel is not None:
        yield panel


def _sizes(recording: Recording, quantity: str) -> Panel | None:
    raw = recording.arrays(quantity)
    found = [size for size in _SIZES if recording.arrays(quantity, size)]
    if not found and not raw:
        return None
    reduction = "norm" if raw else found[0]
    made, unit = recording.arrays(quantity, reduction), _SIZES[reduction]
    title = f"{quantity.replace('_', ' ').capitalize()}: {unit} by variable"
    panel = Panel(quantity, title, unit, every=_stride(raw, len(recording)))
    # Read once: each access reads the flags of all variables.
    flags = recording.has_gradient if quantity == "gradients" else {}
    for path in dict.fromkeys([*made, *raw]):
        array = made[path] if path in made else raw[path]
        read = _reader(array, path in made, panel.every)
        absent = ~np.asarray(flags[path], bool) if path in flags else None
        panel.tracks.append(Track(path, read, absent))
    return panel


def _reader(array: Any, is_number: bool, every: int) -> Callable[[], np.ndarray]:
    if is_number:
        return lambda: np.asarray(array, np.float64)
    return lambda: norms(array, every=every)


def _stride(raw: Any, records: int) -> int:
    """Each so many records whole tensors are read of."""
    sizes = (math.prod(raw[path].shape) * raw[path].dtype.itemsize for path in raw)
    return min(max(1, -(-sum(sizes) // _MOST_BYTES)), max(records, 1))


def norms(array: Any, *, every: int = 1) -> npt.NDArray[np.float64]:
    """Frobenius norm of each record, read in pieces.

    Args:
        array: Shape `(records, *shape)`, in memory or on disk.
        every: Of which records; NaN of the others.
    """
    found = np.full(len(array), np.nan)
    for rows in pieces(array, every):
        found[rows] = np.linalg.norm(_flat(array[rows]), axis=1)
    return found


def pieces(array: Any, every: int = 1) -> Iterator[slice]:
    """Slices of an array's records, each of a size that memory holds."""
    row = max(1, math.prod(array.shape[1:]) * 8)
    count = max(1, _BLOCK_BYTES // row) * every
    for start in range(0, len(array), count):
        yield slice(start, min(start + count, len(array)), every)


def _flat(rows: np.ndarray) -> np.ndarray:
    return np.asarray(rows, np.float64).reshape(len(rows), -1)


def _ratios(recording: Recording) -> Panel | None:
    recorded = recording.arrays("weights", "update_ratio")
    raw = recording.weights
    title = "Update ratio by variable"
    panel = Panel("update_ratio", title, _RATIO)
    for path in recorded:
        panel.tracks.append(Track(path, _reader(recorded[path], True, 1)))
    known = _consecutive(recording)
    # Of a stride of the records there are no consecutive ones.
    if not recorded and known.any() and _stride(raw, len(recording)) == 1:
        for path in raw:
            read = _ratio_reader(recording, path, known)
            panel.tracks.append(Track(path, read, ~known))
    return panel if panel.tracks else None


def _consecutive(recording: Recording) -> npt.NDArray[np.bool_]:
    """In which records the weights before and after the update are both known."""
    steps = np.asarray(recording.index["step"])
    starts = {fit.first for fit in recording.fits}
    follows = np.diff(steps, prepend=0) == 1
    if recording.attributes.get("weights_at") == "after":
        known = [bool(fit.weights) for fit in recording.fits]
        for fit, there in zip(recording.fits, known, strict=True):
            if fit.first < len(steps):
                follows[fit.first] &= there
        if 0 not in starts:
            follows[:1] = False
        return follows
    for first in {0, *starts}:
        follows[first : first + 1] = False
    return np.append(follows[1:], False)[: len(steps)]


def _ratio_reader(
    recording: Recording, path: str, known: npt.NDArray[np.bool_]
) -> Callable[[], np.ndarray]:
    def read() -> np.ndarray:
        weights = _flat(np.asarray(recording.weights[path]))
        if recording.attributes.get("weights_at") == "after":
            before = np.concatenate([weights[:1], weights[:-1]])
            for fit in recording.fits:
                if fit.first < len(weights) and path in (fit.weights or {}):
                    before[fit.first] = np.ravel((fit.weights or {})[path])
            after = weights
        else:
            before, after = weights, np.concatenate([weights[1:], weights[-1:]])
        with np.errstate(all="ignore"):
            update = np.linalg.norm(after - before, axis=1)
            ratio = update / np.linalg.norm(before, axis=1)
        return np.where(known, ratio, np.nan)

    return read
