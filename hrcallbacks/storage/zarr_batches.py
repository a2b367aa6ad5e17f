"""Data of single steps in a recording on disk: see `zarr_format`.

`batches/<step>/<n>` are the arrays, each with its name; the attribute `arrays` of
`batches/<step>` says how many there are. It is set last, so that a batch counts only
when it is complete.
"""

import warnings
from collections.abc import Mapping
from typing import Any

import numpy as np

from hrcallbacks.storage.checks import check_array
from hrcallbacks.storage.zarr_columns import write_array

_FOLDER = "batches"


def write_batch(group: Any, step: int, batch: Mapping[str, np.ndarray]) -> None:
    """Writes the data of a step.

    Args:
        group: The store's Zarr group.
        step: The step.
        batch: Arrays by name.
    """
    place = f"{_FOLDER}/{step}"
    if place in group:
        del group[place]
    for number, (name, array) in enumerate(batch.items()):
        write_array(group, f"{place}/{number}", array, name)
    if batch:
        group[place].attrs["arrays"] = len(batch)


def steps_of_batches(group: Any) -> list[int]:
    """The steps whose data are there."""
    return sorted(int(name) for name, inner in _groups(group) if _count(inner))


def read_batch(group: Any, step: int, path: str) -> dict[str, np.ndarray]:
    """The data of a step, by name.

    Args:
        group: The store's Zarr group.
        step: One of `steps_of_batches`.
        path: Where the store is, for messages.

    Raises:
        ValueError: If an array is not one of ours.
    """
    inner = group[f"{_FOLDER}/{step}"]
    arrays = [check_array(inner[str(n)], path) for n in range(_count(inner))]
    return {str(array.attrs["name"]): np.asarray(array[...]) for array in arrays}


def drop_batches(group: Any, after: int) -> None:
    """Removes the data of later steps, which will be trained again."""
    for step in steps_of_batches(group):
        if step > after:
            del group[f"{_FOLDER}/{step}"]


def _groups(group: Any) -> list[tuple[str, Any]]:
    if _FOLDER not in group:
        return []
    with warnings.catch_warnings():
        # As Zarr has yet to rename it, while a run writes.
        warnings.filterwarnings("ignore", r"Object at .*\.partial is not recognized")
        return [(n, g) for n, g in group[_FOLDER].groups() if n.isdecimal()]


def _count(inner: Any) -> int:
    count = inner.attrs.get("arrays", 0)
    return count if type(count) is int else 0
