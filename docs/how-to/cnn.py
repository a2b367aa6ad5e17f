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
# # Record a CNN
#
# Add a `GradientRecorder` to the callbacks of `fit`. Below, a small convolutional
# network learns to tell vertical stripes from horizontal ones, and every 10th step is
# recorded.
#
# Install: `pip install "hrcallbacks[tensorflow,plot]"`

# %% tags=["setup"]
import keras
import matplotlib.pyplot as plt
import numpy as np

import hrcallbacks as hr

# %% [markdown]
# ## Data and model
#
# Put your own here. These images are made up: stripes at a random place, with noise.

# %%
rng = np.random.default_rng(0)
labels = rng.integers(0, 2, size=(640, 1))
phases = rng.uniform(0, 2 * np.pi, size=(640, 1, 1))
rows, columns = np.mgrid[:16, :16]
stripes = np.where(labels[:, :, np.newaxis] == 1, columns, rows)
images = np.sin(stripes + phases) + rng.normal(0, 0.5, size=(640, 16, 16))

keras.utils.set_random_seed(1)
model = keras.Sequential(
    [
        keras.Input((16, 16, 1)),
        keras.layers.Conv2D(8, 3, activation="relu", name="conv_1"),
        keras.layers.MaxPooling2D(),
        keras.layers.Conv2D(16, 3, activation="relu", name="conv_2"),
        keras.layers.GlobalAveragePooling2D(),
        keras.layers.Dense(1, activation="sigmoid", name="head"),
    ]
)
model.compile(
    keras.optimizers.Adam(0.005),
    loss="binary_crossentropy",
    metrics=["accuracy"],
)

# %% [markdown]
# ## Record
#
# `record_freq=10` takes steps 10, 20, 30 and so on.

# %%
recorder = hr.GradientRecorder(record_freq=10)
model.fit(
    images[..., np.newaxis],
    labels,
    batch_size=32,
    epochs=5,
    verbose=0,
    callbacks=[recorder],
)

recording = recorder.recording
recording

# %% [markdown]
# The lower table is the beginning of `recording.index`. `loss` is that of the batch
# whose gradient was recorded; `accuracy` is the mean over the epoch so far, as Keras
# shows it.

# %% [markdown]
# ## Norms by layer
#
# `statistic` makes a table with one number for each record and variable. Here it is the
# norm of each gradient (Frobenius: the root of the sum of squares).

# %%
norms = recording.statistic("gradients", "norm")
norms.tail()

# %%
# Figure: Norms of the gradients of the three kernels over the steps, on a logarithmic
# axis. From step 20 on, all three fall to a hundredth.
kernels = [path for path in norms if path.endswith("kernel")]
axes = norms[kernels].plot(logy=True)
axes.set(xlabel="Step", ylabel="Norm of the gradient")
axes.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## Look at a kernel
#
# `gradients` and `weights` hold arrays: the first axis is the record, the others are
# those of the variable. Here these are `(height, width, channels, filters)`.

# %%
gradients = recording.gradients["conv_1/kernel"]
weights = recording.weights["conv_1/kernel"]
print(gradients.shape, gradients.dtype)

# %%
# Figure: The eight filters of the first convolution, 3 by 3 each, at the last record.
# Upper row: the weights. Lower row: their gradients. Red is positive, blue negative.
figure, axes = plt.subplots(2, 8, figsize=(8, 2.4), layout="constrained")
for row, arrays in zip(axes, [weights, gradients], strict=True):
    filters = arrays[-1, :, :, 0, :]
    limit = np.abs(filters).max()
    for n, ax in enumerate(row):
        ax.imshow(filters[..., n], cmap="RdBu_r", vmin=-limit, vmax=limit)
        ax.set(xticks=[], yticks=[])
axes[0, 0].set_ylabel("weight")
axes[1, 0].set_ylabel("gradient")
plt.show()

# %% [markdown]
# The gradient is [the one that the optimizer was
# given](../explanation/which_gradient.ipynb) in that step. For a network with many more
# weights, [choose what to record](choose.ipynb), or [write to
# disk](large_models.ipynb). To have a run checked, see [Find out why training
# fails](diagnose.ipynb).
