# %% [markdown]
# # What recording costs
#
# A step that records does more work: tensors leave the device, and go to memory or to a
# disk. How much more depends on the model, on the machine and on what is recorded, so
# this page shows a measurement. `examples/overhead.py` made it, and you can run it on
# your machine too:
#
#     python examples/overhead.py --json overhead.json
#
# Each case is a `fit` of the same model on the same batches. A plain `fit` is timed
# right before or after it, so that other work of the machine affects both. What counts
# is the ratio of the two: 1 is the plain `fit`, 1.1 takes a tenth more time.

# %% tags=["setup"]
import json
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

# %%
FILES = {
    "TensorFlow": "overhead_tensorflow.json",
    "JAX": "overhead_jax.json",
    "PyTorch": "overhead_torch.json",
}


def load(backend):
    """What `overhead.py` saved, and its rows as a table."""
    measured = json.loads(Path("docs/data", FILES[backend]).read_text())
    rows = pd.DataFrame(measured["rows"])
    rows["low"], rows["high"] = zip(*rows["quartiles"], strict=True)
    return measured, rows


measured, all_rows = load("TensorFlow")
rows = all_rows[all_rows["part"] == "models"]
models = rows["model"].drop_duplicates().tolist()
plain = rows["case"] == "plain fit"

compiled = "with" if measured["jit_compile"] else "without"
print(
    f"Keras {measured['keras']} on {measured['backend']} {compiled} XLA, "
    f"{measured['cores']} cores"
)
print(f"Each case measured {measured['rounds']} times")
for model, first in rows[plain].set_index("model").iterrows():
    print(
        f"{model}: {first['parameters']:,} parameters, batches of {first['batch']}, "
        f"{first['steps']:,} steps, {first['ms_a_step']:.2f} ms a step"
    )

# %% [markdown]
# ## Ratios to the plain `fit`
#
# These are medians, with the two quartiles in brackets. The first row compares the
# plain `fit` with itself: smaller differences than its spread mean nothing on this
# machine.


# %%
def ratios(chosen):
    """Cases by models, as text."""
    text = chosen.apply(
        lambda r: f"{r['ratio']:.2f} ({r['low']:.2f} to {r['high']:.2f})", axis=1
    )
    table = chosen.assign(text=text).pivot(index="case", columns="model", values="text")
    order = chosen["case"].drop_duplicates()
    return table.loc[order, models].rename_axis(index=None, columns=None)


ratios(rows[~rows["peer"]])

# %% [markdown]
# For comparison, this is what people use otherwise: Keras' `TensorBoard` callback,
# which writes histograms of the weights once an epoch, but no gradients; a callback
# that copies the weights in each step, but no gradients; a hand-written training loop,
# not compiled, that keeps both; and, on PyTorch, `wandb.watch`. The table has those
# that were installed on the machine.

# %%
ratios(rows[rows["peer"]])

# %%
# Figure: The ratios of the two tables as dots with their quartiles, one panel for each
# model, on a logarithmic axis. A line marks the plain fit at 1.
TICKS = [0.5, 0.7, 1, 1.4, 2, 3, 5, 10, 20, 50]
order = rows["case"].drop_duplicates().tolist()[::-1]
figure, axes = plt.subplots(
    len(models), figsize=(7, 3.4 * len(models)), layout="constrained", squeeze=False
)
for ax, model in zip(axes[:, 0], models, strict=True):
    ax.axvline(1, color="tab:gray", linewidth=1)
    for peer, color in ((False, "tab:orange"), (True, "tab:blue")):
        chosen = rows[(rows["model"] == model) & (rows["peer"] == peer)]
        places = chosen["case"].map(order.index)
        ax.hlines(places, chosen["low"], chosen["high"], color=color, linewidth=2)
        label = "others" if peer else "the recorder"
        ax.plot(chosen["ratio"], places, "o", color=color, label=label)
    ax.set(title=model, xscale="log", yticks=range(len(order)), yticklabels=order)
    ax.set_xticks(TICKS, [f"{tick:g}" for tick in TICKS], minor=False)
    ax.set_xticks([], minor=True)
    shown = rows[rows["model"] == model]
    ax.set_xlim(0.95 * min(1, shown["low"].min()), 1.1 * shown["high"].max())
    ax.grid(axis="x", alpha=0.3)
axes[0, 0].legend(frameon=False, loc="upper right")
axes[-1, 0].set_xlabel("Time of a step, relative to the plain fit")
plt.show()

# %% [markdown]
# ## In milliseconds
#
# A ratio is large where a step is short, so here is the time added to each step, in
# milliseconds. A negative number is noise:

# %%
added = rows[~plain].pivot(index="case", columns="model", values="added_ms_a_step")
added = added.loc[order[::-1][1:], models].rename_axis(index=None, columns=None)
added.round(3)

