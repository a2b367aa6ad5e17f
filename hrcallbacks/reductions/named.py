"""The named reductions, each of which makes a number."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hrcallbacks.reductions.functions import FUNCTIONS, OF_ROWS
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.types import Spec


class _Named(Reduction):
    """A number, made with functions that `keras.ops` and NumPy both have."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._function = FUNCTIONS[name]
        self.nonfinite = self._function.nonfinite
        self.of_update = self._function.of_update

    def in_step(self, ops: Any, tensor: Any, *before: Any) -> Any:
        return self._function.call(ops, tensor, *before)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.name}

    def on_host(self, array: np.ndarray) -> np.ndarray:
        return self.on_rows(np.asarray(array)[np.newaxis])[0]

    def on_rows(self, arrays: np.ndarray) -> np.ndarray:
        # In float64: speed matters less here.
        flat = arrays.reshape(len(arrays), math.prod(arrays.shape[1:]))
        flat = flat.astype(np.float64, copy=False)
        if not flat.shape[1]:
            return np.full(len(flat), float(self._function.of_none))
        with np.errstate(all="ignore"):
            return self._function.call(OF_ROWS, flat)

    def spec(self, spec: Spec) -> Spec:
        if self._function.of_elements and math.prod(spec.shape) == 0:
            raise ValueError(f"a tensor of shape {spec.shape} has no {self.name}")
        return Spec((), "float64")


NAMED: Mapping[str, Reduction] = {name: _Named(name) for name in FUNCTIONS}


def names_for(quantity: str) -> list[str]:
    """Names of the reductions available for gradients or weights."""
    return [n for n, r in NAMED.items() if quantity == "weights" or not r.of_update]
