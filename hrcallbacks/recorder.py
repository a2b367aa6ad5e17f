"""`GradientRecorder`: the callback that Keras calls."""

import contextlib
import os
import threading
from collections.abc import Generator, Mapping, Sequence
from typing import Any, Literal

import keras

from hrcallbacks.backends.current import backend
from hrcallbacks.quantities.wanted import Reductions
from hrcallbacks.recording.recording import Recording
from hrcallbacks.session.kin import Kin
from hrcallbacks.session.loop import record_loop
from hrcallbacks.session.model_fit import ModelFit
from hrcallbacks.session.session import Session
from hrcallbacks.session.settings import Settings
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.types import RecordFreq, Variables


class GradientRecorder(keras.callbacks.Callback):
    """Records the true training gradients and the weights of `model.fit`.

    The recorded gradient is exactly what the optimizer received in that step, not
    recomputed. It is the gradient of the training loss, with regularizers and
    sample and class weights, summed over replicas, unscaled under a
    `LossScaleOptimizer`, and taken before clipping, accumulation and weight decay.
    Sparse gradients are recorded dense. A variable that gets no gradient in a step
    has NaN there, and False in `Recording.has_gradient`.

    Recording does not change training: the model's weights, the optimizer's state and
    the `History` are the same with and without it, and nothing of the recorder stays
    in the model.

    A recorder can be reused: a second `fit` of the same model appends to the
    recording, and `step` keeps counting. `reset` starts over.

    A copy of a recorder (by `copy.deepcopy` or pickling) has the same settings, but no
    records. Tuning tools copy callbacks. With them, put `{n}` in the store's path, so
    that each copy writes its own store.

    Args:
        variables: The trainable variables to record: None for all, a glob or list
            of globs on `Variable.path` (`"*/kernel"`; `*` also matches `/`), or a
            `callable(variable) -> bool`.
        gradients: What to record of the gradients: `"raw"` for every element; None for
            nothing; a reduction, computed in the training step: `"norm"` (Frobenius),
            `"mean"`, `"std"`, `"min"`, `"max"`, `"abs_max"`, `"zero_fraction"`,
            `"nonfinite"` (how many are NaN or infinite), `hr.Histogram()`,
            `hr.Sample(n)`, `hr.Projection(n)`, `hr.Reduction(name, function)`, or a
            function of a tensor; a list of these; or a dict from globs to any of them,
            where the first match for a path decides:
            `{"*/kernel": "raw", "*": ["norm", "max"]}`.
        weights: The same for the weights; also `"update_norm"`, the Frobenius norm of
            the update just made, and `"update_ratio"`, that norm divided by the
            weights' own before it (infinite where those were zero).
        outputs: The same for the outputs of layers, computed with the weights before
            the update; None for nothing. The keys of a dict are globs on `Layer.path`,
            also of layers inside other layers and models. A name is the layer's path;
            `tower#2` for the second call of a shared layer in a step; `lstm.0` or
            `encoder.tokens` for one of several outputs; and `hidden/preactivation` for
            what goes into the activation of a `Dense`, `EinsumDense` or convolution.
            `"raw"` keeps as many rows as the first batch has: a smaller batch is
            padded with NaN, and `Recording.output_rows` has each batch's size.
            `hr.Rows(n)` keeps the first n rows, `hr.PerUnit("mean")` reduces over all
            axes but the last. Keras masks are ignored: masked positions count.
        output_gradients: The same for the gradients of the loss with respect to those
            outputs, from the step's own backward pass, unscaled under a
            `LossScaleOptimizer`. An output without gradient has NaN, and False in
            `Recording.has_output_gradient`.
        optimizer: The same for the variables of the optimizers, after the update, by
            glob on their paths: `{"*velocity*": "norm"}`.
        batch: The same for the data of the step, as `train_step` is given them; None
            for nothing. The keys of a dict are globs on `"x"`, `"y"` and
            `"sample_weight"`; for inputs or targets with several parts, on `"x/image"`
            or `"y/0"`. `"raw"` keeps as many rows as the first batch has, with NaN in
            those that a smaller batch lacks, and `Recording.batch_rows` has each
            batch's size. Whole numbers are kept exactly, as floats: in float32 up to
            16 bits, in float64 above.
        record_freq: `"epoch"` for the last step of each epoch, an int n for every
            n-th step of the run, or a `callable(step) -> bool`, such as
            `hr.every(n, start, stop)`, `hr.log_spaced(per_decade)`, `hr.at(steps)`;
            steps count from 1.
        epoch_gradient: With `record_freq="epoch"`, whether a record has the gradient of
            the epoch's `"last"` step, or the `"mean"` over all its steps that had one.
            For the mean, every step is captured but not kept, and reductions are those
            of the mean.
        weights_at: Whether a record has the weights from `"after"` or `"before"` the
            update made with its gradient.
        store: None to keep the records in memory, or the path or URL of a Zarr store,
            which a separate thread writes while `fit` runs. Of several workers, only
            the chief writes. `{n}` in it, as in `"runs/{n}.zarr"`, becomes the first
            number from 0 that is not taken.
        max_bytes: The most memory that records may take. If the number of steps is
            known, `fit` raises an error before it starts a larger recording; otherwise
            the recording stops at the limit. Ignored when `store` is given.
        resume: With `store`, whether to continue the recording that is there, if any.
            If its last fit was interrupted, that fit is continued, as
            `keras.callbacks.BackupAndRestore` does: records of epochs that are trained
            again are replaced. Each epoch's end then waits until it is on disk. Put the
            recorder before `BackupAndRestore` in the callbacks.
        metadata: What to keep with the recording: a dict that JSON can hold, such as
            `{"seed": 3}`. It is stored as `Recording.attributes["metadata"]`.
        sinks: Objects that receive records during training: `hr.Alert("nan")` warns,
            or stops training; `hr.TensorBoard("logs")` writes event files; `hr.Logs()`
            adds the gradients' norm to the logs of `fit`; or instances of your own
            subclass of `hr.Sink`. They are called in order. One that fails is not
            called again in that fit; recording goes on.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has an invalid value. When training begins: if the
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

    def __init__(
        self,
        variables: Variables = None,
        *,
        gradients: Reductions = "raw",
        weights: Reductions = "raw",
        outputs: Reductions = None,
        output_gradients: Reductions = None,
        optimizer: Reductions = None,
        batch: Reductions = None,
        record_freq: RecordFreq = "epoch",
        epoch_gradient: Literal["last", "mean"] = "last",
        weights_at: Literal["after", "before"] = "after",
        store: str | os.PathLike[str] | None = None,
        max_bytes: int = 2 * 1024**3,
        resume: bool = False,
        metadata: Mapping[str, Any] | None = None,
        sinks: Sequence[Sink] = (),
    ) -> None:
        super().__init__()
        self._settings = Settings(
            variables=variables,
            gradients=gradients,
            weights=weights,
            outputs=outputs,
            output_gradients=output_gradients,
            optimizer=optimizer,
            batch=batch,
            record_freq=record_freq,
            epoch_gradient=epoch_gradient,
            weights_at=weights_at,
            store=store,
            max_bytes=max_bytes,
            resume=resume,
            metadata=metadata,
            sinks=sinks,
        )
        self._kin = Kin()
        self._is_copy = False
        self._begin()

    def _begin(self, earlier: Session | None = None) -> None:
        self._session = Session(self._settings, earlier and earlier.probes)
        # By thread, the model and parameters of a fit about to begin.
        self._offers: dict[int, tuple[Any, dict[str, Any]]] = {}

    def __repr__(self) -> str:
        """What it has recorded."""
        return f"<GradientRecorder: {len(self._session.store)} records>"

    def __getstate__(self) -> dict[str, Any]:
        """What a copy keeps: the settings, and what a subclass has added."""
        own = {"_session", "_offers", "_model", "params"}
        return {k: v for k, v in vars(self).items() if k not in own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a copy without records."""
        super().__init__()
        vars(self).update(state)
        self._is_copy = True
        self._begin()

    @property
    def async_safe(self) -> bool:
        """Whether Keras may run `on_train_batch_end` in another thread.

        That is safe: the hook only stores a number. But it takes time, and pays only
        where training would else wait for a batch's logs.
        """
        return backend.runs_ahead()

    @property
    def recording(self) -> Recording:
        """The `Recording` so far, also during `fit` or after an interrupted one."""
        recording = self._session.recording()
        if self._session.begun is None:
            self._kin.warn_of_others()
        return recording

    @property
    def store(self) -> str | None:
        """Where it writes, or None for memory; `{n}` is replaced when `fit` begins."""
        return self._session.store.path

    def reset(self) -> None:
        """Forgets what was recorded, and counts steps from 1 again.

        A store on disk stays as it is; the next `fit` needs another path. If that is
        of the same model, its steps are not compiled again.
        """
        self._session.close()
        self._begin(self._session)

    def set_model(self, model: Any) -> None:
        """Called by Keras with the model. A fit that is still running keeps its own."""
        self._offers[threading.get_ident()] = model, {}

    def set_params(self, params: dict[str, Any] | None) -> None:
        """Called by Keras with the parameters of the fit."""
        thread = threading.get_ident()
        model, _ = self._offers.get(thread, (None, {}))
        self._offers[thread] = model, params or {}

    def on_train_begin(self, logs: Any = None) -> None:
        """Checks everything that can be checked before the first step."""
        model, params = self._offers.pop(threading.get_ident(), (self._model, {}))
        fit = ModelFit(model, params.get("steps"), params.get("epochs"))
        self._session.admit(fit)
        super().set_model(model)
        super().set_params(params)

    @contextlib.contextmanager
    def attached(
        self, model: keras.Model, *optimizers: Any
    ) -> Generator["GradientRecorder", None, None]:
        """Records outside `fit`: `train_on_batch` and hand-written loops.

        Inside the `with` block each call of `model.train_on_batch` is a step, and so is
        each eager call of an optimizer's `apply`. The whole block is one epoch. Inside
        your own compiled functions, gradients are out of reach; a warning says so.

        Args:
            model: The `keras.Model` that is trained.
            *optimizers: Optimizers that are not attributes of the model.

        Yields:
            The recorder.

        Raises:
            ValueError: For the same reasons as when a `fit` begins.

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
        for sink in self._settings.sinks:
            sink.check_loop()
        super().set_model(model)
        with record_loop(self._session, ModelFit(model, loose=optimizers)):
            self._note_copy()
            yield self

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Starts an epoch; before the first, checks whether the records will fit."""
        self._session.begin_epoch(epoch + 1)
        self._note_copy()

    def _note_copy(self) -> None:
        if self._is_copy:
            self._is_copy = False  # It is counted once.
            self._kin.copies_trained += 1

    def on_train_batch_begin(self, batch: int, logs: Any = None) -> None:
        """Makes the next execution record, if one of its steps is wanted."""
        self._session.begin_execution(batch)

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        """Counts the steps that ran, and lets sinks add to the logs."""
        self._session.end_execution(batch, logs)

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        """Passes the epoch's records on, with the epoch's metrics."""
        self._session.end_epoch(logs)

    def on_train_end(self, logs: Any = None) -> None:
        """Waits until everything is stored; warns if nothing was recorded."""
        self._session.end_fit()
