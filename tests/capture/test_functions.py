"""Layers that call functions which are compiled by themselves."""

import importlib

import keras
import numpy as np
import pytest
from keras import layers, ops
from layered import MODELS, in_function, trained
from training import full_state

import hrcallbacks as hr

BACKEND = keras.config.backend()
X = np.random.RandomState(0).randn(16, 8).astype("float32")
Y = np.sin(X.sum(1, keepdims=True))
if BACKEND == "torch":
    pytest.skip("PyTorch runs steps line by line", allow_module_level=True)


class Scaled(layers.Layer):
    """Scales by something positive, in a function of its own."""

    def __init__(self, positive, **kwargs):
        super().__init__(**kwargs)
        self.positive = positive
        self.function = in_function(self.compute)

    def build(self, shape):
        self.scale = self.add_weight(shape=(shape[-1],), initializer="uniform")

    def compute(self, x, scale=None):
        return x / self.positive(self.scale if scale is None else scale)

    def call(self, x):
        if BACKEND == "tensorflow":  # Where a function may read variables.
            return self.function(x)
        return self.function(x, ops.copy(self.scale))

    def compute_output_shape(self, shape):
        return shape


class Drawing(layers.Layer):
    """Draws random numbers and counts its calls, in a function of its own."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.seed_generator = keras.random.SeedGenerator(1)
        self.function = in_function(self.compute)

    def build(self, shape):
        self.calls = self.add_weight(shape=(), trainable=False, initializer="zeros")

    def compute(self, x):
        self.calls.assign_add(1.0)
        return x * keras.random.uniform(ops.shape(x), seed=self.seed_generator)

    def call(self, x):
        return self.function(x)

    def compute_output_shape(self, shape):
        return shape


class Counting(layers.Layer):
    """Scales, in a function of its own, by a variable that is changed afterwards."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.function = in_function(self.compute)

    def build(self, shape):
        self.count = self.add_weight(shape=(), trainable=False, initializer="ones")

    def compute(self, x):
        return x * self.count

    def call(self, x):
        y = self.function(x)
        self.count.assign_add(1.0)
        return y


def fitted(layer, optimizer, callbacks=()):
    keras.utils.set_random_seed(3)
    x = keras.Input((8,))
    y = layers.Dense(1)(layer()(layers.Dense(6, name="in")(x)) * 0.3)
    model = keras.Model(x, y)
    model.compile(optimizer(), "mse", jit_compile=BACKEND == "jax")
    model.fit(X, Y, batch_size=8, epochs=2, verbose=0, callbacks=list(callbacks))
    return model


@pytest.mark.parametrize("positive", [ops.exp, ops.softplus])
@pytest.mark.parametrize("momentum", [0.0, 0.9])
@pytest.mark.parametrize("what", ["raw", "norm"])
def test_gradients_are_recorded_without_a_change_to_training(positive, momentum, what):
    def made(callbacks=()):
        optimizer = lambda: keras.optimizers.SGD(0.3, momentum=momentum)  # noqa: E731
        return fitted(lambda: Scaled(positive), optimizer, callbacks)

    recorder = hr.GradientRecorder(gradients=what, record_freq=1)
    for a, b in zip(full_state(made()), full_state(made([recorder])), strict=True):
        np.testing.assert_array_equal(a, b)
    assert recorder.recording.attributes["complete"]
    assert len(recorder.recording) == 4


@pytest.mark.skipif(BACKEND == "jax", reason="such a function is not pure")
def test_what_draws_or_changes_something_is_not_called_twice():
    recorder = hr.GradientRecorder(record_freq=1, outputs="raw", output_gradients="raw")
    model = fitted(Drawing, lambda: keras.optimizers.SGD(0.3), [recorder])
    plain = fitted(Drawing, lambda: keras.optimizers.SGD(0.3))
    layer, other = (m.get_layer(index=2) for m in (model, plain))
    assert float(layer.calls.value) == 4
    seeds = [part.seed_generator.state.value for part in (layer, other)]
    np.testing.assert_array_equal(*seeds)
    for a, b in zip(full_state(model), full_state(plain), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)
    assert recorder.recording.attributes["complete"]


@pytest.mark.skipif(BACKEND == "jax", reason="such a function is not pure")
def test_what_read_a_variable_that_was_changed_since_is_not_called_again():
    recorder = hr.GradientRecorder(record_freq=1, outputs="raw")
    fitted(
        lambda: Counting(name="scaled"), lambda: keras.optimizers.SGD(0.3), [recorder]
    )
    before, after = (recorder.recording.outputs[name] for name in ("in", "scaled"))
    for step in range(4):
        np.testing.assert_allclose(after[step], before[step] * (step + 1), rtol=1e-6)


@pytest.mark.skipif(BACKEND != "tensorflow", reason="of TensorFlow")
def test_private_attribute_get_function_of_a_graph():
    """`Graph._get_function`: from a call to the graph of what it calls."""
    again = importlib.import_module("hrcallbacks.backends.again")
    tf = importlib.import_module("tensorflow")
    makers = {}

    @tf.function
    def inner(x):
        return x * 2.0

    @tf.function
    def drawing(x):
        return inner(x) + tf.random.normal([2])

    @tf.function
    def outer(x):
        for function in (inner, drawing):
            y = function(x)
            made = again.inside(y)
            makers[function] = made.op.type, again.may_run_again(y.op)
        return y

    outer(tf.ones([2]))
    assert makers == {inner: ("Mul", True), drawing: ("AddV2", False)}


def test_outputs_that_a_function_made_are_true():
    recorder = hr.GradientRecorder(record_freq=1, outputs="raw")
    _, x, *_ = trained(MODELS["calling"], [recorder])
    keras.utils.set_random_seed(3)
    model, _ = MODELS["calling"]()
    inner = keras.Model(model.input, model.get_layer("second").output)
    made = ops.convert_to_numpy(inner(x[:8]))
    recorded = recorder.recording.outputs["second"][0]
    np.testing.assert_allclose(recorded, made, rtol=1e-5, atol=1e-6)
