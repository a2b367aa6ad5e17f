"""What a fit starts from: everything a replay needs besides the records."""

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.types import Fit, OptimizerStart, VariableStart


def snapshot_fit(
    variables: Mapping[str, Any], *, run_eagerly: bool, known: bool
) -> Fit:
    """What a replay of a fit starts from, apart from the optimizers.

    Args:
        variables: The variables that are recorded, by path.
        run_eagerly: Whether the model runs eagerly.
        known: Whether the variables are known, and a replay is possible.
    """
    weights = {path: _copied(v) for path, v in variables.items()}
    return Fit(
        run_eagerly=run_eagerly,
        weights=weights if known else None,
        variables={
            path: VariableStart(
                keras.backend.standardize_dtype(v.dtype),
                v.constraint and describe(v.constraint),
            )
            for path, v in variables.items()
        },
    )


def snapshot_optimizers(
    optimizers: Iterable[Any], *, known: bool
) -> dict[int, OptimizerStart]:
    """What a replay needs to know about optimizers, by their ids.

    Args:
        optimizers: A model's optimizers.
        known: Whether a replay is possible; if so, their state is included.
    """
    return {
        id(o): describe_optimizer(o, _state(o) if known else None) for o in optimizers
    }


def _state(optimizer: Any) -> list[np.ndarray] | None:
    """An optimizer's variables before the first step; None before it is built."""
    optimizer = _updating(optimizer)
    if not optimizer.built:
        return None
    return [_copied(v) for v in optimizer.variables]


def _copied(variable: Any) -> np.ndarray:
    # The host array may be a view of what the step then updates.
    return np.array(backend.to_host(variable))


def describe(part: Any) -> dict[str, Any]:
    """Class and config of an optimizer or constraint; None for a missing config.

    Returns:
        A dict like that of `keras.saving.serialize_keras_object`.
    """
    if part is None:
        return {"class_name": None, "config": None}
    # One without get_config still trains and is still recorded.
    try:
        described: Any = keras.saving.serialize_keras_object(part)
        return described
    except Exception:
        return {"class_name": type(part).__name__, "config": None}


def describe_optimizer(
    optimizer: Any, state: Sequence[np.ndarray] | None
) -> OptimizerStart:
    """What a replay needs to know about an optimizer, except the paths it updates.

    Args:
        optimizer: The optimizer.
        state: Its variables before the first step, or None for a fresh one.
    """
    described = describe(optimizer)
    inner = _updating(optimizer)
    own = describe(inner)["config"] or {}
    return OptimizerStart(
        class_name=described["class_name"],
        config=described if described["config"] is not None else None,
        # A schedule is an object with its own config.
        scheduled=isinstance(own.get("learning_rate"), dict),
        skips_nonfinite=inner is not optimizer,
        state=state,
    )


def _updating(optimizer: Any) -> Any:
    # A LossScaleOptimizer itself updates nothing.
    return getattr(optimizer, "inner_optimizer", optimizer)
