"""Histograms of the magnitudes in a tensor."""

from typing import Any, SupportsIndex

import numpy as np

from hrcallbacks.checks import positive_integer
from hrcallbacks.reductions.functions import NonfiniteIn
from hrcallbacks.reductions.reduction import Reduction, checked_name
from hrcallbacks.types import Spec


class Histogram(Reduction):
    """Counts of magnitudes, in the same bins for every tensor and step.

    Bin k counts the elements with `edges[k] <= |x| < edges[k + 1]`. The edges are
    powers of `2**octaves`, around 1e-3 in the middle. The first bin also counts all
    smaller nonzero elements, the last all larger finite ones. So each element is
    counted once, whatever its scale: a record holds the `bins` counts, then those of
    exact zeros, of NaN and of infinities.

    Args:
        bins: Number of bins.
        octaves: Width of a bin in factors of two. By default the bins run from
            `2**-42`, 2e-13, to `2**22`, 4e6.
        name: Its name in the recording.

    Raises:
        ValueError: If `bins` or `octaves` is below 1.

    Example:
        >>> import numpy as np
        >>> histogram = Histogram(bins=4, octaves=2)
        >>> histogram.edges.tolist()
        [6.103515625e-05, 0.000244140625, 0.0009765625, 0.00390625, 0.015625]
        >>> histogram.on_host(np.array([0, 1e-3, -2e-3, 5, np.nan])).tolist()
        [0.0, 0.0, 2.0, 1.0, 1.0, 1.0, 0.0]
    """

    nonfinite: NonfiniteIn | None = "tail"

    def __init__(
        self,
        bins: SupportsIndex = 64,
        *,
        octaves: SupportsIndex = 1,
        name: str = "histogram",
    ) -> None:
        self.name: str = checked_name(name)
        bins = positive_integer(bins, "bins")
        self.bins: int = bins
        self._octaves = octaves = positive_integer(octaves, "octaves")
        self._low = -10 - octaves * (bins // 2)
        exponents = self._low + octaves * np.arange(bins + 1)
        if exponents[0] < -126 or exponents[-1] > 127:
            raise ValueError(
                f"{bins} bins of {octaves} octaves exceed the range of float32, "
                "2**-126 to 2**127. Use fewer or narrower ones."
            )
        self.edges: np.ndarray = 2.0**exponents

    def in_step(self, ops: Any, tensor: Any) -> Any:
        """The counts, int32, shape `(bins + 3,)`."""
        # The edges are powers of two, so the exponent's bits alone give the bin: exact,
        # and several times faster than searching the edges.
        counted = ops.float_counts(tensor)
        exponents, top = counted.exponents, counted.layout.top
        first = counted.layout.bias + self._low + self._octaves  # End of the first bin.
        last = first + self._octaves * (self.bins - 2)  # Start of the last bin.
        if self.bins == 1:
            first = last = top
        inner = ops.reshape(exponents[first:last], (-1, self._octaves))
        outer = ops.stack(
            [
                ops.sum(exponents[:first]) - counted.zeros,
                ops.sum(exponents[last:top]),
                counted.zeros,
                exponents[top] - counted.infinities,
                counted.infinities,
            ]
        )
        rest = outer[2:] if self.bins == 1 else outer[1:]
        return ops.concatenate([outer[:1], ops.sum(inner, axis=1), rest])

    def on_host(self, array: np.ndarray) -> np.ndarray:
        """The counts, float64."""
        x = np.abs(np.ravel(array))
        place = np.searchsorted(self.edges[1:-1].astype(x.dtype), x, side="right")
        place = np.where(x == 0, self.bins, place)
        place = np.where(np.isnan(x), self.bins + 1, place)
        place = np.where(np.isinf(x), self.bins + 2, place)
        return np.bincount(place, minlength=self.bins + 3).astype(np.float64)

    def spec(self, spec: Spec) -> Spec:
        """Shape and dtype of the counts."""
        return Spec((self.bins + 3,), "float64")

    def describe(self) -> dict[str, Any]:
        """The edges."""
        return {"kind": "Histogram", "edges": self.edges.tolist()}
