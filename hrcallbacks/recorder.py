"""`GradientRecorder`: when to record, for how long, and into what."""

import collections
import contextlib
import functools
import importlib.metadata
import itertools
import math
import warnings
from typing import Any

import keras
import numpy as np

from hrcallbacks.attachment import attach
from hrcallbacks.selection import (
    Cadence,
    check_pattern,
    select_variables,
    unique_paths,
)
from hrcallbacks.snapshot import (
    describe_optimizer,
    describe_replay,
    host_dtype,
    snapshot_state,
    snapshot_variables,
    snapshot_weights,
    to_host,
)
from hrcallbacks.storage import MemoryStore
from hrcallbacks.train_step import ArmedStep, Probe, find_optimizers

# Records wait on the device until so many bytes, or so many of them, have come
# together: one copy at a time would make each step wait for it.
_PENDING_BYTES = 32 * 1024**2
_PENDING_RECORDS = 512

_VERSIONS = {
    "hrcallbacks": importlib.metadata.version("hrcallbacks"),
    "keras": keras.__version__,
    "numpy": np.__version__,
}


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
        gradients: `"raw"` for every element, or None to record no gradients.
        weights: `"raw"` for every element, or None to record no weights.
        record_freq: `"epoch"` for the last step of each epoch, an int n for every
            n-th step of the run, or a `callable(step) -> bool`; steps count from 1.
        weights_at: Whether a record's weights are those `"after"` or `"before"` the
            update that its gradient made.

    Raises:
        TypeError: If an argument is of no such kind.
        ValueError: If an argument has no such value. When training begins: if the
            model has no trainable variables, nothing matches `variables`, there is
            no data, or the recorder holds records of another model.

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
    ):
        super().__init__()
        check_pattern(variables)
        _check_choice("gradients", gradients, ("raw", None))
        _check_choice("weights", weights, ("raw", None))
        _check_choice("weights_at", weights_at, ("after", "before"))
        if gradients is None and weights is None:
            raise ValueError(
                "gradients=None and weights=None leave nothing to record. "
                "Use 'raw' for one of them."
            )
        self._variables = variables
        self._gradients = gradients
        self._weights = weights
        self._cadence = Cadence(record_freq)
        self._weights_at = weights_at
        self.reset()

    @property
    def recording(self):
        """The `Recording` so far: also during `fit`, and after one that broke off."""
        # Of an epoch of unknown length, the last step is known only at its end.
        if not (self._cadence.per_epoch and self._batches is None):
            self._flush()
        return self._store.recording()

    def reset(self):
        """Forgets what was recorded, and counts steps from 1 again."""
        self._store = MemoryStore()
        self._trained: Any = None  # The model whose records these are.
        self._probe: Any = None
        self._seen = []  # The variables and optimizers that the probe was made for.
        self._loose = ()  # Optimizers that the model does not hold.
        self._steps = 0  # Steps run before the current epoch.
        self._batches = None  # Steps in each epoch, where that is known.
        self._begin_fit()

    def _begin_fit(self):
        self._hit = False  # Whether any step was one to record.
        self._updates_seen = False  # Whether any step called an optimizer.
        self._pending = []  # Records whose arrays are still on the device.
        self._stopped = False
        self._begin_epoch(0)

    def _begin_epoch(self, epoch):
        self._epoch = epoch
        self._batch = 0  # Steps that Keras says have begun in this epoch.
        # Numbers of the steps that Keras says have ended in this epoch, the latest of
        # them; in no order where Keras runs the hook in other threads.
        self._ended = collections.deque([0], maxlen=1024)
        self._received = 0  # Steps that were captured in this epoch.
        self._open_rows = []  # This epoch's rows, which lack the epoch's metrics.

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
        if self._trained not in (None, model):
            raise ValueError(
                f"This recorder belongs to another model, {self._trained.name!r}, of "
                f"which it holds {len(self._store)} records; now it is in fit of "
                f"{model.name!r}. Use one recorder for each model, or call "
                "recorder.reset() first."
            )
        batches = (self.params or {}).get("steps")
        if batches == 0:
            raise ValueError(
                "There is no data to train on: an epoch has 0 steps. "
                "Pass at least one sample to fit."
            )
        self._steps += self._steps_in_epoch() if self._trained else 0
        self._batches = batches
        self._begin_fit()
        # The optimizers too: a model compiled again has others.
        seen = [*model.trainable_variables, *find_optimizers(model), *self._loose]
        if self._probe is None or list(map(id, seen)) != list(map(id, self._seen)):
            # Otherwise the steps compiled in an earlier fit will do.
            self._seen = seen
            self._probe = Probe(
                self._select,
                gradients=self._gradients is not None,
                weights_at=self._weights_at if self._weights else None,
            )
        # A model that Keras builds in its first step has no variables yet: its first
        # step is captured, wanted or not, and the probe selects before the update.
        if model.built:
            self._probe.variables(model)
        self._trained = model
        self._store.begin_fit(self._snapshot(model))

    def _snapshot(self, model):
        """What a replay of this fit starts from; of use if it records every step."""
        known = self._cadence.record_freq == 1 and self._probe.is_resolved
        variables = self._probe.variables(model) if known else {}
        states = {id(o): snapshot_state(o) for o in find_optimizers(model) if known}
        return {
            "run_eagerly": model.run_eagerly,
            "weights": snapshot_weights(variables) if known else None,
            "variables": snapshot_variables(variables),
            "states": states,
            "optimizers": {},
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
            return bool(self._wanted) and not self._stopped

        with attach(model, optimizers, self._probe, begin_step, self._receive):
            try:
                yield self
            finally:
                self._loose = ()
                self.on_epoch_end(0)
            self.on_train_end()

    def on_epoch_begin(self, epoch, logs=None):
        """Starts an epoch."""
        self._steps += self._steps_in_epoch()
        self._begin_epoch(epoch + 1)

    @_never_breaks_training
    def on_train_batch_begin(self, batch, logs=None):
        """Arms the execution that comes, if one of its steps is to be recorded."""
        # With steps_per_execution, one call of the train function runs several steps.
        end = batch + self._current_model.steps_per_execution
        self._begin_batches(batch, min(end, self._batches or end))
        if self._wanted or self._counts_itself() or not self._probe.is_resolved:
            ArmedStep.arm(self._current_model, self._probe, self._receive)

    def _begin_batches(self, begin, end):
        self._batch = begin
        self._wanted = {n for n in range(begin + 1, end + 1) if self._wants(n)}

    def _wants(self, batch):
        return self._cadence.wants(self._steps + batch, batch, self._batches)

    def on_train_batch_end(self, batch, logs=None):
        """Counts the steps that ran."""
        # Of several steps in an execution Keras gives the last, older ones the first.
        steps = self._current_model.steps_per_execution
        self._ended.append(batch - batch % steps + steps)

    @_never_breaks_training
    def _receive(self, number, logs, packed):
        """Takes one captured step."""
        self._received += 1
        batch = self._batch + number + 1
        if batch not in self._wanted:
            return
        self._hit = True
        if self._cadence.per_epoch:
            self._pending.clear()
        step = {"step": self._steps + batch, "epoch": self._epoch, "batch": batch}
        self._pending.append((step, logs, packed))
        if len(self._pending) * self._record_bytes >= _PENDING_BYTES:
            self._flush()

    @_never_breaks_training
    def on_epoch_end(self, epoch, logs=None):
        """Brings the epoch's records to the host, with the epoch's metrics."""
        self._flush()
        for row in self._open_rows:
            row.update({k: v for k, v in (logs or {}).items() if k != "loss"})
        if self._received and not self._updates_seen:
            self._updates_seen = True  # So that it is said once.
            warnings.warn(
                f"No optimizer was called in the training steps of epoch {self._epoch},"
                " so there was no gradient to record. Looked at: the optimizers that "
                f"{self._current_model.name!r} holds as attributes, or in a list or "
                "dict. If train_step uses another one, store it on the model.",
                UserWarning,
                stacklevel=2,
            )

    def on_train_end(self, logs=None):
        """Says that the fit came to its end, or that nothing of it was recorded."""
        if self._stopped:
            return
        self._store.fits[-1]["ended"] = True
        steps = self._steps + self._steps_in_epoch()
        if steps and not (self._hit or len(self._store)):
            warnings.warn(
                f"Nothing was recorded: record_freq={self._cadence.record_freq!r} asks "
                f"for none of the {steps} steps that were run. Use a smaller one, or "
                "record_freq='epoch' for the last step of each epoch.",
                UserWarning,
                stacklevel=2,
            )

    def _flush(self):
        probe = self._probe
        if probe is None:
            return
        if probe.failure is not None:
            raise probe.failure
        while self._pending:
            step, logs, packed = self._pending.pop(0)
            records = _by_record(probe.packer.unpack(packed))
            for number, arrays in records.items():
                self._store.append(self._row(step, number, records, logs), arrays)
            self._updates_seen = self._updates_seen or bool(records)
        self._describe_optimizers()

    def _describe_optimizers(self):
        if not self._store.fits:
            return
        fit = self._store.fits[-1]
        fit["sparse"] = sorted(self._probe.sparse)
        for name, (optimizer, paths) in self._probe.optimizers.items():
            state = fit["states"].get(id(optimizer))
            if name not in fit["optimizers"]:
                fit["optimizers"][name] = describe_replay(optimizer, paths, state)

    def _row(self, step, number, records, logs):
        loss = records[number].pop("loss").get("", logs.get("loss", np.nan))
        # Only where a step updates a variable several times does it say which.
        call = {"call": number + 1} if len(records) > 1 else {}
        rates = records[number]["learning_rates"]
        row = step | call | {"loss": _scalar(loss)} | _rates(rates)
        if self._cadence.per_epoch:
            self._open_rows.append(row)
            return row
        return row | {k: _scalar(v) for k, v in logs.items() if k != "loss"}

    def _stop(self, error):
        self._stopped = True
        if self._probe is not None:
            self._probe.failure = None
        with contextlib.suppress(Exception):
            self._flush()
        self._pending = []
        if self._store.fits:
            self._store.fits[-1]["fault"] = repr(error)
        warnings.warn(
            f"Recording stopped in epoch {self._epoch}: {error!r}. Training goes on; "
            f"the {len(self._store)} records made until then are in "
            "recorder.recording, which is marked incomplete.",
            RuntimeWarning,
            stacklevel=3,
        )

    def _select(self, trainable):
        chosen = select_variables(self._variables, trainable)
        specs = {path: (tuple(v.shape), host_dtype(v)) for path, v in chosen.items()}
        if self._gradients:
            self._store.declare("gradients", specs)
        if self._weights:
            self._store.declare("weights", specs)
        self._store.attributes.update(self._describe(trainable))
        quantities = (self._gradients is not None) + (self._weights is not None)
        size = sum(math.prod(s) * np.dtype(d).itemsize for s, d in specs.values())
        self._record_bytes = max(quantities * size, _PENDING_BYTES // _PENDING_RECORDS)
        return chosen

    def _describe(self, trainable):
        paths = unique_paths(trainable)
        freq = self._cadence.record_freq
        return {
            "variables": [
                (path, tuple(v.shape)) for path, v in zip(paths, trainable, strict=True)
            ],
            "record_freq": getattr(freq, "__qualname__", freq),
            "weights_at": self._weights_at,
            "optimizer": describe_optimizer(
                getattr(self._current_model, "optimizer", None)
            ),
            "backend": keras.config.backend(),
            "versions": _VERSIONS,
        }


def _by_record(arrays):
    """Arrays by record and quantity, from those by (record, quantity, path)."""
    records = {}
    for (number, quantity, path), array in arrays.items():
        empty = {"gradients": {}, "weights": {}, "loss": {}, "learning_rates": {}}
        records.setdefault(number, empty)[quantity][path] = array
    return dict(sorted(records.items()))


def _rates(learning_rates):
    """Columns of the index: `learning_rate`, and `learning_rate_2` of a second one."""
    names = {n: f"_{int(n) + 1}" if int(n) else "" for n in learning_rates}
    return {f"learning_rate{names[n]}": float(r) for n, r in learning_rates.items()}


def _scalar(value):
    array = to_host(value)
    return array.item() if array.ndim == 0 else array


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Expected {name} to be one of {choices}. Received: {value!r}."
        )
