"""The place on disk where one recording is written."""

import json
import shutil
import uuid
import warnings
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from hrcallbacks.storage.checksums import signed
from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.place import (
    NUMBER,
    Lock,
    checked_path,
    claim,
    exists,
    is_local,
)
from hrcallbacks.storage.zarr_arrays import write_array
from hrcallbacks.storage.zarr_format import (
    VERSION,
    array_json,
    attributes_json,
    batch_folder,
    fit_arrays,
    state_folder,
    weights_folder,
)
from hrcallbacks.storage.zarr_reader import Stored, import_zarr
from hrcallbacks.types import Fit


class RecordingGroup:
    """The Zarr group of one recording: locked, and checked to still be ours.

    Args:
        path: A path or an fsspec URL. `{n}` in it stands for the first number that is
            free.
        resume: Whether a recording that is already there may be continued.

    Attributes:
        path: Where it is, with `{n}` in it until the number is known.
        zarr: The `zarr.Group`; None until it is opened.
    """

    def __init__(self, path: object, *, resume: bool) -> None:
        import_zarr()
        self._pattern = checked_path(path)
        self._resume = resume
        self._lock = Lock()
        self._begin()

    def _begin(self) -> None:
        self.path: str = self._pattern
        self.zarr: Any = None
        self._id = uuid.uuid4().hex  # Tells our recording from others at that path.
        self._made = False  # Whether we made what is at the path.
        self._saved_attributes: str | None = None
        # Of each fit's arrays, which are written once, what the attributes say.
        self._saved_folders: dict[str, list[Any]] = {}
        self._saved_batches: dict[int, list[Any]] = {}  # Likewise, by step.

    @property
    def _is_numbered(self) -> bool:
        return NUMBER in self._pattern

    def check_place(self) -> None:
        """Rejects a path that cannot be written; changes nothing.

        Raises:
            FileExistsError: If something is there that must not be continued.
            BlockingIOError: If another recorder is writing there.
        """
        if self._is_numbered or not exists(self.path):
            return
        self._lock.take(self.path)
        self._lock.release()
        self._check_resumes()

    def _check_resumes(self) -> None:
        if not self._resume:
            raise FileExistsError(
                f"store={self.path!r} already exists. Choose another path, delete it, "
                "or continue the recording in it: GradientRecorder(..., resume=True). "
                "With {n} in the path, such as store='runs/{n}.zarr', each recorder "
                "uses a new one."
            )

    def open(self) -> Stored | None:
        """Locks the place and opens what is there, or makes a new group.

        Returns:
            The recording to continue; None if the group is new.

        Raises:
            FileExistsError: For the same reasons as `check_place`.
            BlockingIOError: For the same reasons as `check_place`.
            ValueError: If what is there cannot be continued.
            OSError: If it cannot be written.
        """
        if self._is_numbered:
            self.path = claim(self._pattern, self._lock)
        self._lock.take(self.path)
        if exists(self.path):
            self._check_resumes()
            return self._adopt(Stored(self.path))
        # With attributes: without them, a reader would find something else there.
        said = json.loads(self._described([], {}, []))
        self.zarr = open_group(self.path, mode="w-", attributes=signed(said))
        self._made = True
        return None

    def _adopt(self, stored: Stored) -> Stored:
        if stored.version != VERSION:
            raise ValueError(
                f"The recording at {self.path!r} has format {stored.version}, which is "
                "read but not continued. Convert it, and continue that one: "
                f"hrcallbacks convert {self.path} new.zarr"
            )
        for number, fit in enumerate(stored.json["fits"]):
            if fit["has_weights"]:
                self._saved_folders[weights_folder(number)] = fit["weights"]
            for name, optimizer in fit["optimizers"].items():
                if optimizer["has_state"]:
                    folder = state_folder(number, name)
                    self._saved_folders[folder] = optimizer["state"]
        self._saved_batches = dict(stored.json["batches"])
        self.zarr = open_group(self.path, mode="r+")
        self._id = stored.id or self._id
        return stored

    def reopen(self) -> None:
        """Locks the place again, for another fit of the same recorder.

        Raises:
            BlockingIOError: If another recorder is writing there.
            FileNotFoundError: If our recording is no longer there.
        """
        self._lock.take(self.path)
        if not self.is_ours():
            raise FileNotFoundError(
                f"The store {self.path!r} of this recorder's earlier fits is gone. "
                "Call recorder.reset() to start another recording there."
            )

    def is_ours(self) -> bool:
        """Whether our recording is still what is at the path."""
        if not is_local(self.path):
            return True
        try:
            found = json.loads(Path(self.path, "zarr.json").read_bytes())
            return found["attributes"].get("recording_id") == self._id
        except (OSError, ValueError, LookupError, AttributeError):
            return False

    def check_ours(self) -> None:
        """Raises if our recording is gone.

        Zarr would make the folders again, giving a store without a beginning, or write
        into someone else's recording.

        Raises:
            FileNotFoundError: If it is gone.
        """
        if not self.is_ours():
            local = is_local(self.path)
            replaced = local and Path(self.path, "zarr.json").is_file()
            what = "was replaced by another one" if replaced else "has vanished"
            raise FileNotFoundError(f"the store {self.path!r} {what}")

    def save(
        self,
        columns: Iterable[Column],
        attributes: Mapping[str, Any],
        fits: Sequence[Fit],
    ) -> None:
        """Writes what describes the recording, and the arrays its fits start from."""
        if self.zarr is None:
            return
        for number, fit in enumerate(fits):
            for folder, arrays in fit_arrays(number, fit):
                if folder not in self._saved_folders:
                    self._saved_folders[folder] = self._save_arrays(folder, arrays)
        text = self._described(columns, attributes, fits)
        if text != self._saved_attributes:
            # In one write: a reader finds either the old ones or the new ones.
            self.zarr.update_attributes(signed(json.loads(text)))
            self._saved_attributes = text

    def _described(
        self,
        columns: Iterable[Column],
        attributes: Mapping[str, Any],
        fits: Sequence[Fit],
    ) -> str:
        described = attributes_json(
            self._id,
            columns,
            attributes,
            fits,
            self._saved_folders,
            self._saved_batches,
        )
        return json.dumps(described, default=str)

    def keep_batch(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
        """Writes the data of a step; they count with the next `save`."""
        self._saved_batches[step] = self._save_arrays(batch_folder(step), batch)

    def drop_batches(self, after: int) -> None:
        """Removes the data of later steps, which will be trained again."""
        for step in [step for step in self._saved_batches if step > after]:
            del self._saved_batches[step]
            del self.zarr[batch_folder(step)]

    def _save_arrays(
        self, folder: str, arrays: Mapping[str, np.ndarray] | Sequence[np.ndarray]
    ) -> list[Any]:
        by_path = isinstance(arrays, Mapping)
        named = arrays.items() if by_path else (("", array) for array in arrays)
        said: list[Any] = []
        for place, (name, value) in enumerate(named):
            path, value = f"{folder}/{place}", np.asarray(value)
            axes = [f"{place}:axis_{n}" for n in range(value.ndim)]
            write_array(self.zarr, path, value, axes, {"path": name})
            said.append(array_json(path, name, value))
        return said

    def forget_fit(self, number: int) -> None:
        """Lets the arrays of a fit be written again."""
        own = f"fits/{number}/"
        kept = {f: s for f, s in self._saved_folders.items() if not f.startswith(own)}
        self._saved_folders = kept

    def consolidate(self) -> None:
        """Lists the metadata of all arrays in one file, which other readers like."""
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata is currently not")
            warnings.filterwarnings("ignore", "Object at .* is not recognized")
            import_zarr().consolidate_metadata(self.zarr.store)

    def release(self) -> None:
        """Releases the lock."""
        self._lock.release()

    def forget(self) -> None:
        """Returns to the state before `open`, removing what it made if still ours."""
        self.release()
        if self._made and is_local(self.path) and self.is_ours():
            shutil.rmtree(self.path)
        self._begin()


def open_group(
    path: str, *, mode: Any, attributes: dict[str, Any] | None = None
) -> Any:
    """Opens a Zarr group of format 3.

    Args:
        path: A path or an fsspec URL.
        mode: Zarr's `mode`.
        attributes: Those of a group that is made.
    """
    # While a run writes, the consolidated metadata of an earlier fit do not count.
    return import_zarr().open_group(
        path,
        mode=mode,
        zarr_format=3,
        use_consolidated=False,
        attributes=attributes,
    )
