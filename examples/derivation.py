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
# How does a network know in which direction to change each of its weights? From the
# *gradient*: for each weight, how fast the error changes when that weight does. This
# page computes it for a network small enough to follow with a pencil: one input, six
# ReLU units, one output. There are twelve equations. Each is followed by the NumPy that
# computes it for one star, and by what the recorder saw in a training step of Keras on
# that star. Then the same is done for all stars. At the end, Adam, the optimizer, turns
# two of the published gradients into a weight, one operation at a time.
#
# The equations, the network and the two tables are those of a course notebook,
# *Assignment 4*, dated 18 October 2025, which this site calls "published".

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
# On the main sequence, brighter stars are hotter. The network has to learn this. Its
# input $x$ is the logarithm of a star's luminosity, scaled so that the faintest star of
# the catalogue is at 0 and the brightest at 1. Its target $y$ is the base-10 logarithm
# of the star's effective temperature in kelvin.
#
# The catalogue that comes with the package is *reconstructed* from the published
# tables, not observed; [The stars](stars.ipynb) explains how. This is its first star
# after shuffling.

# %%
stars_x, stars_y = hr.training_data(seed=1453)
x, y = stars_x[0].item(), stars_y[0].item()

print(f"x = {x:.6f}")
print(f"y = {y:.6f}, that is {10**y:.0f} K")

# %% [markdown]
# ## The network
#
# Each hidden unit $i$ has a weight $w^{(1)}_i$ and a bias $b^{(1)}_i$. A second weight,
# $w^{(2)}_i$, carries what the unit gives to the output, which adds the six and a bias
# $b^{(2)}$. The sum is the prediction $\hat y$. The superscript counts the layers, the
# subscript the units. Keras calls the weights of a layer, without its biases, its
# *kernel*.

# %% tags=["picture"]
# Figure: The 1-6-1 network. On the left the input x; in the middle six hidden units,
# each with its bias, reached from x by the weights w(1); on the right the output y hat
# with its bias, reached from the units by the weights w(2).
INK, PAPER = plt.rcParams["text.color"], plt.rcParams["figure.facecolor"]
BACK = "#d55e00"


def node(ax, place, text, color=INK):
    """A circle with a formula in it."""
    ax.add_patch(plt.Circle(place, 0.3, facecolor=PAPER, edgecolor=color, zorder=3))
    ax.text(*place, text, ha="center", va="center", fontsize=12, zorder=4)


def on_link(ax, start, end, text, share=0.5, color=INK):
    """A formula on the line from one place to another, at a share of the way."""
    place = np.array(start) + share * (np.array(end) - start)
    box = {"facecolor": PAPER, "edgecolor": "none", "pad": 1.2}
    options = {"ha": "center", "va": "center", "fontsize": 11, "bbox": box}
    ax.text(*place, text, color=color, **options)


figure, ax = plt.subplots(figsize=(7, 5), layout="constrained")
source, sink = (0.0, 0.0), (6.4, 0.0)
for i in range(1, 7):
    unit = (3.2, 1.0 * (3.5 - i))
    ax.plot(*zip(source, unit, sink, strict=True), color=INK, linewidth=0.8, zorder=1)
    on_link(ax, source, unit, f"$w^{{(1)}}_{i}$", share=0.64)
    on_link(ax, unit, sink, f"$w^{{(2)}}_{i}$", share=0.36)
    node(ax, unit, f"$y_{i}$")
    ax.text(3.2, unit[1] + 0.37, f"$b^{{(1)}}_{i}$", fontsize=8, ha="center")
node(ax, source, "$x$")
node(ax, sink, r"$\hat y$")
ax.text(6.4, 0.42, "$b^{(2)}$", fontsize=8, ha="center")
for place, text in ((0, "input"), (3.2, "hidden layer"), (6.4, "output layer")):
    ax.text(place, -3.25, text, ha="center", fontsize=10)
