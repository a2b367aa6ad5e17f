"""The mean gradient of an epoch, summed on the device."""

import collections
from collections.abc import Callable, Iterable
from typing import Any

import keras
import numpy as np

from hrcallbacks.packing import Packer

_HALF = ("float16", "bfloat16")  # A sum of many steps leaves their range.


class EpochMean:
    """Mean of the gradients of several steps, summed in float32 or wider.

    Args:
        finish: Called with a path and the mean, a NumPy array; yields the reductions'
            names and what they make of it.
    """

    def __init__(
        self, finish: Callable[[str, np.ndarray], Iterable[tuple[str, Any]]]
    ) -> None:
        self._finish = finish
        self._sums: dict[tuple, tuple[Packer, int, dict]] = {}
        self._latest: tuple[Packer, dict] | None = None

    def add_latest(self, packer: Packer, packed: dict) -> None:
        """Adds a step that may be the last one: `replaced` is given its arrays."""
        if self._latest is not None:
            self.add(*self._latest)
        self._latest = packer, packed

    def add(self, packer: Packer, packed: dict) -> None:
        """Adds a step."""
        for layout, tensors in packer.of_quantity(packed, "gradients").items():
            key = id(packer), layout
            _, count, sums = self._sums.get(key, (packer, 0, {}))
            summed = {place: _wide(tensor) for place, tensor in tensors.items()}
            if sums:
                summed = {p: keras.ops.add(sums[p], t) for p, t in summed.items()}
            self._sums[key] = packer, count + 1, summed

    def replaced(self, arrays: dict[tuple, np.ndarray]) -> dict[tuple, np.ndarray]:
        """The last step's arrays, with the mean's gradients in place of its own."""
        totals: dict[tuple, Any] = collections.defaultdict(float)
        counts: dict[tuple, int] = collections.defaultdict(int)
        parts = [(1, arrays)]
        for (_, layout), (packer, count, sums) in self._sums.items():
            parts.append((count, packer.unpack_places(layout, sums)))
        for count, part in parts:
            for key, array in part.items():
                if key[1] == "gradients":
                    totals[key] = totals[key] + array.astype(np.float64)
                    counts[key] += count
        kept = {k: a for k, a in arrays.items() if k[1] != "gradients"}
        for (record, quantity, name, path), total in totals.items():
            count = counts[record, quantity, name, path]
            for reduction, made in self._finish(path, total / count):
                kept[record, quantity, reduction, path] = made
        return kept


def _wide(tensor: Any) -> Any:
    half = keras.backend.standardize_dtype(tensor.dtype) in _HALF
    return keras.ops.cast(tensor, "float32") if half else tensor
