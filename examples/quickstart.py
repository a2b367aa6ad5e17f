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
# # hrcallbacks
#
# A Keras callback that records every weight and every **true training gradient** of
# `model.fit`: the gradient that the optimizer was given in that very step, not a second
# computation of it. Training is not changed by it. It works on Keras' TensorFlow, JAX
# and PyTorch backends.

# %% tags=["picture"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import matplotlib.pyplot as plt
import numpy as np

import hrcallbacks as hr

# %% tags=["picture"]
# Figure: The worked example, a network of one input, six hidden units and one output,
# after its second step. Width and colour of an edge show its weight, triangles its
# gradient; two hidden units are grey, for they never had a gradient.
keras.utils.set_random_seed(1453)
stars = keras.Sequential(
    [
        keras.Input((1,)),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(1, name="output"),
    ]
)
stars.set_weights(hr.load_initial_weights(0.1))
stars.compile(keras.optimizers.Adam(0.1), loss="mse")
watcher = hr.GradientRecorder()
x, y = hr.training_data(seed=1453)
stars.fit(x, y, batch_size=len(x), epochs=10, verbose=0, callbacks=[watcher])
hr.plot.network(watcher.recording, record=1)
plt.show()

# %% [markdown]
# ## Install
#
# ```bash
# pip install "hrcallbacks[tensorflow,plot]"
# ```
#
# or with `jax` or `torch` in place of `tensorflow`.
#
# ## Use
#
# Add a `GradientRecorder` to the callbacks of your `fit`. Here is a line to be learned:

# %%
x = np.linspace(0, 1, 256)[:, np.newaxis]
model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="line")])
model.compile("sgd", loss="mse")

recorder = hr.GradientRecorder(record_freq=1)  # Every step; "epoch" is the default.
model.fit(x, 2 * x, epochs=3, verbose=0, callbacks=[recorder])

recording = recorder.recording
recording

# %% [markdown]
# Gradients and weights are arrays by path, one row a step:

# %%
recording.gradients["line/kernel"].shape

# %% [markdown]
# and tables, with the loss of each batch:

# %%
recording.to_frame().head()

# %% [markdown]
# and pictures:

# %%
# Figure: The norm of the layer's gradient over 24 steps. It goes up and down from batch
# to batch, and falls as training goes on.
hr.plot.gradient_flow(recording)
plt.show()

# %% [markdown]
# Was that really what trained the model? Given to the same optimizer again, the
# recorded gradients make the recorded weights:

# %%
recording.replay()

# %% [markdown]
# ## Where to go from here
#
# - **To understand back-propagation**: [twelve equations](tutorials/derivation.ipynb),
#   each computed for a star and checked against `fit`; then
#   [two tables](tutorials/tables.ipynb) of every weight and gradient, reproduced.
# - **Training fails?** [Find out why](how-to/diagnose.ipynb).
# - **A large model, a long run?** [Reductions and stores](how-to/large_models.ipynb),
#   and [what recording costs](explanation/cost.ipynb).
# - **What is it that is recorded?**
#   [Which gradient](explanation/which_gradient.ipynb), and
#   [why observing changes nothing](explanation/unchanged.ipynb).
# - **All of it**: the [reference](reference/recorder.md).
