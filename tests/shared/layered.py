"""Tiny models with layers worth looking into, and how each is trained."""

import importlib

import keras
import numpy as np
from keras import layers

BATCH = 8
ROWS = 20  # The last batch is smaller.


def _data(*shape):
    return np.random.RandomState(0).randn(ROWS, *shape).astype("float32")


def dense():
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(4, activation="tanh", name="hidden"),
            layers.Dense(1, name="out"),
        ],
        name="m",
    )
    return model, _data(2)


def conv():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(3, 3, activation="relu", name="conv"),
            layers.BatchNormalization(name="bn"),
            layers.MaxPooling2D(name="pool"),
            layers.Flatten(name="flat"),
            layers.Dense(1, name="out"),
        ],
        name="m",
    )
    return model, _data(6, 6, 1)


def residual():
    x = keras.Input((4, 4, 3))
    y = layers.BatchNormalization(name="bn")(layers.Conv2D(3, 3, padding="same")(x))
    y = layers.ReLU(name="relu")(y)
    swish = {"padding": "same", "activation": "hard_swish", "name": "swish"}
    y = layers.Add(name="add")([x, layers.DepthwiseConv2D(3, **swish)(y)])
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    return keras.Model(x, layers.Dense(1, name="out")(y), name="m"), _data(4, 4, 3)


def joined():
    """A graph optimizer makes one of what a layer ends with and the next begins with.

    Sums of several terms, products of several factors; in layers that are frozen, too.
    """
    x = y = keras.Input((4, 4, 3))
    gate = layers.Conv2D(3, 1, activation="sigmoid", name="gate", trainable=False)(x)
    y = layers.Multiply(name="gated")([x, gate])
    y = layers.BatchNormalization(name="frozen", trainable=False)(y)
    y = layers.Rescaling(1.7, 0.1, name="scale")(layers.Rescaling(0.3, name="third")(y))
    y = layers.Conv2D(3, 1, activation="silu", name="conv")(y)
    y = layers.BatchNormalization(name="bn")(layers.Rescaling(0.7, name="half")(y))
    other = layers.Conv2D(3, 1, use_bias=False, name="other")(x)
    sums = layers.Add(name="sum")([y, other, x])
    y = layers.Subtract(name="difference")([layers.Average()([sums, y, other]), x])
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    return keras.Model(x, layers.Dense(1, name="out")(y), name="m"), _data(4, 4, 3)


def stored():
    """XLA stores what is dear to compute, such as a quotient, only if it has two users.

    So do random numbers of a normal distribution, which are made of sines and roots.
    """
    x = keras.Input((8, 8, 6))
    y = layers.Add(name="added")([x, layers.Dense(6, name="in")(x)])
    y = layers.Activation("softsign", name="quotient")(y) * 0.3
    y = layers.GlobalAveragePooling2D(name="mean")(y)
    noise = layers.GaussianNoise(0.1, seed=1, name="noise")
    z = layers.Add(name="noisy")([x, noise(layers.Dense(6, name="other")(x))])
    z = layers.GlobalAveragePooling2D(name="noisy_mean")(z)
    y = layers.Concatenate(name="both")([y, z])
    return keras.Model(x, layers.Dense(1, name="out")(y), name="m"), _data(8, 8, 6)


def in_function(function):
    """The function, compiled by itself as the backend's users would do it."""
    if keras.config.backend() == "tensorflow":
        return importlib.import_module("tensorflow").function(function)
    if keras.config.backend() == "jax":
        return importlib.import_module("jax").jit(function)
    return function


class Calling(layers.Layer):
    """Calls a function that is compiled by itself."""

    def build(self, shape):
        self.kernel = self.add_weight(shape=(shape[-1], shape[-1]))
        self.scale = self.add_weight(shape=(shape[-1],), initializer="uniform")
        self.function = in_function(self.compute)

    def compute(self, x, kernel, scale):
        h = keras.ops.softsign(x + keras.ops.matmul(x, kernel))
        return h * keras.ops.exp(scale)

    def call(self, x):
        return self.function(x, *map(keras.ops.copy, (self.kernel, self.scale)))

    def compute_output_shape(self, shape):
        return shape


def calling():
    """What a function returns is rounded together with what comes after it."""
    x = keras.Input((8, 6))
    y = Calling(name="first")(layers.Dense(6, name="in")(x)) * 0.3
    y = Calling(name="second")(layers.Activation("tanh", name="tanh")(y))
    y = layers.Add(name="added")([y * 0.3, x])
    y = layers.GlobalAveragePooling1D(name="mean")(y)
    return keras.Model(x, layers.Dense(1, name="out")(y), name="m"), _data(8, 6)


def lstm():
    model = keras.Sequential(
        [
            keras.Input((4, 2)),
            layers.LSTM(3, return_sequences=True, name="lstm"),
            layers.GlobalAveragePooling1D(name="mean"),
            layers.Dense(1, name="out"),
        ],
        name="m",
    )
    return model, _data(4, 2)


def attention():
    x = keras.Input((4, 2))
    y = layers.MultiHeadAttention(2, 2, name="mha")(x, x)
    y = layers.LayerNormalization(name="norm")(layers.Add(name="add")([x, y]))
    y = layers.Dense(1, name="out")(layers.Flatten(name="flat")(y))
    return keras.Model(x, y, name="m"), _data(4, 2)


def tower():
    x = keras.Input((2, 3))
    shared = layers.Dense(2, activation="sigmoid", name="tower")
    y = layers.Subtract(name="difference")([shared(x[:, 0]), shared(x[:, 1])])
    return keras.Model(x, layers.Dense(1, name="out")(y), name="m"), _data(2, 3)


def nested():
    inner = keras.Sequential(
        [keras.Input((2,)), layers.Dense(3, activation="relu", name="deep")],
        name="inner",
    )
    x = keras.Input((2,))
    return keras.Model(x, layers.Dense(1, name="out")(inner(x)), name="m"), _data(2)


MODELS = {
    function.__name__: function
    for function in (
        dense,
        conv,
        residual,
        joined,
        stored,
        calling,
        lstm,
        attention,
        tower,
        nested,
    )
}


def trained(make, callbacks=(), *, epochs=2, compiled=None, rows=ROWS):
    """A model, trained; x and y; the History."""
    keras.utils.set_random_seed(3)
    model, x = make()
    x = x[:rows]
    y = np.sin(x.reshape(len(x), -1).sum(1, keepdims=True))
    model.compile(keras.optimizers.Adam(0.01), "mse", **(compiled or {}))
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        epochs=epochs,
        verbose=0,
        shuffle=False,
        callbacks=list(callbacks),
    )
    return model, x, y, history.history
