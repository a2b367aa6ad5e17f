"""What a Keras backend must provide so that numbers can leave its training steps."""

import contextlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol

import numpy as np

from hrcallbacks.backends.call import Call, stateful_call
from hrcallbacks.backends.ops import Ops

# What was taken out of a step, by probe number: see `capture.packing`.
Taken = Mapping[int, Mapping[str, Sequence[Any]]]
Receive = Callable[[int, Mapping[str, Any], Taken], None]
Function = Callable[..., Any]  # A train function of Keras' making, or a train step.
OnBatch = Callable[[Function], Any]  # Calls a train function on one batch.
Untrained = Callable[[Exception, str], bool]
StepRunner = Callable[[OnBatch, Untrained], Any]
Args = tuple[Any, ...]  # What Keras calls a train function with.
Saw = Callable[[Any, Any], None]  # Called with a tensor, and its gradient or None.
StandIns = Sequence[tuple[Any, str, Any]]


@dataclass
class Trace:
    """What is known about a step while it is traced or runs eagerly.

    Attributes:
        ops: The array functions to use in it.
        rows: How many rows the batch has, where its tensors do not say so.
        data: The batch, as Keras passes it to `train_step`; None outside of one.
    """

    ops: Ops
    rows: int | None = None
    data: Any = None


class Watcher(Protocol):
    """What watches a step: see `capture.observation.Observation`."""

    def active(self) -> contextlib.AbstractContextManager[None]:
        """Watches what happens in this thread."""
        ...

    def outputs(
        self,
        value: Callable[[Any], Any],
        knows: Callable[[Any], bool] = ...,
        *,
        join: bool = ...,
    ) -> Sequence[Mapping[str, Sequence[Any]]]:
        """What was taken, packed: one dict per probe."""
        ...


Observe = Callable[[Trace], Watcher]


