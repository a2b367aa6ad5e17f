"""Writes a store again, in the format of this version."""

from typing import Any

from hrcallbacks.storage.place import checked_path, exists
from hrcallbacks.storage.records import records_of
from hrcallbacks.storage.zarr_reader import Stored
from hrcallbacks.storage.zarr_store import ZarrStore


def convert(source: object, target: object) -> int:
    """Writes a recording on disk to a new store, in format 2.

    All is kept: records, attributes, what a replay starts from, and what a run needs
    that is to be resumed.

    Args:
        source: A path or an fsspec URL of a store, of any format.
        target: A path or an fsspec URL where nothing exists yet.

    Returns:
        The number of records.

    Raises:
        FileExistsError: If something exists at `target`.
        FileNotFoundError: If no recording is at `source`.
        ValueError: If what is at `source` is not a recording, or damaged.
        OSError: If it is damaged, or cannot be written.
    """
    path = checked_path(target)
    if exists(path):
        raise FileExistsError(
            f"Something already exists at {path!r}. Choose another path, or delete it."
        )
    stored = Stored(source)
    arrays: dict[Any, Any] = {
        key: column.of(stored.rows(column), key)
        for column in stored.columns
        for key in column.keys
    }
    store = ZarrStore(path)
    try:
        store.open()
        store.take(stored, arrays)
    except BaseException:
        store.drop()
        raise
    store.close()
    return stored.count
