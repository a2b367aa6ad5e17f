"""The capturing train step: how gradients leave a compiled training step.

Nothing is recomputed. A capturing `train_step` runs the model's own, watches what is
handed to `optimizer.apply`, and returns it beside the logs. Keras compiles that step
into a second train function (`make_train_function(force=True)`); the plain one stays
as Keras made it, and runs every step that is not recorded. For a step that is, an
`ArmedStep` stands in for `model.train_function` during that one call. Between two
calls the model, its optimizer and its metrics hold nothing of ours.
"""

import contextlib
import functools
import threading
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras

from hrcallbacks.backends import backend
from hrcallbacks.numerics import numerics
from hrcallbacks.packing import Packer
from hrcallbacks.reductions import RAW

_MISSING = object()
_HALF = ("float16", "bfloat16")  # Their squares leave their range.
# Key of a step's gradient norm, among what is taken out of it.
NORM = (0, "gradient_norm", "", "")
# `.observation`: what the train step running in this thread is seen to do. With
# tf.distribute each replica runs its step in a thread of its own.
_thread = threading.local()


class Probe:
    """What one recorder wants out of a step.

    Attributes:
        gradients_of: Reductions of the gradients to take, by path.
        weights_of: Reductions of the weights to take, by path.
        record_bytes: Size of what a step gives.
        optimizers: By name, the optimizers that were seen at work, each with the paths
            of the variables that it updates (None for one that is not recorded).
        sparse: Paths of variables whose gradients came sparse.
        failure: What kept a step from being captured, or None.

    Args:
        select: Called once with the model's trainable variables, as soon as they
            exist; gives those to record, as a dict from path to variable, then the
            dicts for `gradients_of` and `weights_of`, and `record_bytes`.
        weights_at: `"before"` or `"after"` the update.
        with_norm: Whether to take the norm of all gradients too.
        apart: See `Packer`.
    """

    def __init__(
        self, select, *, weights_at="after", with_norm=False, apart=("weights",)
    ):
        self.gradients_of = {}
        self.weights_of = {}
        self.record_bytes = 0
        self.weights_at = weights_at
        self.with_norm = with_norm
        self.compiled = {}
        self.packer = Packer(alone=(NORM,), apart=apart)
        self.optimizers = {}
        self.sparse = set()
        self.failure: Exception | None = None
        self._select = select
        self._variables: dict | None = None

    @property
    def is_resolved(self):
        """Whether the variables are known."""
        return self._variables is not None

    def see_optimizer(self, optimizer, variables):
        """Notes that an optimizer updates these variables; gives its name.

        An optimizer's place among those of the model names it: `"0"`, `"1"`, ...
        """
        paths = {id(v): path for path, v in (self._variables or {}).items()}
        names = {id(known): name for name, (known, _) in self.optimizers.items()}
        name = names.get(id(optimizer), str(len(names)))
        self.optimizers[name] = optimizer, [paths.get(id(v)) for v in variables]
        return name

    def variables(self, model):
        """The variables to record: a dict from path to variable."""
        if self._variables is None:
            selected = self._select(model.trainable_variables)
            (
                self._variables,
                self.gradients_of,
                self.weights_of,
                self.record_bytes,
            ) = selected
        return self._variables


def _never_breaks_the_step(take):
    """Has an exception while taking be the recorder's affair, not the training's."""

    @functools.wraps(take)
    def guarded(self, *args):
        if self.failed:
            return
        try:
            take(self, *args)
        except Exception as error:
            self.fail(error)

    return guarded


