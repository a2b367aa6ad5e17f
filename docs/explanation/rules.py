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
# # Every rule of the diagnosis
#
# For each rule of `recording.diagnose()`, this page shows what it looks for, its
# thresholds, and a run in which it finds something. The texts are those of the rules
# themselves; the runs are trained while this page is built. First comes a run that
# learns: no rule warns of anything in it. [Find out why training
# fails](../how-to/diagnose.ipynb) shows how to use the diagnosis.

# %% tags=["setup"]
import dataclasses
import inspect
import textwrap
import warnings

import keras
import numpy as np

import hrcallbacks as hr

warnings.simplefilter("ignore")  # Keras too sees some of these faults.
layers, optimizers, Dense = keras.layers, keras.optimizers, keras.layers.Dense

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8)).astype("float32")
y = np.sin(x[:, :1] + x[:, 1:2])
labels = (x[:, :1] > 0).astype("float32")


def record(*parts, optimizer="adam", loss="mse", x=x, y=y, epochs=12, **fit):
    """Trains these layers for some epochs; returns what was recorded."""
    keras.utils.set_random_seed(1)
    shape = fit.pop("shape", x.shape[1:])
    dtype = fit.pop("dtype", "float32")
    model = keras.Sequential([keras.Input(shape, dtype=dtype), *parts])
    metrics, freq = fit.pop("metrics", []), fit.pop("record_freq", 1)
    model.compile(optimizer, loss, metrics=metrics, jit_compile=False)
    wanted = fit.pop("wanted", {})
    recorder = hr.GradientRecorder(record_freq=freq, **wanted)
    fit = {"batch_size": 32} | fit
    model.fit(x, y, epochs=epochs, verbose=0, callbacks=[recorder], **fit)
    return recorder.recording


def explain(name, recording):
    """What a rule looks for, and what it finds in this run."""
    rule = hr.diagnose.RULES[name]
    print(inspect.getdoc(type(rule)))
    thresholds = dataclasses.asdict(rule).items()
    if thresholds:
        print("\nDefaults:", ", ".join(f"{k}={v}" for k, v in thresholds))
    found = recording.diagnose(name).to_frame()
    assert len(found), name
    first = found.iloc[0]
    said = f"In this run: {first['severity']}: {first['evidence']}."
    print("\n" + textwrap.fill(said, 80))


# %% [markdown]
# ## A run that learns

# %%
good = record(Dense(32, "relu"), Dense(32, "relu"), Dense(1))
findings = good.diagnose()
assert "severe" not in set(findings["severity"])
assert "warning" not in set(findings["severity"])
print(findings)

# %% [markdown]
# ## Where NaN begins
#
# ### nan_origin
#
# It needs `outputs=`; see [Find where a NaN begins](../how-to/nan.ipynb).

# %%
negative = x.copy()
negative[100] = -9
logs = layers.Lambda(lambda x: keras.ops.log(x + 5), name="log")
wanted = {"outputs": {"*": "nonfinite"}, "batch": {"x": "nonfinite"}}
explain("nan_origin", record(logs, Dense(1), x=negative, wanted=wanted))

# %% [markdown]
# ## How the model is made
#
# ### output_activation

# %%
bce = "binary_crossentropy"
explain("output_activation", record(Dense(8, "relu"), Dense(1), y=labels, loss=bce))

# %% [markdown]
# ### targets

# %%
seen = {"batch": {"y": "raw"}}
explain("targets", record(Dense(8, "relu"), Dense(1, "relu"), wanted=seen))

# %% [markdown]
# ### undefined_loss


# %%
def by_hand(target, answer):
    """A cross-entropy that takes the logarithm of what may be below 0."""
    return -keras.ops.mean(target * keras.ops.log(answer))


explain("undefined_loss", record(Dense(1), y=labels, loss=by_hand, metrics=["mae"]))

# %% [markdown]
# ### initial_weights

# %%
same = {"kernel_initializer": keras.initializers.Constant(0.1)}
same = record(Dense(8, "relu", **same), Dense(1, **same))
explain("initial_weights", same)

# %% [markdown]
# ### hidden_activation

# %%
explain("hidden_activation", record(Dense(8), Dense(8), Dense(1)))

# %% [markdown]
# ### output_range

# %%
explain("output_range", record(Dense(8, "relu"), Dense(1, "relu")))

# %% [markdown]
# ### frozen_share

# %%
frozen = Dense(64, "relu", trainable=False)
explain("frozen_share", record(frozen, Dense(1)))

# %% [markdown]
# ### regularization

