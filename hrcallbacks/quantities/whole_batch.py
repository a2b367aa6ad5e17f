"""The data of a step as they are, for sinks that keep those of some steps."""

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.quantities.batch import tensors_of
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.types import Key

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call


class WholeBatch(Quantity):
    """The dense tensors of numbers that a step is given; not part of any record.

    They have the shape and dtype that the step sees, whatever the batches before had.
    """

    name: ClassVar[str] = "whole_batch"
    is_apart = True

    def check_model(self, model: Any) -> None:
        """See `Quantity.check_model`."""
        if backend.replicas(model) > 1:
            raise ValueError(
                "A sink asks for whole batches, as hr.Alert(keep_batch=True) does, and "
                f"under tf.distribute each of {backend.replicas(model)} replicas has a "
                "part of them. Use keep_batch=False, or train on one device."
            )

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(scene)

    @classmethod
    def pop_from(cls, records: Iterable[dict[Key, np.ndarray]]) -> dict[str, Any]:
        """Takes the batch out of what a step's records hold."""
        return {
            key.path: values.pop(key)
            for values in records
            for key in [key for key in values if key.quantity == cls.name]
        }


class _Observer(Observer):
    def __init__(self, scene: Scene) -> None:
        super().__init__(scene)
        self._is_taken = False

    def before(self, call: "Call") -> None:
        if not self._is_taken:
            self._is_taken = True
            for name, tensor in tensors_of(self.scene).items():
                key = Key(WholeBatch.name, "", name)
                self.scene.put(key, self.scene.put_aside(tensor), record=0)
