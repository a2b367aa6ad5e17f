"""How large updates were, relative to the weights that they changed."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.plot import source
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording


class Ratios(NamedTuple):
    """A column a variable, a row a record.

    Attributes:
        table: The ratios.
        absent: Where there is none, because there was no update.
        from_zero: Where there is none, because all weights were zero before it.
    """

    table: pd.DataFrame
    absent: pd.DataFrame
    from_zero: pd.DataFrame


def update_ratios(
    recording: Recording, variables: str | Sequence[str] | None
) -> Ratios:
    """Ratios of the chosen variables, by their short names.

    Args:
        recording: A recording.
        variables: A glob or list of globs on the paths; None for all.

    Raises:
        ValueError: If there are none, or nothing matches.
    """
    paths = choose_paths(recording.paths, variables)
    recorded = recording.arrays("weights", "update_ratio")
    ratios = {}
    for path in paths:
        if path in recorded:
            ratios[path] = np.asarray(recorded[path]), np.zeros(len(recording), bool)
        elif path in recording.weights:
            ratios[path] = _ratios_of_raw(recording, path)
    if all(absent.all() for _, absent in ratios.values()):
        raise ValueError(
            "An update is the difference of the weights of two consecutive steps, and "
            f"this recording has none of {paths[:5]}: of the weights it has "
            f"{source.recorded_of(recording, 'weights')}, with record_freq="
            f"{recording.attributes.get('record_freq')!r}. Record "
            "GradientRecorder(weights='update_ratio'), or weights='raw' with "
            "record_freq=1."
        )
    names = source.short_names(ratios)
    columns: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for path, (ratio, absent) in ratios.items():
        known = ratio, absent, _from_zero(recording, path, ratio, absent)
        for column, values in zip(columns, known, strict=True):
            column[names[path]] = values
    return Ratios(*map(pd.DataFrame, columns))


def _from_zero(
    recording: Recording,
    path: str,
    ratios: np.ndarray,
    absent: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Where a ratio is infinite or NaN only because the weights before it were zero.

    Weights that are NaN or infinite remain so: a ratio that is neither, later in the
    same fit, or weights that are neither after the last update, show that it was zero.
    """
    fits = np.searchsorted(
        [fit.first for fit in recording.fits],
        np.asarray(recording.index["step"]),
        side="right",
    )
    bad = ~np.isfinite(ratios) & ~absent
    good = np.isfinite(ratios) | (bad & _finite_weights(recording, path))
    last = {fit: np.flatnonzero(good & (fits == fit)) for fit in np.unique(fits)}
    ends = np.array([last[fit][-1] if last[fit].size else -1 for fit in fits])
    return bad & (np.arange(len(ratios)) <= ends)


def _finite_weights(recording: Recording, path: str) -> npt.NDArray[np.bool_]:
    """In which records weights after an update are known to be finite."""
    count = len(recording)
    if recording.attributes["weights_at"] != "after":
        return np.zeros(count, bool)
    for reduction in ("raw", "norm"):
        arrays = recording.arrays("weights", reduction)
        if path in arrays:
            rows = np.asarray(arrays[path]).reshape(count, -1)
            return np.asarray(np.isfinite(rows).all(axis=1))
    return np.zeros(count, bool)


def _ratios_of_raw(
    recording: Recording, path: str
) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
    """Ratios of the updates between consecutive steps, and where there are none."""
    weights = np.asarray(recording.weights[path], np.float64)
    weights = weights.reshape(len(recording), -1)
    steps = np.asarray(recording.index["step"])
    after = recording.attributes["weights_at"] == "after"
    starts = {fit.first: (fit.weights or {}).get(path) for fit in recording.fits}
    ratios = np.full(len(recording), np.nan)
    absent = np.ones(len(recording), bool)
    for number, step in enumerate(steps):
        follows = step == (steps[number - 1] if number else 0) + 1
        before = weights[number - 1] if number else None
        if number in starts:  # A fit may begin with other weights than one before left.
            before = starts[number] if after else None
        row = number if after else number - 1
        if follows and before is not None:
            ratios[row], absent[row] = _ratio(weights[number], np.ravel(before)), False
    return ratios, absent


def _ratio(after: np.ndarray, before: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        update = np.linalg.norm(after - before)
        return float(update / np.linalg.norm(before))
