"""Where what was recorded of layers and of the batch is not finite."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrcallbacks.types import HAS_OUTPUT, HAS_OUTPUT_GRADIENT

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

_HAS = {"outputs": HAS_OUTPUT, "output_gradients": HAS_OUTPUT_GRADIENT}
_BLOCK_BYTES = 32 * 1024**2


class Nonfinite:
    """What is not finite of one quantity of a recording, by name.

    Args:
        recording: The recording.
        quantity: `"outputs"`, `"output_gradients"` or `"batch"`.

    Attributes:
        names: Of what it can be told, in the order of the calls of layers.
    """

    def __init__(self, recording: Recording, quantity: str) -> None:
        self._recording = recording
        self._quantity = quantity
        described: Mapping[str, Any] = recording.attributes.get("reductions", {})
        # Of each reduction, its `nonfinite`.
        self._kinds: dict[str, str | None] = {
            name: about.get("nonfinite")
            for name, about in described.get(quantity, {}).items()
        }
        self._known: dict[str, npt.NDArray[np.bool_]] = {}
        flags = recording.arrays_by_kind.get((_HAS.get(quantity, ""), ""), {})
        told = [
            name
            for reduction in recording.reductions_of(quantity)
            if self._tells(reduction)
            for name in recording.arrays(quantity, reduction)
        ]
        # The flags are of all layers, in turn; arrays are by what was asked for.
        order = [*flags, *told]
        self.names: list[str] = [n for n in dict.fromkeys(order) if n in set(told)]

    def _tells(self, reduction: str) -> bool:
        return self._kinds.get(reduction) in ("elements", "numbers", "counts")

    def _is_by_rows(self, reduction: str) -> bool:
        return self._kinds.get(reduction) == "elements"

    def _bad(self, reduction: str, values: np.ndarray) -> npt.NDArray[np.bool_]:
        counts = self._kinds.get(reduction) == "counts"
        return values > 0 if counts else ~np.isfinite(values)

    def records(self, name: str) -> npt.NDArray[np.bool_]:
        """Which records have something of it that is not finite."""
        if name not in self._known:
            self._known[name] = self._records(name)
        return self._known[name]

    def _records(self, name: str) -> npt.NDArray[np.bool_]:
        found = np.zeros(len(self._recording), bool)
        for reduction, array in self._arrays(name):
            if not self._is_by_rows(reduction):
                values = np.asarray(array, np.float64).reshape(len(found), -1)
                bad = self._bad(reduction, values).any(axis=1)
                return bad & self._there(name)
        for reduction, array in self._arrays(name):
            if self._is_by_rows(reduction):
                found |= self._by_rows(name, array)
        return found

    def _arrays(self, name: str) -> Iterator[tuple[str, Any]]:
        for reduction in self._recording.reductions_of(self._quantity):
            arrays = self._recording.arrays(self._quantity, reduction)
            if self._tells(reduction) and name in list(arrays):
                yield reduction, arrays[name]

    def _there(self, name: str) -> npt.NDArray[np.bool_]:
        has = self._recording.arrays_by_kind.get((_HAS.get(self._quantity, ""), ""))
        if has is not None and name in list(has):
            return np.asarray(has[name]) == 1
        return np.ones(len(self._recording), bool)

    def _by_rows(self, name: str, array: Any) -> npt.NDArray[np.bool_]:
        there = self._there(name)
        counts = self._recording.rows_of(self._quantity, name)
        size = max(int(np.prod(array.shape[1:])) * 8, 1)
        step = max(_BLOCK_BYTES // size, 1)
        found = np.zeros(len(there), bool)
        for start in range(0, len(there), step):
            block = np.asarray(array[start : start + step])
            bad = ~np.isfinite(block).reshape(len(block), -1).all(axis=1)
            for place in np.flatnonzero(bad & there[start : start + step]):
                rows = _rows(counts, start + int(place))
                found[start + place] = not np.isfinite(block[place][:rows]).all()
        return found

    def rows(self, name: str, record: int) -> list[int] | None:
        """Which rows of the batch are not finite, from 0; None if it is not known."""
        counts = self._recording.rows_of(self._quantity, name)
        known: set[int] | None = None
        for reduction, array in self._arrays(name):
            if self._is_by_rows(reduction) and len(array.shape) > 1:
                rows = np.asarray(array[record])[: _rows(counts, record)]
                bad = ~np.isfinite(rows).reshape(len(rows), -1).all(axis=1)
                known = (known or set()) | set(np.flatnonzero(bad).tolist())
        return None if known is None else sorted(known)

    def units(self, name: str, record: int) -> list[int] | None:
        """Which units are not finite, from 1; None if it is not known."""
        for reduction, array in self._arrays(name):
            if reduction.endswith("_per_unit"):
                bad = self._bad(reduction, np.asarray(array[record]))
                return (np.flatnonzero(bad) + 1).tolist()
        return None


def _rows(counts: np.ndarray | None, record: int) -> int | None:
    """How many rows there are; those that a smaller batch lacks are NaN."""
    if counts is None:
        return None
    return 0 if np.isnan(counts[record]) else int(counts[record])
