"""The weights, before or after the update made with a record's gradient."""

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar, Literal

from hrcallbacks.quantities.dtypes import host_dtype
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.quantities.wanted import Reductions, Wanted
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.types import Key, Spec

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call


class Weights(Quantity):
    """Weights, including variables that the step does not update.

    They are kept apart from gradients: if joined, XLA recomputes part of the update
    inside the join, and rounds in other places.

    Args:
        what: See `GradientRecorder(weights=)`.
        at: `"before"` or `"after"` the update.
    """

    name: ClassVar[str] = "weights"
    is_apart = True

    def __init__(self, what: Reductions, *, at: Literal["before", "after"]) -> None:
        self.wanted: Wanted = Wanted(self.name, what)
        self.at = at
        self._values: dict[str, list[Reduction]] = {}
        self._updates: dict[str, list[Reduction]] = {}

    def choose(self, variables: Mapping[str, Any]) -> Mapping[Key, Spec]:
        """See `Quantity.choose`."""
        wanted = self.wanted.of(variables)
        self._values = {p: [r for r in w if not r.of_update] for p, w in wanted.items()}
        self._updates = {p: [r for r in w if r.of_update] for p, w in wanted.items()}
        dtypes = {path: host_dtype(v) for path, v in variables.items()}
        return self.wanted.specs(wanted, variables, dtypes)

    def of_value(self, path: str) -> list[Reduction]:
        """The reductions of a variable's value."""
        return self._values[path]

    def of_update(self, path: str) -> list[Reduction]:
        """The reductions of a variable's values before and after the update."""
        return self._updates[path]

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(self, scene)

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Quantity.describe`."""
        return self.wanted.describe()


class _Observer(Observer):
    def __init__(self, weights: Weights, scene: Scene) -> None:
        super().__init__(scene)
        self._weights = weights
        self._old: dict[str, Any] = {}  # From before the current call.
        self._taken: set[tuple[int, str]] = set()

    def before(self, call: "Call") -> None:
        for path in self.scene.places:
            if self._weights.of_update(path):
                old = call.value(self.scene.variables[path])
                self._old[path] = self.scene.put_aside(old)
        if self._weights.at == "before":
            self._take_known(call)

    def after(self, call: "Call") -> None:
        if self._weights.at == "after":
            self._take_known(call)
        for path, old in self._old.items():
            new = call.value(self.scene.variables[path])
            updates = self._weights.of_update(path)
            self.scene.reduce(Weights.name, updates, path, new, old)
        self._old = {}

    def _take_known(self, call: "Call") -> None:
        """Takes the current weights, including those not updated in this record."""
        updated = self.scene.updated[self.scene.record]
        for path, variable in self.scene.variables.items():
            other = path not in updated and call.knows(variable)
            if path in self.scene.places or other:
                self._take(self.scene.record, path, call.value)

    def _take(self, record: int, path: str, value: Callable[[Any], Any]) -> None:
        reductions = self._weights.of_value(path)
        if reductions:
            self._taken.add((record, path))
            tensor = value(self.scene.variables[path])
            self.scene.reduce(Weights.name, reductions, path, tensor, record=record)

    def end(self, value: Callable[[Any], Any], knows: Callable[[Any], bool]) -> None:
        """Takes the weights that no optimizer updated."""
        for record, updated in enumerate(self.scene.updated):
            for path, variable in self.scene.variables.items():
                seen = path in updated or (record, path) in self._taken
                if not seen and knows(variable):
                    self._take(record, path, value)
