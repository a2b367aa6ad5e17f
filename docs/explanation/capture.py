# %% [markdown]
# # How gradients leave a compiled step
#
# A training step of `model.fit` is one compiled function. It contains the forward pass,
# the loss, the gradients and the update, and returns a dict of logs. The gradients
# exist only inside it. Computing them again outside would take another forward pass,
# with other dropout masks, or on weights that have already moved. So the recorder
# computes nothing: it has the step itself return what the optimizer received.
#
# This page shows how, with the package's own source.

# %% tags=["setup"]
import inspect
import os
import textwrap

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
from IPython.display import Code

import hrcallbacks as hr
from hrcallbacks.backends import tapes
from hrcallbacks.backends.backend import StatefulBackend
from hrcallbacks.backends.jax import JAX
from hrcallbacks.backends.torch import Torch
from hrcallbacks.capture import armed_step, observation, taps
from hrcallbacks.session import arming, session


def source(*objects):
    """The source of functions, as it stands in the package."""
    module = inspect.getmodule(objects[0]).__name__.replace(".", "/")
    texts = [textwrap.dedent(inspect.getsource(o)) for o in objects]
    return Code(f"# {module}.py\n" + "\n\n".join(texts), language="python")


# %% tags=["picture"]
# Figure: fit asks two functions for a step. The plain train step gives logs alone. The
# capturing one runs the same train step, and gives the logs, which go to all callbacks,
# and beside them the gradients and weights, which go to the recorder.
LINE = plt.rcParams["text.color"]
OURS = "tab:orange"


def box(ax, x, y, text, color=LINE, width=2.0, height=0.62):
    corner = x - width / 2, y - height / 2
    ax.add_patch(plt.Rectangle(corner, width, height, fc="none", ec=color))
    ax.text(x, y, text, ha="center", va="center", fontsize=9)


def arrow(ax, start, end, color=LINE, label=None, at=(0, 0)):
    ax.annotate("", end, start, arrowprops={"arrowstyle": "->", "color": color})
    if label:
        x, y = (start[0] + end[0]) / 2 + at[0], (start[1] + end[1]) / 2 + at[1]
        ax.text(x, y, label, ha="center", va="center", fontsize=8, color=color)


figure, ax = plt.subplots(figsize=(7.6, 3.6), layout="constrained")
box(ax, 0.4, 2, "fit\none batch", width=1.2, height=0.8)
box(ax, 3.6, 3.4, "train_step of the model", width=2.6)
box(ax, 3.6, 1.05, "", OURS, width=3.5, height=2.35)
ax.text(3.6, 2.0, "capturing step", ha="center", va="center", fontsize=9, color=OURS)
box(ax, 3.6, 1.38, "train_step of the model", width=2.6)
box(ax, 3.6, 0.38, "optimizer.apply, watched", OURS, width=2.6)
arrow(ax, (3.6, 1.05), (3.6, 0.71), label="gradients", at=(0.55, 0))
box(ax, 8.1, 3.4, "all callbacks", width=1.9)
box(ax, 8.1, 0.38, "recorder", OURS, width=1.9)
arrow(ax, (1.02, 2.15), (2.25, 3.3), label="not recorded", at=(-0.55, 0.15))
arrow(ax, (1.02, 1.85), (1.8, 1.4), OURS, label="recorded", at=(-0.35, -0.22))
arrow(ax, (4.95, 3.4), (7.1, 3.4), label="logs", at=(0, 0.17))
arrow(ax, (4.95, 1.5), (7.3, 3.05), label="logs", at=(0.3, -0.18))
arrow(ax, (4.95, 0.38), (7.1, 0.38), OURS, label="gradients, weights", at=(0.15, 0.17))
ax.set(xlim=(-0.3, 9.2), ylim=(-0.25, 3.85))
ax.axis("off")
plt.show()

# %% [markdown]
# ## A step that returns more
#
# The capturing step runs the model's own `train_step`, which may be Keras' or yours,
# and adds what it saw to the logs. On TensorFlow:

# %%
source(StatefulBackend.capturing_step)

# %% [markdown]
# What it sees is the call of `optimizer.apply`. While the step is traced, this function
# replaces it:

# %%
source(armed_step._watched_apply)

# %% [markdown]
# It notes what the optimizer is given, lets the optimizer do its work, and notes the
# new weights. What the optimizer receives and does is unchanged.

# %%
source(observation.Observation.see_call)

# %% [markdown]
# These tensors are symbolic, and all this Python runs only once, when the step is
# traced. From then on they are outputs of the compiled step, and reductions such as
# `"norm"` are part of it.
#
# JAX changes nothing in place, so there Keras calls `optimizer.stateless_apply`, which
# takes the weights as arguments and returns the new ones. PyTorch updates in place, so
# there the recorder takes copies:

# %%
source(Torch.gradient, Torch.kept)

# %% [markdown]
# ## Keras compiles it
#
# Keras turns `model.train_step` into a train function with `make_train_function`. The
# recorder calls that a second time, while the capturing step and the watchers are set
# on the model and its optimizers. So Keras itself compiles the capturing function: with
# XLA, as a plain graph or eagerly, whichever the model was compiled for.

# %%
source(armed_step.make_capturing_function)

