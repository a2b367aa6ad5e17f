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
# # What the network has learnt
#
# The [two tables](tables.ipynb) hold every weight and gradient of ten epochs. What
# they do not show is what the network predicts. How warm does it think a star is, after
# ten epochs, and after two hundred? This page draws its curve over the stars, next to
# the two simplest predictions that there are: a constant and a straight line.

# %% tags=["setup"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from matplotlib.colors import LinearSegmentedColormap

import hrcallbacks as hr
from hrcallbacks import backprop

# %% [markdown]
# ## What there is to learn
#
# The loss is the mean squared error of $y = \log_{10} T$. Three predictions need no
# training: the mean of all stars, a straight line fitted by least squares, and the mean
# of the stars of about the same luminosity, in a hundred groups of a hundred stars
# each. No function of $x$ can do much better than the last one, because stars of the
# same luminosity differ in temperature.

# %%
x, y = (np.float64(values).ravel() for values in hr.training_data(seed=1453))
slope, intercept = np.polyfit(x, y, 1)
groups = np.array_split(np.argsort(x), 100)

yardsticks = {
    "a constant": y.var(),
    "a straight line": np.mean((y - slope * x - intercept) ** 2),
    "means of 100 groups": np.mean(
        np.concatenate([y[g] - y[g].mean() for g in groups]) ** 2
    ),
}
for name, loss in yardsticks.items():
    print(f"{name:>19}: loss {loss:.5f}, rms error {np.sqrt(loss):.3f} dex")
print(f"The constant, the mean: {y.mean():.2f}; y: {y.min():.2f} to {y.max():.2f}")

# %% [markdown]
# (A dex is a factor of ten in the temperature; 0.01 dex are about 2 %.)
#
# ## After ten epochs
#
# Here are both published runs again, now for two hundred epochs. From the weights that
# an epoch left, the equations give the prediction for any luminosity.

# %%
model = keras.Sequential(
    [
        keras.layers.Input(shape=(1,)),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="linear", name="output"),
    ]
)
PATHS = ("hidden/kernel", "hidden/bias", "output/kernel", "output/bias")


