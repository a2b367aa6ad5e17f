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
# # In a notebook or on Colab
#
# In Jupyter, VS Code or Colab everything works as in a script. This page covers what is
# special there: installing, running a cell twice, stopping a cell, showing tables and
# pictures, and keeping a recording when the machine goes away.
#
# Install: `pip install "hrcallbacks[tensorflow,zarr,plot]"`
#
# ## Install
#
# On Colab, Keras and TensorFlow are installed. Install the package in the first cell,
# and choose the backend *before* Keras is imported:
#
# ```text
# %pip install "hrcallbacks[zarr,plot]"
# import os
# os.environ["KERAS_BACKEND"] = "tensorflow"  # or "jax", "torch"
# ```
#
# If Keras was imported already, restart the kernel: the backend of a process is fixed.

# %% tags=["setup"]
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
drive = Path(temporary.name)

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
recorder = hr.GradientRecorder(record_freq=1)

# %% [markdown]
# ## A cell that is run twice
#
# A recorder goes on where it stopped: a second `fit` with it appends. Run the next cell
# twice, and you have twice as many records.

# %%
model.fit(x, y, epochs=2, verbose=0, callbacks=[recorder])
model.fit(x, y, epochs=2, verbose=0, callbacks=[recorder])
print(len(recorder.recording), "records, the last of them of step", end=" ")
print(recorder.recording.index["step"].iloc[-1])

# %% [markdown]
# To start anew, call `recorder.reset()` first, or make the recorder in the same cell.
# If the model is made anew too, the recorder refuses it, because what it holds belongs
# to the model before:

# %%
other = keras.models.clone_model(model)
other.compile("adam", loss="mse")
try:
    other.fit(x, y, verbose=0, callbacks=[recorder])
except ValueError as error:
    print(textwrap.fill(str(error), 80))

# %%
recorder.reset()
other.fit(x, y, epochs=2, verbose=0, callbacks=[recorder])
print(len(recorder.recording), "records")

# %% [markdown]
# ## Stop a cell
#
# The stop button interrupts `fit`. What was recorded until then is in
# `recorder.recording`, and the model holds nothing of the recorder. Here a callback
# stands in for the button:


# %%
class StopButton(keras.callbacks.Callback):
    """Interrupts the third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise KeyboardInterrupt


recorder.reset()
try:
    other.fit(x, y, epochs=10, verbose=0, callbacks=[recorder, StopButton()])
except KeyboardInterrupt:
    print(len(recorder.recording), "records when it was stopped")

# %% [markdown]
# ## Show it
#
# A recording that is the last line of a cell shows a summary and the first rows. It
# says that this one is incomplete, because the fit was stopped:

# %%
recorder.recording

# %% [markdown]
# `recording.to_frame()` and `recording.diagnose()` are tables, and each function of
# `hr.plot` draws into the cell:

# %%
# Figure: Norms of the gradients of the two layers over the sixteen recorded steps.
ax = hr.plot.gradient_flow(recorder.recording)

# %% [markdown]
# With the extra `notebook`, `recording.explore()` shows the [interactive
# report](report.ipynb) in the cell.
#
# If the notebook is dark, `plt.style.use(hr.plot.theme("dark"))` makes text and axes
# light. An animation is shown with buttons by
# `IPython.display.HTML(hr.plot.network_animation(recording).to_jshtml())`.
#
# ## Keep it
#
# A runtime on Colab is deleted some time after you leave it, and what is in memory with
# it. So write the recording where it stays, such as a mounted Google Drive
# (`/content/drive/MyDrive`). `save` does so afterwards:

# %%
recorder.recording.save(drive / "run.zarr")
print(len(hr.open_recording(drive / "run.zarr")), "records")

# %% [markdown]
# With `store=` the recorder writes while `fit` runs, so that little is lost if the
# runtime goes away in between. A store is many small files, which a mounted drive
# writes slowly: let `store=` point at the local disk, and copy the folder from time to
# time.
#
# A cell that is run twice finds its store there already, and `fit` refuses to overwrite
# it. `store="runs/{n}.zarr"` takes the next free number instead:

# %%
for _ in range(2):  # The cell, run twice.
    recorder = hr.GradientRecorder(store=drive / "runs" / "{n}.zarr")
    other.fit(x, y, verbose=0, callbacks=[recorder])
print(sorted(path.name for path in (drive / "runs").iterdir()))
