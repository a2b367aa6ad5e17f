"""What each backend promises: see `hrcallbacks.backends.backend.Backend`.

Run once for each backend of Keras, in a process of its own.
"""

import keras
import numpy as np
import pytest

from hrcallbacks.backends.backend import Backend
from hrcallbacks.backends.current import backend
from hrcallbacks.backends.tensorflow import TensorFlow
from hrcallbacks.capture.armed_step import make_capturing_function
from hrcallbacks.capture.probe import Probe
from hrcallbacks.quantities.gradients import Gradients
from hrcallbacks.quantities.step_values import StepValues

X = np.linspace(-1, 1, 6, dtype="float32")[:, np.newaxis]


@pytest.fixture
def variable():
    return keras.Variable(np.arange(6.0).reshape(2, 3), dtype="float32")


def test_it_is_whole():
    assert isinstance(backend, Backend)


def test_what_was_put_aside_stays(variable):
    aside = backend.value(variable)
    aside = backend.put_aside(aside, (aside,))
    variable.assign(np.zeros((2, 3)))
    np.testing.assert_array_equal(backend.to_host(aside)[1], [3, 4, 5])
    np.testing.assert_array_equal(backend.to_host(backend.value(variable)), 0)


def test_a_scalar_that_is_kept_stays():
    scalar = keras.ops.convert_to_tensor(2.5)
    kept = backend.kept(scalar)
    assert keras.ops.shape(kept) == ()
    assert float(backend.to_host(kept)) == 2.5


@pytest.mark.parametrize("scale", [None, 4.0])
def test_a_gradient_is_unscaled(scale):
    given = np.array([[1.0, -2.0], [0.5, 8.0]], "float32")
    tensor = keras.ops.convert_to_tensor(given)
    trace = backend.trace(keras.Sequential())
    made = backend.to_host(backend.gradient(trace, tensor, (2, 2), scale))
    np.testing.assert_array_equal(made, given / (scale or 1))
    assert not backend.is_sparse(tensor)


@pytest.mark.skipif(
    not isinstance(backend, TensorFlow), reason="Keras has sparse ones on TensorFlow"
)
def test_a_sparse_gradient_is_summed_into_its_rows():
    import tensorflow as tf

    rows = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), [0, 2, 0], (3, 1))
    assert backend.is_sparse(rows)
    trace = backend.trace(keras.Sequential())
    made = backend.to_host(backend.gradient(trace, rows, (3, 1), None))
    np.testing.assert_array_equal(made, [[5], [0], [2]])


@pytest.mark.parametrize("value", [3, 2.5, np.float32(0.1), np.arange(3)])
def test_numbers_and_arrays_come_to_the_host(value):
    np.testing.assert_array_equal(backend.to_host(value), value)


def test_variables_and_bfloat16_come_to_the_host(variable):
    np.testing.assert_array_equal(backend.to_host(variable)[0], [0, 1, 2])
    half = keras.ops.cast(variable.value, "bfloat16")
    assert backend.to_host(half).dtype == np.float32
    np.testing.assert_array_equal(backend.to_host(half)[1], [3, 4, 5])


def test_its_functions_are_those_of_keras_and_a_few_more():
    ops = backend.trace(None).ops
    tensor = ops.convert_to_tensor(np.array([3.0, -4.0, 0.0], "float32"))
    assert float(ops.sum(tensor)) == -1
    assert float(ops.sum_of_squares(tensor)) == 25
    joined = backend.to_host(ops.joined([tensor, ops.reshape(tensor, (3, 1))]))
    assert joined.tolist() == [3, -4, 0] * 2
    counts = ops.float_counts(tensor)
    assert int(counts.zeros) == 1
    assert int(np.sum(backend.to_host(counts.exponents))) == 3


def compiled_by_xla(function):
    """One that the backend's XLA compiles, and the functions that its steps have."""
    if keras.config.backend() == "jax":
        import jax

        return jax.jit(function), backend.trace(None).ops
    import tensorflow as tf

    from hrcallbacks.backends.ops import TensorFlowOps

    return tf.function(function, jit_compile=True), TensorFlowOps(in_xla=True)


@pytest.mark.parametrize("in_one_stage", [True, False])
@pytest.mark.parametrize("shape", [(5,), (8, 8), (3, 1000), (64, 26, 26, 17)])
def test_many_numbers_are_added_exactly(shape, in_one_stage, monkeypatch):
    if keras.config.backend() == "torch":
        pytest.skip("PyTorch has no XLA")
    if keras.config.backend() == "jax" and not in_one_stage:
        monkeypatch.setattr("hrcallbacks.backends.ops._jax_adds_exactly", lambda: False)
    numbers = np.random.default_rng(0).normal(size=shape).astype("float32")
    numbers[numbers < 0] = 0

    def totals(tensor):
        return ops.sum_of_squares(tensor), ops.count(ops.equal(tensor, 0))

    function, ops = compiled_by_xla(totals)
    squares, zeros = map(backend.to_host, function(ops.convert_to_tensor(numbers)))
    np.testing.assert_allclose(squares, np.sum(numbers.astype("float64") ** 2), 3e-7)
    assert zeros == np.sum(numbers == 0)


def test_a_capturing_step_gives_logs_and_what_was_taken():
    """The step that Keras compiles beside the plain one."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse", jit_compile=False)
    gradients = Gradients("raw")
    received = []

    class Arms(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            from hrcallbacks.capture.armed_step import ArmedStep

            ArmedStep.arm(model, probe, lambda *taken: received.append(taken))

    def select(trainable):
        chosen = {v.path: v for v in trainable}
        gradients.choose(chosen)
        return chosen

    probe = Probe([StepValues(), gradients], select)
    model.fit(X, 2 * X, batch_size=3, verbose=0, shuffle=False, callbacks=[Arms()])
    assert [number for number, *_ in received] == [0, 0]
    for _, logs, packed in received:
        assert "loss" in logs
        (record,) = probe.packer.unpack(packed).values()
        assert {key.quantity for key in record} == {"step", "gradients"}
        assert StepValues.LOSS in record
    assert probe.compiled  # By `make_capturing_function`.
    assert make_capturing_function
