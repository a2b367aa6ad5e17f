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
# # Send gradient norms to your logger
#
# `hr.Logs()` puts the norm of the gradients into Keras' logs. Whatever reads those logs
# then has it: `History`, `CSVLogger`, and the Keras callbacks of W&B, MLflow, Aim and
# others. None of them needs to know of this package.

# %% tags=["setup"]
import tempfile

import keras
import numpy as np
import pandas as pd

temporary = tempfile.TemporaryDirectory()
path = f"{temporary.name}/log.csv"

# %%
import hrcallbacks as hr

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
# each variable. Put the recorder *before* the logger: callbacks are called in order.

# %%
csv = keras.callbacks.CSVLogger(path)
history = model.fit(x, y, epochs=3, verbose=0, callbacks=[recorder, csv])
pd.read_csv(path).T

# %% [markdown]
# An epoch's number is the mean over all its steps. In a batch's logs it is that of its
# step, so a logger that writes every batch has every step.
#
# ## Weights & Biases
#
# ```python
# import wandb
# from wandb.integration.keras import WandbMetricsLogger
#
# run = wandb.init(project="gradients", mode="offline")
# log = WandbMetricsLogger(log_freq=1)  # Every step; "epoch" is the default.
# history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# run.finish()
# ```
#
# The charts are called `batch/gradient_norm`, `epoch/gradient_norm/net/hidden/kernel`
# and so on. Without `mode="offline"` they go to the server.
#
# ## MLflow
#
# ```python
# import mlflow
#
# mlflow.set_tracking_uri("sqlite:///mlflow.db")
# with mlflow.start_run() as run:
#     log = mlflow.keras.MlflowCallback()
#     history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# ```
#
# ## Aim
#
# ```python
# from aim.keras import AimCallback
#
# log = AimCallback(repo=".", system_tracking_interval=None)
# history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# log.close()
# ```
#
# ## Trackio, and loggers without a Keras callback
#
# A logger that takes a dict of numbers needs one line:
#
# ```python
# import keras
# import trackio
#
# trackio.init(project="gradients")
# log = keras.callbacks.LambdaCallback(
#     on_epoch_end=lambda epoch, logs: trackio.log(dict(logs), step=epoch)
# )
# history = model.fit(x, y, epochs=3, callbacks=[recorder, log])
# trackio.finish()
# ```
#
# For histograms, or anything else that is recorded, write a sink: see
# [Write a sink](sinks.ipynb).
