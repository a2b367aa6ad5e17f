"""Some of a tensor's elements."""

import math
from typing import Any, SupportsIndex

import numpy as np

from hrcallbacks.checks import positive_integer, seed_of
from hrcallbacks.reductions.functions import NonfiniteIn
from hrcallbacks.reductions.reduction import Reduction, checked_name
from hrcallbacks.types import Spec


class Sample(Reduction):
    """The same n elements at each step.

    Args:
        n: How many elements; a smaller tensor is taken whole.
        seed: Decides which ones; `indices` returns them.
        name: Its name in the recording.

    Raises:
        ValueError: If `n` is below 1.

    Example:
        >>> Sample(3, seed=1).indices(1000).tolist()
        [0, 417, 720]
    """

    of_rows = True
    nonfinite: NonfiniteIn | None = "sample"

    def __init__(
        self, n: SupportsIndex, seed: SupportsIndex = 0, *, name: str = "sample"
    ) -> None:
        self.n: int = positive_integer(n, "n")
        self.seed: int = seed_of(seed)
        self.name: str = checked_name(name)

    def indices(self, size: int) -> np.ndarray:
        """Which elements of a flattened tensor are taken.

        Args:
            size: The tensor's number of elements.

        Returns:
            Increasing int array of shape `(min(n, size),)`.
        """
        if self.n >= size:
            return np.arange(size)
        # The legacy generator's stream is the same in every version of NumPy.
        random = np.random.RandomState(self.seed)
        found: dict[int, None] = {}
        while len(found) < self.n:
            drawn = (random.random_sample(self.n) * size).astype(np.int64)
            found.update(dict.fromkeys(drawn.tolist()))
        return np.sort(list(found)[: self.n])

    def in_step(self, ops: Any, tensor: Any) -> Any:
        """The elements, shape `(min(n, size),)`."""
        indices = self.indices(math.prod(tensor.shape))
        return ops.take(ops.reshape(tensor, (-1,)), indices.astype("int32"))

    def on_host(self, array: np.ndarray) -> np.ndarray:
        """The elements."""
        return np.ravel(array)[self.indices(np.size(array))]

    def spec(self, spec: Spec) -> Spec:
        """Shape and dtype of the elements."""
        return Spec((min(self.n, math.prod(spec.shape)),), spec.dtype)

    def describe(self) -> dict[str, Any]:
        """What `indices` needs."""
        return {"kind": "Sample", "n": self.n, "seed": self.seed}
