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
# # Find out why training fails
#
# `recording.diagnose()` looks at a recording with rules, and says what is wrong, where,
# since when, and what to try. Each of the four runs below fails in a way of its own.

# %% tags=["setup"]
import keras
import matplotlib.pyplot as plt
import numpy as np

import hrcallbacks as hr

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))


def record(layers, optimizer, x=x):
    """Trains a network of these layers for 200 steps; returns what was recorded."""
    model = keras.Sequential([keras.Input((8,)), *layers, keras.layers.Dense(1)])
    model.compile(optimizer, loss="mse")
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, y, batch_size=32, epochs=25, verbose=0, callbacks=[recorder])
    return recorder.recording


def dense(units, activation, **options):
    """A layer, its first weights always the same."""
    return keras.layers.Dense(units, activation=activation, **options)


# %% [markdown]
# ## The first layers do not learn
#
# Eight layers of sigmoid units. Each takes less than a quarter of the gradient down to
# the layer before it.

# %%
keras.utils.set_random_seed(1)
recording = record([dense(16, "sigmoid") for _ in range(8)], keras.optimizers.SGD(0.1))
print(recording.diagnose())

# %%
# Figure: Gradient norms of the nine layers over 200 steps, on a logarithmic axis. The
# lines lie in the order of the layers, the last on top, the first many powers of ten
# below.
hr.plot.gradient_flow(recording)
plt.show()

# %% [markdown]
# ## The loss jumps
#
# A learning rate that is too high: the updates are large against the weights.

# %%
keras.utils.set_random_seed(1)
recording = record([dense(16, "relu")], keras.optimizers.Adam(3.0))
print(recording.diagnose())

# %%
# Figure: Norm of the update over the norm of the weights, for each variable.
hr.plot.update_ratio(recording)
plt.show()

# %% [markdown]
# ## The loss stays where it is
#
# ReLU units whose biases start far below zero: nothing makes most of them active.

# %%
keras.utils.set_random_seed(1)
layer = dense(16, "relu", bias_initializer=keras.initializers.Constant(-3.0))
recording = record([layer], keras.optimizers.SGD(0.05))
print(recording.diagnose())

# %%
# Figure: heat.
hr.plot.heatmap(recording, variables="dense*/bias")
plt.show()

# %% [markdown]
# ## NaN
#
# One sample has an infinity in it.

# %%
keras.utils.set_random_seed(1)
broken = x.copy()
broken[100, 3] = np.inf
recording = record([dense(16, "relu")], keras.optimizers.SGD(0.05), broken)
print(recording.diagnose())

# %%
recording.index.head()
