"""Numbers of a recording: recorded, or computed from whole tensors."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hrcallbacks.progress import progress
from hrcallbacks.reductions.named import NAMED, names_for
from hrcallbacks.reductions.reduction import Reduction

if TYPE_CHECKING:
    from hrcallbacks.recording.records import Records


def statistic(recording: "Records", quantity: str, reduction: str) -> pd.DataFrame:
    """A number for each record and variable; see `Recording.statistic`."""
    columns = _columns(recording, quantity, reduction)
    if not columns:
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


def _columns(
    recording: "Records", quantity: str, reduction: str
) -> Mapping[str, np.ndarray]:
    recorded = recording.arrays(quantity, reduction)
    raw = recording.arrays(quantity)
    named = NAMED.get(reduction)
    columns = {}
    for path in progress(recording.paths, of=f"Reading {quantity}", unit="variable"):
        if path in recorded:
            columns[path] = np.asarray(recorded[path])
        elif named is not None and not named.of_update and path in raw:
            made = _made(raw[path], named)
            if quantity == "gradients":
                made = np.where(recording.has_gradient[path], made, np.nan)
            columns[path] = made.astype(np.float64)
    return columns


def _made(rows: Any, reduction: Reduction) -> np.ndarray:
    return np.array([reduction.on_host(rows[n]) for n in range(len(rows))])
