"""A gradient has its variable's shape, whatever is known when a step is traced.

Batches of unknown size: TensorFlow then infers less of a gradient's shape than its
variable has, as for a `Dense` layer on sequences.
"""

import autodiff
import keras
import numpy as np
import pytest
from keras import layers
from training import full_state

import hrcallbacks as hr

BACKEND = keras.config.backend()
BATCH, SAMPLES, EPOCHS = 4, 10, 2  # Three steps an epoch, the last one of two samples.


def dense_on_sequences():
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Dense(4, "tanh"),
            layers.Dense(2),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1),
        ]
    )


def dense_and_gru():
    return keras.Sequential(
        [keras.Input((5, 3)), layers.Dense(4), layers.GRU(3), layers.Dense(1)]
    )


def convolution():
    return keras.Sequential(
        [
            keras.Input((5, 3)),
            layers.Conv1D(2, 3),
            layers.GroupNormalization(groups=1),
            layers.Flatten(),
            layers.Dense(1),
        ]
    )


def attention():
    x = keras.Input((None, 3))  # Nor is the sequences' length known.
    attended = layers.MultiHeadAttention(2, 2)(x, x)
    pooled = layers.GlobalAveragePooling1D()(layers.Dense(4, "gelu")(attended))
    return keras.Model(x, layers.Dense(1)(pooled))


def batches(x, y):
    starts = range(0, len(x), BATCH)
    return [(x[s : s + BATCH], y[s : s + BATCH]) for s in starts]


def arrays(x, y):
    return {"x": x, "y": y, "batch_size": BATCH, "shuffle": False}


def tf_data(x, y):
    import tensorflow as tf

    dataset = tf.data.Dataset.from_tensor_slices((x, y)).batch(BATCH)
    return {"x": dataset, "shuffle": False}


def generator(x, y):
    steps = batches(x, y)
    repeated = (batch for _ in range(EPOCHS) for batch in steps)
    return {"x": repeated, "steps_per_epoch": len(steps), "shuffle": False}


class Sequence(keras.utils.PyDataset):
    def __init__(self, x, y):
        super().__init__()
        self._batches = batches(x, y)

    def __len__(self):
        return len(self._batches)

    def __getitem__(self, place):
        return self._batches[place]


def py_dataset(x, y):
    return {"x": Sequence(x, y), "shuffle": False}


FEEDS = [arrays, generator, py_dataset]
if BACKEND == "tensorflow":
    FEEDS.append(tf_data)
MODELS = [dense_on_sequences, dense_and_gru, convolution, attention]
if BACKEND != "tensorflow":  # They know every shape.
    MODELS = [dense_on_sequences, attention]
# Each model by one feed, and one model by each: what is known of a batch when a step is
# traced depends on the feed, what can be inferred from that on the model.
CASES = [(build, FEEDS[-1]) for build in MODELS]
CASES += [(dense_on_sequences, feed) for feed in FEEDS[:-1]]


def data():
    rng = np.random.default_rng(0)
    x = rng.normal(size=(SAMPLES, 5, 3)).astype("float32")
    return x, x.mean(axis=(1, 2), keepdims=True)[:, 0]


def train(build, feed, *callbacks):
    keras.utils.set_random_seed(3)
    model = build()
    model.compile(keras.optimizers.Adam(0.01), loss="mse", jit_compile=False)
    history = model.fit(
        **feed(*data()), epochs=EPOCHS, verbose=0, callbacks=list(callbacks)
    )
    return model, history.history


def by_name(build):
    return build.__name__


@pytest.mark.parametrize(("build", "feed"), CASES, ids=by_name)
def test_batches_of_unknown_size_are_recorded(build, feed):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model, history = train(build, feed, recorder)
    recording = recorder.recording
    assert recording.attributes["complete"]
    assert recording.index["step"].tolist() == [1, 2, 3, 4, 5, 6]
    state = full_state(model)
    for t, (x, y) in enumerate(EPOCHS * batches(*data())):
        weights = [recording.weights[path][t] for path in recording.paths]
        expected = autodiff.gradients(model, weights, x, y)
        for path, gradient in zip(recording.paths, expected, strict=True):
            scale = max(1.0, np.abs(gradient).max())
            np.testing.assert_allclose(
                recording.gradients[path][t], gradient, rtol=0, atol=2e-6 * scale
            )
    plain, plain_history = train(build, feed)
    assert plain_history == history
    for ours, theirs in zip(state, full_state(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


REDUCTIONS = [
    "norm",
    "mean",
    "zero_fraction",
    hr.Sample(5, seed=1),
    hr.Histogram(),
    hr.Reduction("by_unit", lambda g: keras.ops.mean(keras.ops.abs(g), axis=-1)),
]


@pytest.mark.parametrize("feed", FEEDS[-1:], ids=by_name)
def test_every_reduction_of_a_batch_of_unknown_size(feed):
    raw = hr.GradientRecorder(record_freq=1)
    reduced = hr.GradientRecorder(record_freq=1, gradients=REDUCTIONS)
    train(dense_on_sequences, feed, raw, reduced)
    assert len(reduced.recording) == 6
    assert reduced.recording.attributes["complete"]
    gradients = raw.recording.gradients
    for name in reduced.recording.attributes["reductions"]["gradients"]:
        arrays = reduced.recording.arrays("gradients", name)
        reduction = next(r for r in REDUCTIONS if name in (r, getattr(r, "name", "")))
        for path in gradients:
            rows = np.asarray(arrays[path])
            for t in range(6):
                expected = on_host(reduction, gradients[path][t])
                np.testing.assert_allclose(rows[t], expected, rtol=2e-6, atol=1e-8)


def on_host(reduction, gradient):
    if reduction == "norm":
        return np.linalg.norm(gradient)
    if reduction == "mean":
        return gradient.mean(dtype="float64")
    if reduction == "zero_fraction":
        return (gradient == 0).mean()
    return reduction.on_host(gradient)


def test_the_mean_of_an_epoch_whose_batches_differ_in_size():
    steps = hr.GradientRecorder(record_freq=1)
    mean = hr.GradientRecorder(epoch_gradient="mean")
    train(dense_on_sequences, FEEDS[-1], steps, mean)
    for path, rows in steps.recording.gradients.items():
        expected = rows.reshape(EPOCHS, 3, *rows.shape[1:]).mean(axis=1)
        np.testing.assert_allclose(
            mean.recording.gradients[path], expected, rtol=2e-6, atol=1e-7
        )
