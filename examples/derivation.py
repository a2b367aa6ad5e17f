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
# # Back-propagation by hand
#
# How does a network know in which direction to change each of its weights? This page
# answers for a network small enough to follow with a pencil: one input, six ReLU units,
# one output. There are twelve equations. After each stand the lines of NumPy that
# compute it for one star, and the number that comes out. At the end, Keras trains on
# that star, and what the recorder saw in that very step is held against the equations.

# %% tags=["setup"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hrcallbacks as hr
from hrcallbacks import backprop

# Six decimals, and 0 for -0.
np.set_printoptions(formatter={"float": lambda number: f"{number + 0:9.6f}"})

# %% [markdown]
# ## A star
#
# Most stars obey a relation: the more luminous, the hotter. The network has to learn
# it. Its input $x$ is the logarithm of the star's luminosity, scaled so that the
# faintest star of the catalogue has 0 and the brightest 1. Its target $y$ is the
# logarithm of the effective temperature in kelvin.
#
# The catalogue that comes with the package is *reconstructed* from the published
# tables, not observed; [The stars](stars.ipynb) tells how. Here is its first star, once
# all are shuffled.

# %%
stars_x, stars_y = hr.training_data(seed=1453)
x, y = stars_x[0].item(), stars_y[0].item()

print(f"x = {x:.6f}")
print(f"y = {y:.6f}, that is {10**y:.0f} K")

# %% [markdown]
# ## The network
#
# Each of the six hidden units $i$ has a weight $w^{(1)}_i$ and a bias $b^{(1)}_i$, and
# hands its output on with a weight $w^{(2)}_i$. The output adds the six and a bias
# $b^{(2)}$: nineteen numbers in all. The superscript counts the layers, the subscript
# the units.
#
# The published run at learning rate 0.1 starts from these weights. They were drawn at
# random; biases start at zero.

# %%
model = keras.Sequential(
    [
        keras.layers.Input(shape=(1,)),
        keras.layers.Dense(6, activation="relu", name="hidden"),
        keras.layers.Dense(1, activation="linear", name="output"),
    ]
)
model.set_weights(hr.load_initial_weights(0.1))
w1, b1, w2, b2 = (np.float64(w).ravel() for w in model.get_weights())

pd.DataFrame({"w1": w1, "b1": b1, "w2": w2}, index=pd.RangeIndex(1, 7, name="unit"))

# %% [markdown]
# ## Forward: from the star to the loss
#
# Each hidden unit multiplies and adds:
#
# $$z_i = w^{(1)}_i x + b^{(1)}_i \tag{1}$$

# %%
z = w1 * x + b1

print(z)

# %% [markdown]
# A rectified linear unit lets positive numbers pass, and gives 0 for all others:
#
# $$y_i = \max(0, z_i) \tag{2}$$

# %%
hidden = np.maximum(0, z)

print(hidden)

# %% [markdown]
# The output adds up what the units give:
#
# $$\hat y = \sum_{i=1}^{6} w^{(2)}_i y_i + b^{(2)} \tag{3}$$

# %%
prediction = np.sum(w2 * hidden) + b2[0]

print(f"{prediction:.6f}, where y = {y:.6f} would be right")

# %% [markdown]
# How wrong it is, in one number:
#
# $$L = \tfrac12\,(y - \hat y)^2 \tag{4}$$

# %%
loss = 0.5 * (y - prediction) ** 2

print(f"{loss:.6f}")

# %% [markdown]
# ## Backward: from the loss to each weight
#
# How much does the loss change when a weight changes a little? That is the derivative
# of $L$ with respect to it, and the chain rule gives it, from the output back to the
# input. First the output itself:
#
# $$\frac{\partial L}{\partial \hat y} = \hat y - y \tag{5}$$

# %%
d_prediction = prediction - y

print(f"{d_prediction:.6f}")

# %% [markdown]
# It is negative: a larger output would make the loss smaller. A weight of the output
# layer acts on $\hat y$ in proportion to what its unit gives, $y_i$:
#
# $$\frac{\partial L}{\partial w^{(2)}_i}
#   = \frac{\partial L}{\partial \hat y}\,\frac{\partial \hat y}{\partial w^{(2)}_i}
#   = y_i\,(\hat y - y) \tag{6}$$

