# %% [markdown]
# # Which gradient is recorded?
#
# Between the loss and the weights there are four tensors that people call *the*
# gradient:
#
# 1. the gradient of the loss alone, as in a textbook;
# 2. the gradient of everything that is minimised: the loss with sample and class
#    weights, plus regularizers. The optimizer receives this one; a `LossScaleOptimizer`
#    receives it multiplied by its scale;
# 3. what the optimizer makes of it before it applies its rule: clipped, or averaged
#    over several steps (accumulation);
# 4. the update that is finally added to the weights.
#
# The recorder records the second, unscaled. This page computes all four by hand for a
# model small enough for that.

# %% tags=["setup"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")

import keras
import numpy as np
import pandas as pd

import hrcallbacks as hr

# %% [markdown]
# ## The model
#
# The model is $\hat y = x w$ with two weights, a penalty $\lambda \lVert w \rVert^2$
# and sample weights $s_n$. SGD clips the norm of a gradient to 1.

# %%
rng = np.random.default_rng(0)
x = rng.normal(size=(32, 2)).astype("float32")
y = x @ [[3.0], [-1.0]] + rng.normal(size=(32, 1))
s = rng.uniform(0, 2, size=32).astype("float32")
penalty, rate, clip = 0.1, 0.05, 1.0


def new_model(optimizer, **options):
    """The same line with the same initial weights, compiled."""
    dense = keras.layers.Dense(
        1,
        use_bias=False,
        kernel_initializer=keras.initializers.Constant(0.5),
        kernel_regularizer=keras.regularizers.L2(penalty),
        name="line",
    )
    model = keras.Sequential([keras.Input((2,)), dense])
    model.compile(optimizer, loss="mse", **options)
    return model


def record(model, batch_size=32):
    """Trains in order, and returns the recording of every step."""
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(
        x,
        y,
        sample_weight=s,
        batch_size=batch_size,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


model = new_model(keras.optimizers.SGD(rate, clipnorm=clip))
before = model.get_weights()[0]
recording = record(model)
recorded = recording.gradients["line/kernel"][0]
after = recording.weights["line/kernel"][0]

# %% [markdown]
# ## The four gradients
#
# This is the minimised function, and its gradients in NumPy, without Keras:
#
# $$L = \frac{1}{N} \sum_n s_n (\hat y_n - y_n)^2 + \lambda \lVert w \rVert^2$$

# %%
residual = x @ before - y
of_loss = 2 * x.T @ residual / len(x)
of_all = 2 * x.T @ (s[:, np.newaxis] * residual) / len(x) + 2 * penalty * before
clipped = of_all * min(1, clip / np.linalg.norm(of_all))
added = after - before

tensors = {
    "(1) of the loss alone": of_loss,
    "(2) handed to the optimizer": of_all,
    "(3) after clipping": clipped,
    "(4) added to the weights": added,
    "(1) recomputed after the step": 2 * x.T @ (x @ after - y) / len(x),
}
table = pd.DataFrame(
    {
        name: [*value.ravel(), np.abs(value - recorded).max()]
        for name, value in tensors.items()
    },
    index=["first element", "second element", "distance from the recorded"],
).T
print("Recorded:", recorded.ravel())
table

# %%
nearest = table["distance from the recorded"].idxmin()
print("Recorded is", nearest)
print(f"It differs by {table.loc[nearest].iloc[-1]:.0e}, the others by 0.1 or more:")
print(bool((table["distance from the recorded"].drop(nearest) > 0.1).all()))

# %% [markdown]
# The last row is what a second pass over the batch gives after the step, with the loss
# alone. It is a different number: the gradient of another function at other weights.
# Keras' former `write_grads` and some trackers computed gradients in such a second
# pass, on other data or with the weights held still, some of them from the loss without
# regularizers or sample weights. That does not show what trained the network. [Other
# tools](comparison.md) has the details.
#
# ## From the recorded gradient to the others
#
# The optimizer makes (3) and (4) out of (2), so both can be computed from the
# recording: clip the gradient and multiply it by the rate, and you have the update.
# `weights="update_norm"` records the size of (4) itself, and `recording.replay()` runs
# the whole optimizer.

# %%
norm = np.linalg.norm(recorded)
update = -rate * recorded * min(1, clip / norm)
print(f"Norm of the recorded gradient: {norm:.4f}, clipped to {clip}")
print(f"Update from it, less (4): {np.abs(update - added).max():.0e}")
print(recording.replay())

# %% [markdown]
# ## Loss scaling
#
# In half precision small gradients become zero. So a `LossScaleOptimizer` multiplies
# the loss by a large number and divides the gradients by it later. `apply` is given the
# scaled gradient. The optimizer below keeps what it is given, in an eager step.


# %%
class Given(keras.optimizers.LossScaleOptimizer):
    """Keeps what `apply` was given."""

    def apply(self, grads, trainable_variables=None):
        self.given = keras.ops.convert_to_numpy(grads[0])
        return super().apply(grads, trainable_variables)


scaled = Given(keras.optimizers.SGD(rate), initial_scale=1024.0)
unscaled = record(new_model(scaled, run_eagerly=True)).gradients["line/kernel"][0]
print("Given to apply:", scaled.given.ravel())
print("Recorded:      ", unscaled.ravel())
print("Ratio:         ", (scaled.given / unscaled).ravel())
print(f"Recorded, less (2): {np.abs(unscaled - of_all).max():.0e}")

# %% [markdown]
# ## Accumulation
#
# With `gradient_accumulation_steps=2` the optimizer waits for two batches and uses the
# mean of their gradients. The recorder records the gradient of each batch. The weights
# move at every second step.

# %%
accumulating = keras.optimizers.SGD(rate, gradient_accumulation_steps=2)
steps = record(new_model(accumulating), batch_size=8)
kernel, gradient = steps.weights["line/kernel"], steps.gradients["line/kernel"]
moved = np.diff(np.concatenate([before[np.newaxis], kernel]), axis=0)
frame = pd.DataFrame(
    {
        "gradient": [g.ravel().round(4) for g in gradient],
        "weights moved by": [m.ravel().round(4) for m in moved],
    },
    index=steps.index["step"],
)
difference = moved[1] + rate * gradient[:2].mean(axis=0)
print("Update 2, less -rate x mean of gradients 1 and 2:", np.abs(difference).max())
frame

# %% [markdown]
# Weight decay, momentum and the optimizer's rule also come later. None of this is in
# the recorded gradient; all of it is in the recorded weights.
