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
# `recording.diagnose()` checks a recording against rules, and says what is wrong,
# where, since when, and what to try. Consequences are listed under their cause. Each of
# the four runs below fails in its own way.
#
# Install: `pip install "hrcallbacks[tensorflow,plot]"`

# %% tags=["setup"]
import textwrap
import warnings

import keras
import matplotlib.pyplot as plt
import numpy as np

import hrcallbacks as hr

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))
Dense = keras.layers.Dense


def record(layers, optimizer, x=x, **options):
    """Trains a network of these layers for 200 steps; returns what was recorded."""
    layers = [keras.Input((8,)), *layers, Dense(1, name="head")]
    model = keras.Sequential(layers, name="net")
    model.compile(optimizer, loss="mse")
    recorder = hr.GradientRecorder(record_freq=1, **options)
    model.fit(x, y, batch_size=32, epochs=25, verbose=0, callbacks=[recorder])
    return recorder.recording


# %% [markdown]
# ## The first layers do not learn
#
# This network has eight layers of sigmoid units, each of which passes on a quarter of
# the gradient at most. The picture shows how the gradient *vanishes* from the head to
# the first layer.

# %%
keras.utils.set_random_seed(1)
layers = [Dense(16, "sigmoid", name=f"layer_{n}") for n in range(1, 9)]
recording = record(layers, keras.optimizers.SGD(0.1))
print(recording.diagnose())

# %%
# Figure: Gradient norms of the nine layers over 200 steps, on a logarithmic axis. The
# lines lie in the order of the layers, the head on top, the first layer many powers of
# ten below.
hr.plot.gradient_flow(recording, smooth=8)
plt.show()

# %% [markdown]
# ## The loss rises
#
# The learning rate is too high. The picture shows the size of the updates relative to
# the weights that they change: a thousandth is usual. It leaves the biases out, because
# they start at zero, where such a ratio says little.

# %%
keras.utils.set_random_seed(1)
optimizer = keras.optimizers.SGD(0.2, momentum=0.9)
recording = record([Dense(16, "tanh", name="hidden")], optimizer)
print(recording.diagnose())

# %%
# Figure: Norm of each update over the norm of the weights, for the two kernels, on a
# logarithmic axis. Both lie ten times and more above the dashed line at 0.001, the
# head's some hundred times.
hr.plot.update_ratio(recording, variables="*/kernel", smooth=10)
plt.show()

# %% [markdown]
# ## Some units do nothing
#
# The biases of these ReLU units start below zero. Some units are then active for no
# sample, so they get no gradient and never change: they are *dead*.

# %%
keras.utils.set_random_seed(1)
low = keras.initializers.Constant(-2.0)
layer = Dense(16, "relu", bias_initializer=low, name="hidden")
recording = record([layer], keras.optimizers.SGD(0.05))
print(recording.diagnose())

# %% [markdown]
# In the picture, the row of a dead unit is blank from the step in which it died. A
# linear scale would also leave rows with small gradients blank, though their units are
# alive. `decades=4` makes the scale logarithmic over four powers of ten, so that only
# zeros have the colour of zero. A live unit may have zeros too, in batches that do not
# activate it.

# %%
# Figure: Gradients of the hidden layer's sixteen biases, a row each, over 200 steps, on
# a logarithmic scale. Some rows have the colour of zero throughout, three from some
# step on; every other row has coloured stripes to the end.
hr.plot.heatmap(recording, variables="hidden/bias", decades=4)
plt.show()

# %% [markdown]
# ## The loss is NaN
#
# One sample contains an infinity. The finding says in which step the trouble began.
# [Find where a NaN begins](nan.ipynb) goes further, to the layer and the sample.

# %%
keras.utils.set_random_seed(1)
broken = x.copy()
broken[100, 3] = np.inf
layer = Dense(16, "relu", name="hidden")
recording = record([layer], keras.optimizers.SGD(0.05), broken)
print(recording.diagnose())

# %% [markdown]
# ## While it trains
#
# `hr.Alert` warns once of each finding, as soon as there is one; with `stop=True` it
# also ends the training.

# %%
with warnings.catch_warnings(record=True) as caught:
    layer = Dense(16, "relu", name="hidden")
    optimizer = keras.optimizers.SGD(0.05)
    recording = record([layer], optimizer, broken, sinks=[hr.Alert("nan", stop=True)])
print(textwrap.fill(str(caught[0].message), 80))
print("steps trained:", len(recording))

# %% [markdown]
# You can choose rules and their thresholds: `recording.diagnose(["nan",
# hr.diagnose.DeadUnits(min_records=50)])`. Under "Could not look", the output lists the
# rules that lacked something, and what.
#
# [Every rule of the diagnosis](../explanation/rules.ipynb) shows each rule at work; the
# [benchmark](../explanation/diagnosis_benchmark.ipynb) says how often they are right.
# To look at a run yourself, [open it in a browser](report.ipynb).