# %%
d_w2 = hidden * d_prediction

print(d_w2)

# %% [markdown]
# The bias acts on $\hat y$ directly:
#
# $$\frac{\partial L}{\partial b^{(2)}}
#   = \frac{\partial L}{\partial \hat y}\,\frac{\partial \hat y}{\partial b^{(2)}}
#   = \hat y - y \tag{7}$$

# %%
d_b2 = d_prediction

print(f"{d_b2:.6f}")

# %% [markdown]
# One layer further back. What a hidden unit gives acts on $\hat y$ in proportion to its
# outgoing weight:
#
# $$\frac{\partial L}{\partial y_i}
#   = \frac{\partial L}{\partial \hat y}\,\frac{\partial \hat y}{\partial y_i}
#   = (\hat y - y)\,w^{(2)}_i \tag{8}$$

# %%
d_hidden = d_prediction * w2

print(d_hidden)

# %% [markdown]
# The rectifier passes that on where it passed the signal on, and stops it elsewhere.
# Its derivative is the step $H$ of equation [(12)](#eq-12):
#
# $$\frac{\partial L}{\partial z_i}
#   = \frac{\partial L}{\partial y_i}\,\frac{\partial y_i}{\partial z_i}
#   = (\hat y - y)\,w^{(2)}_i\,H(z_i) \tag{9}$$

# %%
d_z = d_hidden * np.heaviside(z, 1.0)

print(d_z)

# %% [markdown]
# Zeros appear: a unit that is off for this star learns nothing from it. Last, the
# weights and biases of the hidden layer, which act on $z_i$ by equation [(1)](#eq-1):
#
# $$\frac{\partial L}{\partial w^{(1)}_i}
#   = \frac{\partial L}{\partial z_i}\,\frac{\partial z_i}{\partial w^{(1)}_i}
#   = (\hat y - y)\,w^{(2)}_i\,H(z_i)\,x \tag{10}$$

# %%
d_w1 = d_z * x

print(d_w1)

# %% [markdown]
# $$\frac{\partial L}{\partial b^{(1)}_i}
#   = \frac{\partial L}{\partial z_i}\,\frac{\partial z_i}{\partial b^{(1)}_i}
#   = (\hat y - y)\,w^{(2)}_i\,H(z_i) \tag{11}$$

# %%
d_b1 = d_z

print(d_b1)

# %% [markdown]
# The step itself is 1 where a unit is on, and 0 where it is off:
#
# $$H(z_i) = \begin{cases} 1, & z_i \ge 0 \\ 0, & z_i < 0 \end{cases} \tag{12}$$

# %%
print(np.heaviside(z, 1.0))

# %% tags=["picture"]
# The same star, equation by equation.
from hrcallbacks.report import figures

figures.stepper(model.get_weights(), x, y)

# %% [markdown]
# `hrcallbacks.backprop` holds these equations for many stars at once, and gives the
# same:

# %%
derived = backprop.backpropagate(model.get_weights(), [x], [y], heaviside_at_zero=1.0)
by_hand = np.concatenate([d_w1, d_b1, d_w2, [d_b2]])
by_library = np.concatenate(
    [np.ravel(d) for d in (derived.d_w1, derived.d_b1, derived.d_w2, derived.d_b2)]
)
print(f"largest difference: {np.abs(by_hand - by_library).max()}")

# %% [markdown]
# ## The same step in Keras
#
# Now `fit` trains on that one star for one step, and a recorder looks on. What did the
# optimizer get?


