"""Where a recording on disk continues when its run is resumed."""

from dataclasses import dataclass

import pandas as pd

from hrcallbacks.storage.zarr_index import Epoch


@dataclass(frozen=True)
class Resumption:
    """Where it continues.

    Attributes:
        kept: How many records are kept; later ones are trained again.
        epochs: The epochs that are kept.
        steps: How many steps were run before the next epoch.
        gap: What was lost before it, in words, or None.
    """

    kept: int
    epochs: list[Epoch]
    steps: int
    gap: str | None


def resume(
    index: pd.DataFrame,
    epochs: list[Epoch],
    *,
    fit: int,
    first: int,
    epoch: int,
    steps: int,
    batches: int | None,
) -> Resumption:
    """Finds where the latest fit continues.

    Args:
        index: The index of the records on disk.
        epochs: The epochs that have ended, on disk.
        fit: The fit's number, from 1.
        first: Number of its first record.
        epoch: The next epoch.
        steps: How many steps this process has run.
        batches: How many steps an epoch has, or None if unknown.
    """
    epochs = [e for e in epochs if e.fit < fit or e.epoch < epoch]
    again = (index["epoch"] >= epoch).to_numpy(copy=True)
    again[:first] = False
    kept = int(again.argmax()) if again.any() else len(index)
    steps = max([steps, *(e.step for e in epochs)])
    if any(e.fit == fit for e in epochs):
        last = epochs[-1].epoch
    else:
        last = 0 if kept == first else int(index["epoch"].iloc[first]) - 1
    if last >= epoch - 1:
        return Resumption(kept, epochs, steps, None)
    # Training resumes after the point where the store ends.
    missing = (epoch - 1 - last) * (batches or 0)
    lost = f"steps {steps + 1} to {steps + missing}" if missing else "steps"
    gap = f"a crash before epoch {epoch} lost {lost}, except what was flushed"
    return Resumption(kept, epochs, steps + missing, gap)
