"""Format 1, which version 0.1 wrote.

Its index and what a replay starts from have no checksums, and chunks of zeros or of NaN
are left out, so that a missing one is no damage. The index is in the group `index`;
single numbers share one matrix, `numbers/<n>`.
"""

from collections.abc import Mapping, Sequence
from typing import Any

from hrcallbacks.storage.array_metadata import open_array
from hrcallbacks.storage.checks import check_index
from hrcallbacks.storage.chunked_array import ChunkedArray
from hrcallbacks.storage.layout import Layout, Start
from hrcallbacks.storage.zarr_format import INDEX


class Format1(Layout):
    """Finds the arrays of a store of format 1."""

    def open(self, path: str) -> ChunkedArray:
        """See `Layout.open`."""
        return open_array(self.files, path, is_signed=False)

    def rows(self, array: ChunkedArray) -> ChunkedArray:
        """See `Layout.rows`; it may be shorter if the last records lack it."""
        return array.of_length(self.records)

    def index(self) -> dict[str, ChunkedArray]:
        """The arrays in the group `index`, which state their names and places."""
        arrays = [self.open(f"{INDEX}/{n}") for n in self.files.folders(INDEX)]
        check_index(arrays, self.files.path)
        ordered = sorted(arrays, key=lambda array: array.attributes["place"])
        return {array.attributes["name"]: self.rows(array) for array in ordered}

    def epochs(self) -> ChunkedArray | None:
        """See `Layout.epochs`."""
        return self.open("epochs") if "epochs" in self.files.folders("") else None

    def weights(self, number: int, json: Mapping[str, Any]) -> Sequence[Start]:
        """The arrays in a folder, called by their places, which state their names."""
        return self._starts(f"fits/{number}/weights")

    def state(self, number: int, name: str, json: Mapping[str, Any]) -> Sequence[Start]:
        """The arrays in a folder, called by their places."""
        return self._starts(f"fits/{number}/optimizers/{name}")

    def _starts(self, folder: str) -> Sequence[Start]:
        places = [n for n in self.files.folders(folder) if n.isdecimal()]
        arrays = [self.open(f"{folder}/{n}") for n in sorted(places, key=int)]
        return [Start(a, str(a.attributes.get("name", ""))) for a in arrays]
