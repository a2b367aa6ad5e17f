# %% [markdown]
# # Why observing changes nothing
#
# A recorder that changed the training would record a different training. So the aim is
# strict: the same bits with it and without it. This page trains twice, compares, and
# explains where the last bit needs care.

# %% tags=["setup"]
import copy
import inspect
import os
import tempfile
import textwrap
import zipfile
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import h5py
import keras
import numpy as np
import pandas as pd
from IPython.display import Code
from keras import layers

import hrcallbacks as hr
from hrcallbacks.backends.again import may_run_again
from hrcallbacks.backends.grappler import Apart, multiplied_apart
from hrcallbacks.backends.jax import JAX
from hrcallbacks.backends.tensorflow import TensorFlow
from hrcallbacks.backends.xla import Copies
from hrcallbacks.capture import packing

# %% [markdown]
# ## Train twice
#
# The model is a small convolution with batch normalisation and dropout. So besides
# trainable weights it has moving averages and random numbers.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(32, 6, 6, 1)).astype("float32")
y = rng.normal(size=(32, 1)).astype("float32")


OPTIMIZERS = {"Adam": keras.optimizers.Adam, "SGD": keras.optimizers.SGD}


def train(callbacks, seed=1, optimizer="Adam", **options):
    """Three epochs from the same start; the model and its History."""
    keras.utils.set_random_seed(seed)
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1), name="image"),
            layers.Conv2D(2, 3, name="conv"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(name="relu"),
            layers.GlobalAveragePooling2D(name="mean"),
            layers.Dropout(0.2, name="dropout"),
            layers.Dense(1, name="output"),
        ],
        name="small",
    )
    optimizer = OPTIMIZERS[optimizer](name="optimizer")
    model.compile(optimizer, loss="mse", metrics=["mae"], **options)
    history = model.fit(x, y, batch_size=4, epochs=3, verbose=0, callbacks=callbacks)
    return model, history.history


def differing(one, other):
    """How many numbers differ, bit for bit, and in all how many there are."""
    pairs = list(zip(one, other, strict=True))
    count = sum(int((np.asarray(a) != np.asarray(b)).sum()) for a, b in pairs)
    return f"{count} of {sum(np.size(a) for a, _ in pairs)} differ"


def compare(run, other):
    """All that a training leaves behind, compared."""
    (model, history), (model_2, history_2) = run, other
    values, values_2 = (
        [
            [keras.ops.convert_to_numpy(v) for v in variables]
            for variables in (m.variables, m.optimizer.variables)
        ]
        for m in (model, model_2)
    )
    return {
        "weights, averages, random state": differing(values[0], values_2[0]),
        "optimizer state": differing(values[1], values_2[1]),
        "History": differing(history.values(), history_2.values()),
    }


recorder = hr.GradientRecorder(record_freq=1)
plain, watched = train([]), train([recorder])
pd.Series(compare(plain, watched), name="with and without a recorder").to_frame()

# %% [markdown]
# A comparison that cannot fail shows nothing. So here is the same with another seed:

# %%
pd.Series(compare(plain, train([], seed=2)), name="another seed").to_frame()

# %% [markdown]
# ## A saved file
#
# The model holds nothing of the recorder, so nothing of it is saved. Here both models
# are saved, and all arrays in the two files are compared. One of them is the number of
# steps that the optimizer has counted.


# %%
def saved(model):
    """The configuration and the arrays in a `.keras` file."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.keras")
        model.save(path)
        with zipfile.ZipFile(path) as archive:
            config = archive.read("config.json")
            archive.extract("model.weights.h5", folder)
        arrays = {}

        def keep(name, item):
            if isinstance(item, h5py.Dataset):
                arrays[name] = item[()]

        with h5py.File(Path(folder, "model.weights.h5")) as file:
            file.visititems(keep)
    return config, arrays


(config, arrays), (config_2, arrays_2) = saved(plain[0]), saved(watched[0])
print("Same configuration:", config == config_2)
print("Same names:", arrays.keys() == arrays_2.keys())
print("Arrays:", differing(arrays.values(), arrays_2.values()))
for model, _ in (plain, watched):
    print("Steps in its optimizer:", int(model.optimizer.iterations.numpy()))

# %% [markdown]
# ## Why it holds
#
# The capturing step [runs the model's own train step](capture.ipynb) and adds outputs
# to it. It adds no variable and draws no random number, and it passes on what the
# optimizer is given, untouched.
#
# But an extra output can change how a compiler rounds. A compiler joins operations
# (*fusion*), which decides whether a value between them is rounded, and it may join
# them only if nothing else needs that value. So it matters where outputs leave a step.
# Every extra output slows the step, so small tensors are joined before they leave, but
# not all of them into one:

# %%
text = textwrap.dedent(inspect.getsource(packing.Packer.pack))
Code("# hrcallbacks/capture/packing.py\n" + text, language="python")

# %% [markdown]
# ## Each way to run a step
#
# This is the same comparison for three ways to run a step and for two optimizers. `XLA`
# is `jit_compile=True`, `graph` is a TensorFlow graph without it, and `eager` is
# `run_eagerly=True`. Each cell says how many weights and states differ after three
# epochs, and by how much at most.


# %%
WAYS = {
    "XLA": {"jit_compile": True},
    "graph": {"jit_compile": False},
    "eager": {"run_eagerly": True},
}


def state(model):
    """All weights and the optimizer's state, in one array."""
    variables = [*model.variables, *model.optimizer.variables]
    return np.concatenate(
        [np.ravel(keras.ops.convert_to_numpy(v)).astype("float64") for v in variables]
    )


