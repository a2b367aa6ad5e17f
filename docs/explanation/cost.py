# %% [markdown]
# # What it costs
#
# A step that records does more: tensors leave the device, and memory or a disk takes
# them in. How much more depends on the model, on the machine and on what is recorded,
# so this page shows a measurement. `examples/overhead.py` made it, and makes it on your
# machine too:
#
#     python examples/overhead.py --json overhead.json
#
# Each case is a `fit` of the same model on the same batches. Right before or after it a
# plain `fit` is timed, so that whatever else the machine does falls on both. What
# counts is the ratio of the two: 1 is the plain `fit`, 1.1 a tenth more time.

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
# The median, and in brackets the two quartiles. The first row is the plain `fit`
# against itself: its spread is what this machine can tell apart.


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
# Beside them, what people use in its place: Keras' `TensorBoard` callback, which
# writes histograms of the weights once an epoch, and no gradients; a callback that
# copies the weights in each step, and no gradients; a training loop by hand, not
# compiled, that keeps both; and, on PyTorch, `wandb.watch`. Those that the measuring
# machine had are in the table.

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
        label = "in its place" if peer else "the recorder"
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
# A ratio is large where a step is short. What is added to each step, in milliseconds;
# a negative number is noise:

# %%
added = rows[~plain].pivot(index="case", columns="model", values="added_ms_a_step")
added = added.loc[order[::-1][1:], models].rename_axis(index=None, columns=None)
added.round(3)

# %% [markdown]
# ## The yardstick for raw recording
#
# To keep every gradient and weight of a step, their bytes have to be copied at least
# once. So the time added is compared with the time that this machine takes to copy as
# many bytes into fresh memory.

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
# Where the bytes are few, nothing of this is seen: handing anything over has its price.
# [Reductions](../reference/recorder.md#reductions) leave the copy out, since only
# their results leave the step. Steps that are not recorded call
# [the function that Keras made](capture.ipynb), and pay only for the question whether
# they are to be recorded.
#
# ## The yardstick for a store
#
# [A store](../how-to/large_models.ipynb) is written by a thread of its own. That thread
# compresses and writes on one of the machine's cores, so it costs what training would
# have done with that core: nothing where one is free, as on a machine whose training
# runs on a GPU; most where training keeps all of them busy, as on the two cores here.
# How much that is, whoever writes, is shown by a callback that records nothing, and
# whose thread writes as many bytes to plain files.

# %%
STORED = [
    "every step, raw",
    "every step, raw, to Zarr",
    "as many bytes to plain files",
]
added.loc[STORED].rename_axis("added, ms").round(3)

# %% [markdown]
# ## Other backends
#
# The same measurement of one model with Keras on JAX and on PyTorch. JAX compiles each
# step with XLA, PyTorch runs it line by line, and TensorFlow, on a machine without GPU,
# compiles it into a graph.

# %%
columns = {}
for backend in FILES:
    chosen = load(backend)[1].query("part == 'models' and model == 'mlp'")
    columns[backend] = chosen.set_index("case")["ratio"].map("{:.2f}".format)
names = dict.fromkeys(name for column in columns.values() for name in column.index)
pd.DataFrame(columns).reindex(list(names)).fillna("")

# %% [markdown]
# ## How it grows
#
# What is added to a step, over the number of parameters and over the number of recorded
# steps. A step of a small model costs what handing anything over costs; that of a large
# one, what its bytes cost. With the number of steps it does not grow.

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
# ## Memory of a long run
#
# With a store, memory holds what waits to be written, and no more. This is the process'
# memory while all parameters of a network and their gradients were recorded at each
# step.

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
