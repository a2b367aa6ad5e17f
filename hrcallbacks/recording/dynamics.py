"""How gradients turn and weights move: cosines, distances, curvature."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.blocks import blocks, rows_for
from hrcallbacks.progress import progress
from hrcallbacks.reductions.projection import Projection
from hrcallbacks.types import Fit

if TYPE_CHECKING:
    from hrcallbacks.recording.records import Records

_GLOBAL = "global_"
CURVATURE = "curvature"


class _Sums(NamedTuple):
    """What is added up over variables; float64, one a record.

    Attributes:
        products: Of each vector with that of the record before.
        squares: Of each vector with itself.
    """

    products: npt.NDArray[np.float64]
    squares: npt.NDArray[np.float64]


_Block = tuple[slice, npt.NDArray[np.float64]]


@dataclass(frozen=True)
class _Track:
    """A variable's vectors, one a record.

    Attributes:
        rows: Arrays by record.
        absent: In which records there is none: zeros take its place.
        projection: What is made of them; None to take them as they are.
    """

    rows: Any
    absent: npt.NDArray[np.bool_]
    projection: Projection | None = None

    def blocks(self, rows: int | None = None) -> Iterator[_Block]:
        """The vectors in float64, `(records, n)`, and which records they are of.

        Args:
            rows: How many records a block has; None for as many as are handled best.
        """
        for where, block in blocks(self.rows, rows=rows):
            if self.projection is None:
                made = block.reshape(len(block), -1).astype(np.float64)
            else:
                made = self.projection.on_rows(block)
            made[self.absent[where]] = 0
            yield where, made


def dynamics(recording: "Records", quantity: str, name: str) -> pd.DataFrame | None:
    """A statistic that compares records; None if there is none of that name."""
    steps = pd.Index(recording.index["step"], name="step")
    if (quantity, name) == ("gradients", CURVATURE):
        return pd.DataFrame({name: _curvature(recording)}, index=steps)
    found = _STATISTICS.get((quantity, name.removeprefix(_GLOBAL)))
    if found is None:
        return None
    add_up, finish = found
    tracks = _tracks(recording, quantity)
    of_all = name.startswith(_GLOBAL)
    if not tracks or (of_all and len(tracks) < len(recording.paths)):
        lacking = [path for path in recording.paths if path not in tracks]
        raise ValueError(
            f"{name!r} of {quantity} needs 'raw' or hr.Projection(n) of "
            f"{'each recorded variable' if of_all else 'a variable'}. Neither was "
            f"recorded of {lacking[:5]}. There is: {recording.recorded}."
        )
    sums: dict[str, _Sums] = {}
    for path in progress(tracks, of=f"Reading {quantity}", unit="variable"):
        sums[path] = add_up(tracks[path])
    if of_all:
        all_sums = zip(*sums.values(), strict=True)
        sums = {name: _Sums(*(np.sum(each, axis=0) for each in all_sums))}
    return pd.DataFrame({path: finish(s) for path, s in sums.items()}, index=steps)


# By path, then together.


def _along(track: _Track) -> _Sums:
    """Of each vector with the one before it."""
    return _of_successive(track.blocks(), len(track.absent))


def _along_changes(track: _Track) -> _Sums:
    """Of each change with the one before it."""
    changes = _changes(track.blocks())
    return _of_successive(changes, len(track.absent))


def _of_successive(vectors: Iterable[_Block], count: int) -> _Sums:
    sums = _Sums(np.full(count, np.nan), np.full(count, np.nan))
    for where, block in _with_latest(vectors):
        sums.squares[where] = _dots(block[1:], block[1:])
        sums.products[where] = _dots(block[1:], block[:-1])
    return sums


def _changes(vectors: Iterable[_Block]) -> Iterator[_Block]:
    """Differences from the vector before; NaN for the first."""
    for where, block in _with_latest(vectors):
        yield where, np.diff(block, axis=0)


def _with_latest(vectors: Iterable[_Block]) -> Iterator[_Block]:
    """Blocks, each with the vector before it; NaN before the first."""
    latest: np.ndarray | None = None
    for where, block in vectors:
        before = np.full_like(block[:1], np.nan) if latest is None else latest
        yield where, np.concatenate([before, block])
        latest = block[-1:]


def _dots(x: np.ndarray, y: np.ndarray) -> npt.NDArray[np.float64]:
    return np.einsum("ij,ij->i", x, y)


def _from_first(track: _Track) -> _Sums:
    """Of each vector's difference from the first."""
    squares = np.full(len(track.absent), np.nan)
    first: np.ndarray | None = None
    for where, block in track.blocks():
        first = block[:1].copy() if first is None else first
        moved = block - first
        squares[where] = _dots(moved, moved)
    return _Sums(squares, squares)


def _cosine(sums: _Sums) -> npt.NDArray[np.float64]:
    lengths = np.sqrt(sums.squares)
    with np.errstate(invalid="ignore", divide="ignore"):
        cosines = sums.products[1:] / (lengths[1:] * lengths[:-1])
    return np.concatenate([[np.nan] * min(len(lengths), 1), np.clip(cosines, -1, 1)])


def _root(sums: _Sums) -> npt.NDArray[np.float64]:
    return np.sqrt(sums.squares)


