"""Writes a recording in memory to disk."""

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from hrcallbacks.storage.place import checked_path, exists
from hrcallbacks.storage.records import records_of
from hrcallbacks.storage.zarr_store import ZarrStore
from hrcallbacks.types import Key, Spec

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
    if exists(checked_path(path)):
        raise FileExistsError(
            f"Something already exists at {os.fspath(path)!r}. Choose another path, "
            "or delete it."
        )
    store = ZarrStore(path)
    store.open()
    try:
        specs = {
            key: Spec(tuple(array.shape[1:]), str(array.dtype))
            for key, array in arrays.items()
        }
        store.declare(specs, dict(recording.attributes))
        store.fits += recording.fits
        for record in records_of(recording.index, arrays):
            store.append(record)
        for step, batch in recording.batches.items():
            store.keep_batch(step, batch)
        store.flush()
    finally:
        store.close()
