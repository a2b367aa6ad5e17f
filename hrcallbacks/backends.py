"""What differs between Keras' backends when a training step is watched."""

import contextlib
import functools
import importlib
import itertools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np

from hrcallbacks.numerics import numerics


@dataclass(frozen=True)
class Call:
    """One call of an optimizer's `apply`, in the same words for each backend.

    Attributes:
        optimizer: The optimizer.
        learning_rate: Its learning rate in this call, a scalar tensor, or None.
        variables: The Keras variables that it is to update.
        grads: Their gradients as handed over: scaled, sparse or None.
        scale: What the loss was multiplied by, or None where it was not.
        value: Called with a variable, gives its value at that moment.
        knows: Called with a variable, says whether `value` can be asked for it.
        run: Performs the call and returns its result.
        note: Called with that result, so that `value` knows what the call has made.
    """

    optimizer: Any
    learning_rate: Any
    variables: list
    grads: list
    scale: Any
    value: Callable
    knows: Callable
    run: Callable
    note: Callable = lambda result: None


class TensorFlow:
    """Steps of the TensorFlow backend: XLA, plain graph, eager."""

    apply = "apply"
    loose_calls = ("apply",)

    def __init__(self):
        self._tf = importlib.import_module("tensorflow")

    def as_call(self, optimizer, apply, *args, **kwargs):
        """The `Call` that `optimizer.apply(...)` is."""
        return _stateful_call(self.value, optimizer, apply, *args, **kwargs)

    def as_loose_call(self, optimizer, name, apply, *args, **kwargs):
        """The `Call` that a call in a hand-written loop is."""
        return self.as_call(optimizer, apply, *args, **kwargs)

    def is_symbolic(self, grads):
        """Whether this runs while a graph is traced."""
        return not self._tf.executing_eagerly()

    def capturing_step(self, model, observe):
        """A `train_step` that returns what was taken among the logs."""
        train_step = model.train_step

        def step(data):
            numerics.in_xla = bool(getattr(model, "jit_compile", False))
            observation = observe()
            with observation.active():
                logs = train_step(data)
            # In one flat dict: TensorFlow takes long over each level of nesting.
            return logs | {
                f"{_TAKEN}{probe}/{layout}/{place:06}": tensor
                for probe, packed in enumerate(observation.outputs(self.value))
                for layout, tensors in packed.items()
                for place, tensor in enumerate(tensors)
            }

        return step

    def is_chief(self, model):
        """Whether this process is the one that writes for all workers."""
        strategy = getattr(model, "distribute_strategy", None)
        resolver = getattr(strategy, "cluster_resolver", None)
        if resolver is None or resolver.task_type is None:
            return True
        return resolver.task_type == "chief" or (
            resolver.task_type == "worker"
            and resolver.task_id == 0
            and "chief" not in resolver.cluster_spec().jobs
        )

    def splitter(self, model: Any, make: Callable) -> None:
        """Nothing: `run_steps` asks for one batch after another."""

    def run_steps(
        self, step: Callable, model: Any, args: tuple, split: Any, receive: Callable
    ) -> Any:
        """Runs the steps of one execution; returns what Keras expects.

        Args:
            step: Called for each step with `call` and `untrained`, returns the step's
                outputs. `call` runs a train function on the step's batch, and on the
                same batch if called again; `untrained` says whether an error left the
                model as it was.
            model: The model.
            args: What Keras has called the train function with.
            split: What `splitter` returned.
            receive: Called with each step's number, its logs and what was taken.
        """
        (iterator,) = args
        logs = None
        eager = model.run_eagerly or self._tf.config.functions_run_eagerly()
        untrained = _before_the_step if eager else self._in_tracing
        for number in range(model.steps_per_execution):
            # Of several steps, each gets its batch from here: a compiled step that
            # asks for data that is not there has counted the step by then.
            if model.steps_per_execution > 1 or eager or _is_python(iterator):
                call = self._on_next_batch(iterator)
            else:
                call = self._on_iterator(iterator)
            if call is None:
                if number == 0:
                    raise StopIteration
                break
            logs, taken = _parted(step(call, untrained))
            receive(number, logs, taken)
        return logs

    def _in_tracing(self, error: Exception, place: str) -> bool:
        # What fails in a running graph is one of TensorFlow's own errors.
        return not isinstance(error, self._tf.errors.OpError)

    def _on_next_batch(self, iterator: Any) -> Callable | None:
        """A call on the next batch, which is taken now; None at the end of the data."""
        if _is_python(iterator):
            batches = list(itertools.islice(iterator, 1))
        else:
            optional = iterator.get_next_as_optional()
            batches = [optional.get_value()] if optional.has_value() else []
        return (lambda function: function(iter(batches))) if batches else None

    def _on_iterator(self, iterator: Any) -> Callable:
        """A call that leaves it to Keras to ask for the next batch.

        Older ones do so inside the compiled step, later ones before it: that batch is
        gone if the step then cannot be traced, so it is kept.
        """
        given, get_next = [], iterator.get_next_as_optional

        def keep() -> Any:
            optional = get_next()
            if self._tf.executing_eagerly():
                given.append(optional)
            return optional

        def call(function: Callable) -> Any:
            if given:
                return function(iter([given[0].get_value()]))
            vars(iterator)["get_next_as_optional"] = keep
            try:
                return function(iterator)
            finally:
                del vars(iterator)["get_next_as_optional"]

        return call

    def value(self, variable):
        """A variable's value at this moment, which later updates leave alone."""
        return self._tf.identity(variable.value)

    def is_sparse(self, gradient):
        """Whether a gradient holds some rows alone, maybe one of them twice."""
        return isinstance(gradient, self._tf.IndexedSlices)

    def gradient(self, gradient, shape, scale):
        """The gradient dense, in its variable's shape, unscaled, summed over replicas.

        Of a batch whose size is not known when the step is traced, TensorFlow infers
        less of a gradient's shape than its variable has.
        """
        gradient = self._tf.convert_to_tensor(gradient)  # Sums repeated indices.
        if not self._tf.executing_eagerly():
            gradient = self._multiplied_apart(gradient)
            gradient = self._tf.ensure_shape(gradient, shape)
        if scale is not None:
            gradient = gradient / scale
        replica = self._tf.distribute.get_replica_context()
        if replica is None or replica.num_replicas_in_sync == 1:
            return gradient
        return replica.all_reduce(self._tf.distribute.ReduceOp.SUM, gradient)

    def _multiplied_apart(self, tensor):
        """The same numbers, of a product's factors and not of the product.

        TensorFlow's graph optimizer multiplies `rate * (a * b)` in another order if
        nobody else needs `a * b`. The update of the weights must not see that somebody
        does. Changing the sign twice is exact, and keeps the optimizer from finding
        that both products are one.
        """
        if tensor.op.type != "Mul":
            return tensor
        a, b = map(self._multiplied_apart, tensor.op.inputs)
        return -(-a * b)

    def kept(self, tensor):
        """The scalar, so that it does not change any more.

        The loss of a replica without a share of the batch has no elements: that is 0.
        """
        if tensor.shape.rank == 0:
            return tensor
        size = self._tf.cast(self._tf.size(tensor), tensor.dtype)
        return self._tf.math.divide_no_nan(self._tf.reduce_sum(tensor), size)

    def put_aside(self, made, sources):
        """A tensor made of `sources`, so that it does not change any more: it won't."""
        return made

    def state_in_reach(self, model, args):
        """A context in which the variables have their values: they always do."""
        return contextlib.nullcontext()

    def to_host(self, tensor):
        """The tensor as a NumPy array, a view of it where it is on the host."""
        return _widened(np.asarray(tensor))


