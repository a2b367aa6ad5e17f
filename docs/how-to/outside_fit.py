# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # Record outside `fit`
#
# `with recorder.attached(model):` records `train_on_batch` and loops that you write by
# hand.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import hrcallbacks as hr

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))
batches = [(x[i : i + 32], y[i : i + 32]) for i in range(0, 256, 32)]


def new_model():
    """A small network, its first weights always the same."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(name="net")
    model.add(keras.Input((8,)))
    model.add(keras.layers.Dense(16, activation="relu", name="hidden"))
    model.add(keras.layers.Dense(1, name="head"))
    return model


# %% [markdown]
# ## `train_on_batch`
#
# Each call is a step; the block is one epoch.

# %%
model = new_model()
model.compile(keras.optimizers.SGD(0.1), loss="mse")
recorder = hr.GradientRecorder(record_freq=1)
with recorder.attached(model):
    for batch in batches:
        model.train_on_batch(*batch)

by_batch = recorder.recording
by_batch.index

# %% [markdown]
# ## A loop written by hand
#
# Each call of an optimizer's `apply` is a step. If the model does not hold the
# optimizer, pass it after the model. Here TensorFlow's tape computes the gradients, so
# that they can be compared with what was recorded.

# %%
model = new_model()
optimizer = keras.optimizers.SGD(0.1)
recorder = hr.GradientRecorder(record_freq=1)
from_tape = []
with recorder.attached(model, optimizer):
    for x_batch, y_batch in batches:
        with tf.GradientTape() as tape:
            loss = keras.ops.mean((model(x_batch) - y_batch) ** 2)
        gradients = tape.gradient(loss, model.trainable_weights)
        from_tape.append(gradients)
        optimizer.apply(gradients, model.trainable_weights)

by_hand = recorder.recording
by_hand.index.tail(3)

# %% [markdown]
# `loss` stays empty, because nothing tells the recorder which number it is. These are
# the largest differences from the tape's gradients, and from those of `train_on_batch`:

# %%
table = pd.DataFrame(index=by_hand.paths)
for path, gradients in zip(by_hand.paths, zip(*from_tape, strict=True), strict=True):
    recorded = by_hand.gradients[path]
    table.loc[path, "to the tape's"] = np.abs(recorded - np.array(gradients)).max()
    difference = np.abs(recorded - by_batch.gradients[path]).max()
    table.loc[path, "to train_on_batch's"] = difference
table

# %% [markdown]
# ## Compiled functions
#
# Call `optimizer.apply` eagerly. Inside your own `tf.function` or `jax.jit`, what the
# optimizer is given is out of reach; the recorder warns, and training goes on.
# `train_on_batch` and `fit` are compiled, and recorded all the same. If your loop can
# be a `train_step`, see [GANs, and a `train_step` of your own](custom_steps.ipynb).