def train(rate, epochs):
    """The recording of a run from the published start at this rate."""
    clone = keras.models.clone_model(model)
    clone.set_weights(hr.load_initial_weights(rate))
    clone.compile(keras.optimizers.Adam(rate), loss="mse")
    recorder = hr.GradientRecorder()
    clone.fit(
        x[:, np.newaxis],
        y[:, np.newaxis],
        batch_size=len(x),
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


def weights_after(recording, epoch):
    """Both kernels and biases after an epoch, from 1."""
    return [recording.weights[path][epoch - 1] for path in PATHS]


def predict(recording, epoch, x):
    """log10 of the temperature that the network gives after an epoch."""
    x = np.atleast_1d(x)
    return backprop.backpropagate(weights_after(recording, epoch), x, 0 * x).output[
        :, 0
    ]


def loss_after(recording, epoch):
    """The loss with the weights that an epoch left."""
    return np.mean((predict(recording, epoch, x) - y) ** 2)


runs = {rate: train(rate, 200) for rate in (0.1, 0.3)}


def temperatures(epoch):
    """Predicted temperatures of three stars, beside the catalogue's."""
    ordered = np.argsort(x)
    stars = {"faintest": ordered[0], "median": ordered[5000], "brightest": ordered[-1]}
    columns = {"catalogue": {name: 10 ** y[star] for name, star in stars.items()}}
    for rate, run in runs.items():
        columns[f"rate {rate}"] = {
            name: 10 ** predict(run, epoch, x[star])[0] for name, star in stars.items()
        }
    return pd.DataFrame(columns).map("{:,.0f} K".format).rename_axis("star")


for rate, run in runs.items():
    last, after = run.index["loss"][9], loss_after(run, 10)
    print(f"Learning rate {rate}: the loss in row 10 of the table is {last:.3f},")
    print(f"with the weights that row 10 leaves, {after:.3f}.")
    ratios = f"{last / y.var():.0f} and {after / y.var():.0f}"
    print(f"The loss of a constant is {ratios} times smaller.\n")
temperatures(10)

# %% [markdown]
# **After ten epochs the network predicts nonsense.** The loss has fallen a long way
# from its first row, but only because the output started near 0, and every target lies
# near the mean. Ten steps bring the output up to the targets on average. A constant
# does that much better. The network has not learnt the relation yet: all weights moved
# so as to lift the output, and as $x$ is never negative, that also made the curve
# steep. And an error in a logarithm is a factor in the temperature, which is how the
# brightest star gets so hot.
#
# Nor had the loss at 0.1 come to rest: with the weights that row 10 leaves it is larger
# than in row 10. One more row, and the table would show a rise at 0.1 too.

# %%
# Figure: Predictions over the stars, after epochs 1 to 10 and at both learning rates,
# from light to dark; the constant is dotted, the straight line dashed. The curves are
# nearly straight, rise from epoch to epoch and become much steeper than the stars.
INK = plt.rcParams["text.color"]
# Both ends can be seen on a light page and on a dark one.
COLOURS = LinearSegmentedColormap.from_list("epochs", ["#2f95e6", "#a06fc0", "#d9661f"])


def draw_stars(ax):
    """The stars, and the two predictions that need no training."""
    ax.plot(x, y, ".", color="tab:gray", markersize=2, alpha=0.25, rasterized=True)
    ax.axhline(y.mean(), color=INK, linestyle=":", linewidth=1.2, label="constant")
    ends = np.array([0.0, 1.0])
    label = "straight line"
    ax.plot(ends, slope * ends + intercept, "--", color=INK, linewidth=1.2, label=label)


def draw_curve(ax, run, epoch, colour):
    """The network's curve after an epoch."""
    places = np.linspace(0, 1, 401)
    ax.plot(places, predict(run, epoch, places), color=colour, label=f"epoch {epoch}")


figure, axes = plt.subplots(1, 2, figsize=(8, 4), layout="constrained", sharey=True)
for ax, (rate, run) in zip(axes, runs.items(), strict=True):
    draw_stars(ax)
    for epoch in (1, 2, 4, 6, 8, 10):
        draw_curve(ax, run, epoch, COLOURS(epoch / 10))
    ax.set(title=f"Learning rate {rate}", xlabel="x, scaled log10 of the luminosity")
    ax.grid(alpha=0.3)
axes[0].set_ylabel("log10 of the temperature in K")
figure.legend(*axes[0].get_legend_handles_labels(), loc="outside right", frameon=False)
plt.show()

# %% [markdown]
# At 0.3 the output rises faster, passes the stars and comes down again. This is why the
# loss in that table rises.
#
# ## After two hundred epochs

# %%
for rate, run in runs.items():
    losses = np.append(run.index["loss"][1:], loss_after(run, 200))
    below = np.flatnonzero(losses < y.var()) + 1
    print(f"Learning rate {rate}: better than a constant after epoch {below[0]};")
    excess = losses[-1] / yardsticks["a straight line"] - 1
    print(
        f"loss {losses[-1]:.5f} after epoch 200, {excess:.2%} above the straight line."
    )
temperatures(200)

# %%
# Figure: Left, the loss over 200 epochs on a logarithmic axis at both learning rates,
# with lines at the losses of the constant, the straight line and the group means; both
# runs come down to the straight line's. Right, the stars with the curves after epoch
# 200, which lie on the straight line.
figure, (left, right) = plt.subplots(1, 2, figsize=(8, 3.8), layout="constrained")
for (rate, run), colour in zip(runs.items(), ("#0072b2", "#d55e00"), strict=True):
    left.plot("epoch", "loss", data=run.index, color=colour, label=f"rate {rate}")
    places = np.linspace(0, 1, 401)
    curve = predict(run, 200, places)
    right.plot(places, curve, color=colour, linewidth=2.5, label=f"rate {rate}")
for (name, loss), style in zip(yardsticks.items(), (":", "--", "-."), strict=True):
    left.axhline(loss, color=INK, linestyle=style, linewidth=1, label=name)
left.set(yscale="log", xlabel="Epoch", ylabel="Mean squared error of log10 T")
left.legend(frameon=False, fontsize="small")
draw_stars(right)
right.set(xlabel="x, scaled log10 of the luminosity", ylabel="log10 of the temperature")
right.set_ylim(y.min() - 0.02, y.max() + 0.02)
right.legend(frameon=False, fontsize="small")
for ax in (left, right):
    ax.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## Why only a line
#
# The network has become the straight line, and as it stands it can be nothing else.
# Each hidden unit bends the curve at one place only, its *kink* $x = -b^{(1)}_i /
# w^{(1)}_i$, where the unit switches on or off. Between kinks the curve is straight.
# All stars lie between 0 and 1; where are the kinks?


# %%
def kinks(recording, epoch):
    """Where each hidden unit switches, and for which stars it is on."""
    w, b = (np.ravel(array) for array in weights_after(recording, epoch)[:2])
    for unit in range(6):
        on = np.mean(w[unit] * x + b[unit] > 0)
        kink = -b[unit] / w[unit] + 0.0
        yield {"unit": unit + 1, "kink at x": f"{kink:.2f}", "on for": f"{on:.0%}"}


tables = {
    f"rate {rate}": pd.DataFrame(kinks(run, 200)).set_index("unit")
    for rate, run in runs.items()
}
pd.concat(tables, axis=1)

# %% [markdown]
# Every unit is on for all of the stars or for none of them. Those that are on for none
# are dead: they have no gradient and stay as they are. The others add up to one
# straight line. Was it ever different? A unit bends the curve among the stars if it is
# on at one end and off at the other (the stars at $x = 0$, where all kinks start, left
# aside):

# %%
ends = np.array([x[x > 0].min(), x.max()])
for rate, run in runs.items():
    w, b = (run.weights[path].reshape(-1, 6, 1).astype(float) for path in PATHS[:2])
    on = w * ends + b > 0
    bends = np.argwhere(on[..., 0] != on[..., 1]) + 1
    found = ", ".join(f"{unit} after epoch {epoch}" for epoch, unit in bends)
    print(f"Learning rate {rate}, units that bend the curve: {found or 'none'}")

# %% [markdown]
# To follow the stars more closely than a line does, a unit has to switch among them.
# From these starts none does for long. All biases start at zero, which puts every kink
# at the faintest star. A unit that lifts the output has its bias raised, and its kink
# moves out of the range of the stars; a unit that lowers the output has its bias
# reduced, its kink crosses the stars within a few steps, and then the unit is dead.
#
# Next: [at which learning rate does the loss start to rise?](learning-rates.ipynb)
