"""Proof: the same optimizer, given the recorded gradients, makes the weights."""

from __future__ import annotations

import contextlib
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from hrcallbacks.progress import progress
from hrcallbacks.recording.revive import revive
from hrcallbacks.types import Fit, OptimizerStart, VariableStart

if TYPE_CHECKING:
    from tqdm import tqdm

    from hrcallbacks.recording.recording import Recording


@dataclass(frozen=True)
class Replay:
    """How far recorded weights are from those that a replayed optimizer makes.

    Attributes:
        max_error: Largest absolute difference of a weight, over all variables and
            records; NaN counts as equal to NaN.
        errors: DataFrame, one row per record (index: the step) and one column per path:
            the largest absolute difference in that variable.
    """

    max_error: float
    errors: pd.DataFrame

    def __repr__(self) -> str:
        """The largest error, and where it is."""
        text = (
            f"<Replay of {len(self.errors):,} records: max_error={self.max_error:.2g}"
        )
        if not self.max_error:  # Nowhere to point to.
            return f"{text}>"
        path = self.errors.max().idxmax()
        step = self.errors[path].idxmax()
        return f"{text} at step {step} in {path}>"


def replay(
    recording: Recording, *, custom_objects: Mapping[str, Any] | None = None
) -> Replay:
    """Runs the optimizer of a recording over its gradients again.

    Starting from the weights before the first record, each record's gradients are
    applied by an optimizer made from the config of the one that trained, including
    accumulation, clipping, weight decay, moving averages, constraints and schedules.
    Learning rates that a callback changed are followed.

    Your own classes (optimizers, schedules, constraints) are found if they are loaded,
    by the module and name that they had in training, registered with Keras or not.
    Nothing is imported, and no function is called, because a recording names it.

    A sparse gradient (an `Embedding` on TensorFlow) is recorded as the sum over its
    repeated rows. Keras' adaptive optimizers square those rows before they sum them, so
    there a replay differs from training by more than float noise; a warning says so.
    A replay also misses `optimizer.exclude_from_weight_decay`, which no config holds.

    Args:
        recording: A recording of every step (`record_freq=1`), with gradients and
            weights of all the variables that its optimizers update.
        custom_objects: Classes and functions by name, for those that are not found:
            `{"Lion2": Lion2}`.

    Returns:
        The difference. Its `max_error` is only float noise if what was recorded is what
        trained the model.

    Raises:
        TypeError: If `custom_objects` is not a dict.
        ValueError: If the recording lacks what a replay needs, or if one of your
            classes or functions is not found; the message says what is missing.
    """
    errors: list[dict[str, float]] = []
    with progress(of="Replaying", unit="record", total=len(recording)) as bar:
        for part in _parts(recording):
            _warn_of_sparse(part)
            errors += _replay_part(recording, part, bar, custom_objects)
    frame = pd.DataFrame(errors, index=pd.Index(recording.index["step"], name="step"))
    return Replay(float(np.nanmax(frame.to_numpy(), initial=0.0)), frame)


class _Part(NamedTuple):
    """A fit, and the numbers of its records."""

    fit: Fit
    records: range


def _warn_of_sparse(part: _Part) -> None:
    exact = all(o.class_name == "SGD" for o in part.fit.optimizers.values())
    if part.fit.sparse and not exact:
        warnings.warn(
            f"The gradients of {part.fit.sparse} were sparse, and are recorded as "
            "the sums over repeated rows. Keras' adaptive optimizers square the rows "
            "before they sum them. So where a batch repeats a row, this replay differs "
            "from training, though the recording is right.",
            UserWarning,
            stacklevel=4,
        )


def _parts(recording: Recording) -> Iterator[_Part]:
    """The fits of a recording that can be replayed, each with its records."""
    if not len(recording):
        raise ValueError("The recording is empty: there is nothing to replay.")
    fits = [f for f in recording.fits if f.first < len(recording)]
    ends = [f.first for f in fits[1:]] + [len(recording)]
    for fit, end in zip(fits, ends, strict=True):
        _check(recording, fit)
        yield _Part(fit, range(fit.first, end))


def _check(recording: Recording, fit: Fit) -> None:
    if recording.attributes["record_freq"] != 1:
        raise ValueError(
            "A replay needs every step. This recording was made with record_freq="
            f"{recording.attributes['record_freq']!r}; use record_freq=1."
        )
    if not (len(recording.gradients) and len(recording.weights)):
        raise ValueError("A replay needs both gradients and weights to be recorded.")
    if fit.weights is None:
        raise ValueError(
            "The weights before the first step are unknown, because model.built was "
            "False. Build the model before fit: model.build(input_shape)."
        )
    for path, variable in fit.variables.items():
        constraint = variable.constraint
        if constraint and constraint["config"] is None:
            raise ValueError(
                f"The constraint {constraint['class_name']} of {path} cannot be "
                "replayed: it has no config. Give it get_config()."
            )
    for optimizer in fit.optimizers.values():
        if optimizer.config is None:
            raise ValueError(
                f"The optimizer {optimizer.class_name} cannot be replayed: it has "
                "no config. Give it get_config()."
            )
        if None in optimizer.paths:
            raise ValueError(
                "A replay needs all the variables that an optimizer updates. This "
                f"recording has: {recording.paths}. Use variables=None."
            )


