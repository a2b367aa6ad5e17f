"""Steps of the TensorFlow backend: XLA, plain graph, eager."""

import importlib
import itertools
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrcallbacks.backends.again import CALLS
from hrcallbacks.backends.backend import (
    Args,
    Function,
    OnBatch,
    Receive,
    Saw,
    StatefulBackend,
    StepRunner,
    Trace,
    before_the_step,
    parted,
    widened,
)
from hrcallbacks.backends.call import Call, built_for
from hrcallbacks.backends.grappler import Apart, multiplied_apart
from hrcallbacks.backends.ops import TensorFlowOps
from hrcallbacks.backends.tapes import watched_tapes
from hrcallbacks.backends.xla import Copies


@dataclass
class TensorFlowTrace(Trace):
    """What is known of a step while it is traced.

    Attributes:
        graph: The graph that it is traced into; None where it runs eagerly.
        tapped: Tensors that are seen, and who is told.
        gradients: Those that the optimizer is given in the present call.
        apart: Makes tensors to be read; None until something is.
        copies: The same, in XLA.
    """

    graph: Any = None
    tapped: list[tuple[Any, Saw]] = field(default_factory=list)
    gradients: Sequence[Any] = ()
    apart: Apart | None = None
    copies: Copies | None = None


class TensorFlow(StatefulBackend):
    """See `Backend`."""

    def __init__(self) -> None:
        self._tf = importlib.import_module("tensorflow")
        self._rows: int | None = None  # Of the latest batch that was looked at.
        self._true: Any = None  # A variable.

    def trace(self, model: Any) -> TensorFlowTrace:
        """See `Backend.trace`."""
        in_xla = bool(getattr(model, "jit_compile", False))
        ops = TensorFlowOps(in_xla=in_xla)
        return TensorFlowTrace(ops, self._rows, graph=self._graph())

    def as_call(
        self,
        trace: Trace,
        optimizer: Any,
        apply: Callable[..., Any],
        *args: Any,
        **kwargs: Any,
    ) -> Call:
        """Describes `optimizer.apply(...)` as a `Call`."""
        call = super().as_call(trace, optimizer, apply, *args, **kwargs)
        assert isinstance(trace, TensorFlowTrace)
        trace.gradients, trace.apart = call.grads, None
        return call

    def _graph(self) -> Any:
        """The graph that operations are added to now; None where they run."""
        tf = self._tf
        return None if tf.executing_eagerly() else tf.compat.v1.get_default_graph()

    def tap(self, trace: Trace, tensor: Any, saw: Saw) -> Any:
        """See `Backend.tap`; see `tapes` for how gradients are seen.

        Nothing is added to the graph, whose optimizer joins some operations to others.
        """
        tf = self._tf
        assert isinstance(trace, TensorFlowTrace)
        if not isinstance(tensor, tf.Tensor) or self._graph() is not trace.graph:
            return tensor
        if any(tensor is known for known, _ in trace.tapped):
            tensor = tf.identity(tensor)  # Handed on: each has its own gradient.
        trace.tapped.append((tensor, saw))
        saw(tensor, None)
        return tensor

    def watched(self, trace: Trace) -> AbstractContextManager[None]:
        """See `Backend.watched`."""
        assert isinstance(trace, TensorFlowTrace)
        is_level = self._is_level(trace)

        def apart(gradient: Any, asked: Sequence[Any]) -> Any:
            if self._tf.executing_eagerly():
                return gradient
            if self._in_xla(trace):
                return self._copy(trace, gradient)
            if gradient.op.type in CALLS:
                return Apart(gradient.graph, asked)(gradient)
            return multiplied_apart(gradient)

        return watched_tapes(self._tf.GradientTape, trace.tapped, is_level, apart)

    def _is_level(self, trace: TensorFlowTrace) -> Callable[[], bool]:
        return lambda: self._graph() is trace.graph

    def untouched(self, trace: Trace, tensor: Any) -> Any:
        """See `Backend.untouched`."""
        assert isinstance(trace, TensorFlowTrace)
        if self._tf.executing_eagerly():
            return tensor
        if self._in_xla(trace):
            return self._copy(trace, tensor)
        return self._apart(trace, tensor.graph)(tensor)

    def _in_xla(self, trace: Trace) -> bool:
        return getattr(trace.ops, "in_xla", False)

    def _copy(self, trace: TensorFlowTrace, tensor: Any) -> Any:
        if trace.copies is None:
            trace.copies = Copies(self._hidden)
        return trace.copies(tensor)

    def _apart(self, trace: TensorFlowTrace, graph: Any) -> Apart:
        if trace.apart is None:
            trace.apart = Apart(graph, trace.gradients)
        return trace.apart

    def _hidden(self, tensor: Any) -> Any:
        """An equal tensor. XLA does not know what a variable holds."""
        if self._true is None:
            with self._tf.init_scope():
                self._true = self._tf.Variable(initial_value=True, trainable=False)
        return self._tf.where(self._true, tensor, self._tf.zeros_like(tensor))

    def concretely(self) -> AbstractContextManager[Any]:
        """See `Backend.concretely`."""
        return self._tf.init_scope()

    def replicas(self, model: Any) -> int:
        """See `Backend.replicas`."""
        strategy = getattr(model, "distribute_strategy", None)
        return getattr(strategy, "num_replicas_in_sync", 1)

    def is_symbolic(self, grads: Sequence[Any]) -> bool:
        """Whether a graph is being traced."""
        return not self._tf.executing_eagerly()

    def is_chief(self, model: Any) -> bool:
        """See `Backend.is_chief`."""
        strategy = getattr(model, "distribute_strategy", None)
        resolver = getattr(strategy, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return True
        return resolver.task_type == "chief" or (
            resolver.task_type == "worker"
            and resolver.task_id == 0
            and "chief" not in resolver.cluster_spec().jobs
        )

    def run_steps(
        self,
        step: StepRunner,
        model: Any,
        args: Args,
        split: Any,
        receive: Receive,
    ) -> Mapping[str, Any] | None:
        """See `Backend.run_steps`."""
        (iterator,) = args
        logs = None
        eager = model.run_eagerly or self._tf.config.functions_run_eagerly()
        untrained = before_the_step if eager else self._in_tracing
        for number in range(model.steps_per_execution):
            # With several steps, batches are fetched here: a compiled step that runs
            # out of data has already counted itself.
            if model.steps_per_execution > 1 or eager or _is_python(iterator):
                call = self._on_next_batch(iterator)
            else:
                call = self._on_iterator(iterator)
            if call is None:
                if number == 0:
                    raise StopIteration
                break
            logs, taken = parted(step(call, untrained))
            receive(number, logs, taken)
        return logs

    def _in_tracing(self, error: Exception, place: str) -> bool:
        # A running graph fails with one of TensorFlow's own errors.
        return not isinstance(error, self._tf.errors.OpError)

    def _on_next_batch(self, iterator: Any) -> OnBatch | None:
        """A call on the next batch, fetched now; None at the end of the data."""
        if _is_python(iterator):
            batches = list(itertools.islice(iterator, 1))
        else:
            optional = iterator.get_next_as_optional()
            batches = [optional.get_value()] if optional.has_value() else []
        return (lambda function: function(iter(batches))) if batches else None

    def _on_iterator(self, iterator: Any) -> OnBatch:
        """A call that lets Keras fetch the next batch.

        Older versions fetch it inside the compiled step, newer ones before it. Then it
        would be lost if the step cannot be traced, so it is kept.
        """
        given, get_next = [], iterator.get_next_as_optional

        def keep() -> Any:
            optional = get_next()
            if self._tf.executing_eagerly():
                given.append(optional)
            return optional

        def call(function: Function) -> Any:
            if given:
                return function(iter([given[0].get_value()]))
            vars(iterator)["get_next_as_optional"] = keep
            try:
                return function(iterator)
            finally:
                del vars(iterator)["get_next_as_optional"]

        return call

    def with_rows(self, model: Any, args: Args) -> Args:
        """See `Backend.with_rows`.

        Keras traces a step for batches of any size. The first one is taken here, and
        served to the same step by an iterator that promises no more of its shape.
        """
        (iterator,) = args
        eager = model.run_eagerly or self._tf.config.functions_run_eagerly()
        if model.steps_per_execution > 1 or eager or _is_python(iterator):
            return args
        optional = iterator.get_next_as_optional()
        batches = [optional.get_value()] if optional.has_value() else []
        leaves = self._tf.nest.flatten(batches)
        self._rows = leaves[0].shape[0] if leaves and leaves[0].shape.rank else None
        spec = getattr(iterator, "element_spec", None)
        try:
            served = self._tf.data.Dataset.from_generator(
                lambda: iter(batches), output_signature=spec
            )
        except Exception:  # Of what no generator can make, the batch itself will do.
            return (iter(batches),)
        return (iter(served),)

    def mend(self, optimizers: Sequence[Any]) -> None:
        """See `Backend.mend`.

        Variables made while a function is traced get their values after tracing. If
        tracing fails, those of an optimizer built there have none.
        """
        for optimizer in optimizers:
            variables = optimizer.variables if optimizer.built else []
            lacking = [not v.value.is_initialized() for v in variables]
            if any(lacking):
                fresh = self._built_in_graph(optimizer)
                for variable, value, lacks in zip(
                    variables, fresh.variables, lacking, strict=True
                ):
                    if lacks:
                        variable.assign(value.value)

    def _built_in_graph(self, optimizer: Any) -> Any:
        """A new optimizer like this one, built as in a first compiled step."""
        fresh = type(optimizer).from_config(optimizer.get_config())

        @self._tf.function
        def build() -> None:
            if not fresh.built:
                fresh.build(built_for(optimizer))

        build()
        return fresh

    def value(self, variable: Any) -> Any:
        """A variable's current value, unaffected by later updates."""
        return self._tf.identity(variable.value)

    def is_sparse(self, gradient: Any) -> bool:
        """See `Backend.is_sparse`."""
        return isinstance(gradient, self._tf.IndexedSlices)

    def gradient(
        self, trace: Trace, gradient: Any, shape: tuple[int, ...], scale: Any
    ) -> Any:
        """See `Backend.gradient`; summed over replicas.

        If the batch size is unknown when the step is traced, TensorFlow infers less of
        a gradient's shape than its variable has.
        """
        gradient = self._tf.convert_to_tensor(gradient)  # Sums repeated indices.
        if not self._tf.executing_eagerly():
            gradient = self._of_update(trace, gradient)
            gradient = self._tf.ensure_shape(gradient, shape)
        if scale is not None:
            gradient = gradient / scale
        replica = self._tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return gradient
        return replica.all_reduce(self._tf.distribute.ReduceOp.SUM, gradient)

    def _of_update(self, trace: Trace, gradient: Any) -> Any:
        assert isinstance(trace, TensorFlowTrace)
        if gradient.op.type not in CALLS:
            return multiplied_apart(gradient)
        if self._in_xla(trace):
            return self._copy(trace, gradient)
        return self._apart(trace, gradient.graph).of_update(gradient)

    def of_batch(self, leaf: Any) -> Any:
        """See `Backend.of_batch`: TensorFlow tensors are immutable."""
        return leaf if isinstance(leaf, self._tf.Tensor) else None

    def kept(self, tensor: Any) -> Any:
        """See `Backend.kept`.

        The loss of a replica without a share of the batch is empty: it counts as 0.
        """
        if tensor.shape.rank == 0:
            return tensor
        size = self._tf.cast(self._tf.size(tensor), tensor.dtype)
        return self._tf.math.divide_no_nan(self._tf.reduce_sum(tensor), size)

    def put_aside(self, made: Any, sources: Sequence[Any]) -> Any:
        """The tensor: TensorFlow tensors are immutable."""
        return made

    def to_host(self, value: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        return widened(np.asarray(value))


def _is_python(iterator: Any) -> bool:
    """Whether an iterator is plain Python, from which a graph cannot fetch data."""
    return not hasattr(iterator, "get_next_as_optional")