# %% [markdown]
# ## The yardstick for raw recording
#
# Raw recording keeps every gradient and weight of a step. The natural yardstick for
# that is one copy of these bytes, so the added time is compared with the time that this
# machine takes to copy as many bytes into fresh memory.

# %%
copies = measured["bytes_a_second"]["copy to fresh memory"]
lines = []
for model, row in rows[rows["case"] == "every step, raw"].set_index("model").iterrows():
    size = 2 * 4 * row["parameters"]  # Gradient and weight, float32.
    copy = 1e3 * size / copies
    lines.append(
        {
            "model": model,
            "MB a step": size / 1e6,
            "one copy, ms": copy,
            "added, ms": row["added_ms_a_step"],
            "copies": row["added_ms_a_step"] / copy,
        }
    )
pd.DataFrame(lines).set_index("model").round(4)

# %% [markdown]
# Small models take many times a copy, because they pay a fixed cost per step: handing
# anything over takes some time. The large one takes *less* than a copy. That is
# possible because on a CPU the outputs of a step are in the machine's memory already.
# TensorFlow writes them into fresh memory in any case, and the recorder keeps large
# arrays as they are, without copying them again. On a GPU they have to be copied to the
# host.
#
# [Reductions](../reference/recorder.md#reductions) save this cost, since only their
# small results leave the step. Steps that are not recorded call [the function that
# Keras made](capture.ipynb), and pay only for the check whether to record.
#
# ## The yardstick for a store
#
# [A store](../how-to/large_models.ipynb) is written by a separate thread. It compresses
# and writes on one of the machine's cores, and costs as much as training would have
# done with that core: nothing if one is free, for example when training runs on a GPU;
# most if training keeps all of them busy, as on the two cores here. To show how much of
# this is due to writing alone, a callback that records nothing has a thread write as
# many bytes to plain files.

# %%
STORED = [
    "every step, raw",
    "every step, raw, to Zarr",
    "as many bytes to plain files",
]
added.loc[STORED].rename_axis("added, ms").round(3)

# %% [markdown]
# ## Fresh memory
#
# What memory costs depends on whether the process has it already. A page that the
# system hands out for the first time is emptied first, and on some machines (virtual
# ones above all) that takes longer than the copy into it. So the measurement also
# counts these pages. This is how many megabytes of fresh memory a step takes, beyond
# what the plain `fit` takes, in a process that recorded the same before and let go of
# it:

# %%
fresh = rows[~plain & ~rows["peer"]].pivot(
    index="case", columns="model", values="fresh_bytes_a_step"
)
fresh = fresh.loc[[case for case in added.index if case in fresh.index], models] / 1e6
fresh.rename_axis(index=None, columns=None).round(2) + 0.0

# %%
speeds = measured["bytes_a_second"]
for kind in ("fresh", "used"):
    speed = speeds[f"copy to {kind} memory"] / 1e9
    print(f"A copy into {kind} memory, on this machine: {speed:.1f} GB a second")

# %% [markdown]
# The first recording of a process takes all that it keeps in memory fresh. A store
# gives its memory back once it is written, and takes the same again.
#
# ## The outputs of layers
#
# This is what it costs to [look into layers](../how-to/outputs.ipynb): the norm and the
# share of zeros of every layer's output, then also those of the gradients with respect
# to them. The third model is a small transformer, two blocks of attention and dense
# layers.

# %%
tables = {}
for backend in FILES:
    deep = load(backend)[1].query("part == 'layers' and case != 'plain fit'")
    if len(deep):  # Where it was measured.
        ratio = deep.pivot(index="case", columns="model", values="ratio")
        ratio = ratio.loc[deep["case"].unique(), deep["model"].unique()]
        tables[backend] = ratio.map("{:.2f}".format)
pd.concat(tables).fillna("").rename_axis(index=(None, None), columns=None)

# %% [markdown]
# Some of that is memory, not work. A step that needs a little more may pass the size
# above which the system takes memory back after each step. These are the megabytes of
# fresh memory a step, for those that take more than one:

# %%
fresh = {}
for backend in FILES:
    deep = load(backend)[1].query("part == 'layers' and fresh_bytes_a_step > 1e6")
    for _, row in deep.iterrows():
        fresh[backend, row["model"], row["case"]] = row["fresh_bytes_a_step"] / 1e6
pd.Series(fresh, name="MB").round(1).to_frame()

# %% [markdown]
# Each output is read once for its norm and once for its zeros. Where a compiler would
# otherwise round differently, it is first made a second time, because training must
# stay [the same to the last bit](unchanged.ipynb).
#
# ## Other backends
#
# This is the same measurement of one model with Keras on JAX and on PyTorch. JAX
# compiles each step with XLA, PyTorch runs it line by line, and TensorFlow, on a
# machine without a GPU, compiles it into a graph.
#
# Keras on JAX and PyTorch passes a batch's logs to callbacks in another thread, if all
# of them allow that. Training then need not wait until the logs have been computed,
# but very small steps take longer. The recorder allows it on JAX, and on PyTorch with
# a GPU. PyTorch on a CPU computes line by line, so there would be nothing to gain.

