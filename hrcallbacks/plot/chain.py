"""A chain of dense layers: its numbers, and where its units and links are drawn."""

from dataclasses import dataclass

import numpy as np

# In the units of the axes, in which the nodes of a layer are 1 apart.
RADIUS = 0.27


@dataclass
class Chain:
    """Dense layers, each of which takes what the one before it gives.

    Attributes:
        kernels: Paths of the kernels.
        biases: Paths of their biases, None where there is none.
        sizes: Units in each layer, the inputs first.
    """

    kernels: list
    biases: list
    sizes: list

    @property
    def pairs(self):
        """Units before and behind each kernel."""
        return list(zip(self.sizes, self.sizes[1:], strict=False))

    def links(self):
        """`(kernel, from, to)` of each link, in the order of the kernels' elements."""
        return [
            (number, i, j)
            for number, (above, below) in enumerate(self.pairs)
            for i in range(above)
            for j in range(below)
        ]

    def places(self, width):
        """Where the nodes are drawn.

        Args:
            width: From the inputs to the outputs.

        Returns:
            For each layer an array of `(x, y)`.
        """
        step = width / (len(self.sizes) - 1)
        return [
            np.array([(step * layer, (count - 1) / 2 - n) for n in range(count)])
            for layer, count in enumerate(self.sizes)
        ]

    def ends(self, places):
        """Both ends of each link, at the rims of its nodes, which may be transparent.

        Args:
            places: What `places` gives.

        Returns:
            An array `(links, 2, 2)`.
        """
        ends = []
        for kernel, i, j in self.links():
            start, end = places[kernel][i], places[kernel + 1][j]
            gap = (end - start) / np.linalg.norm(end - start) * RADIUS
            ends.append((start + gap, end - gap))
        return np.array(ends)

    def shares(self):
        """How far along each link a mark has most room: where links lie apart."""
        return np.array(
            [
                0.22 if self.sizes[kernel] > self.sizes[kernel + 1] else 0.78
                for kernel, *_ in self.links()
            ]
        )

    def unit_names(self):
        """A name for each unit, as mathtext: inputs, units by number, outputs."""
        first, *hidden, last = self.sizes
        return [
            *_numbered("x", first),
            *(str(n + 1) for count in hidden for n in range(count)),
            *_numbered(r"\hat{y}", last),
        ]

    def dead_units(self, gradients, bias_gradients):
        """Bool for each unit: hidden, and all of its gradients exactly zero.

        Args:
            gradients: Of each link.
            bias_gradients: For each kernel of each of its units, or None.
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


def _numbered(letter, count):
    if count == 1:
        return [f"${letter}$"]
    return [f"${letter}_{{{n}}}$" for n in range(1, count + 1)]


def read_links(arrays, chain):
    """The numbers of all links, `(records, links)`.

    Args:
        arrays: `Recording.weights` or `Recording.gradients`, with all of the kernels.
        chain: A `Chain`.
    """
    read = [np.asarray(arrays[path], np.float64) for path in chain.kernels]
    return np.concatenate([a.reshape(len(a), -1) for a in read], axis=1)


def read_biases(arrays, chain):
    """The numbers of the biases of each kernel, `(records, units)`, or None."""
    return [_read(arrays, path) for path in chain.biases]


def _read(arrays, path):
    if path is None or path not in arrays:
        return None
    return np.asarray(arrays[path], np.float64)
