"""A Zarr array on disk that is read chunk by chunk."""

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

import numpy as np

from hrcallbacks.storage.decoding import decoded, most_bytes
from hrcallbacks.storage.files import Files


class DamagedChunk(OSError):
    """A chunk that cannot be read.

    Args:
        array: The array.
        chunk: The chunk's name.
        number: Its number along the first axis.
        why: What is wrong with it.
    """

    def __init__(
        self, array: "ChunkedArray", chunk: str, number: int, why: str
    ) -> None:
        super().__init__(
            f"the chunk {chunk!r} of the array {array.path!r} in the recording at "
            f"{array.files.path!r} {why}"
        )
        self.number = number


class _Part(NamedTuple):
    """What one chunk gives along an axis."""

    number: int
    inside: slice
    outside: slice


@dataclass(frozen=True)
class ChunkedArray:
    """An array whose metadata have been checked.

    Attributes:
        files: The store's files.
        path: Its path in the store.
        shape: Its shape. Rows beyond those that count are left out.
        dtype: Its dtype.
        chunks: Shape of a chunk.
        codecs: Names of the codecs after `bytes`.
        attributes: Its attributes.
        fill: What a chunk that was not written holds.
        first: Rows before this one were never written.
        may_lack_chunks: Whether a missing chunk means `fill`, as in format 1.
    """

    files: Files
    path: str
    shape: tuple[int, ...]
    dtype: np.dtype
    chunks: tuple[int, ...]
    codecs: tuple[str, ...]
    attributes: dict[str, Any]
    fill: Any
    first: int = 0
    may_lack_chunks: bool = False

    def read(self, picks: Sequence[range]) -> np.ndarray:
        """Reads a part of the array.

        Args:
            picks: What to read of each axis; the steps are positive.

        Raises:
            DamagedChunk: If a chunk is missing or damaged.
            MemoryError: If it does not fit into memory.
        """
        shape = tuple(len(pick) for pick in picks)
        parts = [[*_parts(p, c)] for p, c in zip(picks, self.chunks, strict=True)]
        made: np.ndarray | None = None
        for cell in itertools.product(*parts):
            chunk = self._chunk(tuple(part.number for part in cell))
            if made is None:  # Only now: the first chunk is as large as it should be.
                made = self._empty(shape)
            made[tuple(part.outside for part in cell)] = (
                self.fill
                if chunk is None
                else chunk[tuple(part.inside for part in cell)]
            )
        return np.empty(shape, self.dtype) if made is None else made

    def of_length(self, count: int) -> "ChunkedArray":
        """The array with that many rows: others do not count, or not yet."""
        return replace(self, shape=(count, *self.shape[1:]))

    def all(self) -> np.ndarray:
        """The whole array."""
        picks = [range(length) for length in self.shape]
        return self.read(picks)

    def _empty(self, shape: tuple[int, ...]) -> np.ndarray:
        try:
            return np.empty(shape, self.dtype)
        except (MemoryError, ValueError) as error:
            size = math.prod(shape) * self.dtype.itemsize
            raise MemoryError(
                f"The array {self.path!r} in the recording at {self.files.path!r} "
                f"takes {size:,} bytes, which is more than there is memory. Read parts "
                "of it: index it with a slice."
            ) from error

    def _chunk(self, numbers: tuple[int, ...]) -> np.ndarray | None:
        """A chunk; None if it was never written."""
        name = "/".join(["c", *map(str, numbers)])
        size = math.prod(self.chunks) * self.dtype.itemsize
        row = numbers[0] if numbers else 0
        try:
            data = self.files.read(f"{self.path}/{name}", most_bytes(size))
            data = decoded(data, size, self.codecs)
        except FileNotFoundError as error:
            if self.may_lack_chunks or self._is_before_first(row):
                return None
            raise DamagedChunk(self, name, row, "is missing") from error
        except (OSError, ValueError) as error:
            why = f"is damaged: {error}"
            raise DamagedChunk(self, name, row, why) from error
        return np.frombuffer(data, self.dtype).reshape(self.chunks)

    def _is_before_first(self, row: int) -> bool:
        end = min((row + 1) * self.chunks[0], self.shape[0]) if self.shape else 1
        return end <= self.first


def _parts(pick: range, size: int) -> Iterator[_Part]:
    """The chunks that hold what is picked of an axis."""
    done = 0
    while done < len(pick):
        number = pick[done] // size
        start = number * size
        # Those before the chunk's end.
        end = min(len(pick), -(-(start + size - pick.start) // pick.step))
        inside = slice(pick[done] - start, pick[end - 1] - start + 1, pick.step)
        yield _Part(number, inside, slice(done, end))
        done = end