# %%
columns = {}
for backend in FILES:
    chosen = load(backend)[1].query("part == 'models' and model == 'mlp'")
    columns[backend] = chosen.set_index("case")["ratio"].map("{:.2f}".format)
names = dict.fromkeys(name for column in columns.values() for name in column.index)
pd.DataFrame(columns).reindex(list(names)).fillna("")

# %% [markdown]
# ## On a GPU
#
# No GPU was at hand for these figures. The script uses one if the backend finds it:
#
# ~~~~sh
# KERAS_BACKEND=jax python overhead.py --parts models layers --json gpu.json
# ~~~~
#
# Steps run on a GPU while Python is already ahead, and what is recorded stays there
# until a batch of steps is copied to the host. So there are three things to look at:
#
# - *Norms at every step* should cost no more than the plain `fit` against itself. If
#   they cost more, each step waits for the host.
# - *All at every step* should cost what the copy of these bytes to the host takes, and
#   no more.
# - In a trace of a few steps (`jax.profiler.trace`, `torch.profiler.profile`), the line
#   of the GPU should have the same gaps between two steps with the recorder as without.
#
# ## How it grows
#
# How does the added time grow with the number of parameters, and with the number of
# recorded steps? Small models pay a fixed cost per step, large ones pay for their
# bytes. The time per step does not grow with the number of steps.

# %%
# Figure: Two panels. Left, milliseconds that are added to a step, over the number of
# parameters, both on logarithmic axes, for norms, for all in memory and for all in a
# store, with a line for one copy of the bytes. Right, the same over the number of
# recorded steps, for the 1-6-1 network.
figure, (left, right) = plt.subplots(
    1, 2, figsize=(8, 3.6), sharey=True, layout="constrained"
)
for ax, part, over in (
    (left, "parameters", "parameters"),
    (right, "records", "steps"),
):
    grown = all_rows[all_rows["part"] == part]
    for case, of_case in grown.groupby("case", sort=False):
        if case != "plain fit":
            shown = of_case[of_case["added_ms_a_step"] > 0]
            ax.plot(shown[over], shown["added_ms_a_step"], "o-", label=case)
    ax.set(xscale="log", yscale="log")
    ax.grid(alpha=0.3)
sizes = np.array(sorted(all_rows.query("part == 'parameters'")["parameters"].unique()))
left.plot(sizes, 1e3 * 8 * sizes / copies, ":", color="tab:gray", label="one copy")
left.set(xlabel="Parameters", ylabel="Added to a step, ms")
small = int(all_rows.query("part == 'records'")["parameters"].iloc[0])
right.set(xlabel=f"Recorded steps of {small} parameters")
left.legend(frameon=False, fontsize="small")
plt.show()

# %% [markdown]
# The slope of such a line, between logarithms, says how the time of a step grows: 1 is
# in proportion, 0 not at all. These are the slopes between the two largest models,
# where bytes count, and between the fewest and the most steps, where less than 0 means
# that a fit pays a part once:


# %%
def slope(of_case, over):
    """Of the line through two points, between the logarithms."""
    ends = np.log(of_case[[over, "added_ms_a_step"]].to_numpy(float))
    return (ends[1, 1] - ends[0, 1]) / (ends[1, 0] - ends[0, 0])


slopes = {}
for part, over, chosen in (
    ("parameters", "parameters", [-2, -1]),
    ("records", "steps", [0, -1]),
):
    grown = all_rows[(all_rows["part"] == part) & (all_rows["added_ms_a_step"] > 0)]
    slopes[f"over {over}"] = {
        case: slope(of_case.sort_values(over).iloc[chosen], over)
        for case, of_case in grown.groupby("case", sort=False)
        if case != "plain fit" and len(of_case) > 1
    }
pd.DataFrame(slopes).round(2).fillna("")

# %% [markdown]
# ## Memory of a long run
#
# With a store, memory holds only what is waiting to be written. This is the memory of
# the process while all parameters of a network and their gradients were recorded at
# every step.

# %%
# Figure: The process' memory in MiB at each thousandth recorded step, from an axis that
# begins at 0: a flat line.
memory = measured["memory"]
steps = 1000 * np.arange(1, len(memory["mebibytes"]) + 1)
figure, ax = plt.subplots(figsize=(7, 2.4), layout="constrained")
ax.plot(steps, memory["mebibytes"], "o-")
top = 1.2 * max(memory["mebibytes"])
ax.set(xlabel="Recorded steps", ylabel="MiB", ylim=(0, top))
ax.grid(alpha=0.3)
plt.show()
print(
    f"{memory['parameters']:,} parameters, {memory['store_bytes'] / 1e9:.2f} GB on disk"
)
print(
    f"Opened, and a hundred records of a variable read: {memory['slice_seconds']:.2f} s"
)
