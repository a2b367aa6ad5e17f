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
# # Use JAX or PyTorch
#
# The recorder is the same on each of Keras' backends, and so is your code. This page
# runs on JAX, which has to be chosen before Keras is imported.
#
# Install: `pip install "hrcallbacks[jax]"`

# %%
import os

os.environ["KERAS_BACKEND"] = "jax"  # Or "torch", or "tensorflow".

import keras
import numpy as np
import pandas as pd

import hrcallbacks as hr
from hrcallbacks.worked_example.backprop import mse_gradients

print(keras.config.backend())

# %% [markdown]
# ## Switch
#
# - Install the backend, `"hrcallbacks[jax]"` or `"hrcallbacks[torch]"`.
# - Before `import keras`: `os.environ["KERAS_BACKEND"] = "jax"`. Or, for a whole run,
#   `KERAS_BACKEND=jax python train.py`; or, for good, `"backend": "jax"` in
#   `~/.keras/keras.json`.
#
# ## Record
#
# A network of one input, six ReLU units and one output, five epochs of four steps.

# %%
x = np.linspace(-1, 1, 64, dtype="float32")[:, np.newaxis]
y = np.sin(3 * x)

keras.utils.set_random_seed(1)
model = keras.Sequential(name="net")
model.add(keras.Input((1,)))
model.add(keras.layers.Dense(6, activation="relu", name="hidden"))
model.add(keras.layers.Dense(1, name="output"))
model.compile(keras.optimizers.Adam(0.05), loss="mse")

recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
model.fit(x, y, batch_size=16, epochs=5, shuffle=False, callbacks=[recorder], verbose=0)
recording = recorder.recording
print(len(recording), "records")

# %% [markdown]
# ## The same numbers
#
# The gradients of such a network are known in closed form: `mse_gradients` computes
# them with NumPy in float64, from the weights before each step and the batch of that
# step. What JAX handed to the optimizer differs from them by float32 rounding alone.

# %%
expected = []
for t, batch in enumerate(recording.index["batch"]):
    rows = slice(16 * (batch - 1), 16 * batch)
    before = [weights[t] for weights in recording.weights.values()]
    expected.append(mse_gradients(before, x[rows], y[rows]))

table = pd.DataFrame(index=recording.paths)
for path, gradients in zip(recording.paths, zip(*expected, strict=True), strict=True):
    recorded = recording.gradients[path]
    table.loc[path, "largest gradient"] = np.abs(recorded).max()
    table.loc[path, "largest difference"] = np.abs(recorded - gradients).max()
table

# %%
print(recording.replay())

# %% [markdown]
# The project's tests run on TensorFlow, JAX and PyTorch alike. A recording says which
# backend made it, and can be read without any:

# %%
print(recording.attributes["backend"])

# %% [markdown]
# With `jit_compile=True` PyTorch compiles a `train_step` for a limited number of models
# (`torch._dynamo.config.recompile_limit`), recorded steps among them, and runs those
# after them line by line, which rounds in another way. In a process that trains many,
# call `torch.compiler.reset()` before each.
#
# To train on more than one device, see [Record on several devices](devices.ipynb).
