"""What a quantity is: something recorded in training steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.types import Key, Spec

if TYPE_CHECKING:
    import numpy as np

    from hrcallbacks.backends.call import Call
    from hrcallbacks.backends.ops import Ops


class Scene(Protocol):
    """A step, as an observer sees it.

    A step makes one record, or several if it updates a variable several times.

    Attributes:
        ops: The array functions to use.
        variables: The variables that are recorded, by path.
        record: Number of the step's current record, from 0.
        updated: By record, the paths of the variables that it has updated so far.
        places: By path, the places of the recorded variables among those that the
            current call of an optimizer updates.
        optimizer: Name of the optimizer of the current call, `"0"` for the first.
    """

    @property
    def ops(self) -> "Ops":
        """See the class."""
        ...

    @property
    def variables(self) -> Mapping[str, Any]:
        """See the class."""
        ...

    @property
    def record(self) -> int:
        """See the class."""
        ...

    @property
    def updated(self) -> Sequence[set[str]]:
        """See the class."""
        ...

    @property
    def places(self) -> Mapping[str, int]:
        """See the class."""
        ...

    @property
    def optimizer(self) -> str:
        """See the class."""
        ...

    def gradient(self, call: "Call", path: str) -> Any:
        """The gradient passed to a call, dense and unscaled; None if there is none.

        A variable without a gradient is left out: None cannot leave a graph.
        """
        ...

    def put_aside(self, tensor: Any) -> Any:
        """The tensor, safe from later changes."""
        ...

    def kept(self, scalar: Any) -> Any:
        """The scalar, safe from later changes."""
        ...

    def wide(self, tensor: Any) -> Any:
        """The tensor, in float32 if its squares could overflow."""
        ...

    def put(self, key: Key, tensor: Any, *, record: int | None = None) -> None:
        """Takes a tensor out of the step.

        Args:
            key: What it is.
            tensor: A tensor of static shape.
            record: The number of the record; None for the current one.
        """
        ...

    def reduce(
        self,
        quantity: str,
        reductions: Sequence[Reduction],
        path: str,
        *tensors: Any,
        record: int | None = None,
    ) -> None:
        """Takes the reductions of a tensor, or of two."""
        ...


class Observer:
    """What takes one quantity out of one step. By default it takes nothing.

    Its methods are called while the step is traced, or runs eagerly, in this order:
    `loss` if the step has one, `before` and `after` for each call of an optimizer,
    `end` once. An exception in one of them stops the recording, not the training.

    Args:
        scene: The step.
    """

    def __init__(self, scene: Scene) -> None:
        self.scene = scene

    def loss(self, loss: Any) -> None:
        """The batch's loss is known, a scalar tensor."""

    def before(self, call: "Call") -> None:
        """An optimizer is about to update variables."""

    def after(self, call: "Call") -> None:
        """It has updated them."""

    def end(self, value: Callable[[Any], Any], knows: Callable[[Any], bool]) -> None:
        """The step is over.

        Args:
            value: Called with a variable, returns its value.
            knows: Called with a variable, says whether `value` can return its value.
        """


class Quantity(ABC):
    """Something recorded in training steps, such as the gradients.

    A subclass says what it records of a model's variables, and has an `Observer` that
    takes it out of a step.

    Attributes:
        name: Its name in keys and in recordings.
        is_apart: Whether its tensors are joined with none of another quantity when
            they leave the step.
    """

    name: ClassVar[str]
    is_apart: bool = False

    @abstractmethod
    def observer(self, scene: Scene) -> Observer:
        """What takes it out of a step."""

    def choose(self, variables: Mapping[str, Any]) -> Mapping[Key, Spec]:
        """Decides what is recorded of a model.

        Args:
            variables: The variables to record, by path.

        Returns:
            What a record holds of it; empty if it is not part of the record.

        Raises:
            ValueError: If it cannot be recorded of these variables.
        """
        return {}

    def complete(self, values: "dict[Key, np.ndarray]") -> None:
        """Adds to a record, on the host, what follows from the values taken."""

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """By name, what a reader needs to know about its reductions, for JSON."""
        return {}
