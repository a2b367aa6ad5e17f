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
# # Choose what to record, and when
#
# Arguments of `GradientRecorder` select the variables, the steps, and how much is kept
# of each tensor. They are checked before the first step, and an error lists what you
# can choose from.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import textwrap

import keras
import numpy as np

import hrcallbacks as hr

# %% [markdown]
# Here is a small network to try them on, with 16 steps in each of 4 epochs.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8))
y = np.sin(x.sum(axis=1, keepdims=True))


def record(variables=None, **options):
    """Trains a new model; returns what a recorder with these arguments saw."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(name="net")
    model.add(keras.Input((8,)))
    model.add(keras.layers.Dense(16, activation="relu", name="first"))
    model.add(keras.layers.Dense(16, activation="relu", name="second"))
    model.add(keras.layers.Dense(1, name="head"))
    model.compile(keras.optimizers.SGD(0.1), loss="mse")
    recorder = hr.GradientRecorder(variables, **options)
    model.fit(x, y, batch_size=16, epochs=4, verbose=0, callbacks=[recorder])
    return recorder.recording


# %% [markdown]
# ## Which variables
#
# A glob on `Variable.path`, a list of globs, or a function of a variable. A glob may
# leave out the front of a path; `*` also matches `/`. `[v.path for v in
# model.trainable_variables]` lists the paths. Those of a KerasHub model, BERT for
# example, begin with the block, as in `transformer_layer_0/`, not with the backbone.

# %%
for variables in ("*/kernel", ["first/*", "head/*"], lambda v: len(v.shape) == 1):
    print(record(variables).paths)

# %% [markdown]
# A glob that matches nothing is refused. The message lists the model's paths, and
# suggests a glob that would match.

# %%
try:
    record("frist/*")
except ValueError as error:
    print(textwrap.fill(str(error), 72))

# %% [markdown]
# ## Which steps
#
# Steps count from 1 over the whole run. `"epoch"`, the default, records the last step
# of each epoch; an int n records every n-th step. The early steps often tell the most:
# `hr.log_spaced` takes many of them and few of the later ones.

# %%
cadences = {
    '"epoch"': "epoch",
    "10": 10,
    "hr.every(8, start=20, stop=50)": hr.every(8, start=20, stop=50),
    "hr.log_spaced(per_decade=5)": hr.log_spaced(per_decade=5),
    "hr.at([1, 2, 60])": hr.at([1, 2, 60]),
    "lambda step: step > 61": lambda step: step > 61,
}
for text, record_freq in cadences.items():
    steps = record(record_freq=record_freq).index["step"].tolist()
    print(f"{text:31} {steps}")

# %% [markdown]
# ## Weights before or after the update
#
# A record holds the weights `"after"` the update that its gradient made, unless you
# pass `weights_at="before"`. With plain SGD the two differ by the learning rate times
# the gradient:

# %%
before = record(record_freq=1, weights_at="before")
after = record(record_freq=1)
path = "net/head/kernel"
made = before.weights[path] - 0.1 * before.gradients[path]
print("largest difference:", np.abs(made - after.weights[path]).max())

# %% [markdown]
# ## How much of each tensor
#
# `"raw"`, the default, keeps every element. A *reduction*, such as `"norm"`, is
# computed inside the training step, so that only its small result leaves the device. In
# a dict, the first glob that matches decides, and None leaves a variable out. You can
# also pass a function of your own, written with `keras.ops`.


# %%
def l1(tensor):
    """Sum of the magnitudes."""
    return keras.ops.sum(keras.ops.abs(tensor))


recording = record(
    record_freq=16,
    gradients={"head/*": "raw", "*/kernel": ["norm", "zero_fraction", l1], "*": None},
    weights={"*/kernel": "update_ratio", "*": None},
)
recording

# %%
recording.statistic("gradients", "l1")

# %% [markdown]
# `update_ratio` is the norm of the step's update over that of the weights.

# %%
recording.statistic("weights", "update_ratio")

# %% [markdown]
# ## The mean gradient of an epoch
#
# One batch's gradient is noisy. `epoch_gradient="mean"` records only the mean over the
# steps of each epoch. It equals the mean of what `record_freq=1` records:

# %%
mean = record(epoch_gradient="mean").gradients["head/kernel"]
every = record(record_freq=1).gradients["head/kernel"]
difference = mean - every.reshape(4, 16, 16, 1).mean(axis=1)
print("largest difference:", np.abs(difference).max())

# %% [markdown]
# [See inside a layer](outputs.ipynb) records what layers compute as well, and [Record
# large models, or to disk](large_models.ipynb) is for records that do not fit in
# memory.
