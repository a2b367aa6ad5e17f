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
# # Two learning rates, every weight and gradient
#
# A network of one input, six ReLU units and one output learns a star's effective
# temperature from its luminosity. It is trained for ten epochs with Adam, once at a
# learning rate of 0.1 and once at 0.3. A `GradientRecorder` in `model.fit` keeps every
# weight and gradient. This page makes two tables of them and compares both, number by
# number, with the published ones: those of a course notebook, *Assignment 4*, dated 18
# October 2025, from which network, training and data preparation are taken.
# [Back-propagation by hand](derivation.ipynb) explains every term used here.

# %% tags=["setup"]
import argparse
import base64
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hrcallbacks as hr

parser = argparse.ArgumentParser(
    description="Trains the 1-6-1 network at two learning rates and prints every "
    "weight and gradient in the layout of the published tables, and how far they lie "
    "from the published ones."
)
parser.add_argument(
    "--catalog",
    metavar="FILE",
    help="a CSV with columns Lum, BP-RP, Teff, such as hrcallbacks.download_catalog "
    "writes (default: the bundled catalogue)",
)
parser.add_argument(
    "--pictures",
    metavar="FOLDER",
    type=Path,
    default=Path("pictures"),
    help="where to save the loss curves when there is no display "
    "(default: %(default)s)",
)
in_notebook = "ipykernel" in sys.modules
# In a notebook the command line is the kernel's, not ours.
arguments = parser.parse_args([] if in_notebook else None)

try:
    catalog = hr.load_catalog(arguments.catalog)
except (OSError, ValueError) as error:
    parser.error(f"{error} Or leave out --catalog.")
source = arguments.catalog or "bundled (reconstructed)"

screen = plt.get_backend().lower() != "agg"  # What Matplotlib takes without a display.
if not screen:
    try:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(
            f"--pictures {arguments.pictures}: expected a folder, or a place for a new "
            f"one ({error.strerror})"
        )


def show(table):
    """Shows a table: in the notebook, or printed as wide as the terminal is."""
    if in_notebook:
        with pd.option_context("display.max_columns", None, "display.precision", 6):
            display(table)  # noqa: F821 - IPython's.
        return
    # In the header's corner, above the rows.
    table = table.rename_axis(None).rename_axis(table.index.name, axis=1)
    width = shutil.get_terminal_size((100, 24)).columns
    print(table.to_string(float_format="%.6f", line_width=width))


def show_by_layer(table, name):
    """Shows a wide table in the notebook, a layer at a time, with a link to its CSV."""
    from IPython.display import HTML, display

    layers = {
        "Output, loss and hidden layer": [c for c in table if "^2" not in c],
        "Output layer": [c for c in table if "^2" in c],
    }
    for layer, columns in layers.items():
        display(HTML(as_html(table[columns], f"{layer}, {name}")))
    csv = base64.b64encode(table.to_csv(lineterminator="\n").encode()).decode()
    link = f'href="data:text/csv;base64,{csv}" download="{name.replace(" ", "_")}.csv"'
    display(HTML(f"<a {link}>Download the table at {name} as CSV</a>"))


def as_html(table, caption):
    """A table with symbols in its header; its first column stays when it scrolls."""
    html = (
        table.rename(columns=as_symbol)
        .rename_axis(None)
        .to_html(escape=False, float_format="{:.6f}".format, border=0)
    )
    frozen = (
        '<th scope="row" style="position: sticky; left: 0; z-index: 1; '
        'background: var(--md-default-bg-color, Canvas)">'
    )
    head, body = html.split("<tbody>")
    head = head.replace("<th></th>", frozen.replace('"row"', '"col"') + "epoch</th>")
    title = f'<caption style="text-align: left">{caption}</caption><thead>'
    head = head.replace("<thead>", title)
    return head + "<tbody>" + body.replace("<th>", frozen)


def as_symbol(name):
    """MathML of a column's name: w^1_3 with both its indices."""
    letter, _, indices = name.partition("^")
    if not indices:
        return name
    layer, unit = indices.split("_")
    return (
        f'<math alttext="{name}"><msubsup><mi>{letter}</mi><mn>{unit}</mn>'
        f"<mrow><mo>(</mo><mn>{layer}</mn><mo>)</mo></mrow></msubsup></math>"
    )


def show_figure(name):
    """Shows the figure, or says in which file it is where there is no display."""
    if screen:
        plt.show()
        return
    path = arguments.pictures / f"{name}.png"
    plt.savefig(path, dpi=150)
    plt.close()
    print(f"\nNo display here: the {name.replace('_', ' ')} are in {path}")


