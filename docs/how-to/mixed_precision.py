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
# # Mixed precision, accumulation and clipping
#
# On its way from the loss to the weights, a gradient can be scaled, clipped, or
# accumulated over several steps. The recorder keeps what the optimizer is given,
# unscaled, before it clips, accumulates or decays; [Which gradient is
# recorded?](../explanation/which_gradient.ipynb) says why. Here each case is checked
# against a gradient tape written by hand.
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
x = rng.normal(size=(32, 4)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))


def new_model(dtype="float32"):
    """A small network, its first weights always the same."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(name="net")
    model.add(keras.Input((4,)))
    model.add(keras.layers.Dense(8, activation="relu", name="hidden", dtype=dtype))
    model.add(keras.layers.Dense(1, name="head", dtype=dtype))
    return model


def record(model, optimizer, batch_size=32):
    """Records eight epochs; by default one step takes all samples."""
    model.compile(optimizer, loss="mse")
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(x, y, batch_size=batch_size, epochs=8, verbose=0, callbacks=[recorder])
    return recorder.recording


def by_hand(model, scale=1.0):
    """The gradient of the first kernel, from a tape; the loss is scaled."""
    with tf.GradientTape() as tape:
        loss = scale * tf.reduce_mean((y - tf.cast(model(x), "float32")) ** 2)
    return tape.gradient(loss, model.layers[0].kernel.value).numpy()


# %% [markdown]
# ## Mixed precision
#
# Under a `LossScaleOptimizer`, which Keras uses with `mixed_float16`, the loss is
# multiplied by a large number before the gradient is taken, so that float16 can hold
# it. The recorded gradient is divided by that number again. It equals the tape's
# gradient of the scaled loss divided by the scale, and is close to that of a float32
# network.

# %%
scale = 2.0**15
optimizer = keras.optimizers.LossScaleOptimizer(
    keras.optimizers.Adam(), initial_scale=scale
)
model = new_model("mixed_float16")
scaled = by_hand(model, scale)
recorded = record(model, optimizer).gradients["hidden/kernel"][0]

print("recorded:             ", recorded[0, :3])
print("tape, scaled loss:    ", scaled[0, :3])
print("that, unscaled:       ", scaled[0, :3] / scale)
print("tape, all in float32: ", by_hand(new_model())[0, :3])
print("largest difference to the unscaled:", np.abs(recorded - scaled / scale).max())

# %% [markdown]
# Where the scale is too large, a gradient overflows: the optimizer skips that step and
# halves the scale. The step is recorded as it was, with NaN or infinity in some
# variable, and the weights stay the same.

# %%
optimizer = keras.optimizers.LossScaleOptimizer(
    keras.optimizers.Adam(), initial_scale=2.0**20
)
recording = record(new_model("mixed_float16"), optimizer)
moves = np.diff(recording.weights["hidden/kernel"], axis=0)
pd.DataFrame(
    {
        "not finite": recording.has_nonfinite.any(axis=1).to_numpy()[:-1],
        "norm of the update": np.linalg.norm(moves, axis=(1, 2)),
    },
    index=recording.index.set_index("step").index[:-1],
)

# %% [markdown]
# ## Accumulation
#
# With `gradient_accumulation_steps=4` the weights move at every fourth step. Each
# step's own gradient is recorded; the update uses the mean of four.

# %%
optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
recording = record(new_model(), optimizer, batch_size=8)
weights = recording.weights["hidden/kernel"]
gradients = recording.gradients["hidden/kernel"]

pd.DataFrame(
    {
        "norm of the gradient": np.linalg.norm(gradients[:-1], axis=(1, 2)),
        "norm of the update": np.linalg.norm(np.diff(weights, axis=0), axis=(1, 2)),
    },
    index=recording.index.set_index("step").index[:-1],
).head(9)

# %%
update = weights[4] - weights[0]
difference = update + 0.1 * gradients[:4].mean(axis=0)
print("largest difference:", np.abs(difference).max())

# %% [markdown]
# ## Clipping
#
# The recorded gradient is the one before clipping, so it shows how much was clipped.
# The clipped one shows in how far the weights moved.

# %%
recording = record(new_model(), keras.optimizers.SGD(0.1, clipnorm=0.5))
gradient = recording.gradients["hidden/kernel"][0]
weights = recording.weights["hidden/kernel"]

print("norm, recorded:       ", np.linalg.norm(gradient))
print("norm, by hand:        ", np.linalg.norm(by_hand(new_model())))
print("norm of update / rate:", np.linalg.norm(weights[1] - weights[0]) / 0.1)

# %% [markdown]
# ## The proof
#
# With every step recorded, `replay` gives the recorded gradients to the same optimizer
# again, with scaling, accumulation and clipping, and says how far the resulting weights
# are from the recorded ones.

# %%
optimizer = keras.optimizers.AdamW(
    0.01, weight_decay=0.1, global_clipnorm=0.5, gradient_accumulation_steps=2
)
print(record(new_model(), optimizer).replay())