class JAX:
    """Steps of the JAX backend: state goes in and comes out, nothing is mutated."""

    apply = "stateless_apply"
    loose_calls = ("apply", "stateless_apply")

    def __init__(self):
        # By id, the variables' values as the step that is traced has made them so far.
        self._state = {}
        self._spread = False  # Whether that step runs on several devices.

    def as_call(
        self, optimizer, apply, optimizer_variables, grads, trainable_variables
    ):
        """The `Call` that `optimizer.stateless_apply(...)` is."""
        variables = _built_for(optimizer)
        values = dict(self._state)
        values.update(zip(map(id, variables), trainable_variables, strict=True))
        state = list(zip(optimizer.variables, optimizer_variables, strict=True))
        with keras.StatelessScope(state_mapping=state):
            scale, rate = _scale(optimizer), _learning_rate(optimizer)

        def note(result):
            values.update(zip(map(id, variables), result[0], strict=True))
            if self._state:
                self._state = values

        return Call(
            optimizer,
            rate,
            variables,
            grads,
            scale,
            lambda v: self._apart(values[id(v)]),
            lambda v: id(v) in values,
            lambda: apply(optimizer_variables, grads, trainable_variables),
            note,
        )

    def as_loose_call(self, optimizer, name, apply, *args, **kwargs):
        """The `Call` that a call in a hand-written loop is, stateless or not."""
        if name == "apply":
            return _stateful_call(self.value, optimizer, apply, *args, **kwargs)
        return self.as_call(optimizer, apply, *args, **kwargs)

    def value(self, variable):
        """A variable's value at this moment."""
        return variable.value

    def is_symbolic(self, grads):
        """Whether this runs while a function is traced."""
        import jax  # pyright: ignore[reportMissingImports]

        return any(isinstance(g, jax.core.Tracer) for g in grads)

    def capturing_step(self, model, observe):
        """A `train_step` that returns `((logs, packed), state)`."""
        train_step = model.train_step
        spread = _on_several_devices(model.variables)

        def step(state, data):
            observation = observe()
            ids = [id(v) for v in model.trainable_variables]
            self._state = dict(zip(ids, state[0], strict=True))
            self._spread = spread
            try:
                with observation.active():
                    logs, state = train_step(state, data)
                # Joined, a tensor that is split over devices has XLA split the others
                # too, and from there the sums in the model that they come from.
                values = dict(zip(ids, state[0], strict=True))
                packed = observation.outputs(
                    lambda v: self._apart(values[id(v)]), join=not spread
                )
            finally:
                self._state, self._spread = {}, False
            return (logs, packed), state

        return step

    def is_chief(self, model):
        """Whether this process is the one that writes for all."""
        import jax  # pyright: ignore[reportMissingImports]

        return jax.process_index() == 0

    def splitter(self, model: Any, make: Callable) -> Callable:
        """A function that takes an execution's batches from an iterator, as a list.

        Some versions of Keras ask for one batch a step, others for one stack of
        batches. Keras itself divides it: in a train function that runs eagerly, of
        steps that only collect what they are given.

        Args:
            model: The model.
            make: Called with stand-ins, has Keras make a train function.
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
        return functools.partial(_divided, collect, next(tried))

    def run_steps(
        self,
        step: Callable,
        model: Any,
        args: tuple,
        split: Callable,
        receive: Callable,
    ) -> tuple:
        """Runs the steps of one execution; see `TensorFlow.run_steps`."""
        logs = None
        state, iterator = args
        for number, batch in enumerate(split(iterator)):

            def call(function: Callable, state: Any = state, batch: Any = batch) -> Any:
                return function(state, iter([batch]))

            outputs, state = step(call, functools.partial(_is_alive, state))
            logs, taken = outputs if isinstance(outputs, tuple) else (outputs, ())
            receive(number, logs, dict(enumerate(taken)))
        return logs, state

    def is_sparse(self, gradient):
        """Whether a gradient is sparse: under Keras on JAX none is."""
        return False

    def gradient(self, gradient, shape, scale):
        """The gradient, unscaled. It is whole: JAX sees all replicas as one.

        XLA computes once what a reduction and the optimizer both need, as the squares
        of a norm and of Adam, and then rounds them where it would not have. Behind a
        barrier they are two tensors.
        """
        gradient = _barrier(gradient)
        return gradient if scale is None else gradient / scale

    def _apart(self, value: Any) -> Any:
        """A variable's value, kept apart from the training on several devices."""
        return _barrier(value) if self._spread else value

    def kept(self, tensor):
        """The tensor: JAX changes none."""
        return tensor

    def put_aside(self, made, sources):
        """The tensor: JAX changes none."""
        return made

    def to_host(self, tensor):
        """The tensor as a NumPy array, a view of it where it is on the host."""
        return _widened(np.asarray(tensor))

    def state_in_reach(self, model, args):
        """A context in which the variables have the values in a step's arguments.

        In `fit` they hold none themselves, and under a `keras.distribution` Keras asks
        each where it lies before it compiles a step.
        """
        optimizer = getattr(model, "optimizer", None)
        variables = (
            model.trainable_variables,
            model.non_trainable_variables,
            optimizer.variables if optimizer else [],
            model.metrics_variables,
        )
        pairs = map(zip, variables, args[0])
        return keras.StatelessScope(state_mapping=itertools.chain(*pairs))


