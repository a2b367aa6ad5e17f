"""What a recorder does between two resets: from the hooks of a fit to its records.

Everything that can fail between a captured step and the bytes in the store goes through
one door, `_guarded`: an exception there stops the recording, with one warning, and not
the training; what ends the training too, such as Ctrl-C, is noted in the recording.
Nothing takes effect before the first epoch begins: a fit that is refused until then
leaves no trace.
"""

import contextlib
import functools
import itertools
import threading
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import keras

from hrcallbacks.attachment import attach
from hrcallbacks.backends import backend
from hrcallbacks.memory_limit import too_large
from hrcallbacks.norm_log import NAME, NormLog
from hrcallbacks.recording import Recording
from hrcallbacks.session.arming import Arming
from hrcallbacks.session.caller import Caller, Stack
from hrcallbacks.session.clock import Clock
from hrcallbacks.session.epoch_mean import EpochMean
from hrcallbacks.session.intake import Intake, Taken
from hrcallbacks.session.settings import Settings
from hrcallbacks.session.speaker import Speaker
from hrcallbacks.snapshot import (
    describe_replay,
    snapshot_state,
    snapshot_variables,
    snapshot_weights,
    to_host,
)
from hrcallbacks.storage import Snapshot
from hrcallbacks.train_step import NORM, ArmedStep, Probe, find_optimizers


