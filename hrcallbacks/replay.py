"""Proof: the recorded gradients, given to the same optimizer, make the weights."""

import contextlib
import warnings
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.progress import progress
from hrcallbacks.revive import revive


@dataclass(frozen=True)
class Replay:
    """How far recorded weights lie from those that an optimizer makes.

    Attributes:
        max_error: Largest absolute difference of a weight, over all variables and
            records; NaN counts as equal to NaN.
        errors: DataFrame, one row a record (index: the step) and one column a path:
            the largest absolute difference in that variable.
    """

    max_error: float
    errors: pd.DataFrame

    def __repr__(self):
        """The largest error, and where it is."""
        text = (
            f"<Replay of {len(self.errors):,} records: max_error={self.max_error:.2g}"
        )
        if not self.max_error:  # At no place.
            return f"{text}>"
        path = self.errors.max().idxmax()
        step = self.errors[path].idxmax()
        return f"{text} at step {step} in {path}>"


def replay(recording, *, custom_objects: Mapping[str, Any] | None = None) -> Replay:
    """Runs the optimizer of a recording over its gradients again.

    From the weights before the first record, each record's gradients go to an
    optimizer made with `from_config` of the one that trained; accumulation, clipping,
    weight decay, moving averages, constraints, schedules and all. Learning rates that
    a callback changed are followed.

    Classes of the user's own (optimizers, schedules, constraints) are found if they are
    loaded, by the module and the name that they had in training, registered with Keras
    or not. Nothing is imported, and no function called, because a recording names it.

    Args:
        recording: A `Recording` of every step (`record_freq=1`), with gradients and
            weights of all the variables that its optimizers update.
        custom_objects: Classes and functions by name, for those that are not found:
            `{"Lion2": Lion2}`.

    A sparse gradient (an `Embedding` on TensorFlow) is recorded as the sum over its
    repeated rows. Keras' adaptive optimizers square those rows before they sum them, so
    there a replay differs from training by more than float noise; a warning says so.
    What `optimizer.exclude_from_weight_decay` was given is in no config either.

    Returns:
        A `Replay`. Its `max_error` is float noise if what was recorded is what
        trained the model.

    Raises:
        TypeError: If `custom_objects` is no dict.
        ValueError: If the recording does not hold what a replay needs, or a class or
            function of the user's own is not found; the message says what is missing.
    """
    errors = []
    with progress(of="Replaying", unit="record", total=len(recording)) as bar:
        for part in _parts(recording):
            _warn_of_sparse(part)
            errors += _replay_part(recording, part, bar, custom_objects)
    frame = pd.DataFrame(errors, index=pd.Index(recording.index["step"], name="step"))
    return Replay(float(np.nanmax(frame.to_numpy(), initial=0.0)), frame)


def _warn_of_sparse(part):
    exact = all(o["class_name"] == "SGD" for o in part["optimizers"].values())
    if part["sparse"] and not exact:
        warnings.warn(
            f"The gradients of {part['sparse']} were sparse, and are recorded as the "
            "sums over repeated rows. Keras' adaptive optimizers square the rows "
            "before they sum them: where a batch repeats a row, this replay lies off "
            "by that, though what was recorded is right.",
            UserWarning,
            stacklevel=4,
        )


def _parts(recording):
    """The fits of a recording, each with its range of records."""
    if not len(recording):
        raise ValueError("The recording is empty: there is nothing to replay.")
    fits = [f for f in recording.fits if f["first"] < len(recording)]
    ends = [f["first"] for f in fits[1:]] + [len(recording)]
    for fit, end in zip(fits, ends, strict=True):
        _check(recording, fit)
        yield fit | {"records": range(fit["first"], end)}


def _check(recording, fit):
    if recording.attributes["record_freq"] != 1:
        raise ValueError(
            "A replay needs every step. This recording was made with record_freq="
            f"{recording.attributes['record_freq']!r}; use record_freq=1."
        )
    if not (len(recording.gradients) and len(recording.weights)):
        raise ValueError("A replay needs both gradients and weights to be recorded.")
    if fit["weights"] is None:
        raise ValueError(
            "The weights before the first step are not known, for model.built was "
            "False before it. Build the model before fit: model.build(input_shape)."
        )
    for path, (_, constraint) in fit["variables"].items():
        if constraint and constraint["config"] is None:
            raise ValueError(
                f"The constraint {constraint['class_name']} of {path} cannot be "
                "replayed: it has no config. Give it get_config()."
            )
    for optimizer in fit["optimizers"].values():
        if optimizer["config"] is None:
            raise ValueError(
                f"The optimizer {optimizer['class_name']} cannot be replayed: it has "
                "no config. Give it get_config()."
            )
        if None in optimizer["paths"]:
            raise ValueError(
                "A replay needs all the variables that an optimizer updates. This "
                f"recording has: {recording.paths}. Use variables=None."
            )