def difference(optimizer, options):
    """With and without a recorder: how many numbers differ, and how much at most."""
    ends = [
        state(train(callbacks, optimizer=optimizer, **options)[0])
        for callbacks in ([], [hr.GradientRecorder(record_freq=1)])
    ]
    gaps = np.abs(ends[0] - ends[1])
    return f"{np.count_nonzero(gaps)}, {gaps.max():.0e}" if gaps.any() else "none"


differences = pd.DataFrame(
    {
        optimizer: {way: difference(optimizer, o) for way, o in WAYS.items()}
        for optimizer in OPTIMIZERS
    }
)
differences

# %% [markdown]
# The row `graph` needs extra care. TensorFlow's graph optimizer, Grappler, reorders
# products. SGD multiplies a gradient by the rate. If the gradient is itself a product,
# such as that of the scale in batch normalisation, Grappler may multiply in another
# order, unless something else needs the gradient too. A recorder does. So for its own
# use the recorder multiplies such a product once more, from the same factors:

# %%
text = inspect.getsource(multiplied_apart)
Code("# hrcallbacks/backends/grappler.py\n" + text, language="python")

# %% [markdown]
# JAX needs the same care: a processor can multiply and add in one go, with one rounding
# instead of two, if the product is not needed by itself. There the product is found in
# the step's jaxpr.

# %% [markdown]
# ## Outputs of layers on TensorFlow
#
# In the forward pass Grappler joins more. What batch normalisation adds last, and the
# sum with the shortcut behind it, become one sum in another order; a product, its bias
# and an activation become one kernel. All that happens only where nothing else reads
# what lies between. So where a layer's output may be joined to the operation that reads
# it, the recorder makes it a second time, from tensors that are not:

# %%
text = textwrap.dedent(inspect.getsource(Apart._is_joined))
Code("# hrcallbacks/backends/grappler.py\n" + text, language="python")

# %% [markdown]
# No gradient is recorded of a layer through which none passes in the training, such as
# frozen layers at the start of a model: to ask for one would add to the backward pass.
#
# ## Outputs of layers in XLA
#
# XLA may compute a tensor inside the loop that uses it, and store it nowhere. So it
# does with the gradient before a ReLU, which is summed over the batch for the bias, and
# with a quotient that nothing but the next sum needs. A step that also returns such a
# tensor has to store it, and XLA may then round what follows in another way.
#
# So what is recorded is made a second time: from tensors that XLA stores in any case,
# such as the products of matrices, through all that was computed since. On JAX the
# step's jaxpr tells what that was, on TensorFlow its graph:

# %%
text = textwrap.dedent(inspect.getsource(Copies._sources))
Code("# hrcallbacks/backends/xla.py\n" + text, language="python")

# %% [markdown]
# XLA would notice that both are the same, and compute them once. So the second begins
# with copies that a flag chooses. The flag is always true, but XLA cannot know: on
# TensorFlow it is a variable, on JAX it stands behind a barrier.

# %%
text = textwrap.dedent(inspect.getsource(TensorFlow._hidden))
Code("# hrcallbacks/backends/tensorflow.py\n" + text, language="python")

# %% [markdown]
# ## Layers that call compiled functions
#
# A layer may call a function that is compiled by itself, with `tf.function` or
# `jax.jit`. In the step TensorFlow and XLA put the function's operations in the place
# of the call, and join them to what comes after it. So on JAX such calls are looked
# into. On TensorFlow a graph does not hold what is inside them, so where it matters the
# whole function is called once more, if it changes nothing and would give the same:

# %%
text = textwrap.dedent(inspect.getsource(may_run_again))
Code("# hrcallbacks/backends/again.py\n" + text, language="python")

# %% [markdown]
# What is left is a function, compiled with `tf.function`, that draws random numbers,
# changes a variable, or reads one that the same step changes. What it returns is read
# as it is, and what follows may be rounded differently.
#
# Compilers have many such rules, and they change; which of them shows depends on the
# processor, too. So training with and without outputs recorded is compared bit for bit
# on many kinds of layers, and on models that others wrote. No other case is known that
# differs.

# %% [markdown]
# ## Several devices on JAX
#
# Under `keras.distribution`, XLA decides how each operation is split over the devices,
# and an output of the step can change that decision. Joining tensors does: if one of
# them is split, XLA splits the joined tensor, then the tensors joined with it, and in
# the end the operations that produce them. A sum that each device computed in full then
# becomes a sum of partial sums, in another order. So as soon as a variable lies on
# several devices, nothing is joined.
#
# Reductions are kept apart as well. The norm of a split gradient may need the squares
# of its elements from all devices, so these are rounded and sent. Adam squares the
# gradient too, and XLA would compute the squares once for both. A barrier hides from
# XLA that they are the same:

# %%
text = textwrap.dedent(inspect.getsource(JAX._apart))
Code("# hrcallbacks/backends/jax.py\n" + text, language="python")

# %% [markdown]
# The tests train on four CPU devices, with weights split over all four and over two,
# and compare the weights, the optimizer's state and the losses bit for bit. This has
# not been tried on GPUs, on TPUs or over several processes.
#
# ## The other proof
#
# Unchanged training does not prove that the recorded gradients are those that trained
# the model. A replay does. It gives the recorded gradients to a new optimizer of the
# same configuration, and compares the resulting weights with the recorded ones, step by
# step. What is left is float32 rounding.

# %%
recorder.recording.replay()

# %% [markdown]
# This can fail too. In a copy of the recording, one gradient of one step is made a
# hundredth larger:

# %%
forged = copy.deepcopy(recorder.recording)
forged.gradients["output/kernel"][5] *= 1.01
forged.replay()

# %% [markdown]
# The package's tests do both, for every optimizer of Keras and for many kinds of
# models, on three backends.
