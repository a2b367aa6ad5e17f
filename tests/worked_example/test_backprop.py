"""Back-propagation: the closed form against finite differences and a scalar Adam."""

import math
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from hrcallbacks.worked_example.backprop import (
    Parameters,
    adam_step_size,
    backpropagate,
    heaviside,
    mse_gradients,
    train,
)

KINK_DISTANCE = 1e-3
STEP = 1e-5


def numbers(shape):
    return arrays(np.float64, shape, elements=st.floats(-2, 2, width=32))


@st.composite
def networks(draw):
    """Parameters, inputs and targets with no pre-activation near a kink."""
    units = draw(st.integers(1, 4))
    samples = draw(st.integers(1, 5))
    parameters = Parameters(
        draw(numbers((1, units))),
        draw(numbers((units,))),
        draw(numbers((units, 1))),
        draw(numbers((1,))),
    )
    x, y = draw(numbers((samples, 1))), draw(numbers((samples, 1)))
    b1 = clear_of_kinks(x * parameters.w1, parameters.b1)
    return parameters._replace(b1=b1), x, y


def clear_of_kinks(z, biases):
    """The biases, moved up by as little as keeps each unit from its kink.

    A sample is in the way of one of the places tried at most, so one is free.
    """
    tried = biases + 4 * KINK_DISTANCE * np.arange(len(z) + 1)[:, np.newaxis]
    free = (np.abs(z[:, np.newaxis] + tried) > KINK_DISTANCE).all(axis=0)
    return np.take_along_axis(tried, free.argmax(axis=0)[np.newaxis], axis=0)[0]


def outputs_by_hand(parameters, x):
    """Network outputs, one multiplication at a time."""
    w1, b1, w2, b2 = (np.ravel(p).tolist() for p in parameters)
    outputs = []
    for value in np.ravel(x).tolist():
        output = b2[0]
        for w_in, b, w_out in zip(w1, b1, w2, strict=True):
            z = w_in * value + b
            if z > 0:
                output += w_out * z
        outputs.append(output)
    return outputs


def mse_by_hand(parameters, x, y):
    outputs = outputs_by_hand(parameters, x)
    targets = np.ravel(y).tolist()
    return math.fsum(
        (target - output) ** 2 for target, output in zip(targets, outputs, strict=True)
    ) / len(targets)


def central_differences(loss, parameters, step=STEP):
    """Derivative of `loss` in every single parameter, in the parameters' shapes."""
    gradients = []
    for k, p in enumerate(parameters):
        gradient = np.empty(p.shape)
        for index in np.ndindex(p.shape):
            ends = []
            for sign in (1, -1):
                moved = [q.copy() for q in parameters]
                moved[k][index] += sign * step
                ends.append(loss(moved))
            gradient[index] = (ends[0] - ends[1]) / (2 * step)
        gradients.append(gradient)
    return gradients


@given(network=networks())
@settings(max_examples=150, deadline=None)
def test_mse_gradients_match_central_differences(network):
    parameters, x, y = network
    gradients = mse_gradients(parameters, x, y)
    expected = central_differences(lambda p: mse_by_hand(p, x, y), parameters)

    for name, gradient, difference in zip(
        Parameters._fields, gradients, expected, strict=True
    ):
        assert gradient.shape == difference.shape
        assert gradient.dtype == np.float64
        np.testing.assert_allclose(
            gradient, difference, rtol=1e-6, atol=1e-7, err_msg=name
        )


@given(network=networks())
@settings(max_examples=100, deadline=None)
def test_derivation_of_each_sample_matches_central_differences(network):
    parameters, x, y = network
    d = backpropagate(parameters, x, y)

    for n in range(len(x)):
        half = central_differences(
            lambda p, n=n: 0.5 * mse_by_hand(p, x[n], y[n]), parameters
        )
        closed = (d.d_w1[n], d.d_b1[n], d.d_w2[n], d.d_b2[n])
        for equation, difference in zip(closed, half, strict=True):
            np.testing.assert_allclose(
                equation, difference.ravel(), rtol=1e-6, atol=1e-7
            )


