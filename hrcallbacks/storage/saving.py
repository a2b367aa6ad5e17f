"""Writes a recording to a new store: from memory, or from a store of any format."""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hrcallbacks.storage.place import checked_path, exists
from hrcallbacks.storage.zarr_index import Epoch
from hrcallbacks.storage.zarr_reader import Stored
from hrcallbacks.storage.zarr_store import ZarrStore
from hrcallbacks.types import Fit, Key, Spec

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording


def save(
    recording: "Recording", arrays: Mapping[Key, Any], path: str | os.PathLike[str]
) -> None:
    """Writes a recording to a new store; see `Recording.save`.

    Args:
        recording: The recording.
        arrays: All its arrays.
        path: A path or an fsspec URL where nothing exists yet.
    """
    _check_free(path)
    fits, attributes = recording.fits, recording.attributes
    _write(path, recording.index, arrays, attributes, fits, (), recording.batches)


def convert(source: str | os.PathLike[str], target: str | os.PathLike[str]) -> int:
    """Writes a recording on disk to a new store, in the format of this version.

    All is kept: the records, the attributes, what a replay starts from, and what a run
    needs that is to be resumed.

    Args:
        source: A path or an fsspec URL of a store, of any format.
        target: A path or an fsspec URL where nothing exists yet.

    Returns:
        The number of records.

    Raises:
        FileExistsError: If something exists at `target`.
        FileNotFoundError: If no recording is at `source`.
        ValueError: If what is at `source` is not a recording.
        OSError: If it is damaged, or cannot be written.
    """
    _check_free(target)
    stored = Stored(source)
    arrays: dict[Key, Any] = {
        key: column.of(stored.rows(column), key)
        for column in stored.columns
        for key in column.keys
    }
    epochs = [Epoch(*epoch) for epoch in stored.epochs()]
    index, attributes = stored.index(), stored.attributes
    _write(target, index, arrays, attributes, stored.fits, epochs, stored.batches)
    return stored.count


def _check_free(path: str | os.PathLike[str]) -> None:
    if exists(checked_path(path)):
        raise FileExistsError(
            f"Something already exists at {os.fspath(path)!r}. Choose another path, "
            "or delete it."
        )


def _write(
    path: str | os.PathLike[str],
    index: pd.DataFrame,
    arrays: Mapping[Key, Any],
    attributes: Mapping[str, Any],
    fits: Sequence[Fit],
    epochs: Sequence[Epoch],
    batches: Mapping[int, Mapping[str, np.ndarray]],
) -> None:
    store = ZarrStore(path)
    store.open()
    try:
        specs = {
            key: Spec(tuple(array.shape[1:]), str(array.dtype))
            for key, array in arrays.items()
        }
        store.declare(specs, dict(attributes))
        store.fits += fits
        store.epochs += epochs
        store.save(index, arrays)
        for step, batch in batches.items():
            store.keep_batch(step, batch)
        store.flush()
    except BaseException:
        store.remove()  # Half a recording would pass for a whole one.
        raise
    store.close()
