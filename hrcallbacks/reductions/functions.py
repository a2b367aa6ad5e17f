"""The functions behind the named reductions.

They are written once, over a namespace of array functions: a backend's inside a
compiled step, NumPy's on the host for arrays that were recorded.
"""

import math
from collections.abc import Callable, Mapping
from functools import partial
from types import SimpleNamespace
from typing import Any, Literal, NamedTuple

import numpy as np

# What NaN or infinity in a recorded value says of the tensor.
NonfiniteIn = Literal["elements", "sample", "numbers", "hints", "counts", "tail"]


class Function(NamedTuple):
    """A function that makes a number of a tensor.

    Attributes:
        call: Called with a namespace and the tensor; if `of_update`, also with the
            weights from before the update.
        nonfinite: See `Reduction.nonfinite`.
        of_update: Whether it also takes the weights from before the update.
        of_elements: Whether it needs at least one element.
        of_none: What it is of no elements, on the host.
    """

    call: Callable[..., Any]
    nonfinite: NonfiniteIn | None = "numbers"
    of_update: bool = False
    of_elements: bool = False
    of_none: float = math.nan


# NumPy over all axes but the first, under the names that the functions use. The
# tensors are rows of a float64 matrix, `(rows, elements)`.
OF_ROWS: Any = SimpleNamespace(
    square=np.square,
    sqrt=np.sqrt,
    abs=np.abs,
    equal=np.equal,
    isfinite=np.isfinite,
    isnan=np.isnan,
    logical_not=np.logical_not,
    where=np.where,
    subtract=np.subtract,
    divide=np.divide,
    cast=lambda array, dtype: np.asarray(array).astype(dtype),
    mean=partial(np.mean, axis=1),
    std=partial(np.std, axis=1),
    min=partial(np.min, axis=1),
    max=partial(np.max, axis=1),
    any=partial(np.any, axis=1),
    count=partial(np.count_nonzero, axis=1),
    sum_of_squares=lambda x: np.einsum("ij,ij->i", x, x),
)


def _norm(ops: Any, x: Any) -> Any:
    return ops.sqrt(ops.sum_of_squares(x))


def _mean(ops: Any, x: Any) -> Any:
    return ops.mean(x)


def _std(ops: Any, x: Any) -> Any:
    return ops.std(x)


def _abs_max(ops: Any, x: Any) -> Any:
    return _extreme("max")(ops, ops.abs(x))


def _extreme(function: str) -> Callable[[Any, Any], Any]:
    # Some backends' min and max drop NaN.
    def extreme(ops: Any, x: Any) -> Any:
        found = getattr(ops, function)(x)
        return ops.where(ops.any(ops.isnan(x)), ops.cast(math.nan, found.dtype), found)

    return extreme


def _zero_fraction(ops: Any, x: Any) -> Any:
    zeros = ops.count(ops.equal(x, 0))
    if ops is OF_ROWS:
        return zeros / x.shape[1]
    # A layer's output may have as many rows as the batch turns out to have.
    known = None not in x.shape
    size = math.prod(x.shape) if known else ops.cast(ops.size(x), "float32")
    return ops.cast(zeros, "float32") / size


def _nonfinite(ops: Any, x: Any) -> Any:
    return ops.count(ops.logical_not(ops.isfinite(x)))


def _update_norm(ops: Any, after: Any, before: Any) -> Any:
    return _norm(ops, ops.subtract(after, before))


def _update_ratio(ops: Any, after: Any, before: Any) -> Any:
    return ops.divide(_update_norm(ops, after, before), _norm(ops, before))


FUNCTIONS: Mapping[str, Function] = {
    "norm": Function(_norm, of_none=0),
    "mean": Function(_mean),
    "std": Function(_std),
    "min": Function(_extreme("min"), "hints", of_elements=True),
    "max": Function(_extreme("max"), "hints", of_elements=True),
    "abs_max": Function(_abs_max, of_elements=True),
    "zero_fraction": Function(_zero_fraction, None),
    "nonfinite": Function(_nonfinite, "counts", of_none=0),
    "update_norm": Function(_update_norm, of_update=True),
    # Infinite where weights are zero.
    "update_ratio": Function(_update_ratio, None, of_update=True),
}
