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
# # Send gradients to TensorBoard
#
# TensorBoard can show gradients and weights while a run goes on, or from a recording
# afterwards. Tags and steps are those of Keras' own `TensorBoard` callback, so both
# show side by side. `hr.TensorBoard` itself needs no TensorFlow.
#
# Install: `pip install "hrcallbacks[tensorflow,tensorboard,zarr]"`

# %% tags=["setup"]
import subprocess
import sys
import tempfile
from pathlib import Path

import keras
import numpy as np
import pandas as pd
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.util.tensor_util import make_ndarray

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8))
y = np.sin(x.sum(axis=1, keepdims=True))

keras.utils.set_random_seed(1)
model = keras.Sequential(name="net")
model.add(keras.Input((8,)))
model.add(keras.layers.Dense(16, activation="relu", name="hidden"))
model.add(keras.layers.Dense(1, name="head"))
model.compile("adam", loss="mse")

# %% [markdown]
# ## While it trains
#
# `hr.TensorBoard` takes a folder of its own. Point TensorBoard at the one above it,
# `tensorboard --logdir logs`, and it shows the records as they come.

# %%
logs = folder / "logs"
recorder = hr.GradientRecorder(
    record_freq=4,
    store=folder / "run.zarr",
    sinks=[hr.TensorBoard(logs / "live")],
)
model.fit(x, y, epochs=5, verbose=0, callbacks=[recorder])
print(recorder)

# %% [markdown]
# ## From a recording
#
# `hr.to_tensorboard` writes what a recording holds, in memory or on disk.

# %%
recording = hr.open_recording(folder / "run.zarr")
hr.to_tensorboard(recording, logs / "afterwards")

# %% [markdown]
# ## What is there
#
# TensorBoard's own reader finds a histogram of each weight and gradient, and the norms.

# %%
events = EventAccumulator(str(logs / "afterwards" / "train")).Reload()
print(*events.Tags()["tensors"], sep="\n")

# %% [markdown]
# The numbers are those of the recording, and were the same while it trained:


# %%
def numbers(name):
    """The gradient norms of a kernel that TensorBoard shows, by step."""
    events = EventAccumulator(str(logs / name / "train")).Reload()
    found = events.Tensors("net/hidden/kernel/gradients/norm")
    return {e.step: make_ndarray(e.tensor_proto).item() for e in found}


pd.DataFrame(
    {
        "recorded": recording.statistic("gradients", "norm")["net/hidden/kernel"],
        "afterwards": numbers("afterwards"),
        "live": numbers("live"),
    }
).rename_axis("step").tail()

# %% [markdown]
# ## From the shell
#
# Without TensorBoard, one line shows what is in a store, even while the run goes on and
# on a machine without Keras: `hrcallbacks show run.zarr`.

# %%
command = [sys.executable, "-m", "hrcallbacks", "show", "run.zarr"]
shown = subprocess.run(command, cwd=folder, capture_output=True, text=True, check=True)
print(shown.stdout)

# %% [markdown]
# `hrcallbacks plot run.zarr --what gradient_flow` draws a picture, and `hrcallbacks
# table run.zarr` writes every number as CSV, LaTeX or Markdown. For W&B, MLflow and
# others, see [Send gradients to W&B, MLflow, CSV](loggers.ipynb).