# %% [markdown]
# ## The data
#
# The published runs were trained on stars of [Gaia
# DR2](https://doi.org/10.1051/0004-6361/201833051), as [VizieR's table
# I/345](https://vizier.cds.unistra.fr/viz-bin/VizieR?-source=I/345) lists them. That
# sample was not published. The bundled catalogue is *reconstructed*: [10,000 synthetic
# stars](stars.ipynb), solved from the published tables so that training on them gives
# these tables again. No telescope saw them.
#
# `x` is the base-10 logarithm of the luminosity, scaled to run from 0 to 1; `y` is the
# base-10 logarithm of the effective temperature in kelvin, not scaled. The stars are
# shuffled with seed 1453.

# %%
x, y = hr.training_data(catalog, seed=1453)

print(f"{len(x):,} stars, {source}")
print(f"mean of y = log10 T: {y.mean():.4f}, a temperature of {10 ** y.mean():.0f} K")

# %% [markdown]
# ## The network
#
# The model is cloned twice, once for each learning rate. Cloning draws new weights, so
# the two published runs start from *different* ones. They were drawn by TensorFlow with
# seed 1453. Other backends draw other numbers from the same seed, so the package
# includes the weights, and every backend starts from them.

# %%
model = keras.Sequential(
    [
        keras.layers.Input(shape=(1,)),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="linear", name="output"),
    ]
)
initial_weights = {rate: hr.load_initial_weights(rate) for rate in (0.1, 0.3)}
clones = {}
for rate, weights in initial_weights.items():
    clones[rate] = keras.models.clone_model(model)
    clones[rate].set_weights(weights)


# %% [markdown]
# ## Training
#
# One batch holds all stars, so an epoch is a single step. Its record holds the gradient
# and the loss of that step, before the update, and the weights after it.


