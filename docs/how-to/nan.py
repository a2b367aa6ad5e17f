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
# # Find where a NaN begins
#
# A NaN spreads within a single step: through the layers that follow, into the loss, and
# back into every gradient. Afterwards everything is NaN, and you cannot look into a
# compiled step. So count what is NaN or infinite in the step itself: in each layer's
# output, in each gradient on the way back, and in the batch.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import textwrap
import warnings

import keras
import numpy as np

import hrcallbacks as hr

warnings.simplefilter("ignore")

# %% [markdown]
# This model takes the logarithm of its inputs, and one number in the data is negative.

# %%
rng = np.random.default_rng(0)
x = rng.uniform(0.5, 2, size=(256, 3)).astype("float32")
x[77, 1] = -0.5
y = x.sum(axis=1, keepdims=True)


class Log(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.log(inputs)


keras.utils.set_random_seed(1)
model = keras.Sequential(
    [
        keras.Input((3,)),
        Log(name="log"),
        keras.layers.Dense(8, activation="tanh", name="hidden"),
        keras.layers.Dense(1, name="head"),
    ]
)
model.compile("adam", loss="mse")

# %% [markdown]
# ## Record what is not finite
#
# `"nonfinite"` is one number for each layer and step. `hr.Alert` warns as soon as there
# is a NaN, stops training, and keeps the batch of that step.

# %%
recorder = hr.GradientRecorder(
    record_freq=1,
    outputs={"*": "nonfinite"},
    output_gradients={"*": "nonfinite"},
    batch={"*": "nonfinite"},
    sinks=[hr.Alert("nan", stop=True, keep_batch=True)],
)
model.fit(x, y, batch_size=32, epochs=2, shuffle=False, verbose=0, callbacks=[recorder])
recording = recorder.recording
recording.diagnose()

# %% [markdown]
# The first cause names the layer and the step. The layer's input was finite, so the
# layer itself made the NaN. The consequences are listed under it.
#
# ## Which samples
#
# The recording has the batch of that step, as it was given to the step:

# %%
(step, *_) = recording.batches
batch = recording.batches[step]
rows = np.flatnonzero((batch["x"] <= 0).any(axis=1))
batch["x"][rows]

# %% [markdown]
# `outputs={"log": "raw", "*": "nonfinite"}` keeps the outputs of that layer whole. Then
# the finding itself names the rows.
#
# ## Step by step
#
# The counts are numbers like any others, one column for each layer:

# %%
counts = recording.statistic("outputs", "nonfinite")
counts.loc[[step - 1, step]]

# %% [markdown]
# ## On the way back
#
# Some NaNs begin not in an output but in the backward pass. The square root of 0 is 0,
# but its derivative is infinite:


# %%
class Root(keras.layers.Layer):
    def call(self, inputs):
        return keras.ops.sqrt(inputs)


model = keras.Sequential(
    [
        keras.Input((3,)),
        keras.layers.Dense(3, kernel_initializer="identity", name="first"),
        Root(name="root"),
        keras.layers.Dense(1, name="head"),
    ]
)
model.compile("sgd", loss="mse")
zeros = np.zeros((64, 3), "float32")
recorder = hr.GradientRecorder(
    record_freq=1,
    outputs={"*": "nonfinite"},
    output_gradients={"*": "nonfinite"},
)
model.fit(zeros, np.ones((64, 1)), epochs=1, verbose=0, callbacks=[recorder])
found = recorder.recording.diagnose("nan_origin")
print(textwrap.fill(found["evidence"].iloc[0], 80))

# %% [markdown]
# ## What it can and cannot say
#
# - It sees only recorded steps: use `record_freq=1`, at least in the part of the run
#   where the NaN appears.
# - Without `batch=`, the finding says that the data may be the cause.
# - Layers in a loop or a scan are out of reach; the layer around them is named.
# - Infinity counts as well. With float16 and a `LossScaleOptimizer`, infinity on the
#   way back is normal now and then: the optimizer skips such a step, and the finding is
#   a note.
#
# [Find out why training fails](diagnose.ipynb) looks for other faults too.
