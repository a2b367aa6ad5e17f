"""A chain of dense layers: its numbers, and where its units and links are drawn."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot.of_layers import LayerQuantity, per_unit

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# For each kernel an array of shape `(records, units)`, or None.
Units = list[np.ndarray | None]

# In the units of the axes, in which the nodes of a layer are 1 apart.
RADIUS = 0.27


class Link(NamedTuple):
    """A weight of a kernel.

    Attributes:
        kernel: Number of the kernel in its chain, from 0.
        start: Number of the unit before it.
        end: Number of the unit behind it.
    """

    kernel: int
    start: int
    end: int


@dataclass(frozen=True)
class Chain:
    """Dense layers, each fed by the one before it.

    Attributes:
        kernels: Paths of the kernels.
        biases: Paths of their biases, None where there is none.
        sizes: Units in each layer, the inputs first.
    """

    kernels: list[str]
    biases: list[str | None]
    sizes: list[int]

    @property
    def pairs(self) -> list[tuple[int, int]]:
        """Units before and behind each kernel."""
        return list(itertools.pairwise(self.sizes))

    def links(self) -> list[Link]:
        """Each link, in the order of the kernels' elements."""
        return [
            Link(number, i, j)
            for number, (above, below) in enumerate(self.pairs)
            for i in range(above)
            for j in range(below)
        ]

    def places(self, width: float) -> list[np.ndarray]:
        """Where the nodes are drawn.

        Args:
            width: From the inputs to the outputs, in the units of the axes.

        Returns:
            For each layer an array of shape `(units, 2)`, of x and y.
        """
        step = width / (len(self.sizes) - 1)
        return [
            np.array([(step * layer, (count - 1) / 2 - n) for n in range(count)])
            for layer, count in enumerate(self.sizes)
        ]

    def ends(self, places: Sequence[np.ndarray]) -> np.ndarray:
        """Both ends of each link, at the rims of its nodes, which may be transparent.

        Args:
            places: What `places` returned.

        Returns:
            An array of shape `(links, 2, 2)`: start and end, x and y.
        """
        ends = []
        for kernel, i, j in self.links():
            start, end = places[kernel][i], places[kernel + 1][j]
            gap = (end - start) / np.linalg.norm(end - start) * RADIUS
            ends.append((start + gap, end - gap))
        return np.array(ends)

    def shares(self) -> np.ndarray:
        """How far along each link, from 0 to 1, a mark has the most room."""
        return np.array(
            [
                0.22 if self.sizes[kernel] > self.sizes[kernel + 1] else 0.78
                for kernel, *_ in self.links()
            ]
        )

    def unit_names(self) -> list[str]:
        """A name for each unit, as mathtext: inputs, units by number, outputs."""
        first, *hidden, last = self.sizes
        return [
            *_numbered("x", first),
            *(str(n + 1) for count in hidden for n in range(count)),
            *_numbered(r"\hat{y}", last),
        ]

    def dead_units(
        self, gradients: np.ndarray, bias_gradients: Sequence[np.ndarray | None]
    ) -> npt.NDArray[np.bool_]:
        """Which units are hidden and have no gradient but exact zeros, `(units,)`.

        Args:
            gradients: One a link.
            bias_gradients: For each kernel one a unit behind it, or None.
        """
        busy = [np.zeros(count, bool) for count in self.sizes]
        busy[0][:] = busy[-1][:] = True
        for (kernel, i, j), gradient in zip(self.links(), gradients, strict=True):
            busy[kernel][i] |= gradient != 0
            busy[kernel + 1][j] |= gradient != 0
        for kernel, biases in enumerate(bias_gradients):
            if biases is not None:
                busy[kernel + 1] |= biases != 0
        return ~np.concatenate(busy)


def _numbered(letter: str, count: int) -> list[str]:
    if count == 1:
        return [f"${letter}$"]
    return [f"${letter}_{{{n}}}$" for n in range(1, count + 1)]


def read_links(arrays: Mapping[str, Any], chain: Chain) -> np.ndarray:
    """The numbers of all links, shape `(records, links)`.

    Args:
        arrays: `Recording.weights` or `Recording.gradients`, with all of the kernels.
        chain: The layers.
    """
    read = [np.asarray(arrays[path], np.float64) for path in chain.kernels]
    return np.concatenate([a.reshape(len(a), -1) for a in read], axis=1)


def read_biases(arrays: Mapping[str, Any], chain: Chain) -> list[np.ndarray | None]:
    """The biases behind each kernel, shape `(records, units)`, or None."""
    return [_read(arrays, path) for path in chain.biases]


def _read(arrays: Mapping[str, Any], path: str | None) -> np.ndarray | None:
    if path is None or path not in arrays:
        return None
    return np.asarray(arrays[path], np.float64)


def read_means(recording: Recording, quantity: LayerQuantity, chain: Chain) -> Units:
    """The mean over the batch of each unit's output, or of the gradient of it.

    Args:
        recording: The recording.
        quantity: Which of them.
        chain: The layers.

    Returns:
        For each kernel an array of shape `(records, units)`, or None.
    """
    records = np.arange(len(recording))
    layers = (kernel.rpartition("/")[0] for kernel in chain.kernels)
    found = [per_unit(recording, quantity, n, "mean", records) for n in layers]
    pairs = zip(found, chain.sizes[1:], strict=True)
    return [a if a is not None and a.shape[1] == size else None for a, size in pairs]


def units_of(units: Units, chain: Chain, record: int) -> npt.NDArray[np.float64]:
    """A number for each unit behind the inputs at a record; NaN where there is none."""
    none = (np.full(size, np.nan) for size in chain.sizes[1:])
    pairs = zip(units, none, strict=True)
    return np.concatenate([n if a is None else a[record] for a, n in pairs])


def known_units(units: Units, chain: Chain) -> npt.NDArray[np.bool_]:
    """Of which units behind the inputs there is a number in each record."""
    pairs = zip(units, chain.sizes[1:], strict=True)
    return np.concatenate([np.full(size, a is not None) for a, size in pairs])
