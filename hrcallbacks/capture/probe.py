"""What one recorder takes out of a step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hrcallbacks.capture.packing import Packed, Packer
from hrcallbacks.quantities.quantity import Quantity, Scene


class Probe:
    """Quantities that are taken out of steps together.

    Attributes:
        quantities: What is taken.
        packer: Packs what is taken out of a step, and unpacks it.
        optimizers: By name, the optimizers that were called, each with the paths of
            the variables that it updates (None for one that is not recorded).
        sparse: Paths of variables whose gradients came sparse.
        failure: What kept a step from being captured, or None.
        compiled: Capturing train functions; see `ArmedStep`.
        watches_layers: Whether layers have to be seen at work.
        awaits_rows: Whether the next step is to tell how many rows a batch has.

    Args:
        quantities: What to take.
        select: Called once with the model's trainable variables, as soon as they
            exist; gives those to record, by path.
        find: Called before an update, while a step is traced; see `Quantity.find`.
    """

    def __init__(
        self,
        quantities: Sequence[Quantity],
        select: Callable[[list[Any]], Mapping[str, Any]],
        find: Callable[[Scene], None] | None = None,
    ) -> None:
        self.quantities = quantities
        self.packer: Packer = Packer(apart={q.name for q in quantities if q.is_apart})
        self.optimizers: dict[str, tuple[Any, list[str | None]]] = {}
        self.sparse: set[str] = set()
        self.failure: Exception | None = None
        self.compiled: dict[Any, Any] = {}
        self.watches_layers: bool = any(q.watches_layers for q in quantities)
        self.awaits_rows: bool = any(q.of_whole_step for q in quantities)
        self._select = select
        self._find = find
        self._variables: Mapping[str, Any] | None = None

    @property
    def is_resolved(self) -> bool:
        """Whether the variables are known."""
        return self._variables is not None

    def find(self, scene: Scene) -> None:
        """Has what only a step shows be fixed, and refused if it cannot be taken."""
        if self._find is not None:
            self._find(scene)

    def watches(self, path: str) -> bool:
        """Whether the layer of that path has to be seen at work."""
        return any(quantity.watches(path) for quantity in self.quantities)

    def see_optimizer(self, optimizer: Any, variables: Sequence[Any]) -> str:
        """Notes that an optimizer updates these variables; returns its name.

        Its name is its place among the model's optimizers: `"0"`, `"1"`, ...
        """
        paths = {id(v): path for path, v in (self._variables or {}).items()}
        names = {id(known): name for name, (known, _) in self.optimizers.items()}
        name = names.get(id(optimizer), str(len(names)))
        self.optimizers[name] = optimizer, [paths.get(id(v)) for v in variables]
        return name

    def variables(self, model: Any) -> Mapping[str, Any]:
        """The variables to record, by path."""
        if self._variables is None:
            self._variables = self._select(model.trainable_variables)
        return self._variables

    def sole_tensors(self, packed: Packed) -> dict[str, Any]:
        """By name, the tensor of each quantity that is kept apart; on the device."""
        return {
            quantity.name: tensor
            for quantity in self.quantities
            if quantity.is_apart
            for places in self.packer.of_quantity(packed, quantity.name).values()
            for tensor in places.values()
        }
