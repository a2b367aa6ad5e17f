"""Small models of many kinds, all of which learn: no diagnosis may warn of them."""

import keras
import numpy as np
from healthy import pictures, sequences

import hrcallbacks as hr

L = keras.layers


def block(x, filters, name):
    """A residual block with batch normalization."""
    inner = L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_1")(x)
    inner = L.ReLU()(L.BatchNormalization()(inner))
    inner = L.Conv2D(filters, 3, padding="same", use_bias=False, name=f"{name}_2")(
        inner
    )
    return L.ReLU()(L.Add()([x, L.BatchNormalization()(inner)]))


def residual_cnn():
    image = keras.Input((8, 8, 1))
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="stem")(image)
    x = L.GlobalAveragePooling2D()(block(block(x, 8, "a"), 8, "b"))
    return keras.Model(image, L.Dense(1, "sigmoid", name="output")(x)), *pictures()


def gru():
    parts = [L.GRU(12, return_sequences=True), L.GRU(8), L.Dense(1, "sigmoid")]
    return keras.Sequential([keras.Input((6, 2)), *parts]), *sequences()


def layer_norm_lstm():
    cell = L.LSTM(12, return_sequences=True)
    parts = [cell, L.LayerNormalization(), L.LSTM(8), L.LayerNormalization()]
    model = keras.Sequential([keras.Input((6, 2)), *parts, L.Dense(1, "sigmoid")])
    return model, *sequences()


def attention():
    """A transformer block before its output, normalization first."""
    place = keras.Input((6, 2))
    x = L.Dense(16, name="embed")(place)
    normed = L.LayerNormalization()(x)
    x = L.Add()([x, L.MultiHeadAttention(2, 8)(normed, normed)])
    inner = L.Dense(32, "gelu", name="inner")(L.LayerNormalization()(x))
    x = L.Add()([x, L.Dense(16, name="outer")(inner)])
    x = L.GlobalAveragePooling1D()(L.LayerNormalization()(x))
    return keras.Model(place, L.Dense(1, "sigmoid", name="output")(x)), *sequences()


def autoencoder():
    x = pictures()[0].reshape(-1, 64)
    parts = [L.Dense(24, "relu"), L.Dense(8), L.Dense(24, "relu"), L.Dense(64)]
    return keras.Sequential([keras.Input((64,)), *parts]), x, x


def unet():
    """Where the bar of a picture is, by pixel."""
    image = keras.Input((8, 8, 1))
    fine = L.Conv2D(8, 3, padding="same", activation="relu", name="down_1")(image)
    x = L.MaxPooling2D()(fine)
    x = L.Conv2D(16, 3, padding="same", activation="relu", name="down_2")(x)
    x = L.Conv2DTranspose(8, 2, strides=2, activation="relu", name="up")(x)
    x = L.Concatenate()([x, fine])
    x = L.Conv2D(8, 3, padding="same", activation="relu", name="join")(x)
    x = L.Conv2D(1, 1, activation="sigmoid", name="output")(x)
    pixels = pictures()[0]
    return keras.Model(image, x), pixels, (pixels > 0.7).astype("float32")


def dropout_mlp():
    x = np.random.default_rng(4).normal(size=(256, 6)).astype("float32")
    labels = (x[:, 0] * x[:, 1] > 0).astype(int) + 2 * (x[:, 2] > 0).astype(int)
    parts = [L.Dense(48, "relu"), L.Dropout(0.2), L.Dense(48, "relu"), L.Dense(4)]
    model = keras.Sequential([keras.Input((6,)), *parts, L.Softmax()])
    return model, x, labels


def regularized():
    x = np.random.default_rng(5).normal(size=(256, 4)).astype("float32")
    y = x[:, :1] - 2 * x[:, 1:2]
    decay = keras.regularizers.L1L2(1e-5, 1e-4)
    hidden = L.Dense(24, "elu", kernel_regularizer=decay)
    return keras.Sequential([keras.Input((4,)), hidden, L.Dense(1)]), x, y


def separable_cnn():
    parts = [
        L.SeparableConv2D(8, 3, activation="relu"),
        L.DepthwiseConv2D(2, activation="relu"),
        L.Flatten(),
        L.Dense(1, "sigmoid"),
    ]
    return keras.Sequential([keras.Input((8, 8, 1)), *parts]), *pictures()


KINDS = {
    kind.__name__: kind
    for kind in (
        *(residual_cnn, gru, layer_norm_lstm, attention, autoencoder, unet),
        *(dropout_mlp, regularized, separable_cnn),
    )
}
_LOSSES = {
    "autoencoder": "mse",
    "regularized": "mse",
    "dropout_mlp": "sparse_categorical_crossentropy",
}


def train_kind(name, seed, *, epochs=8):
    """Trains one of them; returns its recording of each step."""
    keras.utils.set_random_seed(seed)
    model, x, y = KINDS[name]()
    loss = _LOSSES.get(name, "binary_crossentropy")
    metrics = [] if loss == "mse" else ["accuracy"]
    model.compile(keras.optimizers.Adam(0.01), loss, metrics=metrics)
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[recorder])
    return recorder.recording
