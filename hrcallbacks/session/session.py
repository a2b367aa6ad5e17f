"""What a recorder does between two resets: from the hooks of a fit to its records.

Everything that can fail between a captured step and the bytes in the store goes through
one door: see `hrcallbacks.session.door`. Nothing takes effect before the first epoch
begins, so a fit that is rejected before then leaves no trace.
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
from hrcallbacks.session.begun_fit import BegunFit
from hrcallbacks.session.caller import Stack
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
        settings: The recorder's arguments.
        probes: Those of the recorder's earlier recording, if it had one.

    Attributes:
        settings: The recorder's arguments.
        clock: Counts steps.
        store: Where records go.
        audience: The sinks.
        intake: Makes records of captured steps.
        probes: What is taken from each step.
        begun: The latest fit that has begun, or None.
        stopped: Whether recording is off: no fit has begun, or a fault stopped it.
        deferred: What ends the training at the next hook, such as Ctrl-C.
    """

    def __init__(self, settings: Settings, probes: Probes | None = None) -> None:
        self.settings = settings
        self.clock: Clock = Clock(settings.cadence)
        self.store: Store = settings.new_store()
        self.audience: Audience = Audience(settings.sinks)
        self.intake: Intake = Intake(
            self.store,
            self.audience,
            background=settings.store is not None,
            per_epoch=settings.cadence.per_epoch,
        )
        if probes is not None:
            probes.begin_recording(self.store)
        self.probes: Probes = probes or Probes(
            settings, self.store, self.audience.takes, self.audience.takes_of_records
        )
        self.probes.on_late = self._declare_late
        self.begun: BegunFit | None = None
        self.stopped: bool = True
        self.deferred: BaseException | None = None
        self._lock = threading.Lock()  # Fits in two threads may ask at once.
        self._waiting: dict[int, Waiting] = {}  # By thread.
        self._steps = Steps(
            settings, self.clock, self.probes, self.intake, self.audience
        )

    # A fit is admitted, and begins.

    def admit(self, fit: ModelFit) -> None:
        """Checks everything about a fit that can be checked; changes nothing.

        Raises:
            ValueError: If it cannot be recorded; the message says why.
            OSError: If the store cannot be written.
        """
        with self._lock:
            self._check_free(fit)
            preflight.check_once(self._waiting)
            self.settle()
            preflight.check_data(fit)
            self._check_model(fit)
            if backend.is_chief(fit.model):
                self.store.check_place()
            self.probes.prepare(fit)
            stack = Stack.here()
            self._waiting[stack.thread] = Waiting(fit, stack, Arming(fit.model))

    def _check_free(self, fit: ModelFit) -> None:
        begun = self.begun
        running = begun.model if begun is not None and begun.is_running else None
        attached = begun is not None and begun.attached
        preflight.check_free(fit.model, running=running, attached=attached)

    def _check_model(self, fit: ModelFit) -> None:
        earlier = self.begun and self.begun.fit
        preflight.check_model(fit, earlier, len(self.store))

    @property
    def model(self) -> Any:
        """The model of the latest fit; None before the first."""
        return self.begun and self.begun.model

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins; before the first one, the fit does.

        Args:
            epoch: Its number, from 1.

        Raises:
            ValueError: If the fit is rejected.
            OSError: If the store cannot be written.
        """
        with self._lock:
            waiting = self._waiting.pop(threading.get_ident(), None)
            if waiting is not None:
                self._check_free(waiting.fit)  # Two may have been admitted.
                self._check_model(waiting.fit)
                self._begin(waiting, epoch)
        begun = self.begun
        if begun is not None and not begun.has_ended:  # Keeps counting after a fault.
            self.clock.begin_epoch(epoch)
        if not self.stopped:
            self._steps.begin_epoch()

    def _begin(self, waiting: Waiting, epoch: int) -> None:
        fit = waiting.fit
        self.probes.prepare(fit)  # Again: another fit may have been admitted.
        preflight.check_size(
            fit, epoch, self.clock.total, self.settings, self.store, self.probes
        )
        try:
            self._begin_store(fit, epoch)
        except BaseException:
            self.store.abandon()
            raise
        self.begun = BegunFit(waiting)
        self._steps.begin_fit()
        self.stopped = False

    def _begin_store(self, fit: ModelFit, epoch: int) -> None:
        chief = backend.is_chief(fit.model)
        self.store.open(chief=chief)
        run = RunInfo(
            reductions=self.probes.plan.reductions,
            per_epoch=self.settings.cadence.per_epoch,
            skips_nonfinite=fit.skips_nonfinite,
            chief=chief,
            records=len(self.store),
        )
        self.audience.begin(run)
        if self.probes.is_resolved:
            self.probes.declare(fit.model)
        size = getattr(fit.model, "steps_per_execution", 1)
        self.clock.begin_fit(fit.batches, size)
        known = self.settings.record_freq == 1 and self.probes.is_resolved
        known = known and self.probes.plan.is_raw
        variables = self.probes.variables(fit.model) if known else {}
        self.store.begin_fit(
            snapshot_fit(variables, run_eagerly=fit.model.run_eagerly, known=known)
        )
        # Now, while variables have values: on JAX they have none during a fit.
        self.intake.begin_fit(snapshot_optimizers(fit.optimizers, known=known))
        steps = self.store.begin_epoch(epoch, self.clock.steps, fit.batches)
        self.clock.steps = self.clock.before_fit = steps

    def _declare_late(self) -> None:
        """Declares the variables of a model built in its first step."""
        if not self.stopped:
            self.probes.declare(self.model)

    # The fit runs.

    def raise_deferred(self) -> None:
        """Raises what was deferred, if anything."""
        error, self.deferred = self.deferred, None
        if error is not None:
            raise error

    def begin_execution(self, batch: int) -> None:
        """Makes the next execution record, if one of its steps is wanted."""
        self.raise_deferred()
        self._begin_execution(batch)

    @guarded
    def _begin_execution(self, batch: int) -> None:
        model = self.model
        self.audience.speak(model)
        probe = self._steps.begin_execution(batch, model)
        if probe is not None and self.begun is not None:
            self.begun.arming.run(functools.partial(self._arm, model, probe))

    @guarded
    def _arm(self, model: Any, probe: Probe) -> None:
        ArmedStep.arm(model, probe, functools.partial(self.receive, probe))

    def end_execution(self, batch: int, logs: Any) -> None:
        """Counts the steps that ran, and lets sinks add to the logs."""
        if self.begun is None:
            return
        size = getattr(self.model, "steps_per_execution", 1)
        steps = self.clock.end_execution(batch, size)
        if not self.stopped:
            self.audience.log_batch(logs, steps)

    @deferring
    @guarded
    def receive(
        self, probe: Probe, number: int, logs: Mapping[str, Any], packed: Packed
    ) -> None:
        """Takes one captured step: see `capture.armed_step.Receive`."""
        self._steps.take(probe, number, logs, packed)

    def end_epoch(self, logs: Any) -> None:
        """Passes the epoch's records on, with the epoch's metrics."""
        self.raise_deferred()
        self._end_epoch(logs)

    @guarded
    def _end_epoch(self, logs: Any) -> None:
        self._steps.end_epoch(logs, self.model)
        self.audience.look(self.recording)
        self.intake.keep_batches()
        self.audience.speak(self.model)

    # The fit ends: as it should, by a fault, or interrupted.

    def end_fit(self) -> None:
        """Waits until everything is stored; warns if nothing was recorded."""
        self._end_fit()
        if self.begun is not None:
            self.begun.end()

    @guarded
    def _end_fit(self) -> None:
        self.intake.flush()
        self.intake.wait()
        self.store.end_fit()
        self.store.close()
        self.intake.close()
        self.audience.end()
        self.audience.speak(self.model)
        self.stopped = True
        steps = self.clock.total
        if steps and not (self.clock.hit or len(self.store)):
            notices.nothing_recorded(self.settings, steps)

    def stop(self, error: Exception) -> None:
        """Stops the recording, not the training, and says what can still be read."""
        self.stopped = True
        self.probes.forget_failures()
        self.store.note_fault(repr(error))
        with contextlib.suppress(Exception):
            self.intake.flush()
            self.intake.wait()
        self.intake.discard()
        self.audience.end()
        with contextlib.suppress(Exception):
            self.store.close()
        notices.recording_stopped(self.clock.epoch, error, self._count())

    def _count(self) -> int:
        """How many records can be read."""
        with contextlib.suppress(Exception):
            return len(self.store.snapshot().index)
        return 0

    def settle(self) -> None:
        """Finishes a fit that was interrupted, which no hook reports."""
        begun = self.begun
        if begun is None or begun.has_ended or begun.is_running:
            return
        begun.end()
        if self.stopped:
            return
        note_in_flight(self.clock, self.store, begun.iterations, begun.fit.iterations)
        self._flush()
        if self.stopped:
            return
        self.stopped = True
        untrained = self.clock.total == self.clock.before_fit
        if untrained and not self.store.fits[-1].fault:
            self.store.withdraw_fit()
            if not self.store.fits:
                self.begun = None

    @guarded
    def _flush(self) -> None:
        # If an epoch's length is unknown, its last step is known only at its end.
        if not (self.settings.cadence.per_epoch and self.clock.batches is None):
            self.intake.flush()
        self.intake.wait()
        self.store.flush()

    # The recording is read.

    def recording(self) -> Recording:
        """The `Recording` so far."""
        return Recording.of(self.readable())

    def readable(self) -> Snapshot:
        """What can be read from the store, once everything so far is in it."""
        self.settle()
        self._flush()
        return self.store.snapshot()

    def close(self) -> None:
        """Releases the store; recording is over."""
        self.settle()
        self.stopped = True
        self._waiting.clear()
        self.intake.discard()
        # A store that was removed has nothing to keep.
        with contextlib.suppress(FileNotFoundError):
            self.store.close()
        self.audience.end()
