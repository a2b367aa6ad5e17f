"""The named reductions, each of which makes a number.

They are written once, over a namespace of array functions: a backend's inside a
compiled step, NumPy's on the host for arrays that were recorded.
"""

import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.types import Spec


class _Named(Reduction):
    """A number, made with functions that `keras.ops` and NumPy both have."""

    def __init__(self, name: str, function: Callable[..., Any]) -> None:
        self.name = name
        self._function = function

    def in_step(self, ops: Any, tensor: Any) -> Any:
        return self._function(ops, tensor)

    def describe(self) -> dict[str, Any]:
        return {"kind": self.name}

    def on_host(self, array: np.ndarray) -> np.ndarray:
        # In float64: speed matters less here.
        with np.errstate(all="ignore"):
            return self._function(_HostOps, np.asarray(array, np.float64))

    def spec(self, spec: Spec) -> Spec:
        empty = math.prod(spec.shape) == 0
        if empty and self.name in ("min", "max", "abs_max"):
            raise ValueError(f"a tensor of shape {spec.shape} has no {self.name}")
        return Spec((), "float64")


class _OfUpdate(_Named):
    of_update = True

    def in_step(self, ops: Any, tensor: Any, before: Any = None) -> Any:
        return self._function(ops, tensor, before)


class _HostOps:
    """NumPy under the names of `keras.ops`, plus what a backend's `Ops` add."""

    abs, square, sqrt, sum, mean = np.abs, np.square, np.sqrt, np.sum, np.mean
    std, min, max = np.std, np.min, np.max
    equal, isfinite, logical_not = np.equal, np.isfinite, np.logical_not
    where, any, isnan = np.where, np.any, np.isnan
    subtract, divide = np.subtract, np.divide

    @staticmethod
    def cast(array: Any, dtype: Any) -> np.ndarray:
        return np.asarray(array).astype(dtype)

    @staticmethod
    def sum_of_squares(array: np.ndarray) -> Any:
        return np.sum(np.square(array))


def _norm(ops: Any, x: Any) -> Any:
    return ops.sqrt(ops.sum_of_squares(x))


def _count(ops: Any, flags: Any) -> Any:
    # Float32 counts only up to 2^24.
    return ops.sum(ops.cast(flags, "int32"))


def _zero_fraction(ops: Any, x: Any) -> Any:
    return ops.cast(_count(ops, ops.equal(x, 0)), "float32") / math.prod(x.shape)


def _extreme(function: str) -> Callable[[Any, Any], Any]:
    # Some backends' min and max drop NaN.
    def extreme(ops: Any, x: Any) -> Any:
        found = getattr(ops, function)(x)
        return ops.where(ops.any(ops.isnan(x)), ops.cast(math.nan, found.dtype), found)

    return extreme


def _update_norm(ops: Any, after: Any, before: Any) -> Any:
    return _norm(ops, ops.subtract(after, before))


def _update_ratio(ops: Any, after: Any, before: Any) -> Any:
    return ops.divide(_update_norm(ops, after, before), _norm(ops, before))


NAMED: Mapping[str, Reduction] = {
    r.name: r
    for r in (
        _Named("norm", _norm),
        _Named("mean", lambda ops, x: ops.mean(x)),
        _Named("std", lambda ops, x: ops.std(x)),
        _Named("min", _extreme("min")),
        _Named("max", _extreme("max")),
        _Named("abs_max", lambda ops, x: _extreme("max")(ops, ops.abs(x))),
        _Named("zero_fraction", _zero_fraction),
        _Named(
            "nonfinite",
            lambda ops, x: _count(ops, ops.logical_not(ops.isfinite(x))),
        ),
        _OfUpdate("update_norm", _update_norm),
        _OfUpdate("update_ratio", _update_ratio),
    )
}


def names_for(quantity: str) -> list[str]:
    """Names of the reductions available for gradients or weights."""
    return [n for n, r in NAMED.items() if quantity == "weights" or not r.of_update]