def _replay_part(recording, part, bar, custom_objects):
    import keras

    variables = {
        path: _variable(keras, path, value, *part["variables"][path], custom_objects)
        for path, value in part["weights"].items()
    }
    optimizers = {
        name: _optimizer(keras, spec, variables, part["run_eagerly"], custom_objects)
        for name, spec in part["optimizers"].items()
    }
    _warn_of_others(recording, part)
    errors = []
    with _no_grad(keras):
        for record in part["records"]:
            before = _errors(keras, recording, record, variables)
            for name, optimizer in optimizers.items():
                _apply(recording, record, name, optimizer, part, variables)
            after = _errors(keras, recording, record, variables)
            is_before = recording.attributes["weights_at"] == "before"
            errors.append(before if is_before else after)
            bar.update()
    return errors


def _warn_of_others(recording, part):
    updated = {p for o in part["optimizers"].values() for p in o["paths"]}
    last = part["records"][-1]
    others = [
        path
        for path, before in part["weights"].items()
        if path not in updated
        and not np.array_equal(recording.weights[path][last], before, equal_nan=True)
    ]
    if others:
        warnings.warn(
            f"{others} changed, but no optimizer was seen to update them: the "
            "difference that the replay finds there is theirs.",
            UserWarning,
            stacklevel=5,
        )


def _variable(keras, path, value, dtype, constraint, custom_objects):
    *scopes, name = path.split("#")[0].split("/")
    with contextlib.ExitStack() as stack:
        for scope in scopes:  # So that the optimizer sees the path that it saw.
            stack.enter_context(keras.name_scope(scope))
        variable = keras.Variable(value, dtype=dtype, name=name)
    if constraint is not None:
        variable.constraint = revive(constraint, custom_objects)
    return variable


def _optimizer(keras, spec, variables, run_eagerly, custom_objects):
    optimizer = revive(spec["config"], custom_objects)
    # Recorded gradients are unscaled already.
    if isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
        optimizer = optimizer.inner_optimizer
    optimizer.loss_scale_factor = None
    own = [variables[path] for path in spec["paths"]]
    if spec["state"] is None and not run_eagerly:
        _build_in_graph(keras, optimizer, own)
    if not optimizer.built:
        optimizer.build(own)
    if spec["state"] is not None:
        for variable, value in zip(optimizer.variables, spec["state"], strict=True):
            variable.assign(value)
    return optimizer


def _build_in_graph(keras, optimizer, variables):
    """Builds an optimizer as TensorFlow does in the first compiled step.

    What `build` assigns there is lost: `ScheduleFreeAdamW` starts from zeros that it
    has, built eagerly, replaced by the weights.
    """
    if keras.config.backend() != "tensorflow":
        return
    import tensorflow as tf

    @tf.function
    def build():
        if not optimizer.built:
            optimizer.build(variables)

    build()


def _apply(recording, record, name, optimizer, part, variables):
    spec = part["optimizers"][name]
    pairs = [
        (recording.gradients[path][record], variables[path])
        for path in spec["paths"]
        if recording.has_gradient[path].iloc[record]
    ]
    if not pairs:  # Not called in this record.
        return
    # A LossScaleOptimizer skips such a step.
    if spec["skips_nonfinite"] and not all(np.isfinite(g).all() for g, _ in pairs):
        return
    column = "learning_rate" if name == "0" else f"learning_rate_{int(name) + 1}"
    if column in recording.index and not spec["scheduled"]:
        optimizer.learning_rate = float(recording.index[column].iloc[record])
    optimizer.apply(*map(list, zip(*_as_tensors(pairs), strict=True)))


def _as_tensors(pairs):
    import keras

    return [(keras.ops.convert_to_tensor(g, v.dtype), v) for g, v in pairs]


def _errors(keras, recording, record, variables):
    errors = {}
    for path, variable in variables.items():
        ours = keras.ops.convert_to_numpy(variable.value).astype(np.float64)
        recorded = recording.weights[path][record].astype(np.float64)
        same = np.isnan(ours) & np.isnan(recorded)
        difference = np.where(same, 0.0, np.abs(ours - recorded))
        # One-sided NaN is no agreement.
        errors[path] = np.max(
            np.where(np.isnan(difference), np.inf, difference), initial=0.0
        )
    return errors


def _no_grad(keras):
    if keras.config.backend() != "torch":
        return contextlib.nullcontext()
    import torch  # pyright: ignore[reportMissingImports]

    return torch.no_grad()
