"""Format 2: see `zarr_format`."""

from collections.abc import Mapping, Sequence
from typing import Any

from hrcallbacks.storage.array_metadata import open_array
from hrcallbacks.storage.checks import check_count, check_names, check_rows, damaged
from hrcallbacks.storage.checksums import is_signed
from hrcallbacks.storage.chunked_array import ChunkedArray
from hrcallbacks.storage.files import Files
from hrcallbacks.storage.layout import Layout, Start
from hrcallbacks.storage.zarr_format import EPOCHS, INDEX


class Format2(Layout):
    """Finds the arrays of a store of format 2."""

    def __init__(self, files: Files) -> None:
        super().__init__(files)
        if self.said and not is_signed(self.said):
            why = f"{INDEX + '/zarr.json'!r} does not match its checksum"
            raise damaged(files.path, why)
        self.ended: int = check_count(self.said, "ended_epochs", files.path)
        # By column of the index, the name of its array.
        self.names: dict[str, str] = check_names(self.said, files.path)

    def open(self, path: str) -> ChunkedArray:
        """See `Layout.open`."""
        return open_array(self.files, path, is_signed=True)

    def rows(self, array: ChunkedArray) -> ChunkedArray:
        """See `Layout.rows`.

        Raises:
            ValueError: If the array lacks records.
        """
        return self._of_length(array, self.records)

    def _of_length(self, array: ChunkedArray, count: int) -> ChunkedArray:
        if array.shape and array.shape[0] < count and array.first < count:
            raise ValueError(
                f"The array {array.path!r} of the recording at {self.files.path!r} is "
                f"damaged: it has {array.shape[0]:,} rows, and the index {count:,}."
            )
        return array.of_length(count)

    def index(self) -> dict[str, ChunkedArray]:
        """See `Layout.index`."""
        return {name: self.rows(self.open(at)) for name, at in self.names.items()}

    def epochs(self) -> ChunkedArray | None:
        """See `Layout.epochs`."""
        if not self.ended:
            return None
        return self._of_length(self.open(EPOCHS), self.ended)

    def weights(self, number: int, json: Mapping[str, Any]) -> Sequence[Start]:
        """What the attributes say that there is."""
        return self.said_arrays(json["weights"])

    def state(self, number: int, name: str, json: Mapping[str, Any]) -> Sequence[Start]:
        """What the attributes say that there is."""
        return self.said_arrays(json["optimizers"][name]["state"])

    def said_arrays(self, said: Sequence[Sequence[Any]]) -> Sequence[Start]:
        """See `Layout.said_arrays`."""
        made: list[Start] = []
        for path, name, dtype, shape in said:
            array = self.open(path)
            check_rows(array, (*shape,), dtype, self.files.path, rows=False)
            made.append(Start(array, name))
        return made
