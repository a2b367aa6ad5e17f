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
# # Send gradients to W&B, MLflow, CSV
#
# `hr.Logs()` adds the norm of the gradients to Keras' logs. Everything that reads those
# logs then has it: the progress bar, `History`, `CSVLogger`, `EarlyStopping`, and the
# Keras callbacks of W&B, MLflow and others.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import tempfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
path = Path(temporary.name, "log.csv")

# %%
keras.utils.set_random_seed(1)
model = keras.Sequential(name="net")
model.add(keras.Input((3,)))
model.add(keras.layers.Dense(4, activation="relu", name="hidden"))
model.add(keras.layers.Dense(1, name="head"))
model.compile("adam", loss="mse")
x = np.random.default_rng(0).normal(size=(64, 3))
y = x.sum(axis=1, keepdims=True)

recorder = hr.GradientRecorder(
    gradients="norm", weights=None, sinks=[hr.Logs(by="variable")]
)

# %% [markdown]
# `gradient_norm` is the norm of all gradients together. `by="variable"` adds one for
# each variable.
#
# ## CSV
#
# Put the recorder *before* the logger, because Keras calls callbacks in order.

# %%
log = keras.callbacks.CSVLogger(path)
history = model.fit(x, y, epochs=3, verbose=0, callbacks=[recorder, log])
pd.read_csv(path).dropna(axis="columns").T

# %% [markdown]
# (Keras also writes `val_` columns, which are empty without validation data and left
# out here.)
#
# An epoch's number is the mean over all its steps, whether they are recorded or not. A
# batch's logs have the norm of that step, so a logger that writes every batch has every
# step.
#
# The code below is not run here. It continues the code above, and needs the logger that
# it imports.
#
# ## Weights & Biases
#
# ```python
# import wandb  # pip install wandb
# from wandb.integration.keras import WandbMetricsLogger
#
# run = wandb.init(project="gradients", mode="offline")
# log = WandbMetricsLogger(log_freq=1)  # Every step; "epoch" is the default.
# history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# run.finish()
# ```
#
# The charts are called `batch/gradient_norm`, `epoch/gradient_norm/net/hidden/kernel`
# and so on. Leave out `mode="offline"` to send them to the server.
#
# ## MLflow
#
# ```python
# import mlflow  # pip install mlflow
#
# mlflow.set_tracking_uri("sqlite:///mlflow.db")
# with mlflow.start_run():
#     log = mlflow.keras.MlflowCallback()
#     history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# ```
#
# ## Loggers without a Keras callback
#
# If a logger takes a dict of numbers, one line is enough, as here for Trackio:
#
# ```python
# import trackio  # pip install trackio
#
# trackio.init(project="gradients")
# log = keras.callbacks.LambdaCallback(
#     on_epoch_end=lambda epoch, logs: trackio.log(dict(logs), step=epoch)
# )
# history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# trackio.finish()
# ```
#
# ## Histograms
#
# `hr.Tracker` sends each record as it is made: its numbers, and a histogram of what was
# recorded raw or as an `hr.Histogram`. W&B and Trackio have a class for histograms;
# MLflow has none.
#
# ```python
# import wandb
#
# run = wandb.init(project="gradients", mode="offline")
# run.define_metric("gradients/*", step_metric="recorded_step")
# recorder = hr.GradientRecorder(
#     gradients=["norm", hr.Histogram()],
#     weights=None,
#     record_freq=1,
#     sinks=[hr.Tracker(run.log, histogram=wandb.Histogram)],
# )
# history = model.fit(x, y, epochs=3, callbacks=[recorder])
# run.finish()
# ```
#
# The charts are called `gradients/norm/net/hidden/kernel` and
# `gradients/histogram/net/hidden/kernel`. With Trackio:
#
# ```python
# import trackio
#
# run = trackio.init(project="gradients")
# recorder = hr.GradientRecorder(
#     weights=None,
#     record_freq=1,
#     sinks=[hr.Tracker(run.log, histogram=trackio.Histogram)],
# )
# history = model.fit(x, y, epochs=3, callbacks=[recorder])
# trackio.finish()
# ```
#
# To send anything else that is recorded, [write a sink](sinks.ipynb). [TensorBoard has
# one](to_tensorboard.ipynb).