@given(network=networks())
@settings(max_examples=100, deadline=None)
def test_derivation_holds_each_quantity_of_the_forward_pass(network):
    parameters, x, y = network
    d = backpropagate(parameters, x, y)
    samples, units = len(x), parameters.b1.size

    per_unit = (d.z, d.hidden, d.d_w2, d.d_hidden, d.d_z, d.d_w1, d.d_b1)
    assert {q.shape for q in per_unit} == {(samples, units)}
    per_sample = (d.output, d.loss, d.d_output, d.d_b2)
    assert {q.shape for q in per_sample} == {(samples, 1)}
    outputs = outputs_by_hand(parameters, x)
    np.testing.assert_allclose(d.output.ravel(), outputs, rtol=1e-12, atol=1e-12)
    np.testing.assert_allclose(
        2 * d.loss.mean(), mse_by_hand(parameters, x, y), rtol=1e-10, atol=1e-12
    )


@given(network=networks())
@settings(max_examples=100, deadline=None)
def test_mse_gradients_are_twice_the_mean_of_the_derivation(network):
    parameters, x, y = network
    d = backpropagate(parameters, x, y)
    gradients = mse_gradients(parameters, x, y)
    derived = (d.d_w1, d.d_b1, d.d_w2, d.d_b2)
    for gradient, per_sample in zip(gradients, derived, strict=True):
        total = [math.fsum(column) for column in per_sample.T]
        np.testing.assert_allclose(
            gradient.ravel(), 2 * np.array(total) / len(x), rtol=1e-12, atol=1e-14
        )


def test_worked_by_hand():
    # z = 0.5*2 = 1, y_hat = 3*1 + 1 = 4, delta = 4 - 1.5 = 2.5.
    d = backpropagate(([[2.0]], [0.0], [[3.0]], [1.0]), [0.5], [1.5])
    assert [q.item() for q in d] == [
        1,  # z
        1,  # hidden
        4,  # output
        3.125,  # loss
        2.5,  # d_output
        2.5,  # d_w2
        2.5,  # d_b2
        7.5,  # d_hidden
        7.5,  # d_z
        3.75,  # d_w1
        7.5,  # d_b1
    ]


@pytest.mark.parametrize(("at_zero", "gradient"), [(0, 0.0), (1, -12.0)])
def test_heaviside_at_zero_decides_at_a_kink_alone(at_zero, gradient):
    # First unit: z = 0.5*2 - 1 = 0 exactly. Second: z = 1. y_hat = 1, y = 3.
    parameters = ([[2.0, 1.0]], [-1.0, 0.5], [[3.0], [1.0]], [0.0])
    w1, b1, w2, b2 = mse_gradients(parameters, [0.5], [3.0], heaviside_at_zero=at_zero)

    assert b1.tolist() == [gradient, -4]
    assert w1.tolist() == [[0.5 * gradient, -2]]
    assert w2.tolist() == [[0], [-4]]
    assert b2.tolist() == [-4]
    step = train(parameters, [0.5], [3.0], 0.1, 1, heaviside_at_zero=at_zero)[0]
    assert step.gradients.b1.tolist() == [gradient, -4]
    moved = step.parameters.b1[0] - -1.0
    np.testing.assert_allclose(moved, 0.1 * np.sign(-gradient), rtol=1e-5)


def test_heaviside_at_zero_is_the_backends_value_by_default():
    parameters = ([[2.0]], [-1.0], [[3.0]], [0.0])
    assert mse_gradients(parameters, [0.5], [3.0]).b1 == 0
    assert backpropagate(parameters, [0.5], [3.0]).d_b1 == 0
    assert train(parameters, [0.5], [3.0], 0.1, 1)[0].gradients.b1 == 0
    assert heaviside(0.0) == 0
    assert heaviside([-1e-300, 0.0, -0.0, 1e-300], at_zero=1).tolist() == [0, 1, 1, 1]


