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
# # See the gradients that trained your model
#
# hrcallbacks is a callback for [Keras](https://keras.io) 3. It records every weight and
# every **true training gradient** of `model.fit`: exactly what the optimizer received,
# not recomputed. It works on TensorFlow, JAX and PyTorch, and does not change training.
#
# ```bash
# pip install "hrcallbacks[tensorflow,plot]"
# ```
#
# Paste this. The data come with the package.

# %%
import keras

import hrcallbacks as hr

keras.utils.set_random_seed(1453)
x, y = hr.training_data(seed=1453)  # 10,000 stars: luminosity and temperature.
Dense = keras.layers.Dense
layers = Dense(6, "relu", name="hidden"), Dense(1, name="output")
model = keras.Sequential([keras.Input((1,)), *layers])
model.compile(keras.optimizers.Adam(0.1), loss="mse")

recorder = hr.GradientRecorder(record_freq=1)  # Every step.
model.fit(x, y, batch_size=len(x), epochs=10, verbose=0, callbacks=[recorder])
print(recorder.recording.gradients["hidden/kernel"][0])  # Of the first step.

# %% [markdown]
# These are the gradients of the hidden layer's six weights in the first step. They are
# those of TensorFlow: other backends draw other initial weights from the same seed. The
# recording has every step and every weight, here in motion:

# %%
# Figure: The network that was just trained, one frame for each of ten steps: one input,
# six hidden units, one output. The width and colour of each line show a weight, the
# triangle on it the gradient. Units whose gradients are all zero turn grey. Widths and
# sizes keep one scale throughout, so that frames can be compared.
animation = hr.plot.network_animation(recorder.recording)
hr.plot.save_animation(animation, "network.gif")
animation

# %% [markdown]
# ## Whom it is for
#
# - **You learn or teach back-propagation.** [Twelve equations](tutorials/derivation.ipynb)
#   are checked against a step of `fit`, and [two tables](tutorials/tables.ipynb) show
#   every weight and gradient of a small network.
# - **Your training misbehaves.** `recording.diagnose()`
#   [finds](how-to/diagnose.ipynb) vanishing and exploding gradients, dead ReLU units,
#   NaN, and a learning rate that is too high.
# - **You study training.** Record [every step on disk](how-to/large_models.ipynb), or
#   [the part that you choose](how-to/choose.ipynb). [This is what it
#   costs](explanation/cost.ipynb).
#
# ## If you use something else today
#
# | You use | What it shows | Here |
# |---|---|---|
# | `write_grads=True`, removed in TensorFlow 2 | gradients computed again, on validation data | the gradients of training: [coming from `write_grads`](how-to/write_grads.ipynb) |
# | Keras' `TensorBoard` callback | weights, no gradients | `hr.TensorBoard` [adds the gradients](how-to/to_tensorboard.ipynb) beside them |
# | W&B's old `WandbCallback(log_gradients=True)` | gradients computed again, after the epoch | the norms of the same step: `hr.Logs()` [sends them to W&B](how-to/loggers.ipynb) |
# | a `GradientTape` in a `train_step` of your own | whatever you write | [keep your `train_step`](how-to/custom_steps.ipynb), add the callback |
#
# [Other tools that record gradients](explanation/comparison.md) has the rest, with
# sources.
#
# ## Check it yourself
#
# If the recorded gradients are what trained the model, then the same optimizer, given
# them again, must arrive at the recorded weights:

# %%
print(recorder.recording.replay())

# %% [markdown]
# ## Where to go next
#
# - Learn [back-propagation by hand](tutorials/derivation.ipynb), the first tutorial.
# - [Find out why training fails](how-to/diagnose.ipynb), look at a run [in a
#   browser](how-to/report.ipynb), or [compare many runs](how-to/runs.ipynb).
# - Record [a CNN](how-to/cnn.ipynb), on [JAX or PyTorch](how-to/backends.ipynb), on
#   [several devices](how-to/devices.ipynb), [in mixed
#   precision](how-to/mixed_precision.ipynb), [in a notebook](how-to/notebook.ipynb), or
#   [outside `fit`](how-to/outside_fit.ipynb).
# - Read [which gradient is recorded](explanation/which_gradient.ipynb), and [why training
#   stays the same](explanation/unchanged.ipynb).
# - Look up [every class and function](reference/recorder.md), [every
#   plot](reference/plots.ipynb), [the command line](reference/command_line.ipynb), or
#   [an error or warning](faq.ipynb).
#
# The bundled stars are *reconstructed*: synthetic stars, solved from two published
# tables. [The stars](tutorials/stars.ipynb) says what they can show.
# `hr.download_catalog` fetches observed ones: [Gaia
# DR2](https://www.cosmos.esa.int/web/gaia/dr2), from [VizieR
# I/345](https://cdsarc.cds.unistra.fr/viz-bin/cat/I/345).
