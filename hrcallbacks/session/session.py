"""What a recorder does between two resets: from the hooks of a fit to its records.

Everything that can fail between a captured step and the bytes in the store goes through
one door: see `hrcallbacks.session.door`. Nothing takes effect before the first epoch
begins: a fit that is refused until then leaves no trace.
"""

import contextlib
import functools
import threading
from collections.abc import Mapping
from typing import Any

from hrcallbacks.backends.current import backend
from hrcallbacks.capture.armed_step import ArmedStep
from hrcallbacks.capture.packing import Packed
from hrcallbacks.capture.probe import Probe
from hrcallbacks.recording.recording import Recording
from hrcallbacks.session import notices, preflight
from hrcallbacks.session.arming import Arming
from hrcallbacks.session.audience import Audience
from hrcallbacks.session.caller import Caller, Stack
from hrcallbacks.session.clock import Clock
from hrcallbacks.session.door import deferring, guarded
from hrcallbacks.session.intake import Intake
from hrcallbacks.session.interruption import note_in_flight
from hrcallbacks.session.model_fit import ModelFit, Waiting
from hrcallbacks.session.probes import Probes
from hrcallbacks.session.settings import Settings
from hrcallbacks.session.start import snapshot_fit, snapshot_optimizers
from hrcallbacks.session.steps import Steps
from hrcallbacks.storage.store import Snapshot, Store
from hrcallbacks.types import RunInfo


