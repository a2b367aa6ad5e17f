"""Recording outside `fit`: `train_on_batch` and hand-written training loops."""

import contextlib
import functools
import warnings
from collections.abc import Callable, Generator, Sequence
from typing import Any

from hrcallbacks.backends.backend import Trace
from hrcallbacks.backends.call import Call
from hrcallbacks.backends.current import backend
from hrcallbacks.capture.armed_step import ArmedStep, Receive
from hrcallbacks.capture.observation import Observation
from hrcallbacks.capture.probe import Probe
from hrcallbacks.capture.stand_ins import StandIn, replaced
from hrcallbacks.selection.optimizers import find_optimizers


@contextlib.contextmanager
def attach(
    model: Any,
    optimizers: Sequence[Any],
    probe: Probe,
    begin_step: Callable[[], bool],
    receive: Receive,
) -> Generator[list[str], None, None]:
    """Records the training steps of a model outside `fit`.

    Args:
        model: The `keras.Model`.
        optimizers: Optimizers that the model does not hold.
        probe: A `Probe`.
        begin_step: Called before each step; says whether to record it.
        receive: See `ArmedStep.arm`.

    Yields:
        A list of what could not be recorded; it grows as steps run.
    """
    attachment = _Attachment(model, probe, begin_step, receive)
    held = {id(o): o for o in [*find_optimizers(model), *optimizers]}.values()
    attachment.originals = [
        (optimizer, name, getattr(optimizer, name))
        for optimizer in held
        for name in backend.loose_calls
    ]
    stand_ins: list[StandIn] = [
        (o, n, attachment.watch(o, n, apply)) for o, n, apply in attachment.originals
    ]
    if model.compiled:
        model.make_train_function()
        attachment.originals.append((model, "train_function", model.train_function))
        stand_ins.append((model, "train_function", attachment.train_function))
    with replaced(stand_ins):
        yield attachment.missed


class _Attachment:
    def __init__(
        self,
        model: Any,
        probe: Probe,
        begin_step: Callable[[], bool],
        receive: Receive,
    ) -> None:
        self.originals: list[StandIn] = []
        self._model = model
        self._probe = probe
        self._begin_step = begin_step
        self._receive = receive
        self._busy = False
        self.missed: list[str] = []  # What could not be recorded.

    def train_function(self, *args: Any) -> Any:
        """Stands in for `model.train_function`, which `train_on_batch` calls."""
        with replaced(self.originals):
            if self._begin_step():
                ArmedStep.arm(self._model, self._probe, self._receive)
            return self._model.train_function(*args)

    def watch(
        self, optimizer: Any, name: str, apply: Callable[..., Any]
    ) -> Callable[..., Any]:
        """Stands in for an optimizer's `apply` that a hand-written loop calls."""

        @functools.wraps(apply)
        def watched(*args: Any, **kwargs: Any) -> Any:
            if self._busy:  # One optimizer calling another.
                return apply(*args, **kwargs)
            trace = backend.trace(self._model)
            call = backend.as_loose_call(trace, optimizer, name, apply, *args, **kwargs)
            if backend.is_symbolic(call.grads):
                self._warn()
                return apply(*args, **kwargs)
            return self._see(call, trace)

        return watched

    def _see(self, call: Call, trace: Trace) -> Any:
        unseen = [f"{q.name}=" for q in self._probe.quantities if q.of_whole_step]
        if unseen:
            raise ValueError(
                f"{' and '.join(unseen)} cannot be recorded here: a hand-written loop "
                "shows no more of a training step than its optimizer's calls. "
                "Train with model.fit or model.train_on_batch."
            )
        self._busy = True
        try:
            if not self._begin_step():
                return call.run()
            observation = Observation(self._model, [self._probe], trace)
            result = observation.see_call(call)
            for packed in observation.outputs(call.value, call.knows) or ({},):
                self._receive(0, {}, packed)
            return result
        finally:
            self._busy = False

    def _warn(self) -> None:
        if not self.missed:
            self.missed.append("an optimizer was called inside a compiled function")
            warnings.warn(
                "An optimizer was called inside a compiled function of your own. Its "
                "gradients cannot leave that function, so they are not recorded. Call "
                "it eagerly, or train with model.train_on_batch or model.fit.",
                RuntimeWarning,
                stacklevel=4,
            )
