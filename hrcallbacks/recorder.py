"""`GradientRecorder`: when to record, for how long, and into what."""

import collections
import contextlib
import functools
import itertools
import warnings
from typing import Any

import keras

from hrcallbacks.alert import NanAlert, RulesAlert, checked_alert
from hrcallbacks.attachment import attach
from hrcallbacks.backends import backend
from hrcallbacks.cadence import Cadence
from hrcallbacks.contents import Contents
from hrcallbacks.intake import Intake, RunningMean
from hrcallbacks.live import LiveTensorBoard
from hrcallbacks.memory_limit import checked_limit, too_large
from hrcallbacks.norm_log import NAME, NormLog
from hrcallbacks.recording import Recording
from hrcallbacks.snapshot import (
    describe_replay,
    snapshot_state,
    snapshot_variables,
    snapshot_weights,
)
from hrcallbacks.storage import MemoryStore
from hrcallbacks.train_step import NORM, ArmedStep, Probe, find_optimizers
from hrcallbacks.zarr_store import ZarrStore


def _never_breaks_training(hook):
    """Has an exception in a hook stop the recording instead of the training."""

    @functools.wraps(hook)
    def guarded(self, *args, **kwargs):
        if self._stopped:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception as error:
            self._stop(error)

    return guarded


class GradientRecorder(keras.callbacks.Callback):
    """Records the true training gradients and the weights of `model.fit`.

    Which gradient: the one handed to the optimizer in that very step, not a second
    computation of it. It is the gradient of the training loss, with regularizers and
    sample and class weights, summed over replicas, unscaled under a
    `LossScaleOptimizer`, and taken before clipping, accumulation and weight decay.
    Sparse gradients are recorded dense. A variable that gets no gradient in a step
    has NaN there, and False in `Recording.has_gradient`.

    Training is not changed: with and without the recorder the model's weights, the
    optimizer's state and the `History` are the same, and nothing of the recorder
    stays in the model.

    A recorder can be used again: a second `fit` of the same model appends to the
    recording, and `step` goes on counting. `reset` starts anew.

    Args:
        variables: Which trainable variables to record: None for all, a glob or list
            of globs on `Variable.path` (`"*/kernel"`; `*` also matches `/`), or a
            `callable(variable) -> bool`.
        gradients: What to record of the gradients: `"raw"` for every element; None for
            nothing; a reduction, made inside the training step: `"norm"` (Frobenius),
            `"mean"`, `"std"`, `"min"`, `"max"`, `"abs_max"`, `"zero_fraction"`,
            `"nonfinite"` (how many are NaN or infinite), `hr.Histogram()`,
            `hr.Sample(n)`, `hr.Reduction(name, function)`, or a function of a tensor;
            a list of these; or a dict from glob to any of them, of which the first
            that matches a path decides: `{"*/kernel": "raw", "*": ["norm", "max"]}`.
        weights: Likewise of the weights; also `"update_norm"`, the Frobenius norm of
            the update just made, and `"update_ratio"`, that norm divided by the
            weights' own before it (infinite where those were zero).
        record_freq: `"epoch"` for the last step of each epoch, an int n for every
            n-th step of the run, or a `callable(step) -> bool`, such as
            `hr.every(n, start, stop)`, `hr.log_spaced(per_decade)`, `hr.at(steps)`;
            steps count from 1.
        weights_at: Whether a record's weights are those `"after"` or `"before"` the
            update that its gradient made.
        epoch_gradient: With `record_freq="epoch"`, whether a record's gradient is that
            of the epoch's `"last"` step, or the `"mean"` over all its steps that had
            one. Each step is then captured, none of them kept; reductions are those
            of the mean.
        store: None to hold the records in memory, or the path or URL of a Zarr store
            that is written while `fit` runs, by a thread of its own. Of several
            workers the chief alone writes.
        max_bytes: What the records may take in memory. Where the number of steps is
            known, `fit` refuses a recording that would take more; otherwise the
            recording stops there. Of no effect with `store`.
        resume: With `store`, whether to go on with the recording that is there, if
            there is one. If its last fit was broken off, that fit is continued, as
            `keras.callbacks.BackupAndRestore` does: what it recorded in epochs that
            are now trained again is replaced. Each epoch's end then waits until it is
            on disk. Put the recorder before `BackupAndRestore` among the callbacks.
        log_norm: Whether to add `gradient_norm` to the logs, for the progress bar,
            `History`, `CSVLogger`, `EarlyStopping(monitor="gradient_norm")` and all
            others that come after the recorder among the callbacks: the Frobenius norm
            of all chosen variables' gradients together. In a batch's logs it is that
            of its step (of the last one of an execution of several), in an epoch's the
            mean over all its steps, recorded or not, NaN and infinity included. It is
            also in `Recording.index`. Where a step updates a variable several times,
            its latest gradient counts. Not for `attached`, which has no logs.
        tensorboard: None, or a folder in which TensorBoard is to find the records as
            soon as they are stored, and the logs of each epoch: norms and other numbers
            as scalars, raw gradients and weights, and `hr.Histogram`s, as histograms,
            with the tags and steps of Keras' own `TensorBoard` callback; see
            `hr.to_tensorboard`. Give each callback a folder of its own. The files are
            written by the thread that writes the store, if there is one. What keeps
            them from being written later is said once; recording goes on.
        alert: What to say during training, once a finding: `"nan"` for NaN and infinity
            in what is recorded of gradients and weights, and in the loss, as soon as
            records reach the host, at an epoch's end at the latest; the name of
            another rule of `hr.diagnose.RULES`, such as `"dead_units"`, or a rule
            `hr.diagnose.DeadUnits(min_records=50)`, asked at each epoch's end about
            the recording so far; or a list of these. Notes, the mildest findings, are
            left out; so are gradients that a `LossScaleOptimizer` is there to skip.
        on_alert: `"warn"` to warn of a finding, or `"stop"` to stop training too, at
            the end of the step or the epoch (not for `attached`).

    Raises:
        TypeError: If an argument is of no such kind.
        ValueError: If an argument has no such value. When training begins: if the
            model has no trainable variables, nothing matches `variables`, there is
            no data, the recorder holds records of another model, or the records would
            take more than `max_bytes`.
        OSError: When training begins: if the store cannot be written.

    Example:
        >>> import keras
        >>> import numpy as np
        >>> x = np.linspace(0, 1, 8)[:, None]
        >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
        >>> model.compile("sgd", loss="mse")
        >>> recorder = GradientRecorder(record_freq=1)
        >>> _ = model.fit(x, 2 * x, batch_size=4, callbacks=[recorder], verbose=0)
        >>> recorder.recording.gradients[recorder.recording.paths[0]].shape
        (2, 1, 1)
    """

    # Keras may run the one hook with a batch's logs, `on_train_batch_end`, in another
    # thread; it only stores a number.
    async_safe = True

    def __init__(
        self,
        variables=None,
        *,
        gradients="raw",
        weights="raw",
        record_freq="epoch",
        weights_at="after",
        epoch_gradient="last",
        store=None,
        max_bytes=2 * 1024**3,
        resume=False,
        log_norm=False,
        tensorboard=None,
        alert=None,
        on_alert="warn",
    ):
        super().__init__()
        _check_choice("weights_at", weights_at, ("after", "before"))
        _check_choice("epoch_gradient", epoch_gradient, ("last", "mean"))
        self._cadence = Cadence(record_freq)
        self._weights_at = weights_at
        self._mean = epoch_gradient == "mean"
        self._contents = Contents(
            variables,
            gradients=gradients,
            weights=weights,
            weights_at=weights_at,
            cadence=self._cadence,
            mean=self._mean,
        )
        self._path = store
        self._max_bytes = checked_limit(max_bytes)
        self._resume = resume
        if not (self._contents.gradients or self._contents.weights):
            raise ValueError(
                "gradients=None and weights=None leave nothing to record. "
                "Use 'raw' for one of them."
            )
        if self._mean and not self._cadence.per_epoch:
            raise ValueError(
                "epoch_gradient='mean' is one record an epoch: it belongs to "
                f"record_freq='epoch'. Received: record_freq={record_freq!r}."
            )
        if resume and store is None:
            raise ValueError("resume=True goes on with a store. Give its path: store=.")
        _check_choice("log_norm", log_norm, (False, True))
        self._norms = NormLog() if log_norm else None
        _check_choice("on_alert", on_alert, ("warn", "stop"))
        wants_nan, self._rules = checked_alert(alert)
        if on_alert == "stop" and alert is None:
            raise ValueError(
                "on_alert='stop' stops training at what alert= looks for: give that, "
                "such as alert='nan'."
            )
        self._stops = on_alert == "stop"
        self._tensorboard = None
        if tensorboard is not None:
            self._tensorboard = LiveTensorBoard(
                tensorboard, per_epoch=self._cadence.per_epoch
            )
        self._nan_alert = NanAlert(self._skips_nonfinite) if wants_nan else None
        self._followers = [*filter(None, (self._tensorboard, self._nan_alert))]
        self._store: Any = None
        self._probe: Any = None
        # The probe of steps that are not recorded, but needed for a mean or the logs.
        self._between: Any = None
        self._seen = []  # The variables and optimizers that the probes were made for.
        self.reset()

    def __repr__(self):
        """What it has recorded."""
        return f"<GradientRecorder: {len(self._store)} records>"

    @property
    def recording(self):
        """The `Recording` so far: also during `fit`, and after one that broke off."""
        # Of an epoch of unknown length, the last step is known only at its end.
        if not (self._cadence.per_epoch and self._batches is None):
            with contextlib.suppress(Exception):  # A hook says what went wrong.
                self._intake.flush()
        with contextlib.suppress(Exception):
            self._intake.wait()
            self._store.flush()
        return Recording.of(self._store.snapshot())

    def reset(self):
        """Forgets what was recorded, and counts steps from 1 again.

        A store on disk is left as it is; the next `fit` needs another path.
        """
        if self._store is not None:
            self._intake.discard()
            # Of a store that was removed there is nothing to keep.
            with contextlib.suppress(FileNotFoundError):
                self._store.close()
            for follower in self._followers:
                follower.end()
        if self._path is None:
            self._store = MemoryStore(self._max_bytes)
        else:
            self._store = ZarrStore(self._path, resume=self._resume)
        self._intake = Intake(
            self._store,
            background=self._path is not None,
            per_epoch=self._cadence.per_epoch,
            followers=self._followers,
        )
        self._rules_alert = RulesAlert(self._rules) if self._rules else None
        self._trained: Any = None  # The model whose records these are.
        self._loose = ()  # Optimizers that the model does not hold.
        self._steps = 0  # Steps run before the current epoch.
        self._batches = None  # Steps in each epoch, where that is known.
        self._fit: Any = None  # Keras' History of the fit that goes on.
        self._attached = False
        self._begin_fit()
        self._stopped = True  # Until a fit begins.

    def _begin_fit(self):
        self._hit = False  # Whether any step was one to record.
        self._first_epoch = True
        self._warned = False
        self._stopped = False
        self._begin_epoch(0)

    def _begin_epoch(self, epoch):
        self._epoch = epoch
        self._batch = 0  # Steps that Keras says have begun in this epoch.
        # Numbers of the steps that Keras says have ended in this epoch, the latest of
        # them; in no order where Keras runs the hook in other threads.
        self._ended = collections.deque([0], maxlen=1024)
        self._received = 0  # Steps that were captured in this epoch.
        self._running = RunningMean(self._reduced) if self._mean else None
        if self._norms:
            self._norms.begin_epoch()

    def _steps_in_epoch(self):
        if self._counts_itself():
            return self._received
        ended = max(self._ended)
        return ended if self._batches is None else min(ended, self._batches)

    def _counts_itself(self):
        # Keras does not say how many steps the last execution of an epoch had.
        return self._batches is None and self._current_model.steps_per_execution > 1

    def set_model(self, model):
        """Called by Keras with the model."""
        super().set_model(model)
        # Not `self.model`: under JAX, reading that copies the state back.
        self._current_model = model

    def on_train_begin(self, logs=None):
        """Checks all that can be checked, before the first step."""
        model = self._current_model
        self._check_free(model)
        batches = (self.params or {}).get("steps")
        if batches == 0:
            raise ValueError(
                "There is no data to train on: an epoch has 0 steps. "
                "Pass at least one sample to fit."
            )
        with contextlib.suppress(Exception):  # Of a fit that was broken off.
            self._intake.flush()
            self._intake.wait()
        self._intake.discard()
        self._steps += self._steps_in_epoch() if self._trained else 0
        self._batches = batches
        self._begin_fit()
        chief = backend.is_chief(model)
        self._store.open(chief=chief)
        try:
            for follower in self._followers:
                if chief or follower is not self._tensorboard:
                    follower.begin(self._contents.reductions)
            self._prepare(model)
        except BaseException:
            self._store.abandon()
            raise

    def _prepare(self, model):
        # The optimizers too: a model compiled again has others.
        seen = [*model.trainable_variables, *find_optimizers(model), *self._loose]
        if self._probe is None or list(map(id, seen)) != list(map(id, self._seen)):
            # Otherwise the steps compiled in an earlier fit will do.
            self._seen = seen
            norm = self._norms is not None
            self._probe = Probe(
                self._select, weights_at=self._weights_at, with_norm=norm
            )
            needed = self._mean or norm
            self._between = needed and Probe(self._select_between, with_norm=norm)
        elif self._probe.is_resolved:
            self._declare()  # After a reset there is another store.
        # A model that Keras builds in its first step has no variables yet: its first
        # step is captured, wanted or not, and the probe selects before the update.
        if model.built:
            for probe in filter(None, (self._probe, self._between)):
                probe.variables(model)
        self._trained = model
        self._store.begin_fit(self._snapshot(model))

    def _check_free(self, model):
        if self._trained not in (None, model):
            raise ValueError(
                f"This recorder belongs to another model, {self._trained.name!r}, of "
                f"which it holds {len(self._store)} records; now it is to record "
                f"{model.name!r}. Use one recorder for each model, or call "
                "recorder.reset() first."
            )
        if self._attached:
            raise ValueError(
                "This recorder is attached to the model already, by recorder.attached("
                "model). Use either that or fit(..., callbacks=[recorder])."
            )
        # Each fit makes a History of its own, and gives it to the model.
        fit = getattr(model, "history", None)
        if fit is not None and fit is self._fit and not self._stopped:
            raise ValueError(
                "This recorder is twice among the callbacks of a fit. Pass it once."
            )
        self._fit = fit

    def _snapshot(self, model):
        """What a replay of this fit starts from; of use if it records every step."""
        known = (
            self._cadence.record_freq == 1
            and self._probe.is_resolved
            and self._contents.is_raw
        )
        variables = self._probe.variables(model) if known else {}
        # Now, while variables have their values: under JAX they have none in a fit.
        optimizers = [*find_optimizers(model), *self._loose]
        described = {
            id(o): describe_replay(o, snapshot_state(o) if known else None)
            for o in optimizers
        }
        return {
            "run_eagerly": model.run_eagerly,
            "weights": snapshot_weights(variables) if known else None,
            "variables": snapshot_variables(variables),
            "described": described,
            "optimizers": {},
            "sparse": [],
        }

    @contextlib.contextmanager
    def attached(self, model, *optimizers):
        """Records outside `fit`: `train_on_batch` and hand-written loops.

        Inside the `with` block each call of `model.train_on_batch` is a step, and so is
        each eager call of an optimizer's `apply`. The whole block is one epoch. In a
        compiled function of your own, gradients are out of reach; a warning says so.

        Args:
            model: The `keras.Model` that is trained.
            *optimizers: Optimizers that the model does not hold itself.

        Yields:
            The recorder.

        Raises:
            ValueError: As when a `fit` begins.

        Example:
            >>> import keras
            >>> import numpy as np
            >>> model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
            >>> model.compile("sgd", loss="mse")
            >>> recorder = GradientRecorder(record_freq=1)
            >>> with recorder.attached(model):
            ...     for _ in range(3):
            ...         _ = model.train_on_batch(np.ones((4, 1)), np.ones((4, 1)))
            >>> len(recorder.recording)
            3
        """
        if not isinstance(model, keras.Model):
            raise TypeError(f"Expected model: a keras.Model. Received: {model!r}.")
        if self._stops:
            raise ValueError(
                "on_alert='stop' stops a fit; a loop of your own, no one but you. Use "
                "on_alert='warn'."
            )
        if self._norms:
            raise ValueError(
                "log_norm=True adds to the logs of fit; outside of fit there are none. "
                "Record gradients='norm' instead, or pass the recorder to fit."
            )
        self.set_params({})
        self.set_model(model)
        self._loose = optimizers
        self.on_train_begin()
        self.on_epoch_begin(0)
        steps = itertools.count()

        def begin_step():
            batch = next(steps)
            self._begin_batches(batch, batch + 1)
            self._ended.append(batch + 1)
            if not self._stopped:
                self._say_news()
            return bool(self._wanted) and not self._stopped

        receive = functools.partial(self._receive, self._probe)
        self._attached = True
        try:
            with attach(model, optimizers, self._probe, begin_step, receive) as missed:
                yield self
        finally:
            self._attached = False
            self._loose = ()
            self.on_epoch_end(0)
        if missed:
            self._store.fits[-1]["fault"] = missed[0]
        elif not self._steps_in_epoch():
            warnings.warn(
                "Nothing was seen to train the model while the recorder was attached: "
                "neither model.train_on_batch nor an optimizer that the model holds. "
                "Pass the others: recorder.attached(model, optimizer).",
                UserWarning,
                stacklevel=3,
            )
            self._hit = True  # Said.
        self.on_train_end()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts an epoch; before the first, checks whether its records will fit in."""
        if self._stopped:
            return
        self._steps += self._steps_in_epoch()
        self._begin_epoch(epoch + 1)
        if self._first_epoch:
            self._first_epoch = False
            self._steps = self._store.begin_epoch(epoch + 1, self._steps, self._batches)
            self._check_size()

    def _check_size(self):
        params = self.params or {}
        epochs = params.get("epochs")
        if epochs is None:
            return
        left = max(epochs - self._epoch + 1, 0)
        count = self._cadence.count(self._steps + 1, left, self._batches)
        if self._store.fits_in(count) or count is None:
            return
        raise too_large(
            self._store,
            count,
            variables=len(self._probe.variables(self._trained)),
            record_freq=self._cadence.record_freq,
            max_bytes=self._max_bytes,
        )

    @_never_breaks_training
    def on_train_batch_begin(self, batch, logs=None):
        """Arms the execution that comes, if one of its steps is to be recorded."""
        self._say_news()
        # With steps_per_execution, one call of the train function runs several steps.
        end = batch + self._current_model.steps_per_execution
        self._begin_batches(batch, min(end, self._batches or end))
        if self._wanted or self._counts_itself() or not self._probe.is_resolved:
            self._arm(self._probe)
        elif self._between:
            self._arm(self._between)

    def _arm(self, probe):
        ArmedStep.arm(
            self._current_model, probe, functools.partial(self._receive, probe)
        )

    def _begin_batches(self, begin, end):
        self._batch = begin
        self._wanted = {n for n in range(begin + 1, end + 1) if self._wants(n)}

    def _wants(self, batch):
        return self._cadence.wants(self._steps + batch, batch, self._batches)

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps that ran; adds the gradient norm to the logs."""
        # Of several steps in an execution Keras gives the last, older ones the first.
        steps = self._current_model.steps_per_execution
        end = batch - batch % steps + steps
        self._ended.append(end)
        if self._norms and not self._stopped:
            self._norms.log_batch(logs, end - steps + 1, end)

    @_never_breaks_training
    def _receive(self, probe, number, logs, packed):
        """Takes one captured step."""
        if probe.failure is not None:
            raise probe.failure
        self._received += 1
        batch = self._batch + number + 1
        self._ended.append(batch)  # Also where another callback breaks the fit off.
        norm = self._norms and probe.packer.alone(packed, NORM)
        if self._norms and norm is not None:
            self._norms.add(batch, norm)
            logs = {NAME: norm, **logs}
        if batch not in self._wanted:
            if self._running:
                self._running.add(probe.packer, packed)
            return
        if self._running:
            self._running.add_latest(probe.packer, packed)
        self._hit = True
        step = {"step": self._steps + batch, "epoch": self._epoch, "batch": batch}
        self._intake.add(probe, step, logs, packed, self._running)

    @_never_breaks_training
    def on_epoch_end(self, epoch, logs=None):
        """Hands the epoch's records on, with the epoch's metrics."""
        probes = [*filter(None, (self._probe, self._between))]
        for probe in probes:
            if probe.failure is not None:
                raise probe.failure
        if self._norms:
            self._log_norm(self._norms, logs)
        last = self._steps + self._steps_in_epoch()
        self._intake.end_epoch(self._epoch, last, logs or {})
        # Before another callback says that this epoch is done.
        if self._resume or self._nan_alert or self._rules_alert:
            self._intake.wait()
        self._say_news()
        if self._rules_alert:
            self._alert(self._rules_alert.look(self.recording))
            self._say_news()
        seen = any(probe.optimizers for probe in probes)
        if self._received and not seen and not self._warned:
            self._warned = True
            warnings.warn(
                f"No optimizer was called in the training steps of epoch {self._epoch},"
                " so there was no gradient to record. Looked at: the optimizers that "
                f"{self._current_model.name!r} holds as attributes, or in a list or "
                "dict. If train_step uses another one, store it on the model.",
                UserWarning,
                stacklevel=2,
            )

    def _say_news(self):
        for speaker in filter(None, (self._tensorboard, self._rules_alert)):
            for text in speaker.news():
                warnings.warn(text, RuntimeWarning, stacklevel=4)
        if self._nan_alert:
            self._alert(self._nan_alert.news())

    def _alert(self, findings):
        ends = "stops: on_alert='stop'." if self._stops else "goes on."
        for text in findings:
            # First: a warning may be an error.
            if self._stops:
                self._current_model.stop_training = True
            warnings.warn(f"{text} Training {ends}", RuntimeWarning, stacklevel=5)

    def _skips_nonfinite(self):
        optimizers = [*find_optimizers(self._current_model), *self._loose]
        kind = keras.optimizers.LossScaleOptimizer
        return any(isinstance(optimizer, kind) for optimizer in optimizers)

    def _log_norm(self, norms, logs):
        norms.log_epoch(logs)
        if norms.is_news:
            warnings.warn(
                f"The logs have {NAME!r} from elsewhere already, and keep it: "
                "log_norm=True adds nothing. Is there another recorder, or a metric of "
                "that name?",
                UserWarning,
                stacklevel=3,
            )

    @_never_breaks_training
    def on_train_end(self, logs=None):
        """Waits until all is stored; says so if nothing of the fit was recorded."""
        self._intake.flush()
        self._intake.wait()
        self._store.fits[-1]["ended"] = True
        self._store.close()
        self._intake.close()
        for follower in self._followers:
            follower.end()
        self._say_news()
        steps = self._steps + self._steps_in_epoch()
        if steps and not (self._hit or len(self._store)):
            why = (
                "no epoch came to its last step, which record_freq='epoch' asks for"
                if self._cadence.per_epoch
                else f"record_freq={self._cadence.record_freq!r} asks for none of the "
                f"{steps} steps that were run"
            )
            warnings.warn(
                f"Nothing was recorded: {why}. For every step: record_freq=1.",
                UserWarning,
                stacklevel=2,
            )

    def _stop(self, error):
        self._stopped = True
        if self._probe is not None:
            self._probe.failure = None
        if self._store.fits:
            self._store.fits[-1]["fault"] = repr(error)
        with contextlib.suppress(Exception):
            self._intake.flush()
            self._intake.wait()
        self._intake.discard()
        for follower in self._followers:
            follower.end()
        with contextlib.suppress(Exception):
            self._store.close()
        warnings.warn(
            f"Recording stopped in epoch {self._epoch}: {error!r}. Training goes on; "
            f"the {len(self._store)} records made until then are in "
            "recorder.recording, which is marked incomplete.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _select(self, trainable):
        selected = self._contents.select(trainable)
        self._declare()
        return *selected, self._store.record_bytes

    def _declare(self):
        optimizer = getattr(self._current_model, "optimizer", None)
        self._contents.declare(self._store, optimizer)

    def _select_between(self, trainable):
        chosen, gradients, _, size = self._select(trainable)
        nothing = dict.fromkeys(chosen, ())
        return chosen, gradients if self._mean else nothing, nothing, size

    def _reduced(self, path, gradient):
        """What a mean gradient's reductions make of it."""
        chosen = self._contents.gradients.of(self._probe.variables(self._trained))
        return [(r.name, r.on_host(gradient)) for r in chosen[path]]


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Expected {name} to be one of {choices}. Received: {value!r}."
        )