def _replay_part(
    recording: Recording,
    part: _Part,
    bar: tqdm[Any],
    custom_objects: Mapping[str, Any] | None,
) -> list[dict[str, float]]:
    fit = part.fit
    variables: dict[str, Any] = {}
    for path, value in (fit.weights or {}).items():
        variables[path] = _variable(path, value, fit.variables[path], custom_objects)
    optimizers = {
        name: _optimizer(spec, variables, fit.run_eagerly, custom_objects)
        for name, spec in fit.optimizers.items()
    }
    _warn_of_others(recording, part)
    is_before = recording.attributes["weights_at"] == "before"
    errors: list[dict[str, float]] = []
    with _no_grad():
        for record in part.records:
            if is_before:
                errors.append(_errors(recording, record, variables))
            for name, optimizer in optimizers.items():
                spec = fit.optimizers[name]
                _apply(recording, record, name, optimizer, spec, variables)
            if not is_before:
                errors.append(_errors(recording, record, variables))
            bar.update()
    return errors


def _warn_of_others(recording: Recording, part: _Part) -> None:
    updated = {p for o in part.fit.optimizers.values() for p in o.paths}
    last = part.records[-1]
    others = [
        path
        for path, before in (part.fit.weights or {}).items()
        if path not in updated
        and not np.array_equal(recording.weights[path][last], before, equal_nan=True)
    ]
    if others:
        warnings.warn(
            f"{others} changed, but no optimizer was seen to update them, so the "
            "replay differs there.",
            UserWarning,
            stacklevel=5,
        )


def _variable(
    path: str,
    value: np.ndarray,
    start: VariableStart,
    custom_objects: Mapping[str, Any] | None,
) -> Any:
    import keras

    *scopes, name = path.split("#")[0].split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:  # So that the optimizer sees the same path.
            stack.enter_context(keras.name_scope(scope))
        variable = keras.Variable(value, dtype=start.dtype, name=name)
    if start.constraint is not None:
        variable.constraint = revive(start.constraint, custom_objects)
    return variable


def _optimizer(
    spec: OptimizerStart,
    variables: Mapping[str, Any],
    run_eagerly: bool,
    custom_objects: Mapping[str, Any] | None,
) -> Any:
    import keras

    optimizer = revive(spec.config or {}, custom_objects)
    # Recorded gradients are unscaled already.
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    optimizer.loss_scale_factor = None
    own = [variables[path] for path in spec.paths if path is not None]
    if spec.state is None and not run_eagerly:
        _build_in_graph(optimizer, own)
    if not optimizer.built:
        optimizer.build(own)
    if spec.state is not None:
        for variable, value in zip(optimizer.variables, spec.state, strict=True):
            variable.assign(value)
    return optimizer


def _build_in_graph(optimizer: Any, variables: Sequence[Any]) -> None:
    """Builds an optimizer as TensorFlow does in the first compiled step.

    What `build` assigns there is lost: `ScheduleFreeAdamW` starts from zeros, which an
    eager build would replace with the weights.
    """
    import keras

    if keras.config.backend() != "tensorflow":
        return
    import tensorflow as tf

    def build() -> None:
        if not optimizer.built:
            optimizer.build(variables)

    tf.function(build)()


def _apply(
    recording: Recording,
    record: int,
    name: str,
    optimizer: Any,
    spec: OptimizerStart,
    variables: Mapping[str, Any],
) -> None:
    pairs = [
        (recording.gradients[path][record], variables[path])
        for path in spec.paths
        if path is not None and recording.has_gradient[path].iloc[record]
    ]
    if not pairs:  # The optimizer was not called in this step.
        return
    # A LossScaleOptimizer skips such a step.
    if spec.skips_nonfinite and not all(np.isfinite(g).all() for g, _ in pairs):
        return
    column = "learning_rate" if name == "0" else f"learning_rate_{int(name) + 1}"
    if column in recording.index and not spec.scheduled:
        optimizer.learning_rate = float(recording.index[column].iloc[record])
    optimizer.apply(*map(list, zip(*_as_tensors(pairs), strict=True)))


def _as_tensors(pairs: Iterable[tuple[np.ndarray, Any]]) -> list[tuple[Any, Any]]:
    import keras

    return [(keras.ops.convert_to_tensor(g, v.dtype), v) for g, v in pairs]


def _errors(
    recording: Recording, record: int, variables: Mapping[str, Any]
) -> dict[str, float]:
    import keras

    errors: dict[str, float] = {}
    for path, variable in variables.items():
        ours = np.asarray(keras.ops.convert_to_numpy(variable.value), np.float64)
        recorded = np.asarray(recording.weights[path][record], np.float64)
        same = np.isnan(ours) & np.isnan(recorded)
        difference = np.where(same, 0.0, np.abs(ours - recorded))
        # A NaN on one side only is a difference.
        apart = np.where(np.isnan(difference), np.inf, difference)
        errors[path] = float(np.max(apart, initial=0.0))
    return errors


def _no_grad() -> AbstractContextManager[Any]:
    import keras

    if keras.config.backend() != "torch":
        return contextlib.nullcontext()
    import torch  # pyright: ignore[reportMissingImports]

    return torch.no_grad()
