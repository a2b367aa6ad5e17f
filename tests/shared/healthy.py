"""Small models that train well, for tests: a CNN, an LSTM, a transformer block."""

import keras
import numpy as np

import hrcallbacks as hr


def pictures(count=256):
    """8 x 8 pictures of noise with a bar, upright or not."""
    rng = np.random.default_rng(0)
    x = rng.normal(0, 0.3, (count, 8, 8, 1)).astype("float32")
    y = rng.integers(0, 2, count)
    for picture, upright, place in zip(x, y, rng.integers(0, 8, count), strict=True):
        picture[(slice(None), place) if upright else (place,)] += 1
    return x, y.astype("float32")


def sequences(count=256, length=6):
    """Numbers, and whether their sum is above zero."""
    x = np.random.default_rng(1).normal(size=(count, length, 2)).astype("float32")
    return x, (x.sum((1, 2)) > 0).astype("float32")


def sentences(count=256, length=6, words=12):
    """Words, and whether the first comes again."""
    x = np.random.default_rng(2).integers(0, words, (count, length))
    return x, (x < words // 2).mean(1).round().astype("float32")


def cnn():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((8, 8, 1)),
            layers.Conv2D(8, 3, activation="relu", name="conv_1"),
            layers.MaxPooling2D(),
            layers.Conv2D(8, 2, use_bias=False, name="conv_2"),
            layers.BatchNormalization(name="norm"),
            layers.ReLU(),
            layers.Flatten(),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(1, activation="sigmoid", name="output"),
        ],
        name="cnn",
    )


def lstm():
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((6, 2)),
            layers.LSTM(8, name="lstm"),
            layers.Dense(16, activation="relu", name="hidden"),
            layers.Dense(1, activation="sigmoid", name="output"),
        ],
        name="lstm_model",
    )


def transformer():
    layers = keras.layers
    words = keras.Input((6,), dtype="int32")
    x = layers.Embedding(12, 8, name="embedding")(words)
    attended = layers.MultiHeadAttention(2, 4, name="attention")(x, x)
    x = layers.LayerNormalization(name="norm_1")(layers.Add()([x, attended]))
    inner = layers.Dense(16, activation="relu", name="inner")(x)
    inner = layers.Dense(8, name="outer")(inner)
    x = layers.LayerNormalization(name="norm_2")(layers.Add()([x, inner]))
    x = layers.GlobalAveragePooling1D()(x)
    out = layers.Dense(1, activation="sigmoid", name="output")(x)
    return keras.Model(words, out, name="transformer")


HEALTHY = {
    "cnn": (cnn, pictures),
    "lstm": (lstm, sequences),
    "transformer": (transformer, sentences),
}


def train(name, *, epochs=6, **recorded):
    """Trains one of them; returns its recording and losses by epoch."""
    build, data = HEALTHY[name]
    keras.utils.set_random_seed(3)
    model = build()
    model.compile(keras.optimizers.Adam(0.01), loss="binary_crossentropy")
    recorder = hr.GradientRecorder(**recorded)
    x, y = data()
    history = model.fit(
        x, y, batch_size=32, epochs=epochs, verbose=0, callbacks=[recorder]
    )
    return recorder.recording, history.history["loss"]
