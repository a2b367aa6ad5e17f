"""What a train step does, and what is taken out of it."""

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Mapping, Sequence
from typing import Any

import keras

from hrcallbacks.backends.backend import Trace
from hrcallbacks.backends.call import Call
from hrcallbacks.backends.current import backend
from hrcallbacks.backends.ops import Ops
from hrcallbacks.capture.packing import Packed, Place
from hrcallbacks.capture.probe import Probe
from hrcallbacks.capture.taps import LayerCall, Tap, Tapped, named
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.selection.layers import FoundLayer, attach_mask, keras_mask
from hrcallbacks.selection.optimizers import find_optimizers
from hrcallbacks.types import Key

_HALF = ("float16", "bfloat16")  # Their squares overflow.
# `.observation`: what watches the train step running in this thread. With
# tf.distribute each replica runs its step in its own thread.
_thread = threading.local()


def current() -> "Observation | None":
    """The observation of this thread, if there is one."""
    return getattr(_thread, "observation", None)


def _never_breaks_the_step(take: Callable[..., None]) -> Callable[..., None]:
    """Lets an exception while taking stop the recording, not the training."""

    @functools.wraps(take)
    def guarded(self: "_Take", *args: Any) -> None:
        if self.failed:
            return
        try:
            take(self, *args)
        except Exception as error:
            self.fail(error)

    return guarded


class _Take:
    """What one probe takes out of one step: the `Scene` of its observers.

    An optimizer's call starts a record unless it updates other variables than the
    calls before it.
    """

    def __init__(self, probe: Probe, model: Any, trace: Trace) -> None:
        self.probe = probe
        self.failed = False
        self.ops: Ops = trace.ops
        self.record = 0
        self.updated: list[set[str]] = []
        self.places: Mapping[str, int] = {}
        self.optimizer = "0"
        self.outputs: Sequence[Tapped] = ()  # Since the call before the present one.
        self.rows: int | None = trace.rows
        self.data: Any = trace.data
        self.scaled = False
        self._counts: dict[int, dict[str, int]] = {}  # Calls of layers, by record.
        self.model = model
        self._trace = trace
        self._tensors: dict[Place, Any] = {}
        self._gradients: dict[str, Any] = {}  # Those of the current call.
        self._observers = [q.observer(self) for q in probe.quantities]

    @property
    def variables(self) -> Mapping[str, Any]:
        return self.probe.variables(self.model)

    def fail(self, error: Exception) -> None:
        self.failed = True
        self.probe.failure = error

    # Events.

    @_never_breaks_the_step
    def see_loss(self, loss: Any) -> None:
        for observer in self._observers:
            observer.loss(loss)

    @_never_breaks_the_step
    def enter(self, call: Call, layers: Sequence[LayerCall]) -> None:
        at = {id(v): index for index, v in enumerate(call.variables)}
        self.places = {p: at[id(v)] for p, v in self.variables.items() if id(v) in at}
        if not self.updated or self.updated[-1] & self.places.keys():
            self.updated.append(set())
            self.record = len(self.updated) - 1
        self.updated[-1].update(self.places)
        self.optimizer = self.probe.see_optimizer(call.optimizer, call.variables)
        self._gradients = {}
        self.outputs = named(layers, self._counts.setdefault(self.record, {}))
        self.scaled = call.scale is not None

    def find(self) -> None:
        """Refuses, before the first update, what cannot be taken."""
        if not self.failed:
            with backend.concretely():
                self.probe.find(self)

    @_never_breaks_the_step
    def before(self, call: Call) -> None:
        for observer in self._observers:
            observer.before(call)

    @_never_breaks_the_step
    def after(self, call: Call) -> None:
        for observer in self._observers:
            observer.after(call)

    @_never_breaks_the_step
    def end(self, value: Callable[[Any], Any], knows: Callable[[Any], bool]) -> None:
        for observer in self._observers:
            observer.end(value, knows)

    def packed(self, *, join: bool) -> Packed:
        tensors = {} if self.failed else self._tensors
        return self.probe.packer.pack(tensors, self.ops, join=join)

    # For observers.

    @property
    def optimizers(self) -> Sequence[Any]:
        seen = [optimizer for optimizer, _ in self.probe.optimizers.values()]
        return list({id(o): o for o in [*find_optimizers(self.model), *seen]}.values())

    def gradient(self, call: Call, path: str) -> Any:
        if path not in self._gradients:
            gradient = call.grads[self.places[path]]
            if gradient is not None:
                if backend.is_sparse(gradient):
                    self.probe.sparse.add(path)
                shape = tuple(self.variables[path].shape)
                gradient = backend.gradient(self._trace, gradient, shape, call.scale)
            self._gradients[path] = gradient
        return self._gradients[path]

    def kept(self, scalar: Any) -> Any:
        return backend.kept(scalar)

    def untouched(self, tensor: Any) -> Any:
        return backend.untouched(self._trace, tensor)

    def of_batch(self, leaf: Any) -> Any:
        return backend.of_batch(leaf)

    def put_aside(self, tensor: Any) -> Any:
        return backend.put_aside(tensor, (tensor,))

    def wide(self, tensor: Any) -> Any:
        half = keras.backend.standardize_dtype(tensor.dtype) in _HALF
        return keras.ops.cast(tensor, "float32") if half else tensor

    def put(self, key: Key, tensor: Any, *, record: int | None = None) -> None:
        self._tensors[self.record if record is None else record, key] = tensor

    def reduce(
        self,
        quantity: str,
        reductions: Sequence[Reduction],
        path: str,
        *tensors: Any,
        record: int | None = None,
    ) -> None:
        wide = tuple(map(self.wide, tensors))
        for reduction in reductions:
            made = reduction.in_step(self.ops, *(tensors if reduction.is_raw else wide))
            if None in made.shape:
                raise ValueError(
                    f"the reduction {reduction.name!r} of {path!r} has a shape that "
                    f"depends on the tensor's values: {tuple(made.shape)}"
                )
            made = backend.put_aside(made, tensors)
            self.put(Key(quantity, reduction.name, path), made, record=record)


