"""A tensor's first rows."""

import math
from typing import Any, SupportsIndex

import numpy as np

from hrcallbacks.checks import positive_integer
from hrcallbacks.reductions.functions import NonfiniteIn
from hrcallbacks.reductions.reduction import Reduction, checked_name
from hrcallbacks.types import Spec


class Rows(Reduction):
    """The first n rows: of a layer's output, what the batch's first n samples gave.

    Args:
        n: How many. Where there are fewer, NaN takes the place of those that lack.
        name: What it is called in the recording.

    Raises:
        ValueError: If `n` is below 1.

    Example:
        >>> import numpy as np
        >>> Rows(2).on_host(np.array([[1.0], [2.0], [3.0]])).tolist()
        [[1.0], [2.0]]
    """

    of_rows = True
    nonfinite: NonfiniteIn | None = "elements"

    def __init__(self, n: SupportsIndex, *, name: str = "rows") -> None:
        self.n: int = positive_integer(n, "n")
        self.name: str = checked_name(name)

    def in_step(self, ops: Any, tensor: Any) -> Any:
        """The rows, shape `(n, ...)`."""
        return ops.first_rows(tensor, self.n)

    def on_host(self, array: np.ndarray) -> np.ndarray:
        """The rows."""
        cut = np.asarray(array)[: self.n]
        made = np.full((self.n, *cut.shape[1:]), math.nan, cut.dtype)
        made[: len(cut)] = cut
        return made

    def spec(self, spec: Spec) -> Spec:
        """Shape and dtype of the rows.

        Raises:
            ValueError: If the tensor is a single number.
        """
        if not spec.shape:
            raise ValueError("a single number has no rows")
        return Spec((self.n, *spec.shape[1:]), spec.dtype)

    def describe(self) -> dict[str, Any]:
        """How many."""
        return {"kind": "Rows", "n": self.n}