# %%
decay = keras.regularizers.L2(10.0)
heavy = [Dense(8, "relu", kernel_regularizer=decay), Dense(1, "sigmoid")]
fast = optimizers.Adam(0.02)
explain("regularization", record(*heavy, y=labels, loss=bce, optimizer=fast))

# %% [markdown]
# ### input_scale

# %%
explain("input_scale", record(Dense(8, "relu"), Dense(1), x=300 * x))

# %% [markdown]
# ## How training goes
#
# ### negative_loss

# %%
signs, fast = 2 * labels - 1, optimizers.Adam(0.1)
one = Dense(1, "sigmoid")
explain("negative_loss", record(one, y=signs, loss=bce, optimizer=fast))

# %% [markdown]
# ### update_size

# %%
wild = record(Dense(8, "relu"), Dense(1), optimizer=optimizers.SGD(1.5))
explain("update_size", wild)

# %% [markdown]
# ### loss_rises

# %%
diverging = record(Dense(1), x=3 * x, optimizer=optimizers.SGD(0.2))
explain("loss_rises", diverging)

# %% [markdown]
# ### exploding

# %%
explain("exploding", diverging)

# %% [markdown]
# ### nan

# %%
broken = x.copy()
broken[100, 3] = np.nan
explain("nan", record(Dense(1), x=broken))

# %% [markdown]
# ### one_batch

# %%
outlier = y.copy()
outlier[100] = 500
explain("one_batch", record(Dense(8, "tanh"), Dense(1), y=outlier, batch_size=8))

# %% [markdown]
# ## What happens to units and layers
#
# ### identical_units

# %%
explain("identical_units", same)

# %% [markdown]
# ### silent_outputs

# %%
low = keras.initializers.Constant([0.0, -50.0])
explain(
    "silent_outputs",
    record(Dense(8, "relu"), Dense(2, "relu", bias_initializer=low), y=abs(x[:, :2])),
)

# %% [markdown]
# ### dead_units

# %%
low = keras.initializers.Constant(-50.0)
explain("dead_units", record(Dense(8, "relu", bias_initializer=low), Dense(1)))

# %% [markdown]
# ### saturated_units

# %%
high = keras.initializers.Constant(50.0)
explain("saturated_units", record(Dense(8, "relu6", bias_initializer=high), Dense(1)))

# %% [markdown]
# ### vanishing

# %%
deep = [Dense(8, "sigmoid") for _ in range(10)]
explain("vanishing", record(*deep, Dense(1)))

# %% [markdown]
# ### saturated_layer
#
# It compares the first quarter of a run with the last. It finds, for example, tanh
# units that far too high a rate has driven into their flat ends. Here is its text,
# without a run.

# %%
print(inspect.getdoc(hr.diagnose.SaturatedLayer))

# %% [markdown]
# ### frozen

# %%
zero = optimizers.SGD(optimizers.schedules.PiecewiseConstantDecay([20], [0.1, 0.0]))
explain("frozen", record(Dense(8, "tanh"), Dense(1), optimizer=zero))

# %% [markdown]
# ### untouched_rows

# %%
words = rng.integers(0, 10, (256, 6))
table = layers.Embedding(1000, 4)
explain(
    "untouched_rows",
    record(table, layers.Flatten(), Dense(1), x=words, dtype="int32"),
)

# %% [markdown]
# ## What comes of it
#
# ### no_progress

# %%
noise = rng.normal(size=(256, 1)).astype("float32")
start = {"kernel_initializer": "zeros"}
explain("no_progress", record(Dense(1, **start), y=noise))

# %% [markdown]
# ### metric_stuck

# %%
explain(
    "metric_stuck",
    record(Dense(1), y=3 + y, metrics=["accuracy"], optimizer=optimizers.Adam(0.05)),
)

# %% [markdown]
# ### overfits

# %%
few = {"x": x[:48], "y": noise[:48], "validation_data": (x[48:], noise[48:])}
wide = [Dense(128, "relu"), Dense(128, "relu"), Dense(1)]
explain("overfits", record(*wide, **few, epochs=40, record_freq="epoch"))

# %% [markdown]
# ## Where the thresholds come from
#
# Some conditions leave no threshold to choose: an output fits a loss or does not, units
# are alike or not, a gradient is exactly 0 or not. The scale of weights is that of
# Glorot and Bengio (2010) and He et al. (2015); that of inputs follows from the chain
# rule. The others (an update of a fifth of the weights, a loss that falls by less than
# a twentieth) are round numbers, checked on the programs of the
# [benchmark](diagnosis_benchmark.ipynb). Each is a field of its rule, and can be set:
# `recording.diagnose(hr.diagnose.NoProgress(fall=0.01))`.
