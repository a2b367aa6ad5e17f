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
# # Record on several devices
#
# Under a distribution strategy each replica computes the gradient of its share of the
# batch, and the optimizer is given their sum. That sum is recorded: the gradient that
# one device would have computed from the whole batch. You need not configure anything.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import hrcallbacks as hr

tf.get_logger().setLevel("ERROR")  # Or TensorFlow logs each sum over replicas.

# %% [markdown]
# ## Two replicas
#
# If you do not have two GPUs, a CPU can stand in for two devices. Configure this before
# TensorFlow does anything else.

# %%
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print("replicas:", strategy.num_replicas_in_sync)

# %% [markdown]
# The model is built and compiled in the strategy's scope, as it would be without a
# recorder.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(64, 4)).astype("float32")
y = np.sin(x.sum(axis=1, keepdims=True))


def new_model():
    """A small network, its first weights always the same."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(name="net")
    model.add(keras.Input((4,)))
    model.add(keras.layers.Dense(8, activation="relu", name="hidden"))
    model.add(keras.layers.Dense(1, name="head"))
    model.compile(keras.optimizers.Adam(0.01), loss="mse")
    return model


def record(model):
    """Two epochs of four steps, each step recorded."""
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, y, batch_size=16, epochs=2, verbose=0, callbacks=[recorder])
    return recorder.recording


with strategy.scope():
    model = new_model()
two = record(model)
print(len(two), "records, complete:", two.attributes["complete"])

# %% [markdown]
# ## The same as on one device
#
# Here is the same training without the strategy, compared record by record. Only
# float32 rounding is left, because two halves are added in another order than the
# whole.

# %%
one = record(new_model())
pd.DataFrame(
    {
        "largest gradient": {p: np.abs(one.gradients[p]).max() for p in one.paths},
        "largest difference": {
            p: np.abs(two.gradients[p] - one.gradients[p]).max() for p in one.paths
        },
    }
)

# %% [markdown]
# The recorded gradients, given to the same optimizer again, give the recorded weights:

# %%
print(two.replay())

# %% [markdown]
# If a batch does not divide evenly, Keras takes the mean over the replicas' losses, not
# over the samples'. The gradient of that mean trains the model, and is recorded.
#
# ## Several workers, and JAX
#
# Under `MultiWorkerMirroredStrategy` each worker records the same sum; with `store=`
# only the chief writes. On JAX, `keras.distribution.DataParallel` needs no
# configuration either. The project's tests compare both with a single device: two
# workers on one machine, and JAX with two CPU devices.
#
# Under `keras.distribution.ModelParallel` the weights themselves may be split over
# devices. They and their gradients are recorded whole, and training stays [the same,
# bit for bit](../explanation/unchanged.ipynb); the tests train on four CPU devices.
# They do not cover real GPUs and TPUs, or JAX in several processes.