def scalar_adam(parameters, x, y, learning_rate, epochs):
    """Adam with explicitly corrected moments, one scalar parameter at a time.

    The bias-corrected form of Kingma and Ba's algorithm 1; its epsilon is scaled by
    sqrt(1 - beta_2^t), so that it says the same as the form in which epsilon stands
    outside the correction. The corrections' powers are rounded to float32, as Keras'.
    """
    units = np.size(parameters[1])
    theta = [v for p in parameters for v in np.ravel(p).tolist()]
    x, y = np.ravel(x).tolist(), np.ravel(y).tolist()
    moments = [(0.0, 0.0)] * len(theta)
    history = []
    for t in range(1, epochs + 1):
        power_1, power_2 = (np.float32(float(np.float32(b)) ** t) for b in (0.9, 0.999))
        w1, b1 = theta[:units], theta[units : 2 * units]
        w2, b2 = theta[2 * units : 3 * units], theta[-1]
        gradient = [0.0] * len(theta)
        outputs, loss = [], 0.0
        for x_n, y_n in zip(x, y, strict=True):
            z = [w1[i] * x_n + b1[i] for i in range(units)]
            output = b2 + sum(w2[i] * z[i] for i in range(units) if z[i] > 0)
            error = 2 * (output - y_n) / len(x)
            for i in range(units):
                if z[i] > 0:
                    gradient[i] += error * w2[i] * x_n
                    gradient[units + i] += error * w2[i]
                    gradient[2 * units + i] += error * z[i]
            gradient[-1] += error
            outputs.append(output)
            loss += (output - y_n) ** 2 / len(x)
        for j, g in enumerate(gradient):
            m = 0.9 * moments[j][0] + 0.1 * g
            v = 0.999 * moments[j][1] + 0.001 * g**2
            moments[j] = m, v
            m_hat, v_hat = m / (1 - float(power_1)), v / (1 - float(power_2))
            epsilon = 1e-7 / math.sqrt(1 - float(power_2))
            theta[j] -= learning_rate * m_hat / (math.sqrt(v_hat) + epsilon)
        history.append((sum(outputs) / len(x), loss, gradient, list(theta)))
    return history


@pytest.mark.parametrize("steps", [1, 2, 10])
def test_step_size_is_kerass_with_its_float32_rounding(steps):
    keras = pytest.importorskip("keras")
    variable = keras.Variable(0.0)
    optimizer = keras.optimizers.Adam(0.1)
    optimizer.build([variable])
    expected, exact = 0.0, 0.0
    for t in range(1, steps + 1):
        optimizer.apply([keras.ops.ones(())])
        # Constant gradients of 1 leave m = 1 - 0.9^t and v = 1 - 0.999^t.
        m, v = 1 - 0.9**t, 1 - 0.999**t
        expected -= adam_step_size(0.1, t) * m / (math.sqrt(v) + 1e-7)
        exact -= 0.1 * math.sqrt(v) / m * m / (math.sqrt(v) + 1e-7)
    moved = float(keras.ops.convert_to_numpy(variable.value))
    assert moved == pytest.approx(expected, rel=1e-6)
    assert moved != pytest.approx(exact, rel=3e-6)


def flat(parameters):
    return np.concatenate([np.ravel(p) for p in parameters])


@pytest.mark.parametrize("learning_rate", [0.1, 0.3])
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_train_matches_a_scalar_adam(learning_rate, seed):
    rng = np.random.default_rng(seed)
    parameters = (
        rng.normal(size=(1, 6)),
        np.zeros(6),
        rng.normal(size=(6, 1)),
        np.zeros(1),
    )
    x, y = rng.uniform(0.01, 1, (40, 1)), rng.normal(3.7, 0.1, (40, 1))
    steps = train(parameters, x, y, learning_rate, 20)
    expected = scalar_adam(parameters, x, y, learning_rate, 20)

    assert len(steps) == 20
    for step, (output, loss, gradient, theta) in zip(steps, expected, strict=True):
        np.testing.assert_allclose(step.output, output, rtol=1e-9)
        np.testing.assert_allclose(step.loss, loss, rtol=1e-9)
        np.testing.assert_allclose(
            flat(step.gradients), gradient, rtol=1e-9, atol=1e-11
        )
        np.testing.assert_allclose(flat(step.parameters), theta, rtol=1e-9)
        assert [g.shape for g in step.gradients] == [p.shape for p in parameters]


