"""Proof: the same optimizer, given the recorded gradients, makes the weights."""

from __future__ import annotations

import contextlib
import itertools
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from hrcallbacks.progress import progress
from hrcallbacks.recording.revive import revive
from hrcallbacks.recording.updates import Block, Calls, Updates
from hrcallbacks.types import Fit, OptimizerStart, VariableStart

if TYPE_CHECKING:
    from tqdm import tqdm

    from hrcallbacks.recording.recording import Recording

# Of a block of records: what its gradients take, and how many there are.
_BLOCK_BYTES = 32 * 1024**2
_MOST_STEPS = 4096


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
    errors: list[pd.DataFrame] = []
    with progress(of="Replaying", unit="record", total=len(recording)) as bar:
        for part in _parts(recording):
            _warn_of_sparse(part)
            found = _replay_part(recording, part, bar, custom_objects)
            errors.append(pd.DataFrame(found, columns=[*(part.fit.weights or {})]))
    frame = pd.concat(errors)
    frame.index = pd.Index(recording.index["step"], name="step")
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
        raise ValueError(
            "A replay needs every element of the gradients and the weights. There are: "
            f"{recording.recorded or 'none at all'}. Use gradients='raw' and "
            "weights='raw', the defaults."
        )
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
) -> np.ndarray:
    """The errors of a part's records, `(records, paths)`."""
    fit = part.fit
    variables: dict[str, Any] = {}
    for path, value in (fit.weights or {}).items():
        variables[path] = _variable(path, value, fit.variables[path], custom_objects)
    optimizers = {
        name: _optimizer(spec, variables, fit.run_eagerly, custom_objects)
        for name, spec in fit.optimizers.items()
    }
    _warn_of_others(recording, part)
    updates = Updates(variables, optimizers, fit.run_eagerly)
    is_before = recording.attributes["weights_at"] == "before"
    errors: list[np.ndarray] = []
    latest = {
        p: np.asarray(value)[np.newaxis] for p, value in (fit.weights or {}).items()
    }
    for records, block in _blocks(recording, part):
        made = updates.run(block)
        if is_before:
            before = {p: np.concatenate([latest[p], a[:-1]]) for p, a in made.items()}
            latest = {path: array[-1:] for path, array in made.items()}
            made = before
        errors.append(_errors(recording, records, made))
        bar.update(block.steps)
    return np.concatenate(errors)


def _blocks(recording: Recording, part: _Part) -> Iterator[tuple[slice, Block]]:
    """A part's records as blocks of the same calls, of bounded size."""
    fit = part.fit
    paths = {
        name: [path for path in spec.paths if path is not None]
        for name, spec in fit.optimizers.items()
    }
    gradients = {
        path: recording.gradients[path] for own in paths.values() for path in own
    }
    has_gradient = {path: ~recording.without_gradient(path) for path in gradients}
    rates = _rates(recording, fit)
    size = sum(4 * math.prod(array.shape[1:]) for array in gradients.values())
    most = max(1, min(_MOST_STEPS, _BLOCK_BYTES // max(1, size)))
    first = part.records.start
    while first < part.records.stop:
        rows = slice(first, min(first + most, part.records.stop))
        read = {path: np.asarray(array[rows]) for path, array in gradients.items()}
        calls = [
            _calls(fit, paths, read, has_gradient, first, number)
            for number in range(rows.stop - first)
        ]
        for called, group in itertools.groupby(range(len(calls)), calls.__getitem__):
            numbers = list(group)
            inside = slice(numbers[0], numbers[-1] + 1)
            records = slice(first + inside.start, first + inside.stop)
            used = {path for _, own in called for path in own}
            yield (
                records,
                Block(
                    called,
                    {path: read[path][inside] for path in used},
                    {name: rates[name][records] for name, _ in called if name in rates},
                    len(numbers),
                ),
            )
        first = rows.stop


def _calls(
    fit: Fit,
    paths: Mapping[str, Sequence[str]],
    gradients: Mapping[str, np.ndarray],
    has_gradient: Mapping[str, np.ndarray],
    first: int,
    number: int,
) -> Calls:
    """Which optimizers were called in a step, and on what."""
    calls: list[tuple[str, tuple[str, ...]]] = []
    for name, own in paths.items():
        given = tuple(path for path in own if has_gradient[path][first + number])
        # A LossScaleOptimizer skips such a step.
        skipped = fit.optimizers[name].skips_nonfinite and not all(
            np.isfinite(gradients[path][number]).all() for path in given
        )
        if given and not skipped:
            calls.append((name, given))
    return tuple(calls)


def _rates(recording: Recording, fit: Fit) -> dict[str, np.ndarray]:
    """By optimizer without a schedule, the learning rate of each record."""
    import keras

    rates: dict[str, np.ndarray] = {}
    for name, spec in fit.optimizers.items():
        column = "learning_rate" if name == "0" else f"learning_rate_{int(name) + 1}"
        if column in recording.index and not spec.scheduled:
            rates[name] = recording.index[column].to_numpy(keras.config.floatx())
    return rates


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


def _errors(
    recording: Recording, records: slice, made: Mapping[str, np.ndarray]
) -> np.ndarray:
    """By record and path, how far the recorded weights are from these."""
    errors: list[np.ndarray] = []
    for path, array in made.items():
        ours = np.asarray(array, np.float64)
        recorded = np.asarray(recording.weights[path][records], np.float64)
        same = np.isnan(ours) & np.isnan(recorded)
        difference = np.where(same, 0.0, np.abs(ours - recorded))
        # A NaN on one side only is a difference.
        apart = np.where(np.isnan(difference), np.inf, difference)
        axes = tuple(range(1, apart.ndim))
        errors.append(np.max(apart, axis=axes, initial=0.0))
    return np.stack(errors, axis=1)
