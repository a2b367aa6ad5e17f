"""The `output` column of the published tables, as a Keras metric."""

from __future__ import annotations

from typing import Any

import keras


@keras.saving.register_keras_serializable(package="hrcallbacks")
class MeanOutput(keras.metrics.Mean):
    """Mean of the model's output over the samples of an epoch.

    The column `output` of the published tables. As with every Keras metric, the outputs
    are those of each training step's forward pass, before its update.

    Args:
        name: Key in the logs and in `Recording.index`.
        dtype: Dtype of the accumulator; Keras' default is float32.

    Example:
        >>> metric = MeanOutput()
        >>> metric.update_state(y_true=[[9.0], [9.0]], y_pred=[[1.0], [3.0]])
        >>> float(metric.result())
        2.0
    """

    def __init__(self, name: str = "output", dtype: str | None = None) -> None:
        super().__init__(name=name, dtype=dtype)

    # Mean takes only values; a metric of `compile` is called with targets and outputs.
    # Tensors of any backend.
    def update_state(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y_true: Any, y_pred: Any, sample_weight: Any = None
    ) -> None:
        """Adds one batch of outputs.

        Args:
            y_true: Targets; not used.
            y_pred: Outputs, shape `(batch, ...)`.
            sample_weight: Optional weights, broadcast to `y_pred`.
        """
        return super().update_state(y_pred, sample_weight=sample_weight)