class Session:
    """One recorder's recording, over any number of fits of one model.

    Args:
        settings: What the recorder was asked for.

    Attributes:
        store: Where records go.
        intake: What makes records of captured steps.
        stopped: Whether nothing is recorded: no fit has begun, or a fault stopped it.
        deferred: What is to end the training at the next hook, such as Ctrl-C.
        attached: Whether it records outside of `fit`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock: Clock = Clock(settings.cadence)
        self.store: Store = settings.new_store()
        self._audience = Audience(settings.sinks)
        self.intake: Intake = Intake(
            self.store,
            self._audience,
            background=settings.store is not None,
            per_epoch=settings.cadence.per_epoch,
        )
        self.stopped: bool = True
        self.deferred: BaseException | None = None
        self.attached: bool = False
        self._lock = threading.Lock()  # Fits in two threads ask to be let in.
        self._waiting: dict[int, Waiting] = {}  # By thread.
        self._fit: ModelFit | None = None  # The latest that began.
        self._caller: Caller | None = None  # What runs it.
        self._arming: Arming | None = None  # When its steps are armed.
        self._iterations: int | None = None  # Updates made before it.
        self._probes = Probes(settings, self.store, self._audience.takes)
        self._probes.on_late = self._declare_late
        self._steps = Steps(
            settings, self.clock, self._probes, self.intake, self._audience
        )

    # A fit is let in, and begins.

    def admit(self, fit: ModelFit) -> None:
        """Checks all that can be checked of a fit; changes nothing.

        Raises:
            ValueError: If it cannot be recorded; says why.
            OSError: If the store cannot be written.
        """
        with self._lock:
            self._check_free(fit)
            preflight.check_once(self._waiting)
            self.settle()
            preflight.check_data(fit)
            preflight.check_model(fit, self._fit, len(self.store))
            if backend.is_chief(fit.model):
                self.store.check_place()
            self._probes.prepare(fit)
            stack = Stack.here()
            self._waiting[stack.thread] = Waiting(fit, stack, Arming(fit.model))

    def _check_free(self, fit: ModelFit) -> None:
        running = self._model if self.is_running else None
        preflight.check_free(fit.model, running=running, attached=self.attached)

    @property
    def is_running(self) -> bool:
        """Whether a fit that began still runs."""
        if self._fit is None:
            return False
        return self.attached or (self._caller is not None and self._caller.is_running)

    @property
    def has_trained(self) -> bool:
        """Whether a fit has begun."""
        return self._fit is not None

    @property
    def _model(self) -> Any:
        return self._fit and self._fit.model

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins; before the first one, the fit does.

        Args:
            epoch: Its number, from 1.

        Raises:
            ValueError: If the fit was refused.
            OSError: If the store cannot be written.
        """
        with self._lock:
            waiting = self._waiting.pop(threading.get_ident(), None)
            if waiting is not None:
                self._check_free(waiting.fit)  # Two may have been let in.
                preflight.check_model(waiting.fit, self._fit, len(self.store))
                self._begin(waiting, epoch)
        if self._caller is not None:  # Steps are counted, also after a fault.
            self.clock.begin_epoch(epoch)
        if not self.stopped:
            self._steps.begin_epoch()

    def _begin(self, waiting: Waiting, epoch: int) -> None:
        fit = waiting.fit
        self._probes.prepare(fit)  # Again: another fit may have been let in meanwhile.
        preflight.check_size(
            fit, epoch, self.clock.total, self.settings, self.store, self._probes
        )
        before = self._fit
        self._fit = fit
        try:
            self._begin_store(fit, epoch)
        except BaseException:
            self._fit = before
            self.store.abandon()
            raise
        self._arming = waiting.arming
        self._arming.begin()
        here = Stack.here()
        self._caller = Caller.of(waiting.stack, here) or Caller(
            here.thread, here.frames[-1]
        )
        self._iterations = fit.iterations
        self._steps.begin_fit()
        self.stopped = False

    def _begin_store(self, fit: ModelFit, epoch: int) -> None:
        chief = backend.is_chief(fit.model)
        self.store.open(chief=chief)
        run = RunInfo(
            reductions=self._probes.plan.reductions,
            per_epoch=self.settings.cadence.per_epoch,
            skips_nonfinite=fit.skips_nonfinite,
            chief=chief,
            records=len(self.store),
        )
        self._audience.begin(run)
        if self._probes.is_resolved:
            self._probes.declare(fit.model)
        size = getattr(fit.model, "steps_per_execution", 1)
        self.clock.begin_fit(fit.batches, size)
        known = self.settings.record_freq == 1 and self._probes.is_resolved
        known = known and self._probes.plan.is_raw
        variables = self._probes.variables(fit.model) if known else {}
        self.store.begin_fit(
            snapshot_fit(variables, run_eagerly=fit.model.run_eagerly, known=known)
        )
        # Now, while variables have their values: under JAX they have none in a fit.
        self.intake.begin_fit(snapshot_optimizers(fit.optimizers, known=known))
        steps = self.store.begin_epoch(epoch, self.clock.steps, fit.batches)
        self.clock.steps = self.clock.before_fit = steps

    def _declare_late(self) -> None:
        """Of a model that is built in its first step."""
        if not self.stopped:
            self._probes.declare(self._model)

    # It goes on.

    def _raise_deferred(self) -> None:
        """Ends the training where something is to."""
        error, self.deferred = self.deferred, None
        if error is not None:
            raise error

    def begin_execution(self, batch: int) -> None:
        """Has the execution that comes record, if one of its steps is to be."""
        self._raise_deferred()
        self._begin_execution(batch)

    @guarded
    def _begin_execution(self, batch: int) -> None:
        model = self._model
        self._audience.speak(model)
        probe = self._steps.begin_execution(batch, model)
        if probe is not None and self._arming is not None:
            self._arming.run(functools.partial(self._arm, model, probe))

    @guarded
    def _arm(self, model: Any, probe: Probe) -> None:
        ArmedStep.arm(model, probe, functools.partial(self.receive, probe))

    def end_execution(self, batch: int, logs: Any) -> None:
        """Counts the steps that ran; lets sinks add to the logs."""
        if self._fit is None:
            return
        size = getattr(self._model, "steps_per_execution", 1)
        steps = self.clock.end_execution(batch, size)
        if not self.stopped:
            self._audience.log_batch(logs, steps)

    @deferring
    @guarded
    def receive(
        self, probe: Probe, number: int, logs: Mapping[str, Any], packed: Packed
    ) -> None:
        """Takes one captured step: see `capture.armed_step.Receive`."""
        self._steps.take(probe, number, logs, packed)

    def end_epoch(self, logs: Any) -> None:
        """Hands the epoch's records on, with the epoch's metrics."""
        self._raise_deferred()
        self._end_epoch(logs)

    @guarded
    def _end_epoch(self, logs: Any) -> None:
        self._steps.end_epoch(logs, self._model)
        self._audience.look(self.recording)
        self._audience.speak(self._model)

    # It ends: as it should, by a fault, or broken off.

    def end_fit(self) -> None:
        """Waits until all is stored; says so if nothing of the fit was recorded."""
        self._end_fit()
        self._caller = None

    @guarded
    def _end_fit(self) -> None:
        self.intake.flush()
        self.intake.wait()
        self.store.end_fit()
        self.store.close()
        self.intake.close()
        self._audience.end()
        self._audience.speak(self._model)
        self.stopped = True
        steps = self.clock.total
        if steps and not (self.clock.hit or len(self.store)):
            notices.nothing_recorded(self.settings, steps)

    def stop(self, error: Exception) -> None:
        """Stops the recording, not the training, and says what can be read of it."""
        self.stopped = True
        self._probes.forget_failures()
        self.store.note_fault(repr(error))
        with contextlib.suppress(Exception):
            self.intake.flush()
            self.intake.wait()
        self.intake.discard()
        self._audience.end()
        with contextlib.suppress(Exception):
            self.store.close()
        notices.recording_stopped(self.clock.epoch, error, self._count())

    def _count(self) -> int:
        """How many records can be read."""
        with contextlib.suppress(Exception):
            return len(self.store.snapshot().index)
        return 0

    def settle(self) -> None:
        """Closes the books on a fit that broke off, of which no hook says anything."""
        broke_off = self._caller is not None and not self.is_running
        if not broke_off or self._fit is None:
            return
        self._caller = None
        if self._arming is not None:
            self._arming.clear()
        if self.stopped:
            return
        note_in_flight(self.clock, self.store, self._iterations, self._fit.iterations)
        self._flush()
        if self.stopped:
            return
        self.stopped = True
        untrained = self.clock.total == self.clock.before_fit
        if untrained and not self.store.fits[-1].fault:
            self.store.withdraw_fit()
            if not self.store.fits:
                self._fit = None

    @guarded
    def _flush(self) -> None:
        # Of an epoch of unknown length, the last step is known only at its end.
        if not (self.settings.cadence.per_epoch and self.clock.batches is None):
            self.intake.flush()
        self.intake.wait()
        self.store.flush()

    # It is read.

    def recording(self) -> Recording:
        """The `Recording` so far."""
        return Recording.of(self.readable())

    def readable(self) -> Snapshot:
        """What can be read of the store, once all that came before is in it."""
        self.settle()
        self._flush()
        return self.store.snapshot()

    def close(self) -> None:
        """Lets the store go; nothing is recorded any more."""
        self.settle()
        self.stopped = True
        self._waiting.clear()
        self.intake.discard()
        # Of a store that was removed there is nothing to keep.
        with contextlib.suppress(FileNotFoundError):
            self.store.close()
        self._audience.end()

    # Outside of fit.

    def begin_loop(self, fit: ModelFit) -> Probe:
        """Begins to record a loop of the user's own, as one epoch.

        Returns:
            What is to be taken of its steps.

        Raises:
            ValueError: As of `admit`.
            OSError: As of `admit`.
        """
        self.admit(fit)
        self.begin_epoch(1)
        self.attached = True
        probe = self._probes.of_step(recorded=True)
        assert probe is not None
        return probe

    def begin_loose_step(self, batch: int) -> bool:
        """Begins a step of a loop; gives whether it is to be recorded."""
        self._raise_deferred()
        self.clock.begin_execution(batch, 1)
        self.clock.end_execution(batch, 1)
        if not self.stopped:
            self._audience.speak(self._model)
        return bool(self.clock.wanted) and not self.stopped

    def end_loop(self, missed: str | None) -> None:
        """Ends to record a loop.

        Args:
            missed: What could not be recorded, or None.
        """
        if missed:
            self.store.note_fault(missed)
        elif not self.clock.total - self.clock.before_fit:
            notices.nothing_seen()
            self.clock.hit = True  # Said.
        self.end_fit()
