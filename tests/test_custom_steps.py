"""Train steps of one's own: several optimizers, several updates, own loss trackers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hrcallbacks as hr

BACKEND = keras.config.backend()


class Adversaries(keras.Model):
    """Two layers, each with an optimizer of its own that updates it `repeats` times.

    The loss of `a` is the mean of `(a(x) - y)^2`, that of `b` the mean of `b(x)^2`.
    """

    def __init__(self, repeats):
        super().__init__(name="adversaries")
        self.a, self.b = layers.Dense(1, name="a"), layers.Dense(1, name="b")
        self.repeats = repeats
        self.a.build((None, 2))
        self.b.build((None, 2))
        self.built = True
        self.optimizers = {
            "a": keras.optimizers.SGD(0.1),
            "b": keras.optimizers.Adam(0.2),
        }
        self.optimizers["a"].build(self.a.trainable_variables)
        self.optimizers["b"].build(self.b.trainable_variables)

    def call(self, x):
        return self.a(x) + self.b(x)

    def loss_a(self, x, y):
        return ops.mean((self.a(x) - y) ** 2)

    def loss_b(self, x, y):
        return ops.mean(self.b(x) ** 2)

    def train_step(self, data):
        x, y = data
        for _ in range(self.repeats):
            loss = self.update("a", self.a, self.loss_a, x, y)
        self.update("b", self.b, self.loss_b, x, y)
        return {"loss": loss}

    def update(self, name, layer, loss_of, x, y):
        variables = layer.trainable_variables
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = loss_of(x, y)
            self.optimizers[name].apply(tape.gradient(loss, variables), variables)
            return loss
        import torch

        self.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        with torch.no_grad():
            self.optimizers[name].apply([v.value.grad for v in variables], variables)
        return loss.detach()


needs_stateful_steps = pytest.mark.skipif(
    BACKEND == "jax", reason="Keras' trainer on JAX carries one optimizer's state"
)


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    return rng.normal(size=(12, 2)).astype("float32"), np.ones((12, 1), "float32")


def gradient_a(x, y, kernel, bias):
    error = 2 * (x @ kernel + bias - y) / len(x)
    return x.T @ error


@needs_stateful_steps
@pytest.mark.parametrize("repeats", [1, 3])
def test_each_optimizers_gradients_are_told_apart(data, repeats):
    keras.utils.set_random_seed(1)
    model = Adversaries(repeats)
    model.compile(jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    index = recording.index
    # Three steps, each of them as many records as it has updates of the same layer.
    assert index["step"].tolist() == np.repeat([1, 2, 3], repeats).tolist()
    if repeats > 1:
        assert index["call"].tolist() == [1, 2, 3] * 3
    for t, step in enumerate(index["step"]):
        rows = slice(4 * step - 4, 4 * step)
        x, y = (a[rows] for a in data)
        kernel, bias = recording.weights["a/kernel"][t], recording.weights["a/bias"][t]
        np.testing.assert_allclose(
            recording.gradients["a/kernel"][t],
            gradient_a(x, y, kernel, bias),
            rtol=1e-5,
            atol=1e-6,
        )
    # b is updated once a step, with the last of a's updates.
    (path,) = (p for p in recording.paths if p.endswith("b/kernel"))
    updated = recording.has_gradient[path].tolist()
    assert updated == [r == repeats - 1 for r in range(repeats)] * 3
    assert recording.replay().max_error < 1e-6


class Averaged(keras.Model):
    """Keras' own step, written out, with a loss tracker of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, *args):
        if BACKEND == "jax":
            return self.jax_step(*args)
        x, y = args[0]
        variables = self.trainable_variables
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = ops.mean((self(x) - y) ** 2)
            self.optimizer.apply(tape.gradient(loss, variables), variables)
        else:
            import torch

            self.zero_grad()
            loss = ops.mean((self(x) - y) ** 2)
            loss.backward()
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in variables], variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def jax_step(self, state, data):
        import jax

        trainable, others, optimizer, metrics = state
        x, y = data

        def loss_of(values):
            output, updated = self.stateless_call(values, others, x)
            return ops.mean((output - y) ** 2), updated

        (loss, others), grads = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(
            optimizer, grads, trainable
        )
        metrics = self.tracker.stateless_update_state(metrics, loss)
        logs = {"loss": self.tracker.stateless_result(metrics)}
        return logs, (trainable, others, optimizer, metrics)


