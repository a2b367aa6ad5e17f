"""Numbers of a recording: recorded, or computed from whole tensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

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
            f"from what was: {sorted(recording.reductions_of(quantity))}. "
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
    columns = {}
    paths = recording.paths
    if quantity not in ("gradients", "weights"):
        paths = list(dict.fromkeys([*recorded, *raw]))
    for path in progress(paths, of=f"Reading {quantity}", unit="variable"):
        if path in recorded:
            columns[path] = np.asarray(recorded[path])
        elif named is not None and not named.of_update and path in raw:
            made = _made(raw[path], named, recording.rows_of(quantity, path))
            if quantity == "gradients":
                made = np.where(recording.has_gradient[path], made, np.nan)
            columns[path] = made.astype(np.float64)
    return columns


def _made(rows: Any, reduction: Reduction, counts: np.ndarray | None) -> np.ndarray:
    if counts is None:
        return np.array([reduction.on_host(rows[n]) for n in range(len(rows))])
    # A smaller batch has no more rows; of a larger one not all were recorded.
    return np.array(
        [
            reduction.on_host(rows[n][: int(count)])
            if count <= rows.shape[1]
            else np.nan
            for n, count in enumerate(counts)
        ]
    )