# %%
def train(model, learning_rate):
    """Ten full-batch epochs with Adam; returns what the recorder saw."""
    recorder = hr.GradientRecorder(record_freq="epoch", weights_at="after")
    model.compile(
        keras.optimizers.Adam(learning_rate), loss="mse", metrics=[hr.MeanOutput()]
    )
    model.fit(
        x,
        y,
        batch_size=len(x),
        epochs=10,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


recordings = {rate: train(clone, rate) for rate, clone in clones.items()}
recordings[0.1]

# %% [markdown]
# ## The tables
#
# These are the tables in the published layout. $w^{(1)}_3$, or `w^1_3` in plain text,
# is the third weight of the first kernel (the weights of the hidden layer), and
# $g^{(1)}_3$ its gradient. In each row, the mean output, the loss and the gradients are
# those before the update, the weights those after it.


# %%
def published_layout(rate):
    """The recording with the columns of the published table."""
    columns = hr.load_published_table(rate).columns
    return recordings[rate].to_frame(names="symbol")[columns].set_index("epoch")


def report(rate):
    """Shows a table, and how far it lies from the published one."""
    if not in_notebook:
        print(f"\nLearning rate {rate}\n")
    table = published_layout(rate)
    if in_notebook:
        show_by_layer(table, f"learning rate {rate}")
    else:
        show(table)
    published = hr.load_published_table(rate).set_index("epoch")
    difference = (table - published).to_numpy()
    print(
        f"\nDeviation from the published table, {difference.size} numbers: "
        f"largest {np.abs(difference).max():.1e}, "
        f"rms {np.sqrt(np.mean(difference**2)):.1e}"
    )
    if arguments.catalog:
        print("Other stars than the bundled ones: they need not give that table.")


# %% [markdown]
# ### Learning rate 0.1

# %%
report(0.1)

# %% [markdown]
# ### Learning rate 0.3

# %%
report(0.3)

# %% tags=["picture"]
# Both tables, epoch by epoch.
from hrcallbacks.report import figures

figures.tables(recordings)


# %% [markdown]
# The published numbers have six decimals. The deviation that is left comes from
# rounding them, and from training in float32 on another machine.
#
# ## The loss
#
# Does the loss fall?


# %%
def describe_loss(rate):
    """Says in which epochs the loss rose, if it did."""
    epochs = recordings[rate].index.set_index("epoch")["loss"]
    rises = epochs.index[epochs.diff() > 0].tolist()
    if not rises:
        return f"Learning rate {rate}: the loss falls monotonically."
    return f"Learning rate {rate}: the loss rises in epochs {rises}."


for rate in recordings:
    print(describe_loss(rate))

# %%
# Figure: Loss over the ten epochs, recorded as a line and published as circles on it,
# at both learning rates. At 0.1 it falls in each epoch; at 0.3 it falls to epoch 3,
# rises, falls to epoch 8 and rises again.
figure, axes = plt.subplots(1, 2, figsize=(9, 3.5), layout="constrained", sharey=True)
for ax, (rate, recording) in zip(axes, recordings.items(), strict=True):
    published = hr.load_published_table(rate)
    ax.plot("epoch", "loss", data=recording.index, label="recorded")
    ax.plot("epoch", "loss", "o", mfc="none", data=published, label="published")
    ax.set(title=f"Learning rate {rate}", xlabel="Epoch", ylim=(0, None))
    ax.set_xticks(recording.index["epoch"])
    ax.grid(alpha=0.3)
axes[0].set_ylabel("Mean squared error of log10 T")
axes[0].legend(frameon=False)
show_figure("loss_curves")

# %% [markdown]
# The output starts near zero, and all targets lie near their mean, printed above with
# the data. So at first every gradient pulls the output up, and Adam takes steps of
# about the learning rate. At 0.3 the output is above the targets by row 4: Adam's
# average of past gradients carries it on beyond them.
#
# The loss at 0.1 falls in every epoch, and yet the network does not predict anything
# useful after ten. Predicting the mean for every star, a constant, is better:

# %%
for rate, recording in recordings.items():
    last = recording.index["loss"].iloc[-1]
    print(
        f"Learning rate {rate}: loss {last:.3f} in the last row; "
        f"of a constant: {y.var():.5f}, {last / y.var():.0f} times smaller"
    )

# %% [markdown]
# [What the network has learnt](predictions.ipynb) draws its predictions, and trains on.

# %% [markdown]
# ## Weights and gradients over the epochs

# %%
# Figure: Weights above, gradients below, of each kernel at learning rate 0.1. Units 1
# and 5 grow steadily; units 2 and 3 coast once their gradients are zero; units 4 and 6
# stay where they began.
hr.plot.trajectories(recordings[0.1], variables="*/kernel")
show_figure("trajectories_at_0.1")

# %%
# Figure: The same at learning rate 0.3. Units 4 and 5 rise to epoch 4, and their
# gradients change sign there; units 1, 3 and 6 stay where they began.
hr.plot.trajectories(recordings[0.3], variables="*/kernel")
show_figure("trajectories_at_0.3")

# %% [markdown]
# ## Dead units
#
# Some lines are flat. A hidden unit $i$ gives $\max(0, w_i x + b_i)$, and a star's $x$
# lies between 0 and 1. Where $w_i x + b_i$ is negative for every star, the unit gives
# 0, and its gradients, incoming and outgoing, are exactly 0: it is *dead*. Gradient
# descent cannot revive it. Only Adam's average of earlier gradients still moves its
# weights for a while.


# %%
def dead_units(rate):
    """Which hidden units have no gradient, from when on, and why."""
    recording = recordings[rate]
    incoming = recording.gradients["hidden/kernel"].reshape(-1, 6)
    outgoing = recording.gradients["output/kernel"].reshape(-1, 6)
    # Before the first epoch, and after each.
    w, b = (
        np.vstack([np.ravel(first), recording.weights[path].reshape(-1, 6)])
        for first, path in zip(
            initial_weights[rate], ("hidden/kernel", "hidden/bias"), strict=False
        )
    )
    for unit in range(6):
        alive = np.flatnonzero(incoming[:, unit] != 0)
        alive = np.union1d(alive, np.flatnonzero(outgoing[:, unit] != 0))
        end = int(alive.max()) + 1 if alive.size else 0
        if end < len(recording):
            yield {
                "learning rate": rate,
                "unit": unit + 1,
                "no gradient from epoch": end + 1,
                "w x + b at x = 0": b[end, unit],
                "w x + b at x = 1": w[end, unit] + b[end, unit],
            }


dead = pd.DataFrame([unit for rate in recordings for unit in dead_units(rate)])
show(dead.set_index("unit"))

# %% [markdown]
# At both ends the number is negative, or zero for the faintest star, so no star turns
# the unit on. Some units start like this: with biases of zero and $x \ge 0$, a negative
# initial weight is enough. Others were pushed there by the first steps.
#
# You need not look for dead units in the table. `recording.diagnose()` finds them, and
# the rise of the loss too:

# %%
for rate, recording in recordings.items():
    print(f"\nLearning rate {rate}\n\n{recording.diagnose()}")

# %% [markdown]
# Three questions are left. [What has the network learnt?](predictions.ipynb) Is it the
# learning rate that makes the loss rise, or the other starting weights? And [at which
# rate does it begin to rise?](learning-rates.ipynb)