# %%
def recorded_step(x, y, *, learning_rate=0.1, weights_at="after"):
    """One step of `fit` from the initial weights, recorded."""
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    clone.compile(keras.optimizers.Adam(learning_rate), loss="mse")
    recorder = hr.GradientRecorder(record_freq=1, weights_at=weights_at)
    clone.fit(
        np.reshape(x, (-1, 1)),
        np.reshape(y, (-1, 1)),
        batch_size=np.size(x),
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


recording = recorded_step(x, y)
recorded = np.concatenate([np.ravel(g) for g in recording.gradients.values()])
names = [f"w1_{i}" for i in range(1, 7)] + [f"b1_{i}" for i in range(1, 7)]
names += [f"w2_{i}" for i in range(1, 7)] + ["b2"]

comparison = pd.DataFrame({"by hand": by_hand, "recorded": recorded}, index=names)
comparison += 0.0  # Makes 0 of -0.
comparison["recorded / by hand"] = comparison["recorded"] / comparison["by hand"]
comparison

# %% [markdown]
# Zeros agree, and every other gradient is recorded twice as large (NaN stands for 0
# divided by 0). That is the first of three places where derivation and Keras differ.

# %% [markdown]
# ## Where the derivation and Keras differ
#
# **The factor one half.** Equation [(4)](#eq-4) halves the square, so that equation
# [(5)](#eq-5) has no factor 2. Keras' mean squared error does not halve it. Over many
# stars it is also a mean, so that what is recorded is twice the mean of the equations.

# %%
print(f"Keras' loss of this star: {recording.index['loss'][0]:.6f}")
print(f"equation (4), doubled:    {2 * loss:.6f}")

error = np.abs(recorded - 2 * by_hand).max()
print(f"recorded - 2 x by hand, largest difference: {error:.1e}")

# %% [markdown]
# **The kink.** Equation [(12)](#eq-12) sets $H(0) = 1$; TensorFlow, JAX and PyTorch
# take 0. That matters only where some $z_i$ is exactly 0. It does happen: biases start
# at zero, so for the faintest star, whose $x$ is 0, every $z_i$ is 0.

# %%
faintest = np.argmin(stars_x)
at_kink = recorded_step(stars_x[faintest], stars_y[faintest])
equation_11 = backprop.backpropagate(
    model.get_weights(), stars_x[[faintest]], stars_y[[faintest]], heaviside_at_zero=1.0
)

pd.DataFrame(
    {
        "equation (11), H(0) = 1": equation_11.d_b1[0],
        "recorded, H(0) = 0": at_kink.gradients["hidden/bias"][0] + 0.0,
    },
    index=pd.RangeIndex(1, 7, name="unit"),
)

# %% [markdown]
# **Before and after.** A row of the published tables, and a record of the recorder,
# holds the gradient at the weights *before* the step, and the weights *after* it.
# Adam's first step has the size of the learning rate, whatever the gradient's size:
# only its sign counts.

# %%
before = recorded_step(x, y, weights_at="before").weights["hidden/kernel"][0]
after = recording.weights["hidden/kernel"][0]

pd.DataFrame(
    {
        "before": np.ravel(before),
        "gradient": np.ravel(recording.gradients["hidden/kernel"][0]) + 0.0,
        "after": np.ravel(after),
        "after - before": np.ravel(after - before),
    },
    index=pd.RangeIndex(1, 7, name="unit"),
)

# %% [markdown]
# ## All stars at once
#
# One step over the whole catalogue is the first epoch of the published run at learning
# rate 0.1. Twice the mean of the equations over its stars, what the recorder saw, and
# what the published table prints in its first row:

# %%
whole = recorded_step(stars_x, stars_y)
gradients = backprop.mse_gradients(model.get_weights(), stars_x, stars_y)
published = hr.load_published_table(0.1).iloc[0]
kernels = {"1": "hidden/kernel", "2": "output/kernel"}

rows = {}
for number, path in kernels.items():
    ours = np.ravel(gradients.w1 if number == "1" else gradients.w2)
    seen = np.ravel(whole.gradients[path][0])
    for i in range(6):
        name = f"g^{number}_{i + 1}"
        rows[name] = ours[i], seen[i], published[name]
table = pd.DataFrame(rows, index=["equations", "recorded", "published"]).T
table

# %%
misses = table.sub(table["published"], axis=0).abs().max()
print(f"equations - published, largest difference: {misses['equations']:.1e}")
print(f"recorded - published, largest difference:  {misses['recorded']:.1e}")

# %% [markdown]
# The network, drawn with the gradients of that step. An edge's colour and width stand
# for its weight, the triangle on it for its gradient. Two units have no gradient at
# all: no star turns them on.

# %%
# Figure: The 1-6-1 network as nodes and edges after the first step at learning rate
# 0.1. Units 4 and 6 of the hidden layer are grey: their gradients are exactly zero.
hr.plot.network(whole)
plt.show()

# %% [markdown]
# What becomes of these numbers over ten epochs: [The two tables](tables.ipynb).
