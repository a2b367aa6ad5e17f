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
# A single run may have been lucky. This page trains twenty: four learning rates, with
# five seeds each. Every run writes its own store, and `metadata=` notes what Keras does
# not tell a callback, such as the seed. `hr.open_recordings` opens them all at once.
#
# Install: `pip install "hrcallbacks[tensorflow,zarr,plot]"`

# %% tags=["setup"]
import tempfile
import textwrap
from pathlib import Path

import keras
import numpy as np

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %%
x = np.random.default_rng(0).uniform(-1, 1, size=(64, 2))
y = np.sin(3 * x[:, :1]) * x[:, 1:]


def train(rate, seed):
    """Ten epochs of four steps, every step recorded in the run's own store."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential([keras.Input((2,))])
    model.add(keras.layers.Dense(8, activation="tanh"))
    model.add(keras.layers.Dense(1))
    model.compile(keras.optimizers.SGD(rate), loss="mse")
    recorder = hr.GradientRecorder(
        gradients=["norm", hr.Histogram()],
        weights="update_ratio",
        record_freq=1,
        store=folder / "{n}.zarr",  # The next free number, from 0.
        metadata={"seed": seed, "batch_size": 16},
    )
    model.fit(x, y, batch_size=16, epochs=10, verbose=0, callbacks=[recorder])


# %% [markdown]
# ## From a loop to a plot
#
# Five lines train all twenty runs, and draw their losses grouped by learning rate.

# %%
# Figure: Loss by step on a logarithmic axis, with a line and a band for each of four
# learning rates.
for rate in (0.01, 0.03, 0.1, 0.3):
    for seed in range(5):
        train(rate, seed)
runs = hr.open_recordings(f"{folder}/*.zarr")
ax = hr.plot.loss(runs, by="learning_rate", smooth=4, log=True)

# %% [markdown]
# Each thin line is the median of five seeds, the thick line its mean over four records;
# the band is the middle half of the seeds.
#
# ## What tells the runs apart
#
# `by=` takes any column of `runs.parameters`: your metadata, and what the recorder
# knows about the optimizer, the backend and the versions.

# %%
runs.parameters[["seed", "batch_size", "optimizer", "learning_rate", "complete"]].head()

# %% [markdown]
# ## Gradients and updates
#
# These plots have a panel for each layer or variable. Keras numbers layers on from
# model to model (`dense_6`, `dense_7`, ...). In tables and plots of `runs`, a layer has
# the same name in every run.

# %%
# Figure: Norm of each layer's gradient by step, a panel for each layer, with a line and
# a band for each of four learning rates.
panels = hr.plot.gradient_flow(runs, by="learning_rate", smooth=4)

# %%
# Figure: Update ratio of both kernels by step, a panel for each kernel, with a line and
# a band for each of four learning rates.
panels = hr.plot.update_ratio(runs, by="learning_rate", variables="*/kernel", smooth=4)

# %% [markdown]
# Histograms show each run's last record: the median share of gradients in each bin.

# %%
# Figure: Magnitudes of the gradients of the first kernel in the last step, a ridge for
# each of four learning rates.
panels = hr.plot.histograms(runs, by="learning_rate", variables="dense/kernel")

# %% [markdown]
# ## One table of all runs
#
# `runs.index`, `runs.statistic(...)` and `runs.to_frame(...)` return the tables of all
# runs as one DataFrame, with a column `run`. Here are the quartiles of the last loss,
# by learning rate:

# %%
last = runs.index.groupby("run")["loss"].last()
last.groupby(runs.parameters["learning_rate"]).describe()[["25%", "50%", "75%"]]

# %% [markdown]
# ## What is wrong with which run
#
# `runs.diagnose()` has a row for each run and a column for each rule: how severe the
# worst finding is, `"none"`, or `"not looked"` where the rule lacks something. Here are
# three rules for the last five runs, those with the largest rate:

# %%
runs.diagnose(["no_progress", "loss_rises", "update_size"]).tail()

# %% [markdown]
# `runs.findings()` lists every finding in words, with [its
# rule](../explanation/rules.ipynb):

# %%
for found in runs.findings().to_dict("records"):
    print(f"run {found['run']}: {found['severity']}: {found['rule']}")
    print(textwrap.fill(found["evidence"], 80))

# %% [markdown]
# ## Choose some, and look at them in a browser
#
# `runs` maps names to recordings, so `runs["7"]` is one of them; `runs.aligned` has
# them with the layers' common names. `hr.report` draws several over each other in [one
# interactive page](report.ipynb):

# %%
rates = runs.parameters.query("seed == 0")["learning_rate"]
chosen = {f"rate {rate:g}": runs.aligned[str(name)] for name, rate in rates.items()}
file = hr.report(chosen, folder / "runs.html")
print(*chosen, file.name, sep="\n")

# %% [markdown]
# If a store cannot be opened, the error names it and says what is wrong.
# `hr.open_recordings(..., broken="skip")` opens the others.
#
# From the shell, `hrcallbacks show`, `plot`, `table` and `report` take several stores:
# `hrcallbacks plot runs/*.zarr --what loss --by learning_rate -o loss.png`. If a tuner
# trains the runs for you, see [Tune with KerasTuner or scikit-learn](tuning.ipynb).