def test_own_train_step_and_loss_tracker(data):
    inputs = keras.Input((2,))
    model = Averaged(inputs, layers.Dense(1, name="line")(inputs))
    model.compile("sgd", jit_compile=BACKEND == "jax")
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    for t in range(3):
        x, y = (a[4 * t : 4 * t + 4] for a in data)
        kernel, bias = (w[t] for w in recording.weights.values())
        np.testing.assert_allclose(
            recording.gradients["line/kernel"][t],
            gradient_a(x, y, kernel, bias),
            rtol=1e-5,
            atol=1e-6,
        )
        loss = np.mean((x @ kernel + bias - y) ** 2)
        assert recording.index["loss"][t] == pytest.approx(loss, rel=1e-5)


def line_model(optimizer):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="line")])
    model.compile(optimizer, loss="mse", jit_compile=False)
    return model


def record(optimizer, data, epochs=2):
    recorder = hr.GradientRecorder(record_freq=1)
    line_model(optimizer).fit(
        *data,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


def scaled_optimizers():
    return {
        "LossScaleOptimizer": keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(), initial_scale=1024.0
        ),
        "loss_scale_factor": keras.optimizers.Adam(loss_scale_factor=64.0),
    }


@pytest.mark.parametrize("name", ["LossScaleOptimizer", "loss_scale_factor"])
def test_scaled_gradients_are_recorded_unscaled(data, name):
    plain = record(keras.optimizers.Adam(), data)
    scaled = record(scaled_optimizers()[name], data)
    for path in plain.paths:
        # Scaling by a power of two changes no bit of the mantissa.
        np.testing.assert_allclose(
            scaled.gradients["line/" + path.rsplit("/")[-1]],
            plain.gradients[path],
            rtol=1e-6,
        )
    assert scaled.replay().max_error < 1e-6


def test_skipped_step_is_recorded_as_non_finite_and_leaves_the_weights(data):
    x, y = data
    x = x.copy()
    x[5] = np.inf  # In the second of three batches.
    recording = record(scaled_optimizers()["LossScaleOptimizer"], (x, y), epochs=1)
    gradients = recording.gradients["line/kernel"]
    weights = recording.weights["line/kernel"]
    assert np.isfinite(gradients[[0, 2]]).all()
    assert not np.isfinite(gradients[1]).all()
    np.testing.assert_array_equal(weights[1], weights[0])
    assert not np.array_equal(weights[2], weights[1])
    assert recording.replay().max_error < 1e-6


@pytest.mark.parametrize(
    "limit", [{"clipnorm": 0.01}, {"clipvalue": 0.01}, {"global_clipnorm": 0.01}]
)
def test_gradients_are_recorded_before_clipping(data, limit):
    plain = record(keras.optimizers.SGD(0.0), data)
    clipped = record(keras.optimizers.SGD(0.0, **limit), data)
    for path in ("line/kernel", "line/bias"):
        np.testing.assert_array_equal(clipped.gradients[path], plain.gradients[path])
        assert np.abs(plain.gradients[path]).max() > 0.01


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none"
)
def test_multi_optimizer_is_seen_once_and_replays(data):
    optimizers = keras.optimizers
    by_path = optimizers.OptimizerMap(
        optimizers.SGD(0.1), {".*bias": optimizers.Adam(0.2)}
    )
    recording = record(optimizers.MultiOptimizer(by_path), data)
    plain = record(optimizers.SGD(0.1), data)
    assert len(recording) == len(plain) == 6
    np.testing.assert_array_equal(
        recording.gradients["line/kernel"][0], plain.gradients["line/kernel"][0]
    )
    assert recording.replay().max_error < 1e-6