class Observation:
    """What one call of the train step passes to its optimizers.

    Args:
        model: The model being trained.
        probes: The `Probe`s that say what to take.
        trace: What is known about the step.
    """

    def __init__(self, model: Any, probes: Sequence[Probe], trace: Trace) -> None:
        self.trace = trace
        self._model = model
        self._takes = [_Take(probe, model, trace) for probe in probes]
        self._inside = False
        self._layers: list[LayerCall] = []  # Calls since the latest of an optimizer.

    def fail(self, error: Exception) -> None:
        """Takes nothing out of this step, and tells the recorders why."""
        for take in self._takes:
            take.fail(error)

    @contextlib.contextmanager
    def active(self) -> Generator[None, None, None]:
        """Watches what happens in this thread."""
        _thread.observation = self
        try:
            with self._seeing_layers():
                yield
        finally:
            _thread.observation = None

    def _seeing_layers(self) -> contextlib.AbstractContextManager[None]:
        if any(take.probe.watches_layers for take in self._takes):
            return backend.watched(self.trace)
        return contextlib.nullcontext()

    def see_loss(self, loss: Any) -> None:
        """Takes the loss of this batch."""
        for take in self._takes:
            take.see_loss(loss)

    def see_layer(self, found: FoundLayer) -> tuple[LayerCall, Tap]:
        """A layer is called: what sees that call, and how its tensors are seen."""
        seen = LayerCall(found.path)
        self._layers.append(seen)
        return seen, self._tap

    def _tap(self, tensor: Any, tapped: Tapped) -> Any:
        try:
            seen = backend.tap(self.trace, tensor, tapped.saw)
            if seen is not tensor:
                attach_mask(seen, keras_mask(tensor))
        except Exception as error:
            self.fail(error)
            return tensor
        return seen

    def see_call(self, call: Call) -> Any:
        """Runs an optimizer's call, and takes what it was given and what it changed.

        If an optimizer calls another, as a `LossScaleOptimizer` does, only the outer
        call counts.
        """
        if self._inside:
            return call.run()
        layers, self._layers = self._layers, []
        built = call.optimizer.built
        for take in self._takes:
            # A selection that matches nothing is rejected before the first update.
            take.probe.variables(self._model)
            take.enter(call, layers)
            take.find()
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
            if not built:
                take.find()
            take.after(call)
        return result

    def packed(
        self,
        value: Callable[[Any], Any],
        knows: Callable[[Any], bool] = lambda variable: True,
        *,
        join: bool = True,
    ) -> tuple[Packed, ...]:
        """What was taken, packed: one dict per probe.

        Args:
            value: Called with a variable, returns its value at the end of the step.
            knows: Called with a variable, says whether `value` can return its value.
            join: Whether small tensors may be joined into one.
        """
        for take in self._takes:
            take.end(value, knows)
        return tuple(take.packed(join=join) for take in self._takes)

    def outputs(
        self,
        value: Callable[[Any], Any],
        knows: Callable[[Any], bool] = lambda variable: True,
        *,
        join: bool = True,
    ) -> tuple[Packed, ...]:
        """What `packed` returns, or nothing if that fails: the step itself is done."""
        try:
            return self.packed(value, knows, join=join)
        except Exception as error:
            self.fail(error)
            return ()
