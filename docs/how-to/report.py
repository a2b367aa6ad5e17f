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
# # Look at a run in a browser
#
# `hr.report` writes a recording as one HTML file. It opens from disk, needs no server
# and loads nothing, so you can send it to someone who has neither Python nor Keras.
#
# Install: `pip install "hrcallbacks[tensorflow,zarr]"`

# %% tags=["setup"]
import tempfile
from pathlib import Path

import keras
import numpy as np

import hrcallbacks as hr

folder = Path(tempfile.mkdtemp())

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))


def record(learning_rate):
    """Twenty-five epochs of a small network, every step recorded."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(
        [
            keras.Input((8,)),
            keras.layers.Dense(8, activation="relu", name="hidden"),
            keras.layers.Dense(1, name="head"),
        ],
        name="net",
    )
    model.compile(keras.optimizers.SGD(learning_rate), loss="mse")
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, y, batch_size=32, epochs=25, verbose=0, callbacks=[recorder])
    return recorder.recording


low, high = record(0.01), record(0.5)
file = hr.report(low, folder / "run.html")
print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# The page shows the findings, the loss and the metrics, the norms of gradients and
# weights, the update ratios, a heat map of all variables, and histograms. For a small
# dense network like this one, it also shows each weight and gradient, with a slider
# over the records. It says what was not recorded. Drag to zoom into a chart, and
# double-click to see all of it.
#
# ## Compare runs
#
# A dict of names and recordings gives one page that draws them over each other. For
# medians over many seeds, see [Compare many runs](runs.ipynb).

# %%
file = hr.report({"rate 0.01": low, "rate 0.5": high}, folder / "runs.html")
print(f"{file.name}: {file.stat().st_size / 1e6:.1f} MB")

# %% [markdown]
# This is the file, in a frame of this page:

# %% tags=["picture"]
from hrcallbacks.report import figures

figures.frame(file, "The report of two runs: findings, charts of both, the network")

# %% [markdown]
# ## From the shell
#
# `hrcallbacks report low.zarr -o low.html` makes the page from a store. The run may
# still be training: the page then shows what has been written so far. This is the same
# command, called from Python:

# %%
from hrcallbacks.cli.parser import main

low.save(folder / "low.zarr")
main(["report", str(folder / "low.zarr"), "-o", str(folder / "low.html")])
print(sorted(path.name for path in folder.glob("*.html")))

# %% [markdown]
# ## In a notebook
#
# With the extra `notebook`, `recording.explore()` as the last line of a cell shows the
# page of one recording there.
#
# ## Long runs
#
# If there are more records than a chart can show, it draws the smallest and the largest
# number of each block of consecutive records. So every peak and every NaN stays
# visible; the page says how many records make a block.
