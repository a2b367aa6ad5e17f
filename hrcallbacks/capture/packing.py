"""Small tensors leave a step joined: every extra output slows a compiled step."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple

import keras
import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.backends.ops import Ops
from hrcallbacks.types import Key

# Above this, copying a tensor costs more than a separate output.
_SMALL = 4096  # elements

Packed = Mapping[str, Sequence[Any]]  # Tensors by their layout's name.
Place = tuple[int, Key]  # A record's number in its step, and what it is.


class Member(NamedTuple):
    """Where one tensor is in a joined one.

    Attributes:
        record: Number of its record in the step.
        key: What it is.
        shape: Its shape; None if it is not known while a step is traced.
        start: Index of its first element.
        end: Index after its last element.
    """

    record: int
    key: Key
    shape: tuple[int, ...] | None
    start: int
    end: int


Layout = tuple[tuple[Member, ...], ...]  # For each tensor that leaves a step.


class Packer:
    """Packs dicts of tensors in a step and unpacks them on the host.

    A step can be traced several times, with different tensors each time (a variable may
    get no gradient). So all layouts are kept, and a packed dict names its own.

    Args:
        apart: Quantities whose tensors are never joined with those of another.
    """

    def __init__(self, apart: Collection[str] = ()) -> None:
        self._layouts: list[Layout] = []
        self._apart = apart

    def pack(
        self, tensors: Mapping[Place, Any], ops: Ops, *, join: bool = True
    ) -> Packed:
        """Packs tensors, inside a step.

        Args:
            tensors: Tensors. Only those of static shape are joined.
            ops: The array functions to use.
            join: Whether to join small tensors.

        Returns:
            A dict with one entry: the layout's name, and a tuple of tensors, where
            small ones of a kind are joined into one.
        """
        groups: dict[tuple[Any, ...], list[Place]] = {}
        for place, tensor in tensors.items():
            dtype = keras.backend.standardize_dtype(tensor.dtype)
            shape = tuple(tensor.shape)
            large = not join or None in shape or math.prod(shape) > _SMALL
            quantity = place[1].quantity
            group = (dtype, place if large else None, quantity in self._apart, quantity)
            group = group if group[2] else group[:3]
            groups.setdefault(group, []).append(place)
        layout = tuple(_members(places, tensors) for places in groups.values())
        if layout not in self._layouts:
            self._layouts.append(layout)
        packed = tuple(
            tensors[places[0]]
            if len(places) == 1
            else ops.joined([tensors[place] for place in places])
            for places in groups.values()
        )
        return {str(self._layouts.index(layout)): packed}

    def of_quantity(self, packed: Packed, quantity: str) -> dict[str, dict[int, Any]]:
        """The tensors that hold only this quantity, on the device.

        Args:
            packed: What `pack` returned.
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
                if members[0].key.quantity == quantity
            }
            for name, tensors in packed.items()
        }

    def most_bytes_of(self, packed: Packed, quantity: str) -> int:
        """At most how many bytes a quantity takes that is packed apart."""
        if quantity not in self._apart:
            return 0
        places = self.of_quantity(packed, quantity).values()
        sizes = (math.prod(tensor.shape) for by in places for tensor in by.values())
        return 8 * sum(sizes)

    def unpack(
        self, packed: Packed, *, without: Collection[str] = ()
    ) -> dict[int, dict[Key, np.ndarray]]:
        """Brings what `pack` made to the host, without a copy if it is there already.

        Args:
            packed: What `pack` returned.
            without: Quantities, packed apart, that stay where they are.

        Returns:
            NumPy arrays by record and key; bfloat16 becomes float32.
        """
        records: dict[int, dict[Key, np.ndarray]] = {}
        for name, tensors in packed.items():
            layout = self._layouts[int(name)]
            for members, tensor in zip(layout, tensors, strict=True):
                if members[0].key.quantity not in without:
                    _unpack(members, tensor, records)
        return dict(sorted(records.items()))

    def unpack_alike(self, packed: Sequence[Packed]) -> dict[Key, np.ndarray] | None:
        """Brings what several steps gave to the host, in one array for each key.

        Args:
            packed: What `pack` returned in each; all of the same layouts.

        Returns:
            Arrays of shape `(steps, *shape)` by key. None if a shape is not known, or
            if steps have several records.
        """
        values: dict[Key, np.ndarray] = {}
        for name in packed[0]:
            layout = self._layouts[int(name)]
            if any(m.record or m.shape is None for members in layout for m in members):
                return None
            by_place = zip(*(each[name] for each in packed), strict=True)
            for members, tensors in zip(layout, by_place, strict=True):
                rows = np.stack([np.ravel(backend.to_host(t)) for t in tensors])
                for _, key, shape, start, end in members:
                    values[key] = rows[:, start:end].reshape(len(rows), *(shape or ()))
        return values

    def unpack_places(
        self, name: str, tensors: Mapping[int, Any]
    ) -> dict[int, dict[Key, np.ndarray]]:
        """Brings some tensors of a layout to the host; see `unpack`.

        Args:
            name: The layout's name.
            tensors: Tensors by their place in the layout.
        """
        records: dict[int, dict[Key, np.ndarray]] = {}
        for place, tensor in tensors.items():
            _unpack(self._layouts[int(name)][place], tensor, records)
        return records


def _members(
    places: Sequence[Place], tensors: Mapping[Place, Any]
) -> tuple[Member, ...]:
    members, start = [], 0
    for record, key in places:
        sizes = tuple(tensors[record, key].shape)
        shape = None if None in sizes else sizes
        end = start + math.prod(shape or ())
        members.append(Member(record, key, shape, start, end))
        start = end
    return tuple(members)


def _unpack(
    members: Sequence[Member], tensor: Any, records: dict[int, dict[Key, np.ndarray]]
) -> None:
    array = backend.to_host(tensor)
    flat = np.ravel(array)
    for number, key, shape, start, end in members:
        record = records.get(number)
        if record is None:
            record = records[number] = {}
        if shape is None:  # It is alone.
            record[key] = array
        else:
            record[key] = flat[start:end].reshape(shape)
