"""The twelve equations of the derivation hold among the numbers that one step records.

Nothing is computed beside the recorder: each equation's both sides are recorded in the
very step of `fit`, but for x and y, which are the data. The step computes in float32:
each result may differ by 1e-6 of the sum of the magnitudes that were added up for it.
The derivation is of one star. Over all of them, gradients of parameters are sums of ten
thousand numbers, whose roundings add up to more.
"""

import keras
import numpy as np
import pytest
from training import MODES, forget_compiled, worked_example_clones

import hrcallbacks as hr
from hrcallbacks import backprop

NOISE = 1e-6
EPOCHS = 3


@pytest.fixture(scope="module", params=[(0.1, 1), (0.1, None), (0.3, None)])
def run(request):
    """A learning rate, and of how many stars; None for all."""
    return request.param


@pytest.fixture(scope="module")
def seen(mode, run, stars):
    """By step, what was recorded of it."""
    forget_compiled()
    rate, count = run
    if mode == "xla" and keras.config.backend() == "torch" and count is None:
        pytest.skip("each run is compiled for half a minute: one of them is")
    model = worked_example_clones()[rate]
    model.compile(keras.optimizers.Adam(rate), loss="mse", **MODES[mode])
    recorder = hr.GradientRecorder(
        weights_at="before", outputs="raw", output_gradients="raw"
    )
    x, y = (a[:count].astype("float32") for a in stars)
    options = {"epochs": EPOCHS, "shuffle": False, "verbose": 0}
    model.fit(x, y, batch_size=len(x), callbacks=[recorder], **options)
    assert len(recorder.recording) == EPOCHS
    return [Seen(recorder.recording, t, x, y) for t in range(EPOCHS)]


class Seen:
    """What was recorded in a step, in the derivation's symbols, as float64."""

    def __init__(self, recording, t, x, y):
        def of(arrays, name):
            return arrays[name][t].astype("float64")

        weights, gradients = recording.weights, recording.gradients
        outputs, deltas = recording.outputs, recording.output_gradients
        # Keras' loss is the mean of twice the derivation's.
        self.share = 2 / len(x)
        # As in `test_worked_example`: a sum strays by about sqrt(N) roundings.
        self.noise = max(NOISE, np.sqrt(len(x)) * np.finfo("float32").eps)
        self.x, self.y = x.astype("float64"), y.astype("float64")
        self.loss = recording.index["loss"].iloc[t]
        self.w1, self.b1 = of(weights, "hidden/kernel"), of(weights, "hidden/bias")
        self.w2, self.b2 = of(weights, "output/kernel"), of(weights, "output/bias")
        self.z = of(outputs, "hidden/preactivation")
        self.hidden, self.output = of(outputs, "hidden"), of(outputs, "output")
        self.d_output = of(deltas, "output")
        self.d_hidden = of(deltas, "hidden")
        self.d_z = of(deltas, "hidden/preactivation")
        self.d_w1 = of(gradients, "hidden/kernel")
        self.d_b1 = of(gradients, "hidden/bias")
        self.d_w2 = of(gradients, "output/kernel")
        self.d_b2 = of(gradients, "output/bias")


def one_by_one(s):
    """Each side of each equation, and what magnitudes the right one adds up."""
    size = np.abs
    error = s.share * (s.output - s.y)
    yield 1, s.z, s.x * s.w1 + s.b1, size(s.x * s.w1) + size(s.b1)
    yield 2, s.hidden, np.maximum(0, s.z), 0
    added = size(s.hidden) @ size(s.w2) + size(s.b2)
    yield 3, s.output, s.hidden @ s.w2 + s.b2, added
    squares = np.mean((s.y - s.output) ** 2)
    yield 4, s.loss, squares, squares + np.mean(size(s.y) * size(error)) / s.share
    yield 5, s.d_output, error, s.share * (size(s.output) + size(s.y))
    added = size(s.hidden).T @ size(s.d_output)
    yield 6, s.d_w2, s.hidden.T @ s.d_output, added
    yield 7, s.d_b2, s.d_output.sum(axis=0), size(s.d_output).sum(axis=0)
    yield 8, s.d_hidden, s.d_output @ s.w2.T, size(s.d_output @ s.w2.T)
    d_z = s.d_hidden * backprop.heaviside(s.z)
    yield 9, s.d_z, d_z, 0
    yield 10, s.d_w1, s.x.T @ s.d_z, size(s.x).T @ size(s.d_z)
    yield 11, s.d_b1, s.d_z.sum(axis=0), size(s.d_z).sum(axis=0)


def test_equations_1_to_11_hold_among_recorded_numbers(seen):
    for step in seen:
        numbers = []
        for number, found, expected, added in one_by_one(step):
            numbers.append(number)
            assert np.shape(found) == np.shape(expected), number
            assert np.any(found), number
            noise = step.noise if number in (6, 7, 10, 11) else NOISE
            over = np.abs(found - expected) > noise * np.asarray(added)
            assert not over.any(), f"equation ({number})"
        assert numbers == list(range(1, 12))


def test_equation_12_is_what_the_way_back_was_multiplied_with(seen):
    """But for H(0), which the derivation sets to 1, and Keras' backends to 0."""
    for step in seen:
        assert (step.d_hidden != 0).all()
        passed = step.d_z / step.d_hidden
        assert set(np.unique(passed)) == {0, 1}
        np.testing.assert_array_equal(passed == 1, step.z > 0)
    if len(seen[0].x) > 1:  # The faintest star is at 0, and at first all biases are.
        at_kink = seen[0].z == 0
        assert at_kink.any()
        assert not seen[0].d_z[at_kink].any()


def test_together_they_are_the_derivation_by_hand(seen):
    """Of the recorded weights alone, in float64."""
    for s in seen:
        hand = backprop.backpropagate((s.w1, s.b1, s.w2, s.b2), s.x, s.y)
        deltas = {name: getattr(s, name) / s.share for name in ("d_output", "d_hidden")}
        scale = np.abs(s.y).max() * max(1, np.abs(s.w2).max())
        for name, found in {"z": s.z, "output": s.output, **deltas}.items():
            expected = getattr(hand, name)
            assert np.abs(found - expected).max() < 2 * NOISE * scale, name