def test_step_holds_gradients_before_and_weights_after_its_update():
    parameters = Parameters(
        np.array([[2.0]]), np.zeros(1), np.array([[3.0]]), np.ones(1)
    )
    first, second = train(parameters, [0.5], [0.0], 0.1, 2)
    for step, before in ((first, parameters), (second, first.parameters)):
        expected = mse_gradients(before, [0.5], [0.0])
        np.testing.assert_array_equal(flat(step.gradients), flat(expected))
        assert step.loss == mse_by_hand(before, [0.5], [0.0])
    # Adam's first step is the learning rate, against the sign of the gradient, but
    # for the rounding that `adam_step_size` keeps.
    np.testing.assert_allclose(flat(first.parameters), [1.9, -0.1, 2.9, 0.9], rtol=1e-5)
    assert flat(parameters).tolist() == [2, 0, 3, 1]


def test_one_dimensional_data_are_columns():
    parameters = ([[2.0, -1.0]], [0.0, 0.5], [[3.0], [1.0]], [1.0])
    x, y = np.linspace(0.1, 1, 7), np.linspace(3, 4, 7)
    for flat_data, columns in zip(
        backpropagate(parameters, x, y),
        backpropagate(parameters, x[:, np.newaxis], y[:, np.newaxis]),
        strict=True,
    ):
        np.testing.assert_array_equal(flat_data, columns)


every_function = pytest.mark.parametrize(
    "function", [backpropagate, mse_gradients, lambda p, x, y: train(p, x, y, 0.1, 1)]
)


@every_function
def test_shapes_that_do_not_fit_are_named(function):
    parameters = ([[2.0, 1.0]], [0.0, 0.0], [[3.0], [1.0]], [1.0])
    with pytest.raises(ValueError, match=r"x and y .* Received: 3 and 2\."):
        function(parameters, [1, 2, 3], [1, 2])
    w1, b1, w2, b2 = parameters
    for wrong, shapes in (
        ((w2, b1, w2, b2), r"\(2, 1\), \(2,\), \(2, 1\), \(1,\)"),
        ((w1, b1, w1, b2), r"\(1, 2\), \(2,\), \(1, 2\), \(1,\)"),
        ((w1, b1, w2, 1.0), r"\(1, 2\), \(2,\), \(2, 1\), \(\)"),
        ((w1, [0.0], w2, b2), r"\(1, 2\), \(1,\), \(2, 1\), \(1,\)"),
    ):
        with pytest.raises(ValueError, match=rf"1-H-1.*Received shapes: \[{shapes}\]"):
            function(wrong, [1.0], [1.0])


@every_function
@pytest.mark.parametrize("shape", [(3, 2), (1, 3), (3, 1, 1), (), (0, 2), (3, 0)])
def test_data_that_are_no_columns_are_refused(function, shape):
    parameters = ([[2.0]], [0.0], [[3.0]], [1.0])
    wrong, right = np.ones(shape), np.ones(math.prod(shape))
    wanted = r"Expected x and y of shape \(N,\) or \(N, 1\).*"
    for x, y in ((wrong, right), (right, wrong), (wrong, wrong)):
        received = re.escape(f"Received shapes: x {x.shape} and y {y.shape}.")
        with pytest.raises(ValueError, match=wanted + received):
            function(parameters, x, y)


@every_function
@pytest.mark.parametrize("shape", [(0,), (0, 1)])
def test_data_without_samples_are_refused(function, shape):
    parameters = ([[2.0]], [0.0], [[3.0]], [1.0])
    received = re.escape(f"Received shapes: x {shape} and y (0,).")
    with pytest.raises(ValueError, match="Expected at least one sample. " + received):
        function(parameters, np.ones(shape), [])
