"""The data of the latest steps, as many as there is room for."""

from collections.abc import Mapping

import numpy as np


class RecentBatches:
    """Remembers the data of the latest steps, and forgets the oldest.

    Args:
        max_bytes: The most that it holds, unless a single step has more.
    """

    def __init__(self, max_bytes: int) -> None:
        self._max_bytes = max_bytes
        self._batches: dict[int, dict[str, np.ndarray]] = {}
        self._bytes = 0

    def add(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
        """Remembers the data of a step."""
        self._forget(step)
        # A record's may be views of memory that is used again.
        self._batches[step] = {name: np.array(array) for name, array in batch.items()}
        self._bytes += _size(self._batches[step])
        while self._bytes > self._max_bytes and len(self._batches) > 1:
            self._forget(next(iter(self._batches)))

    def _forget(self, step: int) -> None:
        self._bytes -= _size(self._batches.pop(step, {}))

    def of(self, step: int | None) -> Mapping[str, np.ndarray]:
        """The data of a step; empty if they are forgotten."""
        return {} if step is None else self._batches.get(step, {})


def _size(batch: Mapping[str, np.ndarray]) -> int:
    return sum(array.nbytes for array in batch.values())
