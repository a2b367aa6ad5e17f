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
# # Write a sink
#
# A sink receives each record while training goes on. `hr.Alert`, `hr.TensorBoard`,
# `hr.Tracker` and `hr.Logs` are sinks; your own is a class with a method or two. This
# one appends the gradients' norms to a file of JSON lines, which any tool can follow.
# If you only want norms in W&B, MLflow or a CSV file, [`hr.Logs` is
# enough](loggers.ipynb).
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import tempfile
import warnings

import keras
import numpy as np

temporary = tempfile.TemporaryDirectory()

# %%
import json
from pathlib import Path

import hrcallbacks as hr


class JsonLines(hr.Sink):
    """Appends the norms of a step's gradients to a file."""

    def __init__(self, path):
        self.path = path

    def add(self, record):
        norms = {
            key.path: float(value)
            for key, value in record.values.items()
            if (key.quantity, key.reduction) == ("gradients", "norm")
        }
        with Path(self.path).open("a") as file:
            print(json.dumps({"step": record.step.step} | norms), file=file)


# %% [markdown]
# Pass it to a recorder, which decides what is recorded and when:

# %%
keras.utils.set_random_seed(1)
model = keras.Sequential(name="net")
model.add(keras.Input((3,)))
model.add(keras.layers.Dense(4, activation="relu", name="hidden"))
model.add(keras.layers.Dense(1, name="head"))
model.compile("adam", loss="mse")
x = np.random.default_rng(0).normal(size=(64, 3))
y = x.sum(axis=1, keepdims=True)

recorder = hr.GradientRecorder(
    "*/kernel",
    gradients="norm",
    weights=None,
    record_freq=2,
    sinks=[JsonLines(f"{temporary.name}/norms.jsonl")],
)
model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[recorder])
print(Path(temporary.name, "norms.jsonl").read_text())

# %% [markdown]
# A record has `step` (with `step.step`, `step.epoch` and `step.batch`), `loss`,
# `learning_rates`, `metrics`, and `values`: NumPy arrays by `Key`, which names the
# quantity, the reduction and the path of the variable.
#
# ## Speak, and stop the training
#
# A sink may run in the thread that stores records. So it speaks through `say`: the
# recorder then warns in the thread that trains, and stops the training if you pass
# `stop=True`. This one stops once the loss of a batch is low enough.


# %%
class LowEnough(hr.Sink):
    """Stops training at a loss."""

    waits = True  # Each epoch's end waits until its records are handed over.

    def __init__(self, loss):
        self.loss = loss

    def add(self, record):
        if record.loss is not None and record.loss < self.loss:
            self.say(f"A loss below {self.loss} in step {record.step.step}.", stop=True)


# %%
recorder = hr.GradientRecorder(record_freq=1, sinks=[LowEnough(3.0)])
with warnings.catch_warnings(record=True) as caught:
    warnings.simplefilter("always")
    history = model.fit(
        x, y, batch_size=16, epochs=100, verbose=0, callbacks=[recorder]
    )
print(caught[0].message)
print("epochs:", len(history.epoch))

# %% [markdown]
# ## What else there is
#
# `begin(run)` is called as a fit begins, and may refuse it by raising;
# `end_epoch(epoch, logs)` has Keras' logs; `look(recording)` has the whole recording so
# far, at each epoch's end; `end()` comes last. If a sink raises, one warning says so,
# and it is not called again in that fit; recording and training go on.
#
# [The reference](../reference/recorder.md#sinks) describes each method.
