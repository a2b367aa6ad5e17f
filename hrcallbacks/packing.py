"""Small tensors leave a compiled step as one: each output of a step has its price."""

import math

import keras
import numpy as np

from hrcallbacks.backends import backend
from hrcallbacks.numerics import numerics

# Above this, copying a tensor costs more than passing it on by itself.
_SMALL = 4096  # elements


class Packer:
    """Packs dicts of tensors in a step and unpacks them on the host.

    A step can be traced several times, with other tensors each time (a variable may
    be left without gradient). So each layout is kept, and a packed dict names its own.

    Args:
        alone: Keys of tensors that are joined with no others.
        apart: Quantities whose tensors are joined with none of another quantity.
    """

    def __init__(self, alone=(), apart=("weights",)):
        self._layouts = []
        self._alone = alone
        self._apart = apart

    def pack(self, tensors, *, join: bool = True):
        """Packs tensors, inside a step.

        Args:
            tensors: Dict from `(record, quantity, ...)` to a tensor of static shape.
            join: Whether to join small tensors.

        Returns:
            A dict of one entry: the layout's name, and a tuple of tensors, the small
            ones of a kind joined into one.
        """
        groups = {}
        for key, tensor in tensors.items():
            shape = tuple(tensor.shape)
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            large = None if join and math.prod(shape) <= _SMALL else key
            # Gradients and weights apart: joined, XLA computes a part of the update
            # once more inside the join, and rounds elsewhere than without it.
            apart = key if key in self._alone else key[1] in self._apart and key[1]
            group = (dtype, large, apart)
            groups.setdefault(group, []).append((key, shape))
        layout = tuple(tuple(members) for members in groups.values())
        if layout not in self._layouts:
            self._layouts.append(layout)
        packed = tuple(
            _join([tensors[key] for key, _ in members]) for members in layout
        )
        return {str(self._layouts.index(layout)): packed}

    def alone(self, packed, key):
        """One of the tensors that are joined with no others, or None; on the device."""
        for name, tensors in packed.items():
            for members, tensor in zip(self._layouts[int(name)], tensors, strict=True):
                if members[0][0] == key:
                    return tensor
        return None

    def of_quantity(self, packed, quantity):
        """The tensors that hold a quantity and no other; on the device.

        Args:
            packed: A dict that `pack` returned.
            quantity: One of those that are packed apart.

        Returns:
            Dict from layout to a dict from place in it to tensor.
        """
        return {
            name: {
                place: tensor
                for place, (members, tensor) in enumerate(
                    zip(self._layouts[int(name)], tensors, strict=True)
                )
                if members[0][0][1] == quantity
            }
            for name, tensors in packed.items()
        }

    def unpack(self, packed):
        """Brings what `pack` made to the host; where it is there, without a copy.

        Args:
            packed: A dict that `pack` returned.

        Returns:
            Dict from key to NumPy array; bfloat16 becomes float32.
        """
        arrays = {}
        for name, tensors in packed.items():
            arrays |= self.unpack_places(name, dict(enumerate(tensors)))
        return arrays

    def unpack_places(self, name, tensors):
        """Brings some tensors of a layout to the host; see `unpack`.

        Args:
            name: The layout's name.
            tensors: Dict from place in the layout to tensor.
        """
        arrays = {}
        for place, tensor in tensors.items():
            flat = np.ravel(backend.to_host(tensor))
            start = 0
            for key, shape in self._layouts[int(name)][place]:
                end = start + math.prod(shape)
                arrays[key] = flat[start:end].reshape(shape)
                start = end
        return arrays


def _join(tensors):
    return tensors[0] if len(tensors) == 1 else numerics.joined(tensors)
