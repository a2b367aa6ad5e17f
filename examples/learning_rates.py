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
# # At which learning rate does the loss start to rise?
#
# The published notebook draws two conclusions from the [two tables](tables.ipynb):
#
# > The loss decreases monotonically when learning rate is 0.1.
#
# > The loss can increase within 10 steps when the learning rate is larger than 0.1.
#
# Both describe the two tables correctly. But the two runs differ in more than the rate:
# cloning a model draws new weights, so they also start from different ones. Is it the
# rate that makes the loss rise? And at which rate does it begin to? Both questions take
# more than two runs.

# %% tags=["setup"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hrcallbacks as hr
from hrcallbacks import backprop

# %% [markdown]
# ## Two starts, two rates
#
# Start A is that of the published run at 0.1, start B that of the run at 0.3. Each is
# trained at both rates, so two of the four runs are the published ones.

# %%
x, y = hr.training_data(seed=1453)

model = keras.Sequential(
    [
        keras.layers.Input(shape=(1,)),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="linear", name="output"),
    ]
)
starts = {"A": hr.load_initial_weights(0.1), "B": hr.load_initial_weights(0.3)}


def losses(start, learning_rate):
    """The recorded losses of ten full-batch epochs."""
    clone = keras.models.clone_model(model)
    clone.set_weights(starts[start])
    clone.compile(keras.optimizers.Adam(learning_rate), loss="mse")
    recorder = hr.GradientRecorder()
    clone.fit(
        x,
        y,
        batch_size=len(x),
        epochs=10,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording.index.set_index("epoch")["loss"]


def rises(losses):
    """The epochs in which the loss is larger than in the one before."""
    return (np.flatnonzero(np.diff(losses) > 0) + 2).tolist()


runs = {(start, rate): losses(start, rate) for start in "AB" for rate in (0.1, 0.3)}

for (start, rate), run in runs.items():
    print(f"start {start}, learning rate {rate}: the loss rises in epochs {rises(run)}")

# %%
# Figure: Four loss curves over ten epochs. At 0.3 either start's loss reaches a minimum
# within four epochs, rises and falls again. At 0.1 it falls steadily from start A; from
# start B it comes to its minimum in epoch 8 and rises a little after that.
figure, axes = plt.subplots(1, 2, figsize=(8, 3.5), layout="constrained", sharey=True)
for ax, start in zip(axes, "AB", strict=True):
    for rate, marker in ((0.1, "o"), (0.3, "s")):
        published = (start, rate) in (("A", 0.1), ("B", 0.3))
        label = f"{rate}, published" if published else f"{rate}"
        ax.plot(runs[start, rate], marker=marker, markersize=4, label=label)
    ax.set(title=f"Start {start}", xlabel="Epoch", ylim=(0, None))
    ax.set_xticks(range(1, 11))
    ax.grid(alpha=0.3)
    ax.legend(title="Learning rate", frameon=False)
axes[0].set_ylabel("Mean squared error of log10 T")
plt.show()

# %% tags=["picture"]
# Trained in the page, at any rate.
from hrcallbacks.report import figures

published = {
    "A": (0.1, hr.load_published_table(0.1)),
    "B": (0.3, hr.load_published_table(0.3)),
}
figures.trainer(starts, published, x, y)

# %% [markdown]
# The first conclusion needs its start: from B the loss rises even at 0.1. The second
# holds from both starts, and says "can" with good reason. Neither says that the larger
# rate does worse. Which one does better depends on when you look:

# %%
later = {}
for (start, rate), run in runs.items():
    steps = backprop.train(starts[start], x, y, rate, epochs=100)
    later[f"start {start}, rate {rate}"] = {
        "lowest loss in ten epochs": run.min(),
        "in epoch": run.idxmin(),
        "loss in epoch 10": run.iloc[-1],
        "loss in epoch 100": steps[-1].loss,
    }
comparison = pd.DataFrame(later).T.astype({"in epoch": int})
print(comparison.to_string(float_format="{:.4f}".format))
for start in "AB":
    slow, fast = (comparison.loc[f"start {start}, rate {rate}"] for rate in (0.1, 0.3))
    lowest, late = "lowest loss in ten epochs", "loss in epoch 100"
    print(
        f"Start {start}: at 0.3 the lowest loss in ten epochs is "
        f"{slow[lowest] / fast[lowest]:.1f} times lower,\n"
        f"         and that in epoch 100 {slow[late] / fast[late]:.1f} times lower."
    )

# %% [markdown]
# At some time in the ten epochs, the larger rate gets to the lower loss. But it
# overshoots, and from start A it ends the ten epochs higher. By epoch 100 it is far
# ahead from either start. A loss that rises for some epochs is a sign of large steps,
# and not by itself a sign of a bad rate. (The first ten epochs are Keras' own; the
# hundredth is from the equations in NumPy, as below.) What ten epochs are worth at all
# is shown by [what the network has learnt](predictions.ipynb).
#
# ## The smallest rate that fails
#
# At which rate does the loss begin to rise within ten epochs? `backprop.train` repeats
# a run from equations (1) to (12) and Adam in NumPy, quickly enough for many rates.
# Each of them is 2 % above the one before, starting at 0.05.


# %%
def rises_by_hand(start, learning_rate):
    """The same from the equations, without Keras."""
    steps = backprop.train(starts[start], x, y, learning_rate, epochs=10)
    return rises([step.loss for step in steps])


rates = 0.05 * 1.02 ** np.arange(92)
first_rise = {
    start: np.array([min(rises_by_hand(start, rate), default=0) for rate in rates])
    for start in "AB"
}

# %%
# Figure: For each learning rate, the first epoch in which the loss rises. Below a
# threshold it does not rise within ten epochs; above, it rises earlier at larger rates.
# The thresholds of the two starts differ.
figure, ax = plt.subplots(figsize=(7, 3.5), layout="constrained")
for start, marker in (("A", "o"), ("B", "s")):
    rising = first_rise[start] > 0
    ax.plot(
        rates[rising],
        first_rise[start][rising],
        marker,
        markersize=3,
        label=f"start {start}",
    )
ax.set(
    xscale="log",
    xlabel="Learning rate",
    ylabel="First epoch whose loss rises",
    yticks=range(2, 11),
    xlim=(rates[0], rates[-1]),
)
ticks = [0.05, 0.1, 0.15, 0.2, 0.3]
ax.set_xticks(ticks, labels=map(str, ticks))
ax.minorticks_off()
ax.grid(alpha=0.3)
ax.legend(frameon=False)
plt.show()

# %% [markdown]
# Bisection finds the threshold, between the last rate of the scan at which the loss
# does not rise and the first at which it does. The scan also says whether the loss
# falls steadily again at some larger rate.


# %%
def threshold(start):
    """The smallest rate at which the loss rises within ten steps, to six decimals."""
    first = int(np.argmax(first_rise[start] > 0))
    low, high = rates[first - 1], rates[first]
    while high - low > 1e-6:
        middle = (low + high) / 2
        if rises_by_hand(start, middle):
            high = middle
        else:
            low = middle
    return {
        "start": start,
        "smallest rate": round(high, 6),
        "rises in epoch": min(rises_by_hand(start, high)),
        "all larger rise too": bool(first_rise[start][first:].all()),
    }


thresholds = pd.DataFrame([threshold(start) for start in "AB"]).set_index("start")
print(thresholds.to_string())

# %% [markdown]
# Does Keras agree, in float32? One run just below each threshold, and one just above:

# %%
for start, rate in thresholds["smallest rate"].items():
    for factor in (0.999, 1.001):
        found = rises(losses(start, factor * rate))
        print(f"start {start}, learning rate {factor * rate:.6f}: rises in {found}")

# %% [markdown]
# So 0.1 is not the boundary. From start A the loss keeps falling for ten epochs at
# rates a little above 0.1, and from start B it already rises at rates below 0.1. The
# smallest rate at which the loss rises is a property of the network, the stars *and*
# the weights that training starts from.
#
# Next: [where the stars come from](stars.ipynb), and what they can show.