class Torch:
    """Steps of the PyTorch backend, which updates in place."""

    apply = "apply"
    loose_calls = ("apply",)
    as_call = TensorFlow.as_call
    as_loose_call = TensorFlow.as_loose_call
    state_in_reach = TensorFlow.state_in_reach
    capturing_step = TensorFlow.capturing_step
    splitter = TensorFlow.splitter

    def __init__(self):
        self._torch = importlib.import_module("torch")

    def is_symbolic(self, grads):
        """PyTorch's compiler traces plain Python: never."""
        return False

    def is_chief(self, model):
        """Whether this process is the one that writes for all."""
        distributed = importlib.import_module("torch.distributed")
        ready = distributed.is_available() and distributed.is_initialized()
        return not ready or distributed.get_rank() == 0

    def run_steps(
        self, step: Callable, model: Any, args: tuple, split: Any, receive: Callable
    ) -> dict:
        """Runs the steps of one execution; see `TensorFlow.run_steps`."""
        (batches,) = args
        logs = {}
        for number, batch in enumerate(batches):

            def call(function: Callable, batch: Any = batch) -> Any:
                return function([batch])

            logs, taken = _parted(step(call, _before_the_step))
            receive(number, logs, taken)
        return logs

    def value(self, variable):
        """A variable's value, which changes with it: see `put_aside`."""
        return variable.value.detach()

    def is_sparse(self, gradient):
        """Whether a gradient is sparse."""
        return gradient.is_sparse

    def gradient(self, gradient, shape, scale):
        """The gradient dense and unscaled; it may change: see `put_aside`."""
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        return (gradient if scale is None else gradient / scale).detach()

    def to_host(self, tensor):
        """The tensor as a NumPy array, a view of it where it is on the host."""
        wide = tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor
        return wide.detach().cpu().numpy()

    def kept(self, tensor):
        """A copy of the tensor, which in-place operations leave alone."""
        return tensor.detach().clone()

    def put_aside(self, made, sources):
        """A tensor made of `sources`: a copy where it lies in the memory of one."""
        made = made.detach()
        if self._torch.compiler.is_compiling():  # Which sees where a copy is needed.
            return made.clone()
        places = {source.untyped_storage().data_ptr() for source in sources}
        return made.clone() if made.untyped_storage().data_ptr() in places else made


