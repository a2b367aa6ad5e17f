"""The Frobenius norm of a step's gradients, for Keras' logs."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.types import Key

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call


class GradientNorm(Quantity):
    """The norm of all gradients of a step together, and that of each variable's.

    It is one vector: the norm of all, then those of the variables in order, NaN for one
    without a gradient. It is not part of any record. If a step updates a variable
    several times, the latest gradient counts.

    Attributes:
        by_variable: Whether it takes the norm of each variable's gradient too.
        paths: Paths of these variables; known once a step is traced.

    Args:
        by_variable: See the attribute.
    """

    name: ClassVar[str] = "gradient_norm"
    is_apart = True

    KEY = Key("gradient_norm")

    def __init__(self, *, by_variable: bool = False) -> None:
        self.by_variable = by_variable
        self.paths: list[str] = []

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(self, scene)


class _Observer(Observer):
    def __init__(self, norm: GradientNorm, scene: Scene) -> None:
        super().__init__(scene)
        self._norm = norm
        self._squares: dict[str, Any] = {}  # By path, that of the latest gradient.

    def before(self, call: "Call") -> None:
        scene = self.scene
        for path in scene.places:
            gradient = scene.gradient(call, path)
            if gradient is not None:
                self._squares[path] = scene.ops.sum_of_squares(scene.wide(gradient))

    def end(self, value: Callable[[Any], Any], knows: Callable[[Any], bool]) -> None:
        if not self._squares:
            return
        ops = self.scene.ops
        squares = [sum(self._squares.values())]
        if self._norm.by_variable:
            self._norm.paths = list(self.scene.variables)
            none = ops.full_like(squares[0], float("nan"))
            squares += [self._squares.get(path, none) for path in self._norm.paths]
        self.scene.put(GradientNorm.KEY, ops.sqrt(ops.stack(squares)), record=0)
