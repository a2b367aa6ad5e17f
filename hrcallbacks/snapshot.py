"""What a fit starts from: all that a replay needs besides the records."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras
import numpy as np


def snapshot_weights(variables: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """Weights before the first step, by path.

    Args:
        variables: Keras variables by path.
    """
    return {path: to_host(v) for path, v in variables.items()}


def snapshot_variables(
    variables: Mapping[str, Any],
) -> dict[str, tuple[str, dict[str, Any] | None]]:
    """Dtype and constraint of variables, by path."""
    return {
        path: (
            keras.backend.standardize_dtype(v.dtype),
            v.constraint and describe(v.constraint),
        )
        for path, v in variables.items()
    }


def snapshot_state(optimizer: Any) -> list[np.ndarray] | None:
    """An optimizer's variables before the first step; None before it is built."""
    optimizer = _updating(optimizer)
    return [to_host(v) for v in optimizer.variables] if optimizer.built else None


def describe(part: Any) -> dict[str, Any]:
    """Class and config of an optimizer or constraint; None for a config it lacks.

    Returns:
        What `keras.saving.serialize_keras_object` returns.
    """
    if part is None:
        return {"class_name": None, "config": None}
    # One without get_config can train and be recorded all the same.
    try:
        described: Any = keras.saving.serialize_keras_object(part)
        return described
    except Exception:
        return {"class_name": type(part).__name__, "config": None}


def describe_replay(optimizer: Any, state: list[np.ndarray] | None) -> dict[str, Any]:
    """What a replay needs to know of an optimizer.

    Args:
        optimizer: The optimizer.
        state: Its variables before the first step, or None for a fresh one.

    Returns:
        `class_name`, `config`, `state`, `scheduled` and `skips_nonfinite`. The paths of
        the variables that it updates have to be added.
    """
    described = describe(optimizer)
    inner = _updating(optimizer)
    own = describe(inner)["config"] or {}
    return {
        "class_name": described["class_name"],
        "config": described if described["config"] is not None else None,
        "state": state,
        # A schedule is an object with a config of its own.
        "scheduled": isinstance(own.get("learning_rate"), dict),
        "skips_nonfinite": inner is not optimizer,
    }


def host_dtype(variable: Any) -> str:
    """The dtype of a variable's values in NumPy.

    NumPy has no bfloat16; float32 holds all of its values.
    """
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float32" if dtype == "bfloat16" else dtype


def to_host(value: Any) -> np.ndarray:
    """A tensor as a NumPy array."""
    return np.asarray(keras.ops.convert_to_numpy(value))


def _updating(optimizer: Any) -> Any:
    # A LossScaleOptimizer leaves the update to the optimizer inside.
    return getattr(optimizer, "inner_optimizer", optimizer)