def _barrier(tensor: Any) -> Any:
    import jax  # pyright: ignore[reportMissingImports]

    return jax.lax.optimization_barrier(tensor)


def _on_several_devices(variables: list) -> bool:
    return any(len(v.value.sharding.device_set) > 1 for v in variables)


def _before_the_step(error: Exception, place: str) -> bool:
    return place == "before"


def _is_alive(state: Any, error: Exception, place: str) -> bool:
    """Whether a state is whole: a compiled step consumes it when it begins to run."""
    import jax  # pyright: ignore[reportMissingImports]

    leaves = jax.tree.leaves(state)
    return not any(isinstance(x, jax.Array) and x.is_deleted() for x in leaves)


def _is_python(iterator: Any) -> bool:
    """Whether an iterator is none of TensorFlow's, which a graph can ask for data."""
    return not hasattr(iterator, "get_next_as_optional")


def _divided(collect: Callable, draws: int, iterator: Any) -> list:
    """The next execution's batches: see `JAX.splitter`."""
    import jax  # pyright: ignore[reportMissingImports]

    items = list(itertools.islice(iterator, draws))
    if not items:
        raise StopIteration
    if draws > 1:
        return items
    leaves, structure = jax.tree.flatten(items[0])
    if jax.tree_util.treedef_is_leaf(structure):
        return collect([], iter(items))[1]
    # Without what is None, such as weights that nobody passed: it has no items.
    return [structure.unflatten(part) for part in collect([], iter([leaves]))[1]]