class _Take:
    """What one probe takes out of one step.

    A step makes one record, and several where it updates a variable several times:
    an optimizer's call starts a record unless it updates other variables than those
    before it.
    """

    def __init__(self, probe, model):
        self.probe = probe
        self.failed = False
        self.tensors = {}  # By (record, quantity, reduction, path).
        self._model = model
        self._updated = []  # The paths that were updated, record by record.
        self._places = {}  # Paths that the present call updates, by place in it.
        self._old = {}  # Weights from before the present call.
        self._record = 0
        self._loss = None
        self._squares = {}  # By path, the sum of squares of its latest gradient.

    def fail(self, error: Exception) -> None:
        self.failed = True
        self.probe.failure = error

    @_never_breaks_the_step
    def see_loss(self, loss):
        self._loss = backend.kept(loss)

    @_never_breaks_the_step
    def before(self, call):
        """Takes what a call of an optimizer is given, before it is run."""
        probe = self.probe
        places = {id(v): index for index, v in enumerate(call.variables)}
        variables = self._variables()
        paths = {p: places[id(v)] for p, v in variables.items() if id(v) in places}
        if not self._updated or self._updated[-1] & paths.keys():
            self._updated.append(set())
            self._record = len(self._updated) - 1
        self._updated[-1].update(paths)
        self._places = paths
        name = probe.see_optimizer(call.optimizer, call.variables)
        if call.learning_rate is not None:
            rate = backend.kept(call.learning_rate)
            self._put("learning_rates", "", name, rate)
        for path, index in paths.items():
            gradient = call.grads[index]
            # A variable without gradient is left out: None cannot leave a graph.
            wanted = probe.gradients_of[path] or probe.with_norm
            if wanted and gradient is not None:
                if backend.is_sparse(gradient):
                    probe.sparse.add(path)
                shape = tuple(variables[path].shape)
                gradient = backend.gradient(gradient, shape, call.scale)
                self._reduce("gradients", probe.gradients_of[path], path, gradient)
                if probe.with_norm:
                    self._squares[path] = numerics.sum_of_squares(_wide(gradient))
            if any(reduction.of_update for reduction in probe.weights_of[path]):
                old = call.value(variables[path])
                self._old[path] = backend.put_aside(old, (old,))
        if probe.weights_at == "before":
            self._take_weights(call)

    @_never_breaks_the_step
    def after(self, call):
        """Takes what a call has made, once it was run."""
        if self.probe.weights_at == "after":
            self._take_weights(call)
        for path, old in self._old.items():
            new = call.value(self._variables()[path])
            updates = [r for r in self.probe.weights_of[path] if r.of_update]
            self._reduce("weights", updates, path, new, old)
        self._old = {}

    def _take_weights(self, call):
        """The weights as they are now, also those that this record has not updated."""
        updated = self._updated[-1]
        for path, variable in self._variables().items():
            if path in self._places or (path not in updated and call.knows(variable)):
                self._take_weight(path, lambda v=variable: call.value(v))

    def _take_weight(self, path, value):
        chosen = [r for r in self.probe.weights_of[path] if not r.of_update]
        if chosen:
            self._reduce("weights", chosen, path, value())

    @_never_breaks_the_step
    def complete(self, value, knows):
        """With the loss, the norm, and the weights that no optimizer was to update."""
        if self._squares:
            self.tensors[NORM] = keras.ops.sqrt(sum(self._squares.values()))
        for record, updated in enumerate(self._updated):
            self._record = record
            taken = {(n, q, path) for n, q, _, path in self.tensors}
            for path, variable in self._variables().items():
                missing = (record, "weights", path) not in taken
                if missing and path not in updated and knows(variable):
                    self._take_weight(path, lambda v=variable: value(v))
            if self._loss is not None:
                self._put("loss", "", "", self._loss)

    def packed(self, *, join: bool):
        if self.failed:
            self.tensors = {}
        return self.probe.packer.pack(self.tensors, join=join)

    def _variables(self):
        return self.probe.variables(self._model)

    def _reduce(self, quantity, reductions, path, *tensors):
        ops = keras.ops
        wide = tuple(map(_wide, tensors))
        for reduction in reductions:
            tensors_of = tensors if reduction.name == RAW else wide
            made = reduction.in_step(ops, *tensors_of)
            if None in made.shape:
                raise ValueError(
                    f"the reduction {reduction.name!r} of {path!r} has a shape that "
                    f"depends on the tensor's values: {tuple(made.shape)}"
                )
            made = backend.put_aside(made, tensors)
            self._put(quantity, reduction.name, path, made)

    def _put(self, quantity, reduction, path, tensor):
        self.tensors[self._record, quantity, reduction, path] = tensor


def _wide(tensor):
    half = keras.backend.standardize_dtype(tensor.dtype) in _HALF
    return keras.ops.cast(tensor, "float32") if half else tensor


