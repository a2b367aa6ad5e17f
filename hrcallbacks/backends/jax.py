"""Steps of the JAX backend: state goes in and comes out, nothing is mutated."""

import functools
import importlib
import itertools
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any, ClassVar

import keras
import numpy as np

from hrcallbacks.backends.backend import (
    Args,
    Backend,
    Function,
    Observe,
    Receive,
    Saw,
    StandIns,
    StepRunner,
    Trace,
    widened,
)
from hrcallbacks.backends.call import (
    Call,
    built_for,
    learning_rate,
    scale,
    stateful_call,
)
from hrcallbacks.backends.jaxprs import JaxCopies
from hrcallbacks.backends.ops import JaxOps


@dataclass
class JaxTrace(Trace):
    """What is known about a step while it is traced.

    Attributes:
        values: By a variable's id, its value so far in the step. Empty in a
            hand-written loop.
        is_spread: Whether the step runs on several devices.
        level: That on which its tensors are traced; see `_level`.
    """

    values: dict[int, Any] = field(default_factory=dict)
    is_spread: bool = False
    level: Any = None


class JAX(Backend):
    """See `Backend`."""

    apply: ClassVar[str] = "stateless_apply"
    loose_calls: ClassVar[tuple[str, ...]] = ("apply", "stateless_apply")

    def __init__(self) -> None:
        self._jax = importlib.import_module("jax")
        self._copy = JaxCopies()

    def trace(self, model: Any) -> JaxTrace:
        """See `Backend.trace`; called only in hand-written loops."""
        return JaxTrace(JaxOps())

    def as_call(
        self,
        trace: Trace,
        optimizer: Any,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes `optimizer.stateless_apply(...)` as a `Call`."""
        assert isinstance(trace, JaxTrace)
        return self._stateless_call(trace, optimizer, apply, *args, **kwargs)

    def _stateless_call(
        self,
        trace: JaxTrace,
        optimizer: Any,
        apply: Callable[..., Any],
        optimizer_variables: Sequence[Any],
        grads: Sequence[Any],
        trainable_variables: Sequence[Any],
    ) -> Call:
        variables = built_for(optimizer)
        values = dict(trace.values)
        values.update(zip(map(id, variables), trainable_variables, strict=True))
        state = list(zip(optimizer.variables, optimizer_variables, strict=True))
        with keras.StatelessScope(state_mapping=state):
            scaled, rate = scale(optimizer), learning_rate(optimizer)

        def note(result: Any) -> None:
            values.update(zip(map(id, variables), result[0], strict=True))
            state = optimizer.variables
            values.update(zip(map(id, state), result[1], strict=True))
            if trace.values:
                trace.values = values

        return Call(
            optimizer,
            rate,
            variables,
            grads,
            scaled,
            lambda v: self._apart(trace, values[id(v)]),
            lambda v: id(v) in values,
            lambda: apply(optimizer_variables, grads, trainable_variables),
            note,
        )

    def as_loose_call(
        self,
        trace: Trace,
        optimizer: Any,
        name: str,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes a call in a hand-written loop, stateless or not, as a `Call`."""
        if name == "apply":
            return stateful_call(self.value, optimizer, apply, *args, **kwargs)
        return self.as_call(trace, optimizer, apply, *args, **kwargs)

    def value(self, variable: Any) -> Any:
        """See `Backend.value`."""
        return variable.value

    def is_symbolic(self, grads: Sequence[Any]) -> bool:
        """Whether a function is being traced."""
        return any(isinstance(g, self._jax.core.Tracer) for g in grads)

    def capturing_step(self, model: Any, observe: Observe) -> Callable[..., Any]:
        """A `train_step` that returns `((logs, packed), state)`."""
        train_step = model.train_step
        is_spread = _on_several_devices(model.variables)

        def step(state: Any, data: Any) -> Args:
            ids = [id(v) for v in model.trainable_variables]
            values = dict(zip(ids, state[0], strict=True))
            level = _level(state[0][0]) if state[0] else None
            trace = JaxTrace(JaxOps(), None, data, values, is_spread, level)
            watcher = observe(trace)
            with watcher.active():
                logs, state = train_step(state, data)
            new = dict(zip(ids, state[0], strict=True))
            # Joining a tensor that is split over devices makes XLA split the others
            # too, and with them the sums in the model that they come from.
            packed = watcher.outputs(
                lambda v: self._apart(trace, new[id(v)]), join=not is_spread
            )
            return (logs, packed), state

        return step

    def reading(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """See `Backend.reading`; see `jaxprs` for how they are read."""
        return self._copy.made_in(step)

    def is_chief(self, model: Any) -> bool:
        """See `Backend.is_chief`."""
        return self._jax.process_index() == 0

    def splitter(
        self, model: Any, make: Callable[[StandIns], Function]
    ) -> Callable[[Iterator[Any]], list[Any]]:
        """A function that takes an execution's batches from an iterator, as a list.

        Some versions of Keras fetch one batch per step, others one stack of batches.
        Keras itself divides it: an eager train function runs steps that only collect
        their batches.
        """
        count = model.steps_per_execution
        if count == 1:
            return lambda iterator: [next(iterator)]
        eagerly, model.run_eagerly = model.run_eagerly, True
        try:
            collect = make([(model, "train_step", lambda s, data: ({}, [*s, data]))])
        finally:
            model.run_eagerly = eagerly
        tried = itertools.count()
        _, batches = collect([], (np.zeros((count, 1)) for _ in tried))
        if len(batches) != count:
            raise RuntimeError(
                f"Keras runs {len(batches)} steps in one execution. Expected: "
                f"steps_per_execution={count}."
            )
        return functools.partial(self._divided, collect, next(tried))

    def _divided(
        self, collect: Function, draws: int, iterator: Iterator[Any]
    ) -> list[Any]:
        """The next execution's batches."""
        items = list(itertools.islice(iterator, draws))
        if not items:
            raise StopIteration
        if draws > 1:
            return items
        leaves, structure = self._jax.tree.flatten(items[0])
        if self._jax.tree_util.treedef_is_leaf(structure):
            return collect([], iter(items))[1]
        # Leaves out None, such as sample weights that nobody passed.
        return [structure.unflatten(part) for part in collect([], iter([leaves]))[1]]

    def run_steps(
        self,
        step: StepRunner,
        model: Any,
        args: Args,
        split: Any,
        receive: Receive,
    ) -> Args:
        """See `Backend.run_steps`."""
        logs = None
        state, iterator = args
        for number, batch in enumerate(split(iterator)):

            def call(function: Function, state: Any = state, batch: Any = batch) -> Any:
                return function(state, iter([batch]))

            outputs, state = step(call, functools.partial(self._is_alive, state))
            logs, taken = outputs if isinstance(outputs, tuple) else (outputs, ())
            receive(number, logs, dict(enumerate(taken)))
        return logs, state

    def _is_alive(self, state: Any, error: Exception, place: str) -> bool:
        """Whether a state is intact: a compiled step consumes it when it begins."""
        arrays = (x for x in self._jax.tree.leaves(state) if hasattr(x, "is_deleted"))
        return not any(x.is_deleted() for x in arrays)

    def is_sparse(self, gradient: Any) -> bool:
        """False: with Keras on JAX no gradient is sparse."""
        return False

    def gradient(
        self, trace: Trace, gradient: Any, shape: tuple[int, ...], scale: Any
    ) -> Any:
        """See `Backend.gradient`. It is already whole: JAX sees all replicas as one.

        XLA would compute only once what a reduction and the optimizer share, such as
        the squares in a norm and in Adam, and would then round differently. Behind a
        barrier they are two tensors.
        """
        assert isinstance(trace, JaxTrace)
        if trace.level is None or _level(gradient) is not trace.level:
            gradient = self._jax.lax.optimization_barrier(gradient)
        else:
            gradient = self._copy(gradient, deep=False)
        return gradient if scale is None else gradient / scale

    def tap(self, trace: Trace, tensor: Any, saw: Saw) -> Any:
        """See `Backend.tap`.

        A value that depends on no trainable variable is one of the step itself, and
        never reaches a backward rule. Others are differentiated: their rule is given
        values of the step, but for those of an inner function.
        """
        assert isinstance(trace, JaxTrace)

        def tell(output: Any, gradient: Any) -> None:
            parts = [part for part in (output, gradient) if part is not None]
            if all(_level(part) is trace.level for part in parts):
                copy = self._copy
                saw(copy(output), None if gradient is None else copy(gradient))

        if _level(tensor) is trace.level:
            tell(tensor, None)
            return tensor
        return self._identity(tell)(tensor)

    def _identity(self, tell: Saw) -> Callable[[Any], Any]:
        @self._jax.custom_vjp
        def identity(x: Any) -> Any:
            return x

        def forward(x: Any) -> tuple[Any, Any]:
            tell(x, None)
            return x, x

        def backward(x: Any, gradient: Any) -> tuple[Any]:
            tell(x, gradient)
            return (gradient,)

        identity.defvjp(forward, backward)
        return identity

    def of_batch(self, leaf: Any) -> Any:
        """See `Backend.of_batch`.

        Behind a barrier it is a tensor of its own. It also is a copy: a step hands out
        what it was given as it is, and that may be the memory of a NumPy array.
        """
        if not isinstance(leaf, self._jax.Array | np.ndarray | np.generic):
            return None
        return self._jax.lax.optimization_barrier(self._jax.numpy.asarray(leaf))

    def _apart(self, trace: JaxTrace, value: Any) -> Any:
        """A variable's value; on several devices, kept apart from the training."""
        barrier = self._jax.lax.optimization_barrier
        return barrier(value) if trace.is_spread else value

    def kept(self, tensor: Any) -> Any:
        """The tensor: JAX arrays are immutable."""
        return tensor

    def put_aside(self, made: Any, sources: Sequence[Any]) -> Any:
        """The tensor: JAX arrays are immutable."""
        return made

    def to_host(self, value: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return widened(np.asarray(value))

    def concretely(self) -> AbstractContextManager[Any]:
        """See `Backend.concretely`."""
        return self._jax.ensure_compile_time_eval()

    def keep_state(self, model: Any, args: Args) -> None:
        """See `Backend.keep_state`.

        Before a fit's first step Keras takes the values out of a model's variables, and
        gives them back once the step has returned.
        """
        if self._is_alive(args[0], Exception(), ""):
            for variable, value in self._state(model, args):
                variable.assign(value)

    def _state(self, model: Any, args: Args) -> Iterator[tuple[Any, Any]]:
        """The variables of a model, with the values that a step is given."""
        optimizer = getattr(model, "optimizer", None)
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables if optimizer else [],
            model.metrics_variables,
        )
        return itertools.chain(*map(zip, variables, args[0]))

    def state_in_reach(self, model: Any, args: Args) -> AbstractContextManager[Any]:
        """See `Backend.state_in_reach`.

        In `fit` the variables hold no values, but under a `keras.distribution` Keras
        asks where each is placed before it compiles a step.
        """
        return keras.StatelessScope(state_mapping=self._state(model, args))


def _level(tensor: Any) -> Any:
    """On which level of tracing a tensor lives; None for one that is not traced.

    JAX has no public name for it. A tensor that is used on another level has leaked.
    """
    return getattr(tensor, "_trace", None)


def _on_several_devices(variables: Sequence[Any]) -> bool:
    return any(len(v.value.sharding.device_set) > 1 for v in variables)
