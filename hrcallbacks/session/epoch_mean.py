"""The mean gradient of an epoch, summed on the device."""

import collections
from typing import Any

import keras
import numpy as np

from hrcallbacks.capture.packing import Packed, Packer
from hrcallbacks.quantities.gradients import Gradients
from hrcallbacks.types import Key

_HALF = ("float16", "bfloat16")  # A sum over many steps overflows them.


class EpochMean:
    """Mean of the gradients of several steps, summed in float32 or wider.

    Args:
        gradients: What is recorded of the mean.
    """

    def __init__(self, gradients: Gradients) -> None:
        self._gradients = gradients
        self._sums: dict[tuple[int, str], tuple[Packer, int, dict[int, Any]]] = {}
        self._latest: tuple[Packer, Packed] | None = None

    def add_latest(self, packer: Packer, packed: Packed) -> None:
        """Adds a step that may be the last, whose arrays `replaced` then gets."""
        if self._latest is not None:
            self.add(*self._latest)
        self._latest = packer, packed

    def add(self, packer: Packer, packed: Packed) -> None:
        """Adds a step."""
        for layout, tensors in packer.of_quantity(packed, Gradients.name).items():
            key = id(packer), layout
            _, count, sums = self._sums.get(key, (packer, 0, {}))
            summed = {place: _wide(tensor) for place, tensor in tensors.items()}
            if sums:
                summed = {p: keras.ops.add(sums[p], t) for p, t in summed.items()}
            self._sums[key] = packer, count + 1, summed

    def replaced(
        self, last: dict[int, dict[Key, np.ndarray]]
    ) -> dict[int, dict[Key, np.ndarray]]:
        """The last step's records, with the mean gradients instead of its own."""
        totals: dict[tuple[int, str], Any] = collections.defaultdict(float)
        counts: dict[tuple[int, str], int] = collections.defaultdict(int)
        parts = [(1, last)]
        for (_, layout), (packer, count, sums) in self._sums.items():
            parts.append((count, packer.unpack_places(layout, sums)))
        for count, records in parts:
            for number, record in records.items():
                for key, array in record.items():
                    if key.quantity == Gradients.name:
                        place = number, key.path
                        totals[place] = totals[place] + array.astype(np.float64)
                        counts[place] += count
        replaced: dict[int, dict[Key, np.ndarray]] = {
            number: {k: a for k, a in record.items() if k.quantity != Gradients.name}
            for number, record in last.items()
        }
        for (number, path), total in totals.items():
            made = self._gradients.of_mean(path, total / counts[number, path])
            replaced.setdefault(number, {}).update(made)
        return dict(sorted(replaced.items()))


def _wide(tensor: Any) -> Any:
    half = keras.backend.standardize_dtype(tensor.dtype) in _HALF
    return keras.ops.cast(tensor, "float32") if half else tensor
