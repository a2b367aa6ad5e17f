"""The capturing train step: how gradients leave a compiled training step.

Nothing is recomputed. A capturing `train_step` runs the model's own, watches what is
passed to `optimizer.apply`, and returns it along with the logs. Keras compiles that
step into a second train function (`make_train_function(force=True)`). The plain one
stays as Keras made it, and runs every step that is not recorded. For a step that is,
an `ArmedStep` stands in for `model.train_function` during that one call. Between calls
the model, its optimizer and its metrics hold nothing of ours.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from hrcallbacks.backends.backend import (
    Args,
    Function,
    OnBatch,
    Taken,
    Trace,
    Untrained,
)
from hrcallbacks.backends.current import backend
from hrcallbacks.capture.observation import Observation, current
from hrcallbacks.capture.packing import Packed
from hrcallbacks.capture.probe import Probe
from hrcallbacks.capture.stand_ins import StandIn, attributes, replaced
from hrcallbacks.capture.taps import Watched, layer_watchers
from hrcallbacks.selection.layers import FoundLayer, layers_of
from hrcallbacks.selection.optimizers import find_optimizers

# Called after each captured step with its number in the execution (from 0), its logs,
# and what the probe's packer packed, all on the device.
Receive = Callable[[int, Mapping[str, Any], Packed], None]


class ArmedStep:
    """Stands in for `model.train_function` during one execution.

    When called, it first puts the plain train function back. Recorders that want the
    same execution share it: one compiled step serves all.
    """

    def __init__(self, model: Any, plain: Callable[..., Any]) -> None:
        self._model = model
        self._plain = plain
        self._fit = _fit_of(model)
        self._listeners: list[tuple[Probe, Receive]] = []
        self._failed = False
        self._args: Args = ()
        self._single: Function | None = None  # A plain train function for one step.

    @classmethod
    def arm(cls, model: Any, probe: Probe, receive: Receive) -> None:
        """Makes the next execution of `model.train_function` record.

        Args:
            model: A `keras.Model` in `fit`.
            probe: A `Probe`.
            receive: Called after each step of that execution; see `Receive`.
        """
        armed = model.train_function
        if armed is None:  # Recompiled during fit: Keras has nothing to call either.
            return
        if isinstance(armed, cls) and armed._is_stale():
            armed = armed._plain
        if not isinstance(armed, cls):
            armed = cls(model, plain=armed)
            attributes(model)["train_function"] = armed
        armed._listeners.append((probe, receive))

    def __call__(self, *args: Any) -> Any:
        """Runs one execution, step by step, with the capturing train function."""
        attributes(self._model)["train_function"] = self._plain
        if self._is_stale():
            return self._plain(*args)
        try:
            capturing = self._capturing(args)
        except Exception as error:  # The recorder is told; training goes on.
            self._fail(error)
            return self._plain(*args)
        if any(probe.awaits_rows for probe, _ in self._listeners):
            args = backend.with_rows(self._model, args)
            for probe, _ in self._listeners:
                probe.awaits_rows = False
        self._args = args
        step = functools.partial(self._step, capturing)
        return backend.run_steps(
            step, self._model, args, capturing.split, self._receive
        )

    def _step(self, capturing: "Capturing", call: OnBatch, untrained: Untrained) -> Any:
        """One step: captured, or plain once capturing fails without having trained."""
        if self._failed:
            return self._plain_step(call)
        try:
            return capturing.run(call)
        except Exception as error:
            place = capturing.progress.place
            stop = isinstance(error, StopIteration)
            if place == "inside":  # Such as a selection that is refused.
                with contextlib.suppress(Exception):
                    backend.keep_state(self._model, self._args)
            if stop or place == "inside" or not untrained(error, place):
                raise
            failure = error
        with contextlib.suppress(Exception):  # A failed repair shows up by itself.
            backend.mend(find_optimizers(self._model))
        # If the model cannot be trained at all, this raises its usual error.
        outputs = self._plain_step(call)
        self._fail(failure)
        return outputs

    def _plain_step(self, call: OnBatch) -> Any:
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

    def _is_stale(self) -> bool:
        # An exception in another callback can end a fit between arming and calling.
        return _fit_of(self._model) is not self._fit

    def _capturing(self, args: Args) -> "Capturing":
        probes = [probe for probe, _ in self._listeners]
        cache = probes[0].compiled
        if cache.get("plain") is not self._plain:  # Compiled again: a new step.
            cache.clear()
            cache["plain"] = self._plain
        key = tuple(probes)
        if key not in cache:
            with backend.state_in_reach(self._model, args):
                cache[key] = make_capturing_function(self._model, probes)
        return cache[key]

    def _receive(self, number: int, logs: Mapping[str, Any], taken: Taken) -> None:
        if any(probe.failure for probe, _ in self._listeners):
            # The compiled step takes nothing. A later fit may work.
            self._listeners[0][0].compiled.clear()
        for place, (_, receive) in enumerate(self._listeners):
            receive(number, logs, taken.get(place, {}))


class Progress:
    """How far the model's own train step has got in a call of a train function.

    Attributes:
        place: `"before"`, `"inside"` or `"after"` it.
    """

    place = "before"

    def followed(self, train_step: Function) -> Function:
        """The same train step, which also sets `place`."""

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
        function: Made by Keras; its steps return `(logs, taken)`, or both in one dict,
            in place of the logs.
        stand_ins: What replaces attributes of the model, its optimizers and its loss
            metric while it runs, as a list of `(object, name, value)`.
        split: What `backend.splitter` returned.
        progress: The `Progress` of its latest call.
    """

    function: Function
    stand_ins: Sequence[StandIn]
    split: Callable[[Any], list[Any]] | None
    progress: Progress

    def run(self, call: OnBatch) -> Any:
        """Runs one step: see `TensorFlow.run_steps`."""
        self.progress.place = "before"
        with replaced(self.stand_ins):
            return call(self.function)