# %% [markdown]
# Afterwards `replaced` restores what was there. The model's own train function, which
# `fit` made as always, contains nothing of the recorder.
#
# ## Two functions, and a choice for each step
#
# `fit` hands the model to each callback (`set_model`), makes the train function, and
# calls `on_train_begin`. Then, for each batch, it calls `on_train_batch_begin`, looks
# up `model.train_function` and calls it. This look-up makes it possible to choose a
# function for each step. A step that is to be recorded is armed:

# %%
source(session.Session._begin_execution.__wrapped__)

# %%
source(arming.Arming.run)

# %% [markdown]
# Arming waits for the last of the callbacks, Keras' own `History`, so that nothing is
# left in the model if another callback raises before the step. It replaces
# `model.train_function` by an `ArmedStep` for one call. The first thing that an
# `ArmedStep` does is to put the plain function back:

# %%
source(armed_step.ArmedStep.__call__)

# %% [markdown]
# The model below counts how often its `train_step` is traced, and a callback after the
# recorder looks at the function that each step is about to call. For this to be
# visible, the example puts a `History` of its own first: the recorder then arms at
# once.


# %%
class Traced(keras.Sequential):
    """Counts the runs of its `train_step` in Python."""

    traces = 0

    def train_step(self, *args):
        self.traces += 1
        return super().train_step(*args)


class Look(keras.callbacks.Callback):
    """What stands as the train function before each step, and the logs after it."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def on_train_batch_begin(self, batch, logs=None):
        function = self.model.train_function
        armed = isinstance(function, armed_step.ArmedStep)
        self.rows.append({"step": batch + 1, "called": "armed" if armed else "plain"})

    def on_train_batch_end(self, batch, logs=None):
        self.rows[-1]["logs"] = ", ".join(logs)


x = np.linspace(0, 1, 96)[:, np.newaxis]
model = Traced([keras.Input((1,)), keras.layers.Dense(1, name="line")])
model.compile(keras.optimizers.SGD(0.1), loss="mse")
gradients = hr.GradientRecorder(record_freq=4)
look = Look()
callbacks = [keras.callbacks.History(), gradients, look]
model.fit(x, 2 * x, batch_size=8, verbose=0, callbacks=callbacks)

print(f"train_step was traced {model.traces} times for {len(look.rows)} steps.")
print("Recorded steps:", gradients.recording.index["step"].tolist())
pd.DataFrame(look.rows).set_index("step").T

# %% [markdown]
# Steps that are not recorded call the same function as without a recorder; [What
# recording costs](cost.ipynb) measures them. Other callbacks get the same logs as
# always.
#
# ## A tap in each layer
#
# `outputs=` and `output_gradients=` need more than the call of the optimizer: what a
# layer computes, and the gradient of the loss with respect to it, exist only between
# the layers. So while the capturing step is traced, a stand-in for each layer's `call`
# passes what it returns through a *tap*, which hands on the same numbers and notes
# them. Keras' layers apply their own activation inside `call`; it gets a tap too, for
# `hidden/preactivation`.

# %%
source(taps._watched_call, taps._tapped_activation)

# %% [markdown]
# The gradient comes later, when the backward pass of the same step reaches the tap. How
# it is seen depends on the backend. TensorFlow's gradient tape can be asked for the
# gradients of any tensor. When the train step asks for those of its variables, those of
# the outputs are added to the question, so the forward pass stays as it was:

# %%
source(tapes._asking_for_more)

# %% [markdown]
# On JAX, functions are differentiated, not tensors. The tap is an identity whose
# backward rule gets the gradient, notes it, and hands it on:

# %%
source(JAX._identity)

# %% [markdown]
# On PyTorch it is a hook of the tensor:

# %%
source(Torch.tap)

# %% [markdown]
# After tracing, the layers have their own `call` again. In a network of two layers, the
# gradient of the last kernel is what went into its layer, transposed, times the
# gradient of what came out. The recording has all three:

# %%
keras.utils.set_random_seed(0)
hidden = keras.layers.Dense(4, activation="relu", name="hidden")
pair = keras.Sequential([keras.Input((1,)), hidden, keras.layers.Dense(1, name="last")])
pair.compile("sgd", loss="mse")
recorder = hr.GradientRecorder(record_freq=1, outputs="raw", output_gradients="raw")
data = np.linspace(-1, 1, 16)[:, np.newaxis]
pair.fit(data, data**2, batch_size=16, verbose=0, callbacks=[recorder])

taken = recorder.recording
inputs, deltas = taken.outputs["hidden"][0], taken.output_gradients["last"][0]
difference = np.abs(inputs.T @ deltas - taken.gradients["last/kernel"][0]).max()
print(f"largest difference: {difference:.1e}")
print("call" in vars(hidden))

# %% [markdown]
# [See inside a layer](../how-to/outputs.ipynb) shows what to do with them.
#
# ## What stays
#
# Nothing stays. After `fit`, neither the model nor its optimizer has a `train_step` or
# an `apply` set on the instance: Python finds that of the class again.

# %%
print("train_step" in vars(model), "apply" in vars(model.optimizer))
print(isinstance(model.train_function, armed_step.ArmedStep))

# %% [markdown]
# Does watching a step also leave its *result* unchanged? See [Why observing changes
# nothing](unchanged.ipynb). And [Which gradient is recorded](which_gradient.ipynb)
# shows what exactly `apply` is given.