class Observation:
    """What one call of the train step handed to its optimizers.

    Args:
        model: The model being trained.
        probes: The `Probe`s to take for.
    """

    def __init__(self, model, probes):
        self._model = model
        self._takes = [_Take(probe, model) for probe in probes]
        self._inside = False

    def fail(self, error: Exception) -> None:
        """Takes nothing out of this step, and has the recorders hear why."""
        for take in self._takes:
            take.fail(error)

    @contextlib.contextmanager
    def active(self):
        """Watches what happens in this thread."""
        _thread.observation = self
        try:
            yield
        finally:
            _thread.observation = None

    def see_loss(self, loss):
        """Takes the loss of this batch."""
        for take in self._takes:
            take.see_loss(loss)

    def see_call(self, call):
        """Runs an optimizer's call, and takes what it was given and what it did.

        An optimizer that calls another one, as a `LossScaleOptimizer` its inner one,
        is seen once, from outside.
        """
        if self._inside:
            return call.run()
        for take in self._takes:
            # A selection that matches nothing is refused before the first update.
            take.probe.variables(self._model)
            take.before(call)
        self._inside = True
        try:
            result = call.run()
        finally:
            self._inside = False
        try:
            call.note(result)
        except Exception as error:
            self.fail(error)
        for take in self._takes:
            take.after(call)
        return result

    def packed(self, value, knows=lambda variable: True, *, join: bool = True):
        """What was taken, packed: one dict a probe.

        Args:
            value: Called with a variable, gives its value at the end of the step.
            knows: Called with a variable, says whether `value` can be asked for it.
            join: Whether small tensors may be joined into one.
        """
        for take in self._takes:
            take.complete(value, knows)
        return tuple(take.packed(join=join) for take in self._takes)

    def outputs(
        self,
        value: Callable,
        knows: Callable = lambda variable: True,
        *,
        join: bool = True,
    ) -> tuple:
        """What `packed` returns, or nothing if it fails: the step itself is done."""
        try:
            return self.packed(value, knows, join=join)
        except Exception as error:
            self.fail(error)
            return ()


class ArmedStep:
    """Stands in for `model.train_function` during one execution.

    Called, it puts the plain train function back before it does anything else.
    Recorders that want the same execution share it: one compiled step serves all.
    """

    def __init__(self, model, plain):
        self._model = model
        self._plain = plain
        self._fit = _fit_of(model)
        self._listeners = []
        self._failed = False
        self._args = ()
        self._single: Callable | None = None  # A plain function of one step.

    @classmethod
    def arm(cls, model, probe, receive):
        """Has the next execution of `model.train_function` record.

        Args:
            model: A `keras.Model` in `fit`.
            probe: A `Probe`.
            receive: Called after each step of that execution with the step's number
                in it, from 0, its logs, and what the probe's packer packed; all on
                the device.
        """
        armed = model.train_function
        if armed is None:  # Compiled anew in mid-fit: Keras has nothing to call either.
            return
        if isinstance(armed, cls) and armed._is_stale():
            armed = armed._plain
        if not isinstance(armed, cls):
            armed = cls(model, plain=armed)
            _attributes(model)["train_function"] = armed
        armed._listeners.append((probe, receive))

    def __call__(self, *args):
        """Runs one execution, step by step, with the capturing train function."""
        _attributes(self._model)["train_function"] = self._plain
        if self._is_stale():
            return self._plain(*args)
        try:
            capturing = self._capturing(args)
        except Exception as error:  # The recorder hears of it; training goes on.
            self._fail(error)
            return self._plain(*args)
        self._args = args
        step = functools.partial(self._step, capturing)
        return backend.run_steps(
            step, self._model, args, capturing.split, self._receive
        )

    def _step(self, capturing: "Capturing", call: Callable, untrained: Callable) -> Any:
        """One step: captured, or plain once that fails without having trained."""
        if self._failed:
            return self._plain_step(call)
        try:
            return capturing.run(call)
        except Exception as error:
            place = capturing.progress.place
            stop = isinstance(error, StopIteration)
            if stop or place == "inside" or not untrained(error, place):
                raise
            failure = error
        # Of a model that cannot be trained at all, this raises what it always does.
        outputs = self._plain_step(call)
        self._fail(failure)
        return outputs

    def _plain_step(self, call: Callable) -> Any:
        if self._model.steps_per_execution == 1:
            return call(self._plain)
        single = (self._model, "steps_per_execution", 1)
        if self._single is None:
            with backend.state_in_reach(self._model, self._args):
                self._single = make_function(self._model, [single])
        with replaced([single]):
            return call(self._single)

    def _fail(self, error: Exception) -> None:
        self._failed = True
        for probe, _ in self._listeners:
            probe.failure = error

    def _is_stale(self):
        # An exception in another callback can end a fit between arming and calling.
        return _fit_of(self._model) is not self._fit

    def _capturing(self, args):
        probes = [probe for probe, _ in self._listeners]
        cache = probes[0].compiled
        if cache.get("plain") is not self._plain:  # Compiled anew: a new step.
            cache.clear()
            cache["plain"] = self._plain
        key = tuple(probes)
        if key not in cache:
            with backend.state_in_reach(self._model, args):
                cache[key] = make_capturing_function(self._model, probes)
        return cache[key]

    def _receive(self, number, logs, taken):
        if any(probe.failure for probe, _ in self._listeners):
            # What was compiled takes nothing. A later fit may do better.
            self._listeners[0][0].compiled.clear()
        for place, (_, receive) in enumerate(self._listeners):
            receive(number, logs, taken.get(place, {}))