def make_capturing_function(model: Any, probes: Sequence[Probe]) -> Capturing:
    """A train function whose steps also return what was taken.

    Args:
        model: A compiled `keras.Model`.
        probes: The `Probe`s that say what to take.
    """

    def observe(trace: Trace) -> Observation:
        return Observation(model, probes, trace)

    progress = Progress()
    with replaced([(model, "train_step", progress.followed(model.train_step))]):
        step = backend.reading(backend.capturing_step(model, observe))
    stand_ins = [
        (model, "train_step", step),
        # Keras returns only the outputs of an execution's last step.
        (model, "steps_per_execution", 1),
        *_watchers(model, probes),
    ]
    split = backend.splitter(model, functools.partial(make_function, model))
    return Capturing(make_function(model, stand_ins), stand_ins, split, progress)


def make_function(model: Any, stand_ins: Sequence[StandIn]) -> Function:
    """A train function made by Keras, separate from the model's own.

    Args:
        model: A compiled `keras.Model`.
        stand_ins: What replaces attributes of the model and its parts meanwhile.
    """
    with replaced([*stand_ins, (model, "train_function", None)]):
        model.make_train_function(force=True)
        return model.train_function


def _watchers(model: Any, probes: Sequence[Probe]) -> Iterator[StandIn]:
    for optimizer in find_optimizers(model):
        apply = getattr(optimizer, backend.apply)
        yield optimizer, backend.apply, _watched_apply(optimizer, apply)
    for metric in model.metrics:
        if metric.name == "loss":
            yield metric, "update_state", _watched_update_state(metric.update_state)
    if any(probe.watches_layers for probe in probes):
        layers = [
            found
            for found in layers_of(model)
            if any(probe.watches(found.path) for probe in probes)
        ]
        yield from layer_watchers(layers, _see_layer)


def _see_layer(found: FoundLayer) -> Watched | None:
    observation = current()
    return None if observation is None else observation.see_layer(found)


def _watched_apply(optimizer: Any, apply: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(apply)
    def watched(*args: Any, **kwargs: Any) -> Any:
        observation = current()
        if observation is None:
            return apply(*args, **kwargs)
        try:
            call = backend.as_call(observation.trace, optimizer, apply, *args, **kwargs)
        except Exception as error:
            observation.fail(error)
            return apply(*args, **kwargs)
        return observation.see_call(call)

    return watched


def _watched_update_state(update_state: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(update_state)
    def watched(*args: Any, **kwargs: Any) -> Any:
        observation = current()
        if observation is not None and args:
            observation.see_loss(args[0])
        return update_state(*args, **kwargs)

    return watched


def _fit_of(model: Any) -> Any:
    # Each fit makes its own History and assigns it to the model.
    return getattr(model, "history", None)
