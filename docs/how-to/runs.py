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
# # Compare many runs
#
# One run can be lucky. This page trains twenty: four learning rates, five seeds each.
# Each run writes a store of its own, and says which it is in `metadata=`.

# %% tags=["setup"]
import tempfile
from pathlib import Path

import keras
import numpy as np

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
import hrcallbacks as hr

x = np.random.default_rng(0).uniform(-1, 1, size=(64, 2))
y = np.sin(3 * x[:, :1]) * x[:, 1:]


def train(rate, seed):
    """A run: ten epochs of four steps, recorded in a store."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((2,))])
    model.add(keras.layers.Dense(8, activation="tanh"))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    recorder = hr.GradientRecorder(
        gradients=["norm", hr.Histogram()],
        weights="update_ratio",
        record_freq=1,
        store=folder / f"rate {rate}, seed {seed}.zarr",
        metadata={"seed": seed, "batch_size": 16},
    )
    model.fit(x, y, batch_size=16, epochs=10, verbose=0, callbacks=[recorder])


# %% [markdown]
# ## From the loop to the picture
#
# A thin line is the median of the five seeds of a learning rate, the thick one its mean
# over four records; the band has the middle half of the seeds.

# %%
# Figure: Loss by step, one line with a band for each of four learning rates.
for rate in (0.01, 0.03, 0.1, 0.3):
    for seed in range(5):
        train(rate, seed)
runs = hr.open_recordings(f"{folder}/*.zarr")
ax = hr.plot.loss(runs, by="learning_rate", smooth=4, log=True)

# %% [markdown]
# `by` is any column of `runs.parameters`: what you passed as metadata, and what the
# recorder knows of the optimizer, the backend and the versions.

# %%
runs.parameters[["seed", "batch_size", "optimizer", "learning_rate", "complete"]].head()

# %% [markdown]
# ## Gradients and updates
#
# These have a panel for each layer or variable, with the same scale. Keras has numbered
# the layers on from run to run (`dense_6`, `dense_7`, ...); in tables and pictures of
# `Runs` a layer has the same name in each.

# %%
# Figure: Norm of each layer's gradient by step, a panel a layer, a line and a band for
# each of four learning rates.
panels = hr.plot.gradient_flow(runs, by="learning_rate", smooth=4)

# %%
# Figure: Update ratio of both kernels by step, for each of four learning rates.
panels = hr.plot.update_ratio(runs, by="learning_rate", variables="*/kernel", smooth=4)

# %% [markdown]
# Histograms are of each run's last record: the median share of gradients in each bin.

# %%
# Figure: Magnitudes of the gradients of the first kernel in the last step, a ridge for
# each of four learning rates.
panels = hr.plot.histograms(runs, by="learning_rate", variables="dense/kernel")

# %% [markdown]
# ## Tables
#
# `runs.index`, `runs.statistic(...)` and `runs.to_frame(...)` are the tables of a
# recording, one below the other, with a column `run`. Here is the loss at the end, by
# learning rate:

# %%
last = runs.index.groupby("run").last()[["loss"]].join(runs.parameters["seed"])
last["rate"] = runs.parameters["learning_rate"]
last.groupby("rate")["loss"].quantile([0.25, 0.5, 0.75]).unstack()

# %% [markdown]
# `runs.diagnose()` is a table of runs by rules: the severity of the worst finding, or
# that there is none. `runs.findings()` has what was found, in words.

# %%
runs.diagnose().head()

# %% [markdown]
# ## A few of them
#
# `runs` maps names to recordings, so a dict comprehension chooses among them:

# %%
slow = hr.Runs({name: run for name, run in runs.items() if "rate 0.01" in name})
slow

# %% [markdown]
# A store that cannot be opened is named, with what is wrong with it;
# `hr.open_recordings(..., broken="skip")` opens the others. In the shell,
# `hrcallbacks show`, `plot` and `table` take several stores:
# `hrcallbacks plot runs/*.zarr --what loss --by learning_rate`.
