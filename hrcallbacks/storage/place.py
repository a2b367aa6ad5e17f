"""Places on disk, or behind a URL, where a store may be."""

import itertools
import os
from pathlib import Path
from typing import Any

from hrcallbacks.optional import optional

# In a path, it stands for a number, different for each recording.
NUMBER = "{n}"


def checked_path(path: object) -> str:
    """A path or URL of a store, as a string.

    Raises:
        TypeError: If it is neither.
    """
    if not isinstance(path, str | os.PathLike) or not os.fspath(path):
        raise TypeError(
            "Expected a path or URL of a Zarr store, such as 'run.zarr'. "
            f"Received: {path!r}."
        )
    return str(os.fspath(path))


def is_local(path: str) -> bool:
    """Whether a path is local, not a URL."""
    return "://" not in path


def exists(path: str) -> bool:
    """Whether something is there; an empty folder does not count."""
    if is_local(path):
        there = Path(path)
        return there.exists() and not (there.is_dir() and not any(there.iterdir()))
    import fsspec

    system, place = fsspec.core.url_to_fs(path)
    return system.exists(place)


class Lock:
    """A lock on a store, released when the process ends at the latest.

    A URL has no lock.
    """

    def __init__(self) -> None:
        self._lock: Any = None

    def take(self, path: str) -> None:
        """Takes it, unless it is held already.

        Raises:
            BlockingIOError: If another recorder is writing there.
        """
        if self._lock is None and is_local(path):
            self._lock = _locked(path)

    def release(self) -> None:
        """Lets others write."""
        if self._lock is not None:
            lock, self._lock = self._lock, None
            Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()


def claim(pattern: str, lock: Lock) -> str:
    """Takes the first numbered place that is empty and where no recorder is writing.

    Args:
        pattern: A path with `{n}` in it.
        lock: The lock to take there.

    Returns:
        The path.
    """
    for number in itertools.count():
        path = pattern.replace(NUMBER, str(number))
        if exists(path):
            continue
        try:
            lock.take(path)
        except BlockingIOError:
            continue
        if not exists(path):
            return path
        lock.release()  # Another process was quicker.
    raise AssertionError("There are more numbers.")


def _locked(path: str) -> Any:
    with optional("Zarr", extra="zarr", needed_by="A recording on disk"):
        import filelock
    folder = Path(path).absolute()
    folder.parent.mkdir(parents=True, exist_ok=True)
    lock = filelock.FileLock(folder.with_name(f".{folder.name}.lock"))
    try:
        lock.acquire(timeout=0)
    except filelock.Timeout:
        raise BlockingIOError(
            f"Another recorder is writing to {path!r}. Choose another path, or read "
            f"that recording with hr.open_recording({path!r}). If its fit was "
            "interrupted in this process, call recorder.reset() to release the store."
        ) from None
    return lock
