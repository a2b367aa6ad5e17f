"""A number for each unit of a layer."""

import math
from collections.abc import Callable, Mapping
from typing import Any, Literal, get_args

import numpy as np

from hrcallbacks.reductions.functions import FUNCTIONS, NonfiniteIn
from hrcallbacks.reductions.reduction import Reduction, checked_name
from hrcallbacks.types import Spec

UnitReduction = Literal[
    "norm", "mean", "std", "min", "max", "abs_max", "zero_fraction", "nonfinite"
]


class PerUnit(Reduction):
    """A named reduction over all axes but the last: a number for each unit or channel.

    Args:
        reduction: `"norm"`, `"mean"`, `"std"`, `"min"`, `"max"`, `"abs_max"`,
            `"zero_fraction"` or `"nonfinite"`.
        name: What it is called in the recording; by default such as `"mean_per_unit"`.

    Raises:
        ValueError: If there is no such reduction.

    Example:
        >>> import numpy as np
        >>> PerUnit("zero_fraction").on_host(np.array([[0, 1], [0, 2], [3, 4]]))
        array([0.66666667, 0.        ])
    """

    def __init__(self, reduction: UnitReduction, *, name: str | None = None) -> None:
        names = get_args(UnitReduction)
        if reduction not in names:
            raise ValueError(
                f"Expected hr.PerUnit of one of {list(names)}. Received: {reduction!r}."
            )
        self.of: UnitReduction = reduction
        self.nonfinite: NonfiniteIn | None = FUNCTIONS[reduction].nonfinite
        self.name: str = checked_name(name or f"{reduction}_per_unit")

    def in_step(self, ops: Any, tensor: Any) -> Any:
        """The numbers, shape `(units,)`."""
        return _FUNCTIONS[self.of](ops, ops.reshape(tensor, (-1, tensor.shape[-1])))

    def on_host(self, array: np.ndarray) -> np.ndarray:
        """The numbers, float64."""
        x = np.asarray(array, np.float64)
        with np.errstate(all="ignore"):
            return _FUNCTIONS[self.of](np, x.reshape(-1, x.shape[-1]))

    def spec(self, spec: Spec) -> Spec:
        """Shape and dtype of the numbers.

        Raises:
            ValueError: If the tensor has no last axis, or nothing along the others.
        """
        if not spec.shape:
            raise ValueError("a single number has no units")
        if math.prod(spec.shape) == 0:
            raise ValueError(f"a tensor of shape {spec.shape} has no {self.of}")
        return Spec(spec.shape[-1:], "float64")

    def describe(self) -> dict[str, Any]:
        """Which reduction it is."""
        return {"kind": "PerUnit", "of": self.of}


def _count(ops: Any, flags: Any) -> Any:
    # Float32 counts to 2^24 alone.
    return ops.sum(_as(ops, flags, "int32"), axis=0)


def _as(ops: Any, array: Any, dtype: str) -> Any:
    return array.astype(dtype) if ops is np else ops.cast(array, dtype)


def _size(ops: Any, x: Any) -> Any:
    return ops.sum(ops.ones_like(x[:, :1]))


def _extreme(function: str) -> Callable[[Any, Any], Any]:
    def extreme(ops: Any, x: Any) -> Any:
        found = getattr(ops, function)(x, axis=0)
        nan = ops.any(ops.isnan(x), axis=0)
        return ops.where(nan, ops.full_like(found, math.nan), found)

    return extreme


_FUNCTIONS: Mapping[str, Callable[[Any, Any], Any]] = {
    "norm": lambda ops, x: ops.sqrt(ops.sum(ops.square(x), axis=0)),
    "mean": lambda ops, x: ops.mean(x, axis=0),
    "std": lambda ops, x: ops.std(x, axis=0),
    "min": _extreme("min"),
    "max": _extreme("max"),
    "abs_max": lambda ops, x: _extreme("max")(ops, ops.abs(x)),
    "zero_fraction": lambda ops, x: (
        _as(
            ops, _count(ops, ops.equal(x, 0)), "float32" if ops is not np else "float64"
        )
        / _size(ops, x)
    ),
    "nonfinite": lambda ops, x: _count(ops, ops.logical_not(ops.isfinite(x))),
}