class Progress:
    """How far the model's own train step has come in a call of a train function.

    Attributes:
        place: `"before"`, `"inside"` or `"after"` it.
    """

    place = "before"

    def followed(self, train_step: Callable) -> Callable:
        """The same train step, which tells."""

        @functools.wraps(train_step)
        def step(*args: Any, **kwargs: Any) -> Any:
            self.place = "inside"
            outputs = train_step(*args, **kwargs)
            self.place = "after"
            return outputs

        return step


@dataclass(frozen=True)
class Capturing:
    """A train function that captures.

    Attributes:
        function: Of Keras' own making; its steps return `(logs, taken)`, or both in
            one dict, in place of the logs.
        stand_ins: What has to stand on the model, its optimizers and its loss metric
            while it runs, as a list of `(object, name, value)`.
        split: What `backend.splitter` returned.
        progress: The `Progress` of its latest call.
    """

    function: Callable
    stand_ins: list
    split: Callable | None
    progress: Progress

    def run(self, call: Callable) -> Any:
        """Runs one step: see `TensorFlow.run_steps`."""
        self.progress.place = "before"
        with replaced(self.stand_ins):
            return call(self.function)


def make_capturing_function(model: Any, probes: list) -> Capturing:
    """A train function whose steps also return what was taken.

    Args:
        model: A compiled `keras.Model`.
        probes: The `Probe`s to take for.
    """
    progress = Progress()
    with replaced([(model, "train_step", progress.followed(model.train_step))]):
        step = backend.capturing_step(model, lambda: Observation(model, probes))
    stand_ins = [
        (model, "train_step", step),
        # Keras returns the outputs of an execution's last step alone.
        (model, "steps_per_execution", 1),
        *_watchers(model),
    ]
    split = backend.splitter(model, functools.partial(make_function, model))
    return Capturing(make_function(model, stand_ins), stand_ins, split, progress)


def make_function(model: Any, stand_ins: list) -> Callable:
    """A train function of Keras' own making, beside the one that the model has.

    Args:
        model: A compiled `keras.Model`.
        stand_ins: What stands on the model and its parts while it is made.
    """
    with replaced([*stand_ins, (model, "train_function", None)]):
        model.make_train_function(force=True)
        return model.train_function


def _watchers(model):
    for optimizer in find_optimizers(model):
        apply = getattr(optimizer, backend.apply)
        yield optimizer, backend.apply, _watched_apply(optimizer, apply)
    for metric in model.metrics:
        if metric.name == "loss":
            yield metric, "update_state", _watched_update_state(metric.update_state)


def _watched_apply(optimizer, apply):
    @functools.wraps(apply)
    def watched(*args, **kwargs):
        observation = getattr(_thread, "observation", None)
        if observation is None:
            return apply(*args, **kwargs)
        try:
            call = backend.as_call(optimizer, apply, *args, **kwargs)
        except Exception as error:
            observation.fail(error)
            return apply(*args, **kwargs)
        return observation.see_call(call)

    return watched


def _watched_update_state(update_state):
    @functools.wraps(update_state)
    def watched(*args, **kwargs):
        observation = getattr(_thread, "observation", None)
        if observation is not None and args:
            observation.see_loss(args[0])
        return update_state(*args, **kwargs)

    return watched


def find_optimizers(model):
    """Every optimizer that the model holds, also in a list or dict, each once."""
    held = []
    for value in vars(model).values():
        if isinstance(value, dict):
            held.extend(value.values())
        elif isinstance(value, (list, tuple)):
            held.extend(value)
        else:
            held.append(value)
    optimizers = (o for o in held if isinstance(o, keras.optimizers.Optimizer))
    return list({id(o): o for o in optimizers}.values())


def _fit_of(model):
    # Each fit makes a History of its own, and gives it to the model.
    return getattr(model, "history", None)


@contextlib.contextmanager
def replaced(attributes):
    """Sets attributes of instances, and puts back what was there."""
    before = []
    try:
        for owner, name, value in attributes:
            own = _attributes(owner)
            before.append((own, name, own.get(name, _MISSING)))
            own[name] = value
        yield
    finally:
        for own, name, value in reversed(before):
            if value is _MISSING:
                own.pop(name, None)
            else:
                own[name] = value


def _attributes(owner):
    # Written to directly: a Keras object's __setattr__ tracks what it is given.
    return owner.__dict__
