"""The `output` column of the published tables, as a Keras metric."""

import keras


@keras.saving.register_keras_serializable(package="hrcallbacks")
class MeanOutput(keras.metrics.Mean):
    """Mean of the model's output over the samples of an epoch.

    The column `output` of the published tables. As with every Keras metric, the
    outputs are those of the forward pass of each training step, so before its update.

    Args:
        name: Key in the logs and in `Recording.index`.
        dtype: Dtype of the accumulator; Keras' default is float32.

    Example:
        >>> metric = MeanOutput()
        >>> metric.update_state(y_true=[[9.0], [9.0]], y_pred=[[1.0], [3.0]])
        >>> float(metric.result())
        2.0
    """

    def __init__(self, name="output", dtype=None):
        super().__init__(name=name, dtype=dtype)

    # Mean takes values alone; a metric of `compile` is called with targets and outputs.
    def update_state(  # pyright: ignore[reportIncompatibleMethodOverride]
        self, y_true, y_pred, sample_weight=None
    ):
        """Adds one batch of outputs.

        Args:
            y_true: Targets; not used.
            y_pred: Outputs, shape `(batch, ...)`.
            sample_weight: Optional weights, broadcast to `y_pred`.
        """
        return super().update_state(y_pred, sample_weight=sample_weight)