ax.set(xlim=(-0.5, 6.9), ylim=(-3.3, 3.2), aspect="equal")
ax.axis("off")
plt.show()

# %% [markdown]
# The published run at learning rate 0.1 starts from these weights. They were drawn at
# random; the biases start at zero.

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

print(f"{model.count_params()} numbers to train, b2 = {b2[0]:.0f}; by hidden unit:")
pd.DataFrame({"w1": w1, "b1": b1, "w2": w2}, index=pd.RangeIndex(1, 7, name="unit"))

# %% [markdown]
# ## One step of training, recorded
#
# Keras trains a copy of this network on that star for one *step*: it computes the
# gradient, and the optimizer changes each weight once. The recorder keeps what the
# layers compute on the way, and the gradient of the loss with respect to each of these
# numbers. The loss, which says how wrong the prediction is, is that of equation
# [(4)](#eq-4) below.


# %%
def half_square(y_true, y_pred):
    """The loss of equation (4)."""
    return keras.ops.mean(0.5 * keras.ops.square(y_true - y_pred), axis=-1)


def recorded_step(x, y, *, loss="mse", learning_rate=0.1, weights_at="after"):
    """One step of `fit` from the initial weights, recorded."""
    clone = keras.models.clone_model(model)
    clone.set_weights(model.get_weights())
    clone.compile(keras.optimizers.Adam(learning_rate), loss=loss)
    recorder = hr.GradientRecorder(
        record_freq=1, weights_at=weights_at, outputs="raw", output_gradients="raw"
    )
    clone.fit(
        np.reshape(x, (-1, 1)),
        np.reshape(y, (-1, 1)),
        batch_size=np.size(x),
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


one_star = recorded_step(x, y, loss=half_square)


def compare(by_hand, quantity, name):
    """Prints numbers computed by hand, and those recorded in the step of `fit`."""
    recorded = one_star.arrays(quantity)[name][0].ravel()
    print("by hand ", np.ravel(by_hand))
    print("recorded", recorded)


# %% [markdown]
# ## Forward: from the star to the loss
#
# Each hidden unit multiplies and adds:
#
# $$z_i = w^{(1)}_i x + b^{(1)}_i \tag{1}$$

# %%
z = w1 * x + b1

compare(z, "outputs", "hidden/preactivation")

# %% [markdown]
# A rectified linear unit (ReLU) passes positive numbers on, and gives 0 otherwise:
#
# $$y_i = \max(0, z_i) \tag{2}$$
#
# (With an index, $y_i$ is what a hidden unit gives; $y$ alone is the target.)

# %%
hidden = np.maximum(0, z)

compare(hidden, "outputs", "hidden")

# %% [markdown]
# The output is a weighted sum of the units, plus a bias:
#
# $$\hat y = \sum_{i=1}^{6} w^{(2)}_i y_i + b^{(2)} \tag{3}$$

# %%
prediction = np.sum(w2 * hidden) + b2[0]

compare(prediction, "outputs", "output")
print(f"the right answer is y = {y:.6f}")

# %% [markdown]
# One number says how wrong that is, the loss:
#
# $$L = \tfrac12\,(y - \hat y)^2 \tag{4}$$

# %%
loss = 0.5 * (y - prediction) ** 2

print(f"by hand  {loss:.6f}")
print(f"recorded {one_star.index['loss'][0]:.6f}")

# %% [markdown]
# ## Backward: from the loss to each weight
#
# How much does the loss change when a weight changes a little? That is the derivative
# of $L$ with respect to the weight; all these derivatives together are the gradient. A
# weight of the first layer does not act on $L$ directly: it changes $z_i$, which
# changes $y_i$, which changes $\hat y$, which changes $L$. The **chain rule** says that
# the derivative along such a chain is the product of the derivatives of its links,
#
# $$\frac{\partial L}{\partial w^{(1)}_i}
#   = \frac{\partial L}{\partial \hat y}\,
#     \frac{\partial \hat y}{\partial y_i}\,
#     \frac{\partial y_i}{\partial z_i}\,
#     \frac{\partial z_i}{\partial w^{(1)}_i},$$
#
# and each of the four links is simple. If several chains led from a number to $L$,
# their products would be added; here there is one for each parameter. Back-propagation
# is the chain rule evaluated from the right: start at $L$, walk back to the left, and
# keep the product so far, since every parameter on the way needs it.

# %% tags=["picture"]
# Figure: The computation for one hidden unit i as a graph. Forward, black arrows lead
# from x, w(1) and b(1) to z, from z to y_i, from y_i, w(2) and b(2) to y hat, and from
# y hat and the target y to the loss L. Backward, orange arrows lead from L to y hat,
# y_i, z and the parameters, each with the derivative of its link.
figure, ax = plt.subplots(figsize=(7.6, 3.9), layout="constrained")
PLACES = {
    "$x$": (0, 0),
    "$z_i$": (2, 0),
    "$y_i$": (4, 0),
    r"$\hat y$": (6, 0),
    "$L$": (8, 0),
    "$w^{(1)}_i$": (1.2, -1.9),
    "$b^{(1)}_i$": (2.8, -1.9),
    "$w^{(2)}_i$": (5.2, -1.9),
    "$b^{(2)}$": (6.8, -1.9),
    "$y$": (8, -1.9),
}
LINKS = [
    ("$x$", "$z_i$", None),
    ("$z_i$", "$y_i$", r"$\frac{\partial y_i}{\partial z_i} = H(z_i)$"),
    ("$y_i$", r"$\hat y$", r"$\frac{\partial\hat y}{\partial y_i} = w^{(2)}_i$"),
    (r"$\hat y$", "$L$", r"$\frac{\partial L}{\partial\hat y} = \hat y - y$"),
    ("$w^{(1)}_i$", "$z_i$", "$x$"),
    ("$b^{(1)}_i$", "$z_i$", "$1$"),
    ("$w^{(2)}_i$", r"$\hat y$", "$y_i$"),
    ("$b^{(2)}$", r"$\hat y$", "$1$"),
    ("$y$", "$L$", None),
]
ARROW = {"shrinkA": 17, "shrinkB": 17}
for start, end, derivative in LINKS:
    a, b = PLACES[start], PLACES[end]
    ax.annotate("", b, a, arrowprops=ARROW | {"arrowstyle": "-|>", "color": INK})
    if derivative is None:
        continue
    across, right = a[1] == b[1], a[0] > b[0]
    bend = 0.45 if across else (-0.28 if right else 0.28)
    back = ARROW | {"connectionstyle": f"arc3,rad={bend}"}
    ax.annotate("", a, b, arrowprops=back | {"arrowstyle": "-|>", "color": BACK})
    side = 0.78 if right else -0.78
    x_text, y_text = (0, 0.78) if across else (side, 0.05)
    place = (a[0] + b[0]) / 2 + x_text, (a[1] + b[1]) / 2 + y_text
    ax.text(*place, derivative, color=BACK, ha="center", va="center", fontsize=12)
for text, place in PLACES.items():
    node(ax, place, text)
ax.text(0, 1.5, "black: forward, from the star to the loss", fontsize=9)
ax.text(8, 1.5, "orange: backward", fontsize=9, color=BACK, ha="right")
ax.set(xlim=(-0.5, 8.5), ylim=(-2.3, 1.75), aspect="equal")
ax.axis("off")
plt.show()

# %% [markdown]
# The first step back is the output itself:
#
# $$\frac{\partial L}{\partial \hat y} = \hat y - y \tag{5}$$

# %%
d_prediction = prediction - y

compare(d_prediction, "output_gradients", "output")

# %% [markdown]
# It is negative, so a larger output would make the loss smaller. A weight of the output
# layer acts on $\hat y$ in proportion to $y_i$, which its unit gives:
#
# $$\frac{\partial L}{\partial w^{(2)}_i}
#   = \frac{\partial L}{\partial \hat y}\,\frac{\partial \hat y}{\partial w^{(2)}_i}
#   = y_i\,(\hat y - y) \tag{6}$$

# %%
d_w2 = hidden * d_prediction

compare(d_w2, "gradients", "output/kernel")

# %% [markdown]
# The bias acts on $\hat y$ directly:
#
# $$\frac{\partial L}{\partial b^{(2)}}
#   = \frac{\partial L}{\partial \hat y}\,\frac{\partial \hat y}{\partial b^{(2)}}
#   = \hat y - y \tag{7}$$

# %%
d_b2 = d_prediction

compare(d_b2, "gradients", "output/bias")

# %% [markdown]
# Now one layer further back. The output of a hidden unit acts on $\hat y$ in proportion
# to the unit's outgoing weight:
#
# $$\frac{\partial L}{\partial y_i}
#   = \frac{\partial L}{\partial \hat y}\,\frac{\partial \hat y}{\partial y_i}
#   = (\hat y - y)\,w^{(2)}_i \tag{8}$$

# %%
d_hidden = d_prediction * w2

compare(d_hidden, "output_gradients", "hidden")

# %% [markdown]
# The rectifier passes the derivative back where it passed the signal forward, and stops
# it elsewhere. Its own derivative is the step $H$ of equation [(12)](#eq-12):
#
# $$\frac{\partial L}{\partial z_i}
#   = \frac{\partial L}{\partial y_i}\,\frac{\partial y_i}{\partial z_i}
#   = (\hat y - y)\,w^{(2)}_i\,H(z_i) \tag{9}$$

# %%
d_z = d_hidden * np.heaviside(z, 1.0)

compare(d_z, "output_gradients", "hidden/preactivation")

# %% [markdown]
# Some are zero: a unit that is off for this star learns nothing from it. Last come the
# weights and biases of the hidden layer, which act on $z_i$ by equation [(1)](#eq-1):
#
# $$\frac{\partial L}{\partial w^{(1)}_i}
#   = \frac{\partial L}{\partial z_i}\,\frac{\partial z_i}{\partial w^{(1)}_i}
#   = (\hat y - y)\,w^{(2)}_i\,H(z_i)\,x \tag{10}$$

# %%
d_w1 = d_z * x

compare(d_w1, "gradients", "hidden/kernel")

# %% [markdown]
# For the first unit, the four links of the chain and their product:

# %%
chain = d_prediction, w2[0], np.heaviside(z[0], 1.0), x
print(" x ".join(f"({link:.6f})" for link in chain), f"= {np.prod(chain):.6f}")

# %% [markdown]
# The bias acts on $z_i$ with the factor 1:
#
# $$\frac{\partial L}{\partial b^{(1)}_i}
#   = \frac{\partial L}{\partial z_i}\,\frac{\partial z_i}{\partial b^{(1)}_i}
#   = (\hat y - y)\,w^{(2)}_i\,H(z_i) \tag{11}$$

# %%
d_b1 = d_z

compare(d_b1, "gradients", "hidden/bias")

# %% [markdown]
# The step itself is 1 where a unit is on, and 0 where it is off. The recorder sees it
# as the share of each unit's gradient that the rectifier passed back:
#
# $$H(z_i) = \begin{cases} 1, & z_i \ge 0 \\ 0, & z_i < 0 \end{cases} \tag{12}$$

# %%
passed_back = one_star.output_gradients
print("by hand ", np.heaviside(z, 1.0))
print("recorded", (passed_back["hidden/preactivation"] / passed_back["hidden"])[0, 0])

# %% tags=["picture"]
# The same star, equation by equation.
from hrcallbacks.report import figures

figures.stepper(model.get_weights(), x, y)

# %% [markdown]
# `hrcallbacks.backprop` has the same equations for many stars at once. It agrees:

# %%
derived = backprop.backpropagate(model.get_weights(), [x], [y], heaviside_at_zero=1.0)
by_hand = np.concatenate([d_w1, d_b1, d_w2, [d_b2]])
by_library = np.concatenate(
    [np.ravel(d) for d in (derived.d_w1, derived.d_b1, derived.d_w2, derived.d_b2)]
)
print(f"largest difference: {np.abs(by_hand - by_library).max()}")

# %% [markdown]
# ## With the loss of Keras
#
# The step recorded so far had the loss of equation [(4)](#eq-4). This one has Keras'
# mean squared error. Which gradients did the optimizer receive?

# %%
recording = recorded_step(x, y)
recorded = np.concatenate([np.ravel(g) for g in recording.gradients.values()])
names = [f"w1_{i}" for i in range(1, 7)] + [f"b1_{i}" for i in range(1, 7)]
names += [f"w2_{i}" for i in range(1, 7)] + ["b2"]

comparison = pd.DataFrame({"by hand": by_hand, "recorded": recorded}, index=names)
comparison += 0.0  # Makes 0 of -0.
comparison["recorded / by hand"] = comparison["recorded"] / comparison["by hand"]
comparison

# %% [markdown]
# The zeros agree, and every other recorded gradient is twice as large (NaN stands for 0
# divided by 0). This is the first of three differences between derivation and Keras.

# %% [markdown]
# ## Where the derivation and Keras differ
#
# **The factor one half.** Equation [(4)](#eq-4) halves the square, so that equation
# [(5)](#eq-5) has no factor 2. Keras' mean squared error does not halve it. Over many
# stars it is a mean, so the recorded gradient is twice the mean of what the equations
# give for each star.

# %%
print(f"Keras' loss of this star: {recording.index['loss'][0]:.6f}")
print(f"equation (4), doubled:    {2 * loss:.6f}")

error = np.abs(recorded - 2 * by_hand).max()
print(f"recorded - 2 x by hand, largest difference: {error:.1e}")

# %% [markdown]
# **The kink.** Equation [(12)](#eq-12) sets $H(0) = 1$; TensorFlow, JAX and PyTorch
# use 0. That matters only where some $z_i$ is exactly 0, and this does happen: biases
# start at zero, so for the faintest star, whose $x$ is 0, every $z_i$ is 0.

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
# **Before and after.** A row of the published tables holds the gradient at the weights
# *before* the step, and the weights *after* it. So does a record, unless you pass
# `weights_at="before"`. The first step of
# [Adam](#from-the-gradient-to-the-next-weight-adam) is almost exactly as long as the
# learning rate, 0.1 here, however large the gradient is: only its sign counts. Where
# the gradient is 0, the weight stays.

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
# An *epoch* is one pass over the data. In the published runs every step uses all stars,
# as one *batch*, so an epoch is a single step. This is the first one at learning rate
# 0.1. The table compares three things: twice the mean of the equations over all stars,
# the recorded gradient, and the first row of the published table.

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
# This is the network with the gradients of that step. A link's colour and width show
# its weight, the triangle on it its gradient. A grey unit has no gradient at all,
# because no star turns it on.

# %%
# Figure: The 1-6-1 network as nodes and edges after the first step at learning rate
# 0.1. Units 4 and 6 of the hidden layer are grey: their gradients are exactly zero.
hr.plot.network(whole)
plt.show()

# %% [markdown]
# ## From the gradient to the next weight: Adam
#
# A gradient says in which direction to go. The optimizer decides how far. Plain
# gradient descent subtracts the gradient times the learning rate $\eta$. Adam
# ([Kingma and Ba 2015](https://arxiv.org/abs/1412.6980)) keeps two running means for
# each weight, of its gradients and of their squares:
#
# $$m_t = \beta_1 m_{t-1} + (1 - \beta_1)\, g_t, \qquad
#   v_t = \beta_2 v_{t-1} + (1 - \beta_2)\, g_t^2$$
#
# Both start at zero, and are therefore too small at first. Dividing by
# $1 - \beta^t$, the total weight of the gradients in such a mean, corrects this:
#
# $$\hat m_t = \frac{m_t}{1 - \beta_1^t}, \qquad
#   \hat v_t = \frac{v_t}{1 - \beta_2^t}, \qquad
#   w_t = w_{t-1} - \eta\, \frac{\hat m_t}{\sqrt{\hat v_t} + \epsilon}$$
#
# The tiny $\epsilon$ only prevents a division by zero.
#
# Here is $w^{(1)}_1$ on its way from row 1 to row 2 of the published table at learning
# rate 0.1. Row 1 gives the weight $w_1$ and the gradient $g_1$, row 2 the gradient
# $g_2$. What should come out is the weight in row 2.

# %%
table = hr.load_published_table(0.1)
g_1, g_2 = table["g^1_1"][:2]
w_1, w_2 = table["w^1_1"][:2]
rate, beta_1, beta_2, epsilon = 0.1, 0.9, 0.999, 1e-7  # The last three: Keras' defaults

m_1 = (1 - beta_1) * g_1
v_1 = (1 - beta_2) * g_1**2
m_2 = beta_1 * m_1 + (1 - beta_1) * g_2
v_2 = beta_2 * v_1 + (1 - beta_2) * g_2**2
m_hat = m_2 / (1 - beta_1**2)
v_hat = v_2 / (1 - beta_2**2)
step = rate * m_hat / (np.sqrt(v_hat) + epsilon)

print(f"row 1           g_1 = {g_1:9.6f}   w_1 = {w_1:.6f}")
print(f"row 2           g_2 = {g_2:9.6f}")
print(f"running means   m_1 = {m_1:9.6f}   v_1 = {v_1:.9f}")
print(f"                m_2 = {m_2:9.6f}   v_2 = {v_2:.9f}")
print(f"bias-corrected  m^  = {m_hat:9.6f}   v^  = {v_hat:.9f}")
print(f"step                  {rate} x {m_hat:.6f} / {np.sqrt(v_hat):.6f} = {step:.6f}")
print(f"new weight            {w_1:.6f} - ({step:.6f}) = {w_1 - step:.6f}")
print(f"row 2 of the table    {w_2:.6f}")

# %% [markdown]
# The second step is a little shorter than the learning rate. It would be exactly as
# long if both gradients were equal; the more they differ, the smaller their mean is
# compared with their root mean square. Here is the same for all ten rows, starting from
# the initial weight:


# %%
def replay(step_size):
    """The weight after each of the ten rows, by Adam from the printed gradients."""
    m = v = 0.0
    w, path = w1[0], []
    for t, g in enumerate(table["g^1_1"], start=1):
        m = beta_1 * m + (1 - beta_1) * g
        v = beta_2 * v + (1 - beta_2) * g**2
        w -= step_size(rate, t) * m / (np.sqrt(v) + epsilon)
        path.append(w)
    return np.array(path)


def exact(rate, t):
    """The learning rate with both bias corrections."""
    return rate * np.sqrt(1 - beta_2**t) / (1 - beta_1**t)


for how, size in (("exact", exact), ("as in Keras", backprop.adam_step_size)):
    deviation = np.abs(replay(size) - table["w^1_1"]).max()
    print(f"{how:>11}: largest deviation from the column w^1_1: {deviation:.1e}")

# %% [markdown]
# Keras computes $\beta^t$ in float32. Rounding 0.999 to a float32 makes $1 - \beta_2$
# slightly too small, and all steps slightly too short; `backprop.adam_step_size`
# repeats this. What is left after that is less than the last printed digit.
#
# Next, [the two tables](tables.ipynb) show how all these numbers develop over ten
# epochs, and [What the network has learnt](predictions.ipynb) what they amount to. [An
# audit of the tables](audit.ipynb) repeats this section for every printed weight, with
# Keras' own Adam.
