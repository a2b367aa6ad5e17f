"""What a quantity is: something recorded in training steps."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.types import Key, Spec

if TYPE_CHECKING:
    import numpy as np

    from hrcallbacks.backends.call import Call
    from hrcallbacks.backends.ops import Ops
    from hrcallbacks.capture.taps import Tapped


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

    @property
    def model(self) -> Any:
        """The model."""
        ...

    @property
    def outputs(self) -> "Sequence[Tapped]":
        """Outputs of layers since the call before the present one."""
        ...

    @property
    def rows(self) -> int | None:
        """How many rows the batch has, where its tensors do not say so."""
        ...

    @property
    def data(self) -> Any:
        """The batch, as Keras passes it to `train_step`."""
        ...

    @property
    def scaled(self) -> bool:
        """Whether the present call's optimizer has the loss scaled."""
        ...

    @property
    def optimizers(self) -> Sequence[Any]:
        """The model's optimizers, and others that were seen at work."""
        ...

    def gradient(self, call: "Call", path: str) -> Any:
        """The gradient passed to a call, dense and unscaled; None if there is none.

        A variable without a gradient is left out: None cannot leave a graph.
        """
        ...

    def untouched(self, tensor: Any) -> Any:
        """An output's numbers, of which the step does not see that they are used."""
        ...

    def of_batch(self, leaf: Any) -> Any:
        """A tensor of the batch, as a copy; None for what is no dense tensor."""
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
            tensor: A tensor, of static shape or not.
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
        watches_layers: Whether it has to see layers at work.
        of_whole_step: Whether it is taken of a training step and its whole batch, of
            which a hand-written loop shows nothing.
    """

    name: ClassVar[str]
    is_apart: bool = False
    watches_layers: bool = False
    of_whole_step: bool = False

    @abstractmethod
    def observer(self, scene: Scene) -> Observer:
        """What takes it out of a step."""

    @property
    def of_record(self) -> Collection[str]:
        """Which quantities keys of a record name for it."""
        return (self.name,)

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

    def check_model(self, model: Any) -> None:
        """Refuses a model of which it cannot be taken, as far as that can be told.

        Raises:
            ValueError: If it cannot.
        """

    def watches(self, path: str) -> bool:
        """Whether it has to see the layer of that path at work."""
        return False

    def find(self, scene: Scene) -> Mapping[Key, Spec]:
        """Fixes what is taken of things that only a step itself shows.

        Called before an optimizer updates anything, each time that a step is traced.

        Returns:
            What a record holds of those that were not known.

        Raises:
            ValueError: If it cannot be taken of these.
        """
        return {}

    @property
    def unseen(self) -> Mapping[str, Sequence[str]]:
        """By glob, layers that it was to be taken of, and no step so far has called."""
        return {}

    @property
    def out_of_reach(self) -> Collection[str]:
        """Layers of which it was to be taken, and that no step lets be seen."""
        return ()

    @property
    def row_bytes(self) -> int:
        """How much each row of a batch takes of a record."""
        return 0

    def complete(self, values: "dict[Key, np.ndarray]") -> None:
        """Adds to a record, on the host, what follows from the values taken.

        What it adds depends on which values there are, not on the numbers in them.
        """

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """By name, what a reader needs to know about its reductions, for JSON."""
        return {}
