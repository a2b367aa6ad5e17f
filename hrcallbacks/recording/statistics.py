"""Numbers of a recording: recorded, or computed from whole tensors."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
import pandas as pd

from hrcallbacks.blocks import blocks
from hrcallbacks.progress import progress
from hrcallbacks.recording.dynamics import dynamics
from hrcallbacks.reductions.named import NAMED, names_for
from hrcallbacks.reductions.reduction import Reduction

if TYPE_CHECKING:
    from hrcallbacks.recording.records import Records


# The norm of all variables together.
GLOBAL_NORM = "global_norm"


def statistic(recording: "Records", quantity: str, reduction: str) -> pd.DataFrame:
    """A number for each record and variable; see `Recording.statistic`."""
    columns = _columns(recording, quantity, reduction)
    if not columns and reduction == GLOBAL_NORM:
        return _global_norm(recording, quantity)
    if not columns:
        made = dynamics(recording, quantity, reduction)
        if made is not None:
            return made
        raise ValueError(
            f"No {reduction!r} of {quantity} was recorded, and it cannot be computed "
            f"from what was: {recording.recorded or 'nothing'}. "
            f"GradientRecorder({quantity}=...) takes {names_for(quantity)}."
        )
    for path, array in columns.items():
        if array.ndim != 1:
            raise ValueError(
                f"{reduction!r} is not a single number: for {path!r} it has shape "
                f"{array.shape[1:]}. For its arrays, use recording.arrays("
                f"{quantity!r}, {reduction!r})."
            )
    steps = pd.Index(recording.index["step"], name="step")
    return pd.DataFrame(columns, index=steps)


def _global_norm(recording: "Records", quantity: str) -> pd.DataFrame:
    try:
        norms = statistic(recording, quantity, "norm")
    except ValueError:
        norms = pd.DataFrame()
    lacking = [path for path in recording.paths if path not in norms]
    if lacking:
        raise ValueError(
            f"The norm of all {quantity} together needs those of each recorded "
            f"variable, 'raw' or their 'norm'. Neither was recorded of {lacking[:5]}."
        )
    squares = np.square(norms.to_numpy(np.float64))
    there = np.ones_like(squares, bool)
    if quantity == "gradients":
        there = recording.has_gradient[[*norms]].to_numpy()
    sums = np.sum(squares, axis=1, where=there)
    # NaN, not zero, where no variable got a gradient.
    made = np.where(there.any(axis=1), np.sqrt(sums), np.nan)
    return pd.DataFrame({GLOBAL_NORM: made}, index=norms.index)


def _columns(
    recording: "Records", quantity: str, reduction: str
) -> Mapping[str, np.ndarray]:
    recorded = recording.arrays(quantity, reduction)
    raw = recording.arrays(quantity)
    named = NAMED.get(reduction)
    made: Mapping[str, np.ndarray] = {}
    if named is not None and not named.of_update:
        read_numbers(recording, quantity, [reduction])
        made = recording.cache.made(quantity, reduction)
    paths = recording.paths
    if quantity not in ("gradients", "weights"):
        paths = list(dict.fromkeys([*recorded, *raw]))
    return {
        path: np.asarray(recorded[path]) if path in recorded else made[path]
        for path in paths
        if path in recorded or path in made
    }


def read_numbers(
    recording: "Records", quantity: str, reductions: Sequence[str]
) -> None:
    """Makes numbers of whole tensors that were recorded, in one pass over them.

    They are kept in `recording.cache`, as are those that earlier calls made.

    Args:
        recording: The recording.
        quantity: Which tensors.
        reductions: Names of reductions; those that were recorded are left out.
    """
    raw = recording.arrays(quantity)
    lacking: dict[str, list[str]] = {}
    for reduction in reductions:
        recorded = recording.arrays(quantity, reduction)
        for path in set(raw) - set(recorded):
            if path not in recording.cache.made(quantity, reduction):
                lacking.setdefault(path, []).append(reduction)
    paths = [path for path in raw if path in lacking]
    for path in progress(paths, of=f"Reading {quantity}", unit="variable"):
        made = _made(recording, quantity, path, lacking[path])
        for reduction, numbers in made.items():
            recording.cache.keep(quantity, reduction, path, numbers)


def _made(
    recording: "Records", quantity: str, path: str, reductions: Sequence[str]
) -> dict[str, np.ndarray]:
    counts = recording.rows_of(quantity, path)
    rows = recording.arrays(quantity)[path]
    made = {name: np.full(len(rows), np.nan) for name in reductions}
    for where, block in blocks(rows):
        wide = block.astype(np.float64, copy=False)
        for name, numbers in made.items():
            if counts is None:
                numbers[where] = NAMED[name].on_rows(wide)
            else:
                numbers[where] = _of_batches(NAMED[name], wide, counts[where])
    if quantity == "gradients":
        without = recording.without_gradient(path)
        for numbers in made.values():
            numbers[without] = np.nan
    return made


def _of_batches(
    reduction: Reduction, block: np.ndarray, counts: np.ndarray
) -> np.ndarray:
    """Of tensors with a row for each sample: a smaller batch has no more.

    NaN of a larger batch, of which not all rows were recorded.
    """
    made = np.full(len(block), np.nan)
    for count in np.unique(counts[counts <= block.shape[1]]):
        which = counts == count
        made[which] = reduction.on_rows(block[which][:, : int(count)])
    return made
