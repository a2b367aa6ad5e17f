"""A tensor as a few numbers that keep lengths and angles."""

import functools
import math
from collections.abc import Callable
from typing import Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from hrcallbacks.checks import positive_integer, seed_of
from hrcallbacks.reductions.functions import NonfiniteIn
from hrcallbacks.reductions.reduction import Reduction, checked_name
from hrcallbacks.types import Spec

# Elements that share one table of places and signs, whatever a tensor's size.
_BLOCK = 65_536


class Projection(Reduction):
    r"""A random projection: n numbers that keep lengths and angles on average.

    It shows how the direction of a gradient turns from step to step without keeping the
    gradient: `recording.statistic("gradients", "cosine")` needs no more. Each of the n
    numbers is the sum of the elements in a bucket, half of them with a minus sign:
    bucket and sign are random, and the same at each step. A tensor of up to n elements
    is taken whole, and is exact. Of a layer's output, rows that a smaller batch lacks
    count as zeros.

    Let $P$ be the projection. Then $Px \cdot Py$ is $x \cdot y$ on average over the
    seeds, with a standard deviation of at most about
    $\lVert x \rVert \lVert y \rVert \sqrt{6 / n}$ for any tensors, and usually of
    $\sqrt{(1 + \cos^2) / n}$ times the lengths. So a cosine near 0 has an error of
    about $1 / \sqrt n$ (0.06 for n = 256), and the nearer it is to 1, the smaller the
    error, about $(1 - \cos^2) / \sqrt n$.

    That distances survive a random projection is the lemma of Johnson and Lindenstrauss
    (1984). One with a single nonzero number a column is the count sketch of Charikar,
    Chen and Farach-Colton (2002); Weinberger et al. (2009) give the variance above.

    Args:
        n: How many numbers.
        seed: Decides buckets and signs. They are the same on each backend, and for all
            tensors of the same size.
        name: Its name in the recording.

    Raises:
        ValueError: If `n` is below 1, or `seed` is no int from 0.

    Example:
        >>> import numpy as np
        >>> x, y = np.random.default_rng(0).normal(size=(2, 100_000))
        >>> p, q = map(Projection(1024).on_host, (x, x + y))
        >>> cosine = p @ q / np.linalg.norm(p) / np.linalg.norm(q)
        >>> print(p.shape, bool(abs(cosine - 0.5**0.5) < 0.05))
        (1024,) True
    """

    of_rows = True
    nonfinite: NonfiniteIn | None = "numbers"
    fill: float = 0.0  # Adds nothing to the sums.

    def __init__(
        self, n: SupportsIndex, seed: SupportsIndex = 0, *, name: str = "projection"
    ) -> None:
        self.n: int = positive_integer(n, "n")
        self.seed: int = seed_of(seed)
        self.name: str = checked_name(name)

    def in_step(self, ops: Any, tensor: Any) -> Any:
        """The numbers, shape `(min(n, size),)`."""
        return self._project(ops, tensor, ops.constant)

    def on_host(self, array: np.ndarray) -> np.ndarray:
        """The numbers, float64."""
        x = np.asarray(array, np.float64)
        return self._project(np, x, _kept)

    def _project(self, ops: Any, tensor: Any, constant: Callable[..., Any]) -> Any:
        n, size, dtype = self.n, math.prod(tensor.shape), _name(tensor.dtype)
        flat = ops.reshape(tensor, (-1,))
        if size <= n:
            return flat
        width = n * min(-(-size // n), max(1, _BLOCK // n))
        blocks = -(-size // width)
        rows = ops.pad(flat, [[0, blocks * width - size]])
        rows = ops.reshape(rows, (blocks, width))
        rows = ops.take(rows, constant(_order, n, self.seed, width), axis=1)
        signed = rows * constant(_signs, n, self.seed, width, dtype)
        sums = ops.sum(ops.reshape(signed, (blocks, n, -1)), axis=2)
        if blocks == 1:
            return sums[0]
        # A sign for each block, and its buckets turned round, so that elements at the
        # same place in two blocks meet as rarely as others.
        turns = constant(_turns, n, self.seed, blocks)
        turned = ops.reshape(ops.take(ops.reshape(sums, (-1,)), turns), (blocks, n))
        signs = constant(_signs, n, self.seed, blocks, dtype)
        return ops.sum(turned * ops.reshape(signs, (-1, 1)), axis=0)

    def spec(self, spec: Spec) -> Spec:
        """Shape and dtype of the numbers; sums of float16 are float32."""
        dtype = "float32" if spec.dtype == "float16" else spec.dtype
        return Spec((min(self.n, math.prod(spec.shape)),), dtype)

    def describe(self) -> dict[str, Any]:
        """What it takes to project other arrays alike."""
        return {"kind": "Projection", "n": self.n, "seed": self.seed}


@functools.lru_cache(maxsize=64)
def _kept(make: Callable[..., np.ndarray], *args: Any) -> np.ndarray:
    return make(*args)


def _order(n: int, seed: int, width: int) -> npt.NDArray[np.int32]:
    """Indices of a block's elements in the order of their buckets."""
    drawn = _random(n, seed, width, 0).random_sample(width)
    return drawn.argsort(kind="stable").astype(np.int32)


def _signs(n: int, seed: int, count: int, dtype: str) -> np.ndarray:
    """1 or -1 for each."""
    drawn = _random(n, seed, count, 1).random_sample(count)
    return np.where(drawn < 0.5, -1, 1).astype(dtype)


def _turns(n: int, seed: int, blocks: int) -> npt.NDArray[np.int32]:
    """Indices of the sums of all blocks, with those of each turned round."""
    drawn = _random(n, seed, blocks, 2).random_sample(blocks)
    first = (drawn * n).astype(np.int64)
    places = (np.arange(n) + first[:, np.newaxis]) % n
    return (places + n * np.arange(blocks)[:, np.newaxis]).ravel().astype(np.int32)


def _random(*numbers: int) -> np.random.RandomState:
    # The legacy generator's stream is the same in every version of NumPy.
    return np.random.RandomState(numbers)


def _name(dtype: Any) -> str:
    """What NumPy calls a backend's dtype."""
    name = getattr(dtype, "name", None) or str(dtype)
    return name.rpartition(".")[2]
