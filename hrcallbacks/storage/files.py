"""The files of a store: only regular ones are read, and none that is too large."""

import json
import os
import stat
from pathlib import Path
from typing import Any

from hrcallbacks.storage.place import is_local

# The largest JSON that is read. Ten thousand variables take about 15 MiB.
_LARGEST_JSON = 64 * 1024**2
# Never waits for the writer of a pipe, and follows no link that was put there just now.
_FLAGS = (
    os.O_RDONLY
    | getattr(os, "O_NOFOLLOW", 0)
    | getattr(os, "O_NONBLOCK", 0)
    | getattr(os, "O_BINARY", 0)
)


def is_place(name: str) -> bool:
    """Whether a name is that of a file or folder below another, as `on_disk` makes it.

    Example:
        >>> is_place("index/zarr.json"), is_place("../index"), is_place("C:/index")
        (True, False, False)
    """
    return all(
        part.strip(".") and all(c.isalnum() or c in "_-.~" for c in part)
        for part in name.split("/")
    )


class Files:
    """Reads files below a folder, local or behind a URL.

    Args:
        path: A path or an fsspec URL.

    Attributes:
        path: The same, for messages.
    """

    def __init__(self, path: str) -> None:
        self.path: str = path
        self._system: Any = None
        self._root = path
        self._folders = {""}  # Those known to be real ones.
        if not is_local(path):
            import fsspec

            self._system, self._root = fsspec.core.url_to_fs(path)
            # Other processes may be writing.
            self._system.invalidate_cache()

    def read(self, name: str, most: int) -> bytes:
        """A file's content.

        Args:
            name: Its path below the folder.
            most: The most bytes that it may have.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is too large, or not a regular file in real folders.
        """
        if not is_place(name):
            raise ValueError(f"there can be no {name!r:.120} in it")
        data = self._remote(name, most) if self._system else self._local(name, most)
        if len(data) > most:
            raise ValueError(f"it has more than the {most:,} bytes that it may have")
        return data

    def _remote(self, name: str, most: int) -> bytes:
        return self._system.cat_file(f"{self._root}/{name}", start=0, end=most + 1)

    def _local(self, name: str, most: int) -> bytes:
        *folders, _ = name.split("/")
        for depth in range(1, len(folders) + 1):
            self._check_folder("/".join(folders[:depth]))
        place = Path(self._root, name)
        _check_kind(os.lstat(place).st_mode, stat.S_ISREG, "a regular file")
        file = os.open(place, _FLAGS)
        with os.fdopen(file, "rb") as opened:
            _check_kind(os.fstat(file).st_mode, stat.S_ISREG, "a regular file")
            return opened.read(most + 1)

    def _check_folder(self, name: str) -> None:
        if name not in self._folders:
            mode = os.lstat(Path(self._root, name)).st_mode
            _check_kind(mode, stat.S_ISDIR, f"in a real folder: {name!r}")
            self._folders.add(name)

    def json(self, name: str) -> Any:
        """What a JSON file holds.

        Raises:
            FileNotFoundError: If it is not there.
            ValueError: If it is not JSON, too large, or not a regular file.
        """
        data = self.read(name, _LARGEST_JSON)
        try:
            return json.loads(data)
        except (ValueError, RecursionError) as error:
            raise ValueError(f"it is not JSON ({error})") from error

    def folders(self, name: str) -> list[str]:
        """Names of the folders in a folder."""
        if name and not is_place(name):
            raise ValueError(f"there can be no {name!r:.120} in it")
        place = f"{self._root}/{name}"
        if self._system:
            found = self._system.ls(place, detail=True)
            names = [f["name"] for f in found if f["type"] == "directory"]
            return sorted(n.rstrip("/").rpartition("/")[2] for n in names)
        self._check_folder(name)
        with os.scandir(place) as found:
            return sorted(f.name for f in found if f.is_dir(follow_symlinks=False))

    def __getstate__(self) -> dict[str, Any]:
        """For pickle: the files may be others by then."""
        return vars(self) | {"_folders": {""}}


def _check_kind(mode: int, is_kind: Any, kind: str) -> None:
    if not is_kind(mode):
        link = " but a link" if stat.S_ISLNK(mode) else ""
        raise ValueError(f"it is not {kind}{link}")