@dataclass(frozen=True)
class Fit:
    """A fit that was let in.

    Attributes:
        model: The model.
        batches: Steps in each epoch, or None where that is not known.
        epochs: Number of its last epoch, or None.
        loose: Optimizers that train the model, and that it does not hold.
    """

    model: Any
    batches: int | None = None
    epochs: int | None = None
    loose: tuple = ()

    @property
    def optimizers(self) -> list:
        """All optimizers that may be seen at work."""
        return [*find_optimizers(self.model), *self.loose]

    @property
    def iterations(self) -> int | None:
        """How many updates the model's optimizer has made; None if it can't be told."""
        optimizer = getattr(self.model, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if getattr(optimizer, "gradient_accumulation_steps", None):
            return None
        # Under JAX an optimizer has no values while a fit runs, nor once it broke off.
        sync = getattr(self.model, "jax_state_sync", None)
        with contextlib.suppress(Exception):
            if sync:
                sync()
            return int(to_host(optimizer.iterations))
        return None


@dataclass(frozen=True)
class Waiting:
    """A fit that was let in, and has not begun its first epoch."""

    fit: Fit
    stack: Stack
    arming: Arming


def _guarded(hook: Callable) -> Callable:
    """The door: see the module's docstring."""

    @functools.wraps(hook)
    def guarded(self: "Session", *args: Any, **kwargs: Any) -> None:
        if self.stopped:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception as error:
            self.stop(error)
        except BaseException as error:
            self.store.note_fault(f"broken off by {error!r} while records were made")
            raise

    return guarded


def _deferring(hook: Callable) -> Callable:
    """What ends the training ends it at the next hook.

    A step hands its state back to Keras after `receive`: on JAX the weights would be
    lost if Ctrl-C came in between.
    """

    @functools.wraps(hook)
    def deferring(self: "Session", *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception:
            raise
        except BaseException as error:
            self._deferred = error

    return deferring


class Session:
    """One recorder's recording, over any number of fits of one model.

    Args:
        settings: What the recorder was asked for.

    Attributes:
        store: Where records go.
        intake: What makes records of captured steps.
        stopped: Whether nothing is recorded: no fit has begun, or a fault stopped it.
        attached: Whether it records outside of `fit`.
    """

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.clock = Clock(settings.cadence)
        self._contents = settings.contents()
        self._norms = NormLog() if settings.log_norm else None
        self._speaker = Speaker(settings)
        self.store: Any = settings.new_store()
        self.intake = Intake(
            self.store,
            background=settings.store is not None,
            per_epoch=settings.cadence.per_epoch,
            followers=self._speaker.followers,
        )
        self.stopped = True
        self.attached = False
        # What is to end the training at the next hook, such as Ctrl-C.
        self._deferred: BaseException | None = None
        self._lock = threading.Lock()  # Fits in two threads ask to be let in.
        self._waiting: dict[int, Waiting] = {}  # By thread.
        self._fit: Fit | None = None  # The latest that began.
        self._caller: Caller | None = None  # What runs it.
        self._arming: Any = None  # When its steps are armed.
        self._iterations: int | None = None  # Updates made before it.
        self._probe: Any = None
        # The probe of steps that are not recorded, but needed for a mean or the logs.
        self._between: Any = None
        self._seen: list = []  # The variables and optimizers that they were made for.
        self._mean: EpochMean | None = None
        self._warned = False

    # A fit is let in, and begins.

    def admit(self, fit: Fit) -> None:
        """Checks all that can be checked of a fit; changes nothing.

        Raises:
            ValueError: If it cannot be recorded; says why.
            OSError: If the store cannot be written.
        """
        with self._lock:
            self._check_free(fit.model)
            self.settle()
            if fit.batches == 0:
                raise ValueError(
                    "There is no data to train on: an epoch has 0 steps. "
                    "Pass at least one sample to fit."
                )
            self._check_model(fit.model)
            if backend.is_chief(fit.model):
                self.store.check_place()
            self._prepare(fit)
            stack = Stack.here()
            self._waiting[stack.thread] = Waiting(fit, stack, Arming(fit.model))

    def _check_free(self, model: Any) -> None:
        if self.attached:
            raise ValueError(
                "This recorder is attached to the model already, by recorder.attached("
                "model). Use either that or fit(..., callbacks=[recorder])."
            )
        if self.is_running and self._fit is not None:
            raise ValueError(
                f"This recorder is recording a fit of {self._fit.model.name!r}, which "
                f"still runs; this fit of {model.name!r} was refused. Use one recorder "
                "for each fit that runs at the same time."
            )
        here = Stack.here()
        waiting = self._waiting.get(here.thread)
        common = waiting and waiting.stack.common(here)
        # Keras' loop over the callbacks of a fit goes on.
        if common and common.f_code.co_name == "on_train_begin":
            raise ValueError(
                "This recorder appears twice in the callbacks of a fit. Pass it once."
            )

    def _check_model(self, model: Any) -> None:
        if self._fit is not None and self._fit.model is not model:
            raise ValueError(
                "This recorder belongs to another model, "
                f"{self._fit.model.name!r}, of which it holds {len(self.store)} "
                f"records; now it is to record {model.name!r}. Use one recorder for "
                "each model, or call recorder.reset() first."
            )

    def _prepare(self, fit: Fit) -> None:
        # The optimizers too: a model compiled again has others.
        seen = [*fit.model.trainable_variables, *fit.optimizers]
        if self._probe is None or list(map(id, seen)) != list(map(id, self._seen)):
            # Otherwise the steps compiled in an earlier fit will do.
            norm, mean = self._norms is not None, self.settings.mean
            apart = ("gradients", "weights") if mean else ("weights",)
            self._probe = Probe(
                self._select,
                weights_at=self.settings.weights_at,
                with_norm=norm,
                apart=apart,
            )
            self._between = (mean or norm) and Probe(
                self._select_between, with_norm=norm, apart=apart
            )
        self._seen = seen
        # A model that Keras builds in its first step has no variables yet: its first
        # step is captured, wanted or not, and the probe selects before the update.
        if fit.model.built:
            for probe in self._probes:
                probe.variables(fit.model)
            self._contents.check(self.store)

    @property
    def _probes(self) -> list:
        return [*filter(None, (self._probe, self._between))]

    @property
    def is_running(self) -> bool:
        """Whether a fit that began still runs."""
        if self._fit is None:
            return False
        return self.attached or (self._caller is not None and self._caller.is_running)

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
                self._check_free(waiting.fit.model)  # Two may have been let in.
                self._check_model(waiting.fit.model)
                self._begin(waiting, epoch)
        if self._caller is not None:  # Steps are counted, also after a fault.
            self.clock.begin_epoch(epoch)
        if not self.stopped:
            self._mean = EpochMean(self._reduced) if self.settings.mean else None
            if self._norms:
                self._norms.begin_epoch()

    def _begin(self, waiting: Waiting, epoch: int) -> None:
        fit = waiting.fit
        self._prepare(fit)  # Again: another fit may have been let in meanwhile.
        self._check_size(fit, epoch)
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
        self._warned = False
        self.stopped = False

    def _begin_store(self, fit: Fit, epoch: int) -> None:
        chief = backend.is_chief(fit.model)
        self.store.open(chief=chief)
        loss_scale = keras.optimizers.LossScaleOptimizer
        self._speaker.begin(
            self._contents.reductions,
            chief=chief,
            skips_nonfinite=any(isinstance(o, loss_scale) for o in fit.optimizers),
        )
        if self._probe.is_resolved:
            self._declare()
        size = getattr(fit.model, "steps_per_execution", 1)
        self.clock.begin_fit(fit.batches, size)
        self.store.begin_fit(self._snapshot(fit))
        steps = self.store.begin_epoch(epoch, self.clock.steps, fit.batches)
        self.clock.steps = self.clock.before_fit = steps

    def _check_size(self, fit: Fit, epoch: int) -> None:
        """Refuses what memory has no room for."""
        if fit.epochs is None:
            return
        left = max(fit.epochs - epoch + 1, 0)
        first = self.clock.total + 1
        count = self.settings.cadence.count(first, left, fit.batches)
        self.store.expect(count)
        if count is None or not self._probe.is_resolved:
            return
        size = self._contents.record_bytes(self.store)
        if not self.store.fits_in(count, size):
            raise too_large(
                held=len(self.store),
                record_bytes=size,
                count=count,
                variables=len(self._probe.variables(fit.model)),
                record_freq=self.settings.record_freq,
                max_bytes=self.settings.max_bytes,
            )

    def _snapshot(self, fit: Fit) -> dict[str, Any]:
        """What a replay of this fit starts from; of use if it records every step."""
        known = (
            self.settings.record_freq == 1
            and self._probe.is_resolved
            and self._contents.is_raw
        )
        variables = self._probe.variables(fit.model) if known else {}
        # Now, while variables have their values: under JAX they have none in a fit.
        described = {
            id(o): describe_replay(o, snapshot_state(o) if known else None)
            for o in fit.optimizers
        }
        return {
            "run_eagerly": fit.model.run_eagerly,
            "weights": snapshot_weights(variables) if known else None,
            "variables": snapshot_variables(variables),
            "described": described,
            "optimizers": {},
            "sparse": [],
        }

    def _select(self, trainable: list) -> tuple:
        selected = self._contents.select(trainable)
        if not self.stopped:  # A model that is built in its first step.
            self._contents.check(self.store)
            self._declare()
        return *selected, self._contents.record_bytes(self.store)

    def _select_between(self, trainable: list) -> tuple:
        chosen, gradients, _, size = self._select(trainable)
        nothing: dict = dict.fromkeys(chosen, ())
        return chosen, gradients if self.settings.mean else nothing, nothing, size

    def _declare(self) -> None:
        optimizer = getattr(self._model, "optimizer", None)
        self._contents.declare(self.store, optimizer)

    def _reduced(self, path: str, gradient: Any) -> list:
        """What a mean gradient's reductions make of it."""
        variables = self._probe.variables(self._model)
        chosen = self._contents.gradients.of(variables)
        mean = gradient.astype(self._contents.dtype("gradients", variables[path]))
        return [(r.name, r.on_host(mean)) for r in chosen[path]]

    # It goes on.

    def _raise_deferred(self) -> None:
        """Ends the training where something is to."""
        error, self._deferred = self._deferred, None
        if error is not None:
            raise error

    def begin_execution(self, batch: int) -> None:
        """Has the execution that comes record, if one of its steps is to be."""
        self._raise_deferred()
        self._begin_execution(batch)

    @_guarded
    def _begin_execution(self, batch: int) -> None:
        model = self._model
        self._speaker.speak(model)
        # With steps_per_execution, one call of the train function runs several steps.
        self.clock.begin_execution(batch, model.steps_per_execution)
        wanted = self.clock.wanted or self.clock.counts_itself
        if wanted or not self._probe.is_resolved:
            self._arming.run(functools.partial(self._arm, model, self._probe))
        elif self._between:
            self._arming.run(functools.partial(self._arm, model, self._between))

    @_guarded
    def _arm(self, model: Any, probe: Probe) -> None:
        ArmedStep.arm(model, probe, functools.partial(self.receive, probe))

    @property
    def _model(self) -> Any:
        return self._fit and self._fit.model

    @property
    def has_trained(self) -> bool:
        """Whether a fit has begun."""
        return self._fit is not None

    def _begin_loose_step(self, model: Any, batch: int) -> bool:
        """Begins a step outside of `fit`; gives whether it is to be recorded."""
        self._raise_deferred()
        self.clock.begin_execution(batch, 1)
        self.clock.end_execution(batch, 1)
        if not self.stopped:
            self._speaker.speak(model)
        return bool(self.clock.wanted) and not self.stopped

    def end_execution(self, batch: int, logs: Any) -> None:
        """Counts the steps that ran; adds the gradient norm to the logs."""
        if self._fit is None:
            return
        size = getattr(self._model, "steps_per_execution", 1)
        steps = self.clock.end_execution(batch, size)
        if self._norms and not self.stopped:
            self._norms.log_batch(logs, steps[0], steps[-1])

    @_deferring
    @_guarded
    def receive(self, probe: Probe, number: int, logs: dict, packed: dict) -> None:
        """Takes one captured step."""
        if probe.failure is not None:
            raise probe.failure
        batch = self.clock.take(number)
        norm = self._norms and probe.packer.alone(packed, NORM)
        if self._norms and norm is not None:
            self._norms.add(batch, norm)
            logs = {NAME: norm, **logs}
        if batch not in self.clock.wanted:
            if self._mean:
                self._mean.add(probe.packer, packed)
            return
        if self._mean:
            self._mean.add_latest(probe.packer, packed)
        self.clock.hit = True
        place = {
            "step": self.clock.steps + batch,
            "epoch": self.clock.epoch,
            "batch": batch,
        }
        self.intake.add(Taken(probe, place, logs, packed, self._mean))

    def end_epoch(self, logs: Any) -> None:
        """Hands the epoch's records on, with the epoch's metrics."""
        self._raise_deferred()
        self._end_epoch(logs)

    @_guarded
    def _end_epoch(self, logs: Any) -> None:
        for probe in self._probes:
            if probe.failure is not None:
                raise probe.failure
        if missed := self.clock.missed:
            raise RuntimeError(
                f"{len(missed)} of the steps that were to be recorded were not seen, "
                f"the first of them step {missed[0]}: Keras {keras.__version__} ran "
                "them in a way that this version of hrcallbacks does not know"
            )
        if self._norms:
            self._log_norm(self._norms, logs)
        self.intake.end_epoch(self.clock.epoch, self.clock.total, logs or {})
        # Before another callback says that this epoch is done.
        if self.settings.resume or self._speaker.looks_at_epochs:
            self.intake.wait()
        self._speaker.speak(self._model)
        self._speaker.look(self._model, self.recording)
        self._warn_without_optimizer()

    def _log_norm(self, norms: NormLog, logs: Any) -> None:
        norms.log_epoch(logs)
        if norms.is_news:
            warnings.warn(
                f"The logs have {NAME!r} from elsewhere already, and keep it: "
                "log_norm=True adds nothing. Is there another recorder, or a metric of "
                "that name?",
                UserWarning,
                stacklevel=5,
            )

    def _warn_without_optimizer(self) -> None:
        seen = any(probe.optimizers for probe in self._probes)
        if not self.clock.captured or seen or self._warned:
            return
        self._warned = True
        warnings.warn(
            f"No optimizer was called in the training steps of epoch "
            f"{self.clock.epoch}, so there was no gradient to record. Looked at: the "
            f"optimizers that {self._model.name!r} holds as attributes, or in a list "
            "or dict. If train_step uses another one, store it on the model.",
            UserWarning,
            stacklevel=5,
        )

    # It ends: as it should, by a fault, or broken off.

    def end_fit(self) -> None:
        """Waits until all is stored; says so if nothing of the fit was recorded."""
        self._end_fit()
        self._caller = None

    @_guarded
    def _end_fit(self) -> None:
        self.intake.flush()
        self.intake.wait()
        self.store.end_fit()
        self.store.close()
        self.intake.close()
        self._speaker.end()
        self._speaker.speak(self._model)
        self.stopped = True
        steps = self.clock.total
        if steps and not (self.clock.hit or len(self.store)):
            freq = self.settings.record_freq
            why = (
                "no epoch came to its last step, which record_freq='epoch' asks for"
                if self.settings.cadence.per_epoch
                else f"record_freq={freq!r} asks for none of the {steps} steps that "
                "were run"
            )
            warnings.warn(
                f"Nothing was recorded: {why}. For every step: record_freq=1.",
                UserWarning,
                stacklevel=4,
            )

    def stop(self, error: Exception) -> None:
        """Stops the recording, not the training, and says what can be read of it."""
        self.stopped = True
        for probe in self._probes:
            probe.failure = None
        self.store.note_fault(repr(error))
        self._let_go()
        with contextlib.suppress(Exception):
            self.store.close()
        warnings.warn(
            f"Recording stopped in epoch {self.clock.epoch}: {error!r}. Training goes "
            f"on; the {self._count()} records made until then are in "
            "recorder.recording, which is marked incomplete.",
            RuntimeWarning,
            stacklevel=4,
        )

    def _count(self) -> int:
        """How many records can be read."""
        with contextlib.suppress(Exception):
            return len(self.store.snapshot().index)
        return 0

    def _let_go(self) -> None:
        """Stores what still can be, and ends what is at work."""
        with contextlib.suppress(Exception):
            self.intake.flush()
            self.intake.wait()
        self.intake.discard()
        self._speaker.end()

    def settle(self) -> None:
        """Closes the books on a fit that broke off, of which no hook says anything."""
        broke_off = self._caller is not None and not self.is_running
        if not broke_off or self._fit is None:
            return
        self._caller = None
        self._arming.clear()
        if self.stopped:
            return
        self._note_in_flight(self._fit)
        self._flush()
        if self.stopped:
            return
        self.stopped = True
        untrained = self.clock.total == self.clock.before_fit
        if untrained and not self.store.fits[-1]["fault"]:
            self.store.withdraw_fit()
            if not self.store.fits:
                self._fit = None

    def _note_in_flight(self, fit: Fit) -> None:
        """Whether the step that was broken off had updated the weights before."""
        in_flight = self.clock.in_flight
        if not in_flight:
            return
        counted = self.clock.total - self.clock.before_fit
        made, before = fit.iterations, self._iterations
        unseen = made - before - counted if None not in (made, before) else None
        known = unseen is not None and 0 <= unseen <= len(in_flight)
        if known and not unseen:
            return
        last = in_flight[unseen - 1] if known else in_flight[-1]
        wanted = [n for n in self.clock.wanted_steps if n <= last]
        if wanted:
            self.store.note_fault(
                f"step {wanted[0]} was interrupted, and is not recorded"
                + ("" if known else "; whether it updated the weights is not known")
            )
        if known:
            self.clock.skip(unseen)

    @_guarded
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
        self._speaker.end()

    # Outside of fit.

    @contextlib.contextmanager
    def attachment(self, fit: Fit) -> Iterator[None]:
        """Records the steps of a loop, as one epoch; see `attachment.attach`."""
        steps = itertools.count()

        def begin_step() -> bool:
            return self._begin_loose_step(fit.model, next(steps))

        self.admit(fit)
        self.begin_epoch(1)
        self.attached = True
        receive = functools.partial(self.receive, self._probe)
        try:
            with attach(
                fit.model, fit.loose, self._probe, begin_step, receive
            ) as missed:
                yield
        finally:
            try:
                self.end_epoch({})
            finally:
                self.attached = False
        if missed:
            self.store.note_fault(missed[0])
        elif not self.clock.total - self.clock.before_fit:
            warnings.warn(
                "Nothing was seen to train the model while the recorder was attached: "
                "neither model.train_on_batch nor an optimizer that the model holds. "
                "Pass the others: recorder.attached(model, optimizer).",
                UserWarning,
                stacklevel=5,
            )
            self.clock.hit = True  # Said.
        self.end_fit()
