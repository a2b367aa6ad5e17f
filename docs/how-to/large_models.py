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
# # Record large models, or to disk
#
# Every gradient of every step soon exceeds memory. Record less of each tensor, or let
# the recorder write to disk while `fit` runs.
#
# Install: `pip install "hrcallbacks[tensorflow,zarr,xarray,parquet]"`

# %% tags=["setup"]
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(640, 32)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))


def new_model():
    """A network of some 50,000 weights, its first ones always the same."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(name="net")
    model.add(keras.Input((32,)))
    for n in range(3):
        model.add(keras.layers.Dense(150, activation="relu", name=f"hidden_{n}"))
    model.add(keras.layers.Dense(1, name="head"))
    model.compile("adam", loss="mse")
    return model


model = new_model()
print(f"{model.count_params():,} weights")

# %% [markdown]
# ## What does not fit is refused before it starts
#
# In memory a recording may take `max_bytes`, 2 GiB by default. What would take more is
# refused before the first step, and the error says what would fit.

# %%
try:
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, y, epochs=1000, verbose=0, callbacks=[recorder])
except ValueError as error:
    print(textwrap.fill(str(error), 72))

# %% [markdown]
# ## Record less of each tensor
#
# Reductions are computed inside the training step, and only their results are kept.
# Here these are three norms and ratios for each variable, and for each kernel also
# counts of the magnitudes and a hundred elements, the same ones in every step.

# %%
recorder = hr.GradientRecorder(
    record_freq=1,
    gradients={
        "*/kernel": ["norm", hr.Histogram(bins=32), hr.Sample(100)],
        "*": "norm",
    },
    weights=["norm", "update_ratio"],
)
model.fit(x, y, epochs=2, verbose=0, callbacks=[recorder])
recording = recorder.recording
recording.statistic("gradients", "norm").tail()

# %% [markdown]
# Histograms and samples are arrays:

# %%
print(recording.arrays("gradients", "histogram")["hidden_1/kernel"].shape)
print(recording.arrays("gradients", "sample")["hidden_1/kernel"].shape)

# %% [markdown]
# ## Write to disk
#
# `store=` takes the path of a Zarr store. A separate thread writes it, so memory stays
# flat, and `max_bytes` does not apply. After a crash, what was written until then can
# be read.

# %%
path = folder / "run.zarr"
recorder = hr.GradientRecorder(record_freq=1, store=path)
new_model().fit(x, y, epochs=5, verbose=0, callbacks=[recorder])

size = sum(file.stat().st_size for file in path.rglob("*") if file.is_file())
print(f"{len(recorder.recording)} records, {size / 1024**2:.0f} MiB on disk")

# %% [markdown]
# `hr.open_recording` opens it, also in another process and while the run goes on.
# Indexing an array reads those records alone. Other programs [read it
# too](read_without.ipynb).

# %%
recording = hr.open_recording(path)
gradients = recording.gradients["hidden_1/kernel"]
print(gradients)
print(gradients[-3:].shape, gradients[-1, 0, :3])

# %% [markdown]
# ## Continue after a crash
#
# With `resume=True` and Keras' `BackupAndRestore`, an interrupted run continues in the
# same store. Put the recorder first. Here the first run fails in its third epoch.


# %%
class Crash(keras.callbacks.Callback):
    """Stands for a power cut."""

    def on_train_batch_end(self, batch, logs=None):
        if self.model.optimizer.iterations == 50:
            raise RuntimeError("power cut")


def run(*others):
    """Trains for four epochs of 20 steps, or what is left of them."""
    recorder = hr.GradientRecorder(
        record_freq=1, store=folder / "resumed.zarr", resume=True
    )
    backup = keras.callbacks.BackupAndRestore(folder / "backup")
    callbacks = [recorder, backup, *others]
    try:
        new_model().fit(x, y, epochs=4, verbose=0, callbacks=callbacks)
    except RuntimeError as error:
        print("It broke off:", error)
        recorder.reset()  # Lets go of the store: a new process needs no such line.


run(Crash())
broken_off = hr.open_recording(folder / "resumed.zarr")
print(len(broken_off), "records, complete:", broken_off.attributes["complete"])

run()
resumed = hr.open_recording(folder / "resumed.zarr")
print(len(resumed), "records, complete:", resumed.attributes["complete"])
print("each step once:", resumed.index["step"].tolist() == [*range(1, 81)])

# %% [markdown]
# ## A store elsewhere
#
# A store may be a URL of any file system that fsspec knows:
# `store="s3://bucket/run.zarr"` after `pip install s3fs`. It is written while training
# goes on, resumed and opened alike. Only one recorder may write there at a time: on a
# disk of its own a lock sees to that, behind a URL you do.

# %% [markdown]
# ## Take it elsewhere
#
# A recording in memory can be saved as a store. Any recording goes to xarray, which
# reads only what you ask for, and to Parquet, as a table with a row for each record and
# element.

# %%
recording.save(folder / "copy.zarr")
print(recording.to_xarray()["gradients:net/head/kernel"].sizes)
recording.to_parquet(folder / "head.parquet", variables="head/*")
pd.read_parquet(folder / "head.parquet").tail(3)
