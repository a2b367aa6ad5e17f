"""Gradients of the training loss by the backend's own autodiff: no line of the package.

For a model, weights and a batch: what `model.fit` has to hand to its optimizer.
"""

import keras
import numpy as np


def gradients(model, weights, x, y, sample_weight=None):
    """Gradients with respect to the trainable variables, in their order.

    Args:
        model: A compiled model; its weights are replaced.
        weights: The trainable variables' values.
        x: Inputs of one batch.
        y: Targets.
        sample_weight: Weights of the samples, or None.

    Returns:
        A list of arrays, None where the loss does not depend on a variable.
    """
    for variable, value in zip(model.trainable_variables, weights, strict=True):
        variable.assign(value)
    by_backend = {"tensorflow": _tensorflow, "jax": _jax, "torch": _torch}
    return by_backend[keras.config.backend()](model, x, y, sample_weight)


def _loss(model, x, y, sample_weight):
    y_pred = model(x, training=True)
    return model.compute_loss(x, y, y_pred, sample_weight, training=True)


def _tensors(*values):
    return [
        keras.tree.map_structure(keras.ops.convert_to_tensor, v)
        if v is not None
        else None
        for v in values
    ]


def _tensorflow(model, x, y, sample_weight):
    import tensorflow as tf

    x, y, sample_weight = _tensors(x, y, sample_weight)
    with tf.GradientTape() as tape:
        loss = _loss(model, x, y, sample_weight)
    found = tape.gradient(loss, model.trainable_variables)
    return [g if g is None else tf.convert_to_tensor(g).numpy() for g in found]


def _jax(model, x, y, sample_weight):
    import jax

    x, y, sample_weight = _tensors(x, y, sample_weight)
    trainable = model.trainable_variables
    others = [(v, v.value) for v in model.non_trainable_variables]

    def loss_of(values):
        mapping = [*zip(trainable, values, strict=True), *others]
        with keras.StatelessScope(state_mapping=mapping, collect_losses=True):
            return _loss(model, x, y, sample_weight)

    return [np.asarray(g) for g in jax.grad(loss_of)([v.value for v in trainable])]


def _torch(model, x, y, sample_weight):
    x, y, sample_weight = _tensors(x, y, sample_weight)
    model.zero_grad()
    _loss(model, x, y, sample_weight).backward()
    found = [v.value.grad for v in model.trainable_variables]
    return [g if g is None else g.cpu().numpy() for g in found]