class Backend(ABC):
    """How steps of one Keras backend are watched.

    Attributes:
        apply: The method of an optimizer that a train step of `fit` calls.
        loose_calls: The methods that a hand-written loop may call.
    """

    apply: ClassVar[str] = "apply"
    loose_calls: ClassVar[tuple[str, ...]] = ("apply",)

    # In a step.

    @abstractmethod
    def trace(self, model: Any) -> Trace:
        """What is known when a step of the model begins."""

    @abstractmethod
    def as_call(
        self,
        trace: Trace,
        optimizer: Any,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes a call of an optimizer's `apply` as a `Call`."""

    @abstractmethod
    def as_loose_call(
        self,
        trace: Trace,
        optimizer: Any,
        name: str,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes a call of the method `name` in a hand-written loop as a `Call`."""

    @abstractmethod
    def value(self, variable: Any) -> Any:
        """A variable's current value."""

    @abstractmethod
    def is_sparse(self, gradient: Any) -> bool:
        """Whether a gradient holds only some rows, possibly with repeats."""

    @abstractmethod
    def gradient(
        self, trace: Trace, gradient: Any, shape: tuple[int, ...], scale: Any
    ) -> Any:
        """The whole batch's gradient: dense, unscaled, in its variable's shape.

        Taking it must not change how the optimizer's own numbers are rounded.
        """

    @abstractmethod
    def tap(self, trace: Trace, tensor: Any, saw: Saw) -> Any:
        """The same tensor, seen from now on: an identity that tells.

        It must not change how anything is computed, nor let anything out of an inner
        function (a loop's body, a block that runs again): there nothing is seen.

        Args:
            trace: What is known of the step.
            tensor: A tensor of floats.
            saw: Called with the tensor and None as soon as it is known, and with the
                tensor and its gradient in each backward pass; all on the level of the
                step.

        Returns:
            What is to be used in place of the tensor.
        """

    def watched(self, trace: Trace) -> contextlib.AbstractContextManager[None]:
        """A context for a step in which tensors may be tapped."""
        return contextlib.nullcontext()

    def untouched(self, trace: Trace, tensor: Any) -> Any:
        """A tapped tensor's numbers, of which the step does not see that they are used.

        Where a backend joins operations, what lies between them has to stay there.
        """
        return tensor

    @abstractmethod
    def of_batch(self, leaf: Any) -> Any:
        """A tensor of the batch, of which the step does not see that it is used.

        Args:
            leaf: A part of what a step is given.

        Returns:
            A dense tensor; None for one that is sparse, ragged or no tensor.
        """

    @abstractmethod
    def kept(self, tensor: Any) -> Any:
        """The scalar, safe from later changes."""

    @abstractmethod
    def put_aside(self, made: Any, sources: Sequence[Any]) -> Any:
        """A tensor made from `sources`, safe from later changes."""

    @abstractmethod
    def is_symbolic(self, grads: Sequence[Any]) -> bool:
        """Whether the gradients belong to a function that is being traced."""

    # Around it.

    @abstractmethod
    def capturing_step(self, model: Any, observe: Observe) -> Callable[..., Any]:
        """A `train_step` that returns what was taken along with the logs.

        Args:
            model: The model, whose `train_step` it runs.
            observe: Called when a step begins; returns its watcher.
        """

    def reading(self, step: Function) -> Function:
        """A capturing step in which what is read is kept apart from the training."""
        return step

    @abstractmethod
    def splitter(
        self, model: Any, make: Callable[[StandIns], Function]
    ) -> Callable[[Any], list[Any]] | None:
        """What `run_steps` needs to split an execution into batches, or None.

        Args:
            model: The model.
            make: Has Keras make a train function with the stand-ins it is given.
        """

    @abstractmethod
    def run_steps(
        self,
        step: StepRunner,
        model: Any,
        args: Args,
        split: Any,
        receive: Receive,
    ) -> Any:
        """Runs the steps of one execution; returns what Keras expects.

        Args:
            step: Called for each step with `call` and `untrained`, returns the step's
                outputs. `call` runs a train function on the step's batch, and on the
                same batch if called again; `untrained` says whether an error left the
                model as it was.
            model: The model.
            args: The arguments that Keras passed to the train function.
            split: What `splitter` returned.
            receive: Called with each step's number, its logs and what was taken.
        """

    def mend(self, optimizers: Sequence[Any]) -> None:
        """Repairs optimizers after a step that could not be traced."""

    def state_in_reach(
        self, model: Any, args: Args
    ) -> contextlib.AbstractContextManager[Any]:
        """A context in which the variables have the values in a step's arguments."""
        return contextlib.nullcontext()

    def keep_state(self, model: Any, args: Args) -> None:
        """Keeps what a step that raised was given, where it would be lost."""

    def concretely(self) -> contextlib.AbstractContextManager[Any]:
        """A context in which array functions run at once, also in a step's tracing."""
        return contextlib.nullcontext()

    def replicas(self, model: Any) -> int:
        """In how many replicas, each with a part of the batch, a model is trained."""
        return 1

    def runs_ahead(self) -> bool:
        """Whether a step may return before its tensors have been computed."""
        return True

    def with_rows(self, model: Any, args: Args) -> Args:
        """An execution's arguments, once its first batch has told how many rows it has.

        Where tensors have the rows in their shape there is nothing to be done.
        """
        return args

    @abstractmethod
    def is_chief(self, model: Any) -> bool:
        """Whether this process writes for all workers."""

    @abstractmethod
    def to_host(self, value: Any) -> np.ndarray:
        """A tensor, variable or number as a NumPy array.

        It is a view if the tensor is on the host.

        NumPy has no bfloat16, so it becomes float32, which holds each of its values.
        """


class StatefulBackend(Backend):
    """A backend whose variables hold their values: all but JAX."""

    def as_call(
        self,
        trace: Trace,
        optimizer: Any,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes `optimizer.apply(...)` as a `Call`."""
        return stateful_call(self.value, optimizer, apply, *args, **kwargs)

    def as_loose_call(
        self,
        trace: Trace,
        optimizer: Any,
        name: str,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes a call in a hand-written loop as a `Call`."""
        return self.as_call(trace, optimizer, apply, *args, **kwargs)

    def capturing_step(self, model: Any, observe: Observe) -> Callable[..., Any]:
        """A `train_step` that returns what was taken among the logs."""
        train_step = model.train_step

        def step(data: Any) -> dict[str, Any]:
            trace = self.trace(model)
            trace.data = data
            watcher = observe(trace)
            with watcher.active():
                logs = train_step(data)
            # One flat dict: TensorFlow is slow at each level of nesting.
            return logs | {
                f"{_TAKEN}{probe}/{layout}/{place:06}": tensor
                for probe, packed in enumerate(watcher.outputs(self.value))
                for layout, tensors in packed.items()
                for place, tensor in enumerate(tensors)
            }

        return step

    def splitter(self, model: Any, make: Callable[[StandIns], Function]) -> None:
        """None: `run_steps` fetches one batch at a time."""


_TAKEN = "hrcallbacks/"


def parted(outputs: Mapping[str, Any]) -> tuple[dict[str, Any], Taken]:
    """Separates logs from what was taken: see `StatefulBackend.capturing_step`."""
    logs: dict[str, Any] = {}
    taken: dict[int, dict[str, list[Any]]] = {}
    for name in sorted(outputs):
        if name.startswith(_TAKEN):
            _, probe, layout, _ = name.split("/")
            tensors = taken.setdefault(int(probe), {}).setdefault(layout, [])
            tensors.append(outputs[name])
        else:
            logs[name] = outputs[name]
    return {name: logs[name] for name in outputs if name in logs}, taken


def before_the_step(error: Exception, place: str) -> bool:
    """Whether an error came before the model's own train step began."""
    return place == "before"


def widened(array: np.ndarray) -> np.ndarray:
    """The array, as float32 if it is bfloat16."""
    # NumPy has no bfloat16: its kind is "V". Names of dtypes are slow to make.
    if array.dtype.kind == "V" and array.dtype.name == "bfloat16":
        return array.astype("float32")
    return array
