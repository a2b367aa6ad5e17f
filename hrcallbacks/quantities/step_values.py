"""The numbers in every record: the loss, and the optimizers' learning rates."""

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.types import Key

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call


class StepValues(Quantity):
    """The loss of the batch, before the update, and learning rates by optimizer."""

    name: ClassVar[str] = "step"

    LOSS = Key("step", "loss")
    RATE = "learning_rate"  # The reduction's name in the keys of learning rates.

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(scene)


class _Observer(Observer):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._loss: Any = None

    def loss(self, loss: Any) -> None:
        self._loss = self.scene.kept(loss)

    def before(self, call: "Call") -> None:
        if call.learning_rate is not None:
            key = Key(StepValues.name, StepValues.RATE, self.scene.optimizer)
            self.scene.put(key, self.scene.kept(call.learning_rate))

    def end(self, value: Callable[[Any], Any], knows: Callable[[Any], bool]) -> None:
        if self._loss is not None:
            for record, _ in enumerate(self.scene.updated):
                self.scene.put(StepValues.LOSS, self._loss, record=record)
