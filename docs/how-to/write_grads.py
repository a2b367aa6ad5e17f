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
# # Coming from `write_grads`
#
# Keras' `TensorBoard` callback once had an argument `write_grads=True`, which showed
# histograms of the gradients. TensorFlow 2 dropped it
# ([tensorflow#31173](https://github.com/tensorflow/tensorflow/issues/31173)). This page
# shows what to write instead.
#
# Install: `pip install "hrcallbacks[tensorflow,tensorboard,plot]"`
#
# ```text
# keras.callbacks.TensorBoard("logs", histogram_freq=1, write_grads=True)  # Keras 2
# ```

# %% tags=["setup"]
import tempfile
from pathlib import Path

import keras
import numpy as np
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
logs = Path(temporary.name)

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(256, 8))
y = np.sin(x.sum(axis=1, keepdims=True))

keras.utils.set_random_seed(1)
model = keras.Sequential(name="net")
model.add(keras.Input((8,)))
model.add(keras.layers.Dense(16, activation="relu", name="hidden"))
model.add(keras.layers.Dense(1, name="head"))
model.compile("adam", loss="mse")

# %% [markdown]
# ## The same histograms
#
# Keep Keras' callback for the metrics and the graph, and put a recorder beside it whose
# `sinks`, which receive its records, are one `hr.TensorBoard`. Each gets a folder of
# its own below the one that TensorBoard reads.

# %%
recorder = hr.GradientRecorder(sinks=[hr.TensorBoard(logs / "gradients")])
history = model.fit(
    x,
    y,
    epochs=3,
    verbose=0,
    callbacks=[keras.callbacks.TensorBoard(logs / "keras"), recorder],
)

# %% [markdown]
# `tensorboard --logdir logs` now shows both. For each variable there is a histogram of
# its gradients and one of its weights, and their norms:

# %%
events = EventAccumulator(str(logs / "gradients" / "train")).Reload()
print(*(tag for tag in events.Tags()["tensors"] if "kernel" in tag), sep="\n")

# %% [markdown]
# ## What is different
#
# - **Which gradient.** `write_grads` computed the gradients once more, after the epoch
#   and from the *validation data*, as
#   [keras#13204](https://github.com/keras-team/keras/issues/13204) found. The recorder
#   shows the gradient that the optimizer was given, of the epoch's last batch. It needs
#   no validation data.
# - **How often.** `histogram_freq=1` meant every epoch, and so does the default
#   `record_freq="epoch"`. `record_freq=100` is every hundredth step.
# - **One batch or all of them.** For a gradient over the whole epoch, pass
#   `epoch_gradient="mean"`.
# - **Large models.** By default all elements are recorded and kept in memory. With
#   `gradients=hr.Histogram(), weights=None` a histogram of magnitudes is made inside
#   the training step, and only its counts leave the device.
# - **Backends.** It also works on JAX and PyTorch, and the sink needs no TensorFlow.
#
# ## And without TensorBoard
#
# The recorder keeps what it has recorded. The same histograms as a picture:

# %%
# Figure: Histograms of the gradients of the four variables of the network, one panel
# for each variable, with the three epochs along one axis.
panels = hr.plot.histograms(recorder.recording)

# %% [markdown]
# [Choose what to record, and when](choose.ipynb) has the other reductions, and [Send
# gradients to TensorBoard](to_tensorboard.ipynb) writes the files from a recording
# afterwards.