_Finish = Callable[[_Sums], npt.NDArray[np.float64]]
_STATISTICS: Mapping[tuple[str, str], tuple[Callable[[_Track], _Sums], _Finish]] = {
    ("gradients", "cosine"): (_along, _cosine),
    ("weights", "update_cosine"): (_along_changes, _cosine),
    ("weights", "distance"): (_from_first, _root),
}


# What was recorded.

_Form = tuple[int, int] | None  # n and seed of a projection; None for whole tensors.


def _tracks(recording: "Records", quantity: str) -> dict[str, _Track]:
    """The vectors of those variables that have them: whole, or projected."""
    found: dict[str, _Track] = {}
    for path in recording.paths:
        for rows in _forms(recording, quantity, path).values():
            track = _Track(rows, _absent(recording, quantity, path))
            found.setdefault(path, track)
    return found


def _forms(recording: "Records", quantity: str, path: str) -> dict[_Form, Any]:
    """What was recorded of a variable, whole or projected."""
    raw = recording.arrays(quantity)
    forms: dict[_Form, Any] = {None: raw[path]} if path in raw else {}
    asked = recording.attributes.get("reductions", {}).get(quantity, {})
    for name, about in asked.items():
        arrays = recording.arrays(quantity, name)
        if about.get("kind") == "Projection" and path in arrays:
            forms[about["n"], about["seed"]] = arrays[path]
    return forms


def _absent(recording: "Records", quantity: str, path: str) -> npt.NDArray[np.bool_]:
    if quantity != "gradients":
        return np.zeros(len(recording), bool)
    return recording.without_gradient(path)


# Curvature.


def _curvature(recording: "Records") -> npt.NDArray[np.float64]:
    """`(g2 - g1) . d / d . d`, `d` from one gradient's point to the next."""
    if recording.attributes.get("epoch_gradient") == "mean":
        raise ValueError(
            "The curvature along updates needs gradients of single steps. This "
            "recording has means over epochs (epoch_gradient='mean')."
        )
    known = _known_points(recording)
    bends, squares = np.zeros((2, len(recording)))
    for path in progress(recording.paths, of="Reading gradients", unit="variable"):
        gradients, weights = _pair(recording, path)
        rows = rows_for(gradients.rows, weights.rows)
        points = _points(path, weights.blocks(rows), known)
        pairs = zip(_changes(gradients.blocks(rows)), _changes(points), strict=True)
        for (where, turned), (_, moved) in pairs:
            bends[where] += _dots(turned, moved)
            squares[where] += _dots(moved, moved)
    with np.errstate(invalid="ignore", divide="ignore"):
        return bends / squares


def _pair(recording: "Records", path: str) -> tuple[_Track, _Track]:
    """A variable's gradients and weights, both whole or projected alike."""
    gradients, weights = (_forms(recording, q, path) for q in ("gradients", "weights"))
    absent = _absent(recording, "gradients", path)
    for form in {**gradients, **weights}:
        gradient = _of_form(gradients, form, absent)
        weight = _of_form(weights, form, np.zeros_like(absent))
        if gradient is not None and weight is not None:
            return gradient, weight
    raise ValueError(
        "The curvature along updates needs gradients and weights of each recorded "
        f"variable, 'raw' or of the same hr.Projection(n, seed). {path!r} lacks them. "
        f"There is: {recording.recorded}."
    )


def _of_form(
    forms: Mapping[_Form, Any], form: _Form, absent: npt.NDArray[np.bool_]
) -> _Track | None:
    if form in forms:
        return _Track(forms[form], absent)
    if form is None or None not in forms:
        return None
    return _Track(forms[None], absent, Projection(*form))


class _KnownPoints(NamedTuple):
    """Where a gradient's point, the weights that it is of, is known.

    Attributes:
        before: Whether it is the record's own weights, or those of the record before.
        known: At which records it is.
        starts: Fits by the record of their first step, which began at their weights.
    """

    before: bool
    known: npt.NDArray[np.bool_]
    starts: Mapping[int, Fit]


def _known_points(recording: "Records") -> _KnownPoints:
    steps = recording.index["step"].to_numpy()
    # Of several updates in a step, the first may have had the gradients of all.
    single = ~recording.index["step"].duplicated(keep=False).to_numpy()
    if recording.attributes["weights_at"] == "before":
        return _KnownPoints(True, single, {})
    follows = single & (steps == np.concatenate([[0], steps])[:-1] + 1)
    starts = {f.first: f for f in recording.fits if f.first < len(steps)}
    known = follows.copy()
    known[list(starts)] = False
    return _KnownPoints(False, known, {n: f for n, f in starts.items() if follows[n]})


def _points(
    path: str, weights: Iterable[_Block], points: _KnownPoints
) -> Iterator[_Block]:
    """The weights that each record's gradient is of; NaN where they are not known."""
    for where, block in _with_latest(weights):
        made = block[1:] if points.before else block[:-1]
        made[~points.known[where]] = np.nan
        for n, fit in points.starts.items():
            if where.start <= n < where.stop and path in (fit.weights or {}):
                made[n - where.start] = np.ravel((fit.weights or {})[path])
        yield where, made
