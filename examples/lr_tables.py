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
# weight and gradient, and the two tables that come out are compared with the
# published ones, number by number.

# %%
import argparse
import os
import shutil
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import matplotlib.pyplot as plt
import numpy as np

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
# In a notebook the command line is the kernel's, not ours.
arguments = parser.parse_args([] if "ipykernel" in sys.modules else None)

# %% [markdown]
# ## The data
#
# The bundled catalogue is *reconstructed*: 10,000 synthetic stars, solved from the
# published tables so that training on them gives these tables again. No telescope saw
# them. `x` is the logarithm of the luminosity, scaled to run from 0 to 1; `y` is the
# logarithm of the effective temperature in kelvin. Both are shuffled with seed 1453.

# %%
try:
    catalog = hr.load_catalog(arguments.catalog)
    x, y = hr.training_data(catalog, seed=1453)
except (OSError, ValueError) as error:
    if "ipykernel" in sys.modules:
        raise
    parser.error(f"{error} Or leave out --catalog.")

screen = plt.get_backend().lower() != "agg"  # What Matplotlib takes without a display.
if not screen:
    try:
        arguments.pictures.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        parser.error(
            f"--pictures {arguments.pictures}: expected a folder, or a place for a new "
            f"one ({error.strerror})"
        )

print(f"{len(x):,} stars, {arguments.catalog or 'bundled (reconstructed)'}")
print(f"mean of y = log10 T: {y.mean():.4f}, a temperature of {10 ** y.mean():.0f} K")

# %% [markdown]
# ## The network
#
# With the seed set, Keras draws the same initial weights every time. Two clones are
# made, one for each learning rate. Cloning draws anew, so the two runs start from
# *different* weights.

# %%
keras.utils.set_random_seed(1453)
model = keras.Sequential(
    [
        keras.layers.Input(shape=(1,)),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="linear", name="output"),
    ]
)
clones = {rate: keras.models.clone_model(model) for rate in (0.1, 0.3)}


# %% [markdown]
# ## Training
#
# One batch holds every star, so an epoch is one step, and its record holds the
# gradient of that step, the loss before its update and the weights after it.


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
# In the published layout: `w^1_3` is the third weight of the first kernel, `g^1_3` its
# gradient. Row by row, `output`, `loss` and the gradients are those before the update,
# the weights those after it.


# %%
def published_layout(rate):
    """The recording with the columns of the published table."""
    columns = hr.load_published_table(rate).columns
    return recordings[rate].to_frame(names="symbol")[columns]


def deviations(rate):
    """Ours minus published, epochs by quantities."""
    published = hr.load_published_table(rate).set_index("epoch")
    return published_layout(rate).set_index("epoch") - published


def report(rate):
    """Prints a table and how far it lies from the published one."""
    table = published_layout(rate).set_index("epoch").rename_axis(None)
    width = shutil.get_terminal_size((100, 24)).columns
    table.columns.name = "epoch"  # In the header's corner, above the epochs.
    print(f"\nLearning rate {rate}\n")
    print(table.to_string(float_format="%.6f", line_width=width))
    difference = deviations(rate).to_numpy()
    print(
        f"\nDeviation from the published table, {difference.size} numbers: "
        f"largest {np.abs(difference).max():.1e}, "
        f"rms {np.sqrt(np.mean(difference**2)):.1e}"
    )
    if arguments.catalog:
        print("Other stars than the bundled ones: they need not give that table.")


report(0.1)

# %%
report(0.3)


# %% [markdown]
# ## The loss
#
# Does it fall? The recorded losses say.


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
# Figure: Loss over the ten epochs, recorded and published, at both learning rates. At
# 0.1 it falls in each epoch; at 0.3 it falls to epoch 3, rises, falls and rises again.
figure, axes = plt.subplots(1, 2, figsize=(10, 4), layout="constrained")
for ax, (rate, recording) in zip(axes, recordings.items(), strict=True):
    published = hr.load_published_table(rate)
    ax.plot("epoch", "loss", data=recording.index, label="recorded")
    ax.plot("epoch", "loss", "o", mfc="none", data=published, label="published")
    ax.set(title=f"Learning rate {rate}", xlabel="Epoch", ylim=(0, None))
    ax.set_xticks(recording.index["epoch"])
    ax.grid(alpha=0.3)
axes[0].set_ylabel("Mean squared error of log10 T")
axes[0].legend(frameon=False)

if not screen:
    path = arguments.pictures / "loss_curves.png"
    figure.savefig(path, dpi=150)
    print(f"\nNo display here: the loss curves are in {path}")
else:
    plt.show()
