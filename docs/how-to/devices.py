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
# # Several devices
#
# Under a distribution strategy each replica makes the gradient of its share of the
# batch; the optimizer is given the sum of all. That sum is what is recorded: the
# gradient that one device would have made of the whole batch. Nothing has to be set.
#
# Install: `pip install "hrcallbacks[tensorflow]"`

# %% tags=["setup"]
import keras
import numpy as np
import pandas as pd
import tensorflow as tf

import hrcallbacks as hr

tf.get_logger().setLevel("ERROR")  # Else TensorFlow tells of each sum over replicas.

# %% [markdown]
# ## Two replicas
#
# Where there are no two GPUs, a CPU can stand for two devices. That has to be said
# before TensorFlow begins to work.

# %%
(cpu,) = tf.config.list_physical_devices("CPU")
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2
)
strategy = tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])
print("replicas:", strategy.num_replicas_in_sync)

# %% [markdown]
# Model and `fit` are as without a recorder: the model made and compiled in the
# strategy's scope, the recorder among the callbacks.

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
# The same training without the strategy, compared record by record. What is left is the
# rounding of float32: two halves are added in another order than the whole.

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
# The recorded gradients, given to the same optimizer again, make the recorded weights:

# %%
print(two.replay())

# %% [markdown]
# Of a batch that does not divide evenly, Keras takes the mean of the replicas' losses,
# not of the samples'. The gradient of that is what trains the model, and is recorded.
#
# ## Several workers, and JAX
#
# Under `MultiWorkerMirroredStrategy` each worker records the same sum; with `store=`
# the chief alone writes. On JAX, `keras.distribution.DataParallel` needs no more than
# this either. The project's tests compare both with a single device: two workers on one
# machine, and JAX with two CPU devices.
#
# Under `keras.distribution.ModelParallel` the weights themselves may be split over
# devices. They and their gradients are recorded whole, and training stays
# [the same, bit for bit](../explanation/unchanged.ipynb); the tests train on four CPU
# devices. Real GPUs and TPUs, and JAX in several processes, they do not try.