_TAKEN = "hrcallbacks/"


def _parted(outputs):
    """Logs, and what was taken, by probe: see `TensorFlow.capturing_step`."""
    logs, taken = {}, {}
    for name in sorted(outputs):
        if name.startswith(_TAKEN):
            _, probe, layout, _ = name.split("/")
            tensors = taken.setdefault(int(probe), {}).setdefault(layout, [])
            tensors.append(outputs[name])
        else:
            logs[name] = outputs[name]
    return {name: logs[name] for name in outputs if name in logs}, taken


def _stateful_call(value, optimizer, apply, grads, trainable_variables=None):
    """The `Call` that `optimizer.apply(grads, trainable_variables)` is."""
    variables, grads = list(trainable_variables or _built_for(optimizer)), [*grads]
    return Call(
        optimizer,
        _learning_rate(optimizer),
        variables,
        grads,
        _scale(optimizer),
        value,
        lambda variable: True,
        lambda: apply(grads, variables),
    )


def _widened(array):
    # NumPy has no bfloat16; float32 holds each of its values.
    return array.astype("float32") if array.dtype.name == "bfloat16" else array


def _scale(optimizer):
    # By identity: 1.0 comes back as it went in where nothing is scaled.
    one = 1.0
    scale = optimizer.scale_loss(one)
    return None if scale is one else scale


def _learning_rate(optimizer):
    try:
        rate = optimizer.learning_rate
    except AttributeError:  # A MultiOptimizer has none of its own.
        return None
    return keras.ops.convert_to_tensor(rate, "float32")


def _built_for(optimizer):
    # The one private attribute of Keras that this package reads: no public one tells
    # which variables an optimizer was built for.
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner._trainable_variables


_OLDEST_KERAS = (3, 10)


def check_versions(version, backend_name):
    """Refuses a Keras that cannot be recorded, when it is imported.

    Raises:
        ImportError: If Keras is too old or its backend unknown; says what to install.
    """
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_KERAS:
        oldest = ".".join(map(str, _OLDEST_KERAS))
        raise ImportError(
            f"hrcallbacks needs Keras {oldest} or newer. Found: Keras {version}. "
            f'Try: pip install "keras>={oldest}"'
        )
    if backend_name not in _BACKENDS:
        raise ImportError(
            f"hrcallbacks records Keras' backends {list(_BACKENDS)}. Found: "
            f"{backend_name!r}. Set KERAS_BACKEND before importing keras."
        )


_BACKENDS = {"tensorflow": TensorFlow, "jax": JAX, "torch": Torch}

check_versions(keras.__version__, keras.config.backend())
backend = _BACKENDS[keras.config.backend()]()
