# %% [markdown]
# # Plots
#
# Each function of `hr.plot` takes a recording, in memory or opened from a store, and is
# also a method: `hr.plot.loss(recording)` is `recording.plot.loss()`. Their arguments
# are on the page of [plot functions](plot_functions.md).
#
# What a function returns has a `figure`, which `figure.savefig("loss.png")` writes:
# Matplotlib's axes, an array of axes, or an animation. Figures are narrow enough to be
# read on a phone; pass `ax=` or `axes=` to draw on your own.

# %% tags=["setup"]
import keras
import matplotlib.pyplot as plt
import numpy as np

import hrcallbacks as hr

# %% [markdown]
# Two recordings are drawn here, each of 150 steps, with raw gradients and weights, and
# with some of what the layers computed. One is of a small convolutional network that
# learns to tell four kinds of stripes apart, the other of a network of six hidden
# units.

# %%
rng = np.random.default_rng(0)
kinds = rng.integers(0, 4, 4800)
images = rng.normal(0, 0.35, (4800, 12, 12, 1)).astype("float32")
grid = np.indices((12, 12))
stripes = [grid[0] // 2 == 3, grid[1] // 2 == 3]
stripes += [grid[0] == grid[1], grid[0] == 11 - grid[1]]
images[..., 0] += np.array(stripes)[kinds]

layers = keras.layers
keras.utils.set_random_seed(1)
cnn = keras.Sequential(
    [
        keras.Input((12, 12, 1)),
        layers.Conv2D(8, 3, activation="relu", name="conv_1"),
        layers.Conv2D(16, 3, activation="relu", name="conv_2"),
        layers.MaxPooling2D(),
        layers.Flatten(),
        layers.Dense(16, activation="relu", name="hidden"),
        layers.Dense(4, activation="softmax", name="output"),
    ],
    name="cnn",
)
small = keras.Sequential(
    [
        keras.Input((1,)),
        layers.Dense(6, activation="relu", name="hidden"),
        layers.Dense(1, name="output"),
    ],
    name="small",
)


def record(model, x, y, learning_rate, loss, **of_layers):
    """Trains for 150 steps; returns what was recorded."""
    model.compile(keras.optimizers.Adam(learning_rate), loss=loss)
    recorder = hr.GradientRecorder(record_freq=1, **of_layers)
    model.fit(x, y, batch_size=32, verbose=0, callbacks=[recorder])
    return recorder.recording


cross_entropy = "sparse_categorical_crossentropy"
recording = record(
    *(cnn, images, kinds, 0.003, cross_entropy),
    outputs=[hr.Rows(4), hr.PerUnit("zero_fraction")],
    output_gradients="norm",
)
x = rng.normal(size=(4800, 1)).astype("float32")
initial = small.get_weights()
means = hr.PerUnit("mean")
units = record(
    *(small, x, np.abs(x), 0.03, "mse"), outputs=means, output_gradients=means
)

# %% [markdown]
# ## loss
#
# The loss of each recorded step's batch.

# %%
# Figure: Loss of the convolutional network over 150 steps, on a logarithmic axis: a
# thin line for each step's batch, and a thick one for the mean of nine.
hr.plot.loss(recording, smooth=9, log=True)
plt.show()

# %% [markdown]
# Several recordings are compared by name.

# %%
# Figure: Losses of three runs with different learning rates over 150 steps, each line
# with its name at its end.
rates = {}
for rate in (0.003, 0.03, 0.3):
    small.set_weights(initial)
    rates[f"rate {rate:g}"] = record(small, x, np.abs(x), rate, "mse")
hr.plot.loss(rates, smooth=9, log=True)
plt.show()

# %% [markdown]
# ## gradient_flow
#
# The norm of each layer's gradients. Do they vanish, or explode? Layers have colours in
# the order of depth.

# %%
# Figure: Gradient norms of the four layers over 150 steps, on a logarithmic axis, from
# light blue, the first layer, to dark orange, the last; names at the lines' ends.
hr.plot.gradient_flow(recording)
plt.show()

# %% [markdown]
# ## update_ratio
#
# The size of each update, relative to the weights that it changed.

# %%
# Figure: Update ratios of the four kernels over 150 steps, on a logarithmic axis, with
# a line at 1e-3.
hr.plot.update_ratio(recording, variables="*/kernel")
plt.show()

# %% [markdown]
# ## backward_flow
#
# The norm of the gradient with respect to each layer's output: what comes back from the
# loss. Record `output_gradients="norm"` for it.

# %%
# Figure: Norms of the gradients of four layers' outputs over 150 steps, on a
# logarithmic axis, from light blue, the first layer, to dark orange, the last.
hr.plot.backward_flow(recording, layers=["*conv_?", "*hidden", "*output"])
plt.show()

# %% [markdown]
# ## activations
#
# How each layer's outputs are distributed: nine tenths of them in the pale band, half
# of them in the dark one. Record `outputs=hr.Rows(32)`, or `"raw"`.

# %%
# Figure: Outputs of a convolution and of a dense layer over 150 steps, each a panel
# with two bands around a median.
hr.plot.activations(recording, layers=["*conv_2", "*hidden"])
plt.show()

# %% [markdown]
# ## units
#
# Dead and saturated units: the share of the batch for which each unit or channel gave
# zero. Record `outputs=hr.PerUnit("zero_fraction")`. From raw outputs or `hr.Rows(n)`
# of a layer with sigmoid or tanh, the share for which it was saturated.

# %%
# Figure: A row for each channel of a convolution and each unit of a dense layer, the
# darker, the larger the share of zeros.
hr.plot.units(recording, layers=["*conv_1", "*hidden"])
plt.show()

# %% [markdown]
# ## heatmap
#
# Each element by step. Each variable of each step has a scale of its own by default.

# %%
# Figure: Gradients of two kernels as colours, blue above zero, orange below, one row
# per element, one column per step; rows keep their colours for some steps, then change.
several = ["*conv_1/kernel", "*output/kernel"]
hr.plot.heatmap(recording, variables=several)
plt.show()

# %% [markdown]
# With `scale="log"` all steps have one scale, of six powers of ten.

# %%
# Figure: The gradients of one of the kernels on a logarithmic scale: strong colours in
# the first steps, paler ones later.
hr.plot.heatmap(recording, variables="*conv_1/kernel", scale="log")
plt.show()

# %% [markdown]
# ## histograms
#
# How magnitudes of gradients are distributed, in some of the steps; with
# `quantity="weights"` or `magnitude=False` the values themselves.

# %%
# Figure: Ridges of histograms of the gradients' magnitudes of a kernel, for twelve
# steps from the first to the last, on a logarithmic axis.
hr.plot.histograms(recording, variables="*hidden/kernel")
plt.show()

# %% [markdown]
# ## trajectories
#
# Each weight, and its gradient below it; bands for variables of more than 12 elements.

# %%
# Figure: Weights and gradients of the small network's first kernel over 150 steps, a
# line for each of six elements.
hr.plot.trajectories(units, variables="hidden/kernel")
plt.show()

# %% [markdown]
# ## network
#
# The nodes and links of a small dense network at one record. Where
# `outputs=hr.PerUnit("mean")` was recorded, units have the colour of their mean output,
# and with `output_gradients=` beside them a triangle for the gradient of it.

# %%
# Figure: One input, six hidden units, one output. Links are blue for positive weights
# and orange for negative ones, wide for large ones; triangles are gradients. Units are
# filled with the colour of their mean output.
hr.plot.network(units, record=5)
plt.show()

# %% [markdown]
# ## network_animation
#
# The same, record by record. `hr.plot.save_animation(animation, "network.gif")` writes
# it as GIF, HTML or MP4; in a notebook, `IPython.display.HTML(animation.to_jshtml())`
# shows it with buttons. Its first frame:

# %%
# Figure: The small network at its first step.
animation = hr.plot.network_animation(units)
animation.pause()
plt.show()

# %% [markdown]
# ## theme
#
# Settings of Matplotlib for a light page, a dark one, or both.

# %%
# Figure: Loss of the small network, light text on a dark ground.
with plt.style.context(hr.plot.theme("dark")):
    hr.plot.loss(units, smooth=9, log=True)
    plt.show()
