"""The gradients of a loss by the backend's own autodiff: no line of the package."""

from collections.abc import Callable
from typing import Any

import keras
import numpy as np

Gradients = Callable[..., list[np.ndarray | None]]


def gradients_of(model: keras.Model, loss: Callable) -> Gradients:
    """A function from weights and a batch to the gradients of a loss.

    Args:
        model: A compiled model; on TensorFlow and PyTorch its weights are replaced.
        loss: Of `(model, x, y, sample_weight)`, a scalar tensor.

    Returns:
        A function of `(weights, x, y, sample_weight)`, the weights in the order of
        `model.trainable_variables`. It gives None where the loss does not depend on a
        variable.
    """
    by_backend = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return by_backend[keras.config.backend()](model, loss)


def _tensors(values: Any) -> Any:
    return keras.tree.map_structure(
        lambda v: v if v is None else keras.ops.convert_to_tensor(v), values
    )


def _assign(model: keras.Model, weights: list[np.ndarray]) -> None:
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)


def _tensorflow(model: keras.Model, loss: Callable) -> Gradients:
    import tensorflow as tf

    # In a graph for batches of any size, as Keras' own step. Knowing the size,
    # TensorFlow chooses other kernels, which round differently: 4e-5 apart after
    # BatchNormalization over two samples, as far as either lies from float64.
    @tf.function
    def of_batch(batch: tuple) -> list:
        with tf.GradientTape() as tape:
            value = loss(model, *batch)
        found = tape.gradient(value, model.trainable_variables)
        return [g if g is None else tf.convert_to_tensor(g) for g in found]

    def gradients(weights: list, *batch: Any) -> list:
        _assign(model, weights)
        tensors = _tensors(batch)
        found = of_batch.get_concrete_function(_of_any_size(tensors))(tensors)
        return [g if g is None else g.numpy() for g in found]

    return gradients


def _of_any_size(tensors: Any) -> Any:
    """The specification of a batch whose number of samples is not known."""
    import tensorflow as tf

    return keras.tree.map_structure(
        lambda v: v if v is None else tf.TensorSpec((None, *v.shape[1:]), v.dtype),
        tensors,
    )


def _jax(model: keras.Model, loss: Callable) -> Gradients:
    import jax

    trainable = model.trainable_variables
    others = [(v, v.value) for v in model.non_trainable_variables]

    def loss_of(values: list, batch: tuple) -> Any:
        mapping = [*zip(trainable, values, strict=True), *others]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            return loss(model, *batch)

    compiled = jax.jit(jax.grad(loss_of))  # Operation by operation it takes minutes.

    def gradients(weights: list, *batch: Any) -> list:
        return [np.asarray(g) for g in compiled(_tensors(weights), _tensors(batch))]

    return gradients


def _torch(model: keras.Model, loss: Callable) -> Gradients:
    import torch

    def gradients(weights: list, *batch: Any) -> list:
        _assign(model, weights)
        model.zero_grad()
        with torch.enable_grad():
            loss(model, *_tensors(batch)).backward()
        found = [v.value.grad for v in model.trainable_variables]
        return [g if g is None else g.cpu().numpy().copy() for g in found]

    return gradients
