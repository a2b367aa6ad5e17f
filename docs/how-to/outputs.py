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
# # See inside a layer
#
# `outputs=` records what layers compute in a training step, `output_gradients=` the
# gradients of the loss with respect to it, and `optimizer=` the optimizer's own
# variables. All three come from the step itself, and recording them does not change
# training.
#
# Install: `pip install "hrcallbacks[tensorflow,plot]"`

# %% tags=["setup"]
import keras
import matplotlib.pyplot as plt
import numpy as np

import hrcallbacks as hr

# %% [markdown]
# In this small network two units start dead: their biases are far below zero.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 4))
y = np.sin(x.sum(axis=1, keepdims=True))

keras.utils.set_random_seed(1)
model = keras.Sequential(
    [
        keras.Input((4,)),
        keras.layers.Dense(8, activation="relu", name="hidden"),
        keras.layers.Dense(1, name="head"),
    ],
    name="net",
)
kernel, bias = model.layers[0].get_weights()
model.layers[0].set_weights([kernel, bias - 10 * (np.arange(8) < 2)])
model.compile("adam", loss="mse")

# %% [markdown]
# ## Record
#
# Keys are globs on `Layer.path`, and the first one that matches decides. `"raw"` keeps
# every element, for as many rows as the first batch has. `hr.PerUnit` gives a number
# for each unit or channel.

# %%
recorder = hr.GradientRecorder(
    record_freq=1,
    outputs={"hidden": ["raw", hr.PerUnit("zero_fraction")], "*": "norm"},
    output_gradients={"head": "raw", "*": "norm"},
    optimizer={"*hidden_kernel_velocity": "norm"},
)
model.fit(x, y, batch_size=32, epochs=4, verbose=0, callbacks=[recorder])
recording = recorder.recording
recording

# %% [markdown]
# ## Dead units
#
# This picture shows for what share of each batch a unit gave zero. The two full rows
# are the units that never fire.

# %%
# Figure: The share of zeros of each hidden unit by step, as colours. Two rows are full
# from the first step to the last.
recording.plot.units(layers="*hidden")
plt.show()

# %% [markdown]
# The next one shows how the outputs are distributed over time: nine tenths of them lie
# in the pale band, half of them in the dark one.

# %%
# Figure: Bands of the outputs of the hidden layer by step. All are zero or above.
recording.plot.activations(layers="*hidden")
plt.show()

# %% [markdown]
# The last shows what comes back to each layer from the loss.

# %%
# Figure: Norms of the gradients of both layers' outputs by step, on a logarithmic axis.
recording.plot.backward_flow()
plt.show()

# %% [markdown]
# ## What goes into the activation
#
# A `Dense`, `EinsumDense` or convolution with its own activation has a second name,
# ending in `/preactivation`, for what goes into the activation:

# %%
recording.statistic("outputs", "norm").head(3)

# %% [markdown]
# ## The chain rule, in one line
#
# A dense kernel's gradient is its inputs, transposed, times the gradient of its
# outputs. All three are in the recording:

# %%
inputs = recording.outputs["hidden"]
deltas = recording.output_gradients["head"]
product = np.einsum("tbi,tbo->tio", inputs, deltas)
np.abs(product - recording.gradients["head/kernel"]).max()

# %% [markdown]
# What is left, if anything, is float32 rounding.
#
# ## The optimizer's variables

# %%
velocity = recording.statistic("optimizer", "norm")
velocity.tail(3)

# %% [markdown]
# ## Names, and what cannot be seen
#
# | name | what it is |
# |---|---|
# | `tower` | the output of that layer |
# | `tower#2` | its second call in the same step |
# | `lstm.0`, `encoder.tokens` | one of several outputs |
# | `hidden/preactivation` | what goes into its activation |
#
# `recording.has_output_gradient` says which outputs had a gradient, and
# `recording.output_rows` how many rows each batch had. Layers that run inside a loop, a
# scan or a compiled function of their own (the cell of an LSTM on TensorFlow and JAX)
# are out of reach: `recording.attributes["out_of_reach"]` lists them, and a glob that
# asks for nothing else is rejected before training. So are layers under
# `keras.RematScope`, and models under `tf.distribute` with several replicas. Keras
# masks are ignored: masked positions count in reductions.
#
# A block's glob also takes the layers inside it, because `*` matches `/` too. To have
# the blocks alone, leave these out first: `outputs={"block_*/*": None, "block_*":
# "norm"}`. A norm is over the whole batch, so that of a smaller last batch is smaller;
# a mean is not.
#
# A layer that the training step never calls gives nothing. If a glob matches only such
# layers, a warning says so after the first epoch.
#
# [Find where a NaN begins](nan.ipynb) puts such records to use, and [How gradients
# leave a compiled step](../explanation/capture.ipynb) shows how they are taken.
