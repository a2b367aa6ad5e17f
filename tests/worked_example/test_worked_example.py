"""The published tables come out of `model.fit`, whichever way Keras runs it."""

import keras
import numpy as np
import pytest
from training import full_state, train_worked_example, worked_example_clones

import hrcallbacks as hr
from hrcallbacks import backprop

RATES = (0.1, 0.3)
# A float32 sum over N stars strays by about sqrt(N) roundings.
NOISE = np.sqrt(10_000) * np.finfo(np.float32).eps


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow",
    reason="the published initial weights were drawn on TensorFlow",
)
def test_the_seed_draws_the_initial_weights_bit_for_bit():
    keras.utils.set_random_seed(1453)
    model = keras.Sequential(
        [
            keras.layers.Input((1,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(1, activation="linear"),
        ]
    )
    for rate in RATES:  # In the order in which the two were cloned.
        drawn = keras.models.clone_model(model).get_weights()
        bundled = hr.load_initial_weights(rate)
        assert [w.dtype for w in bundled] == [np.float32] * 4
        assert [w.shape for w in bundled] == [w.shape for w in drawn]
        assert [w.tobytes() for w in bundled] == [w.tobytes() for w in drawn]


def weights_before(run):
    """The four parameters before each of the ten updates, in float64."""
    after = list(run.recording.weights.values())
    return [
        [
            p.astype(np.float64)
            for p in (run.initial if t == 0 else [w[t - 1] for w in after])
        ]
        for t in range(len(run.recording))
    ]


def recorded_gradients(run, t):
    return [g[t] for g in run.recording.gradients.values()]


def assert_float32_close(actual, expected):
    for a, e in zip(actual, expected, strict=True):
        scale = max(1.0, np.abs(e).max())
        np.testing.assert_allclose(a, e, rtol=0, atol=NOISE * scale)


@pytest.mark.parametrize("rate", RATES)
def test_all_published_numbers_are_reproduced(recorded, rate):
    published = hr.load_published_table(rate)
    ours = recorded[rate].recording.to_frame(names="symbol")[published.columns]
    difference = (ours - published).drop(columns="epoch").to_numpy()
    assert difference.size == 260
    assert np.abs(difference).max() < 1e-4
    assert np.sqrt(np.mean(difference**2)) < 2e-5


@pytest.mark.parametrize("rate", RATES)
def test_recorded_gradients_match_the_closed_form(recorded, stars, rate):
    run = recorded[rate]
    for t, parameters in enumerate(weights_before(run)):
        expected = backprop.mse_gradients(parameters, *stars)
        assert_float32_close(recorded_gradients(run, t), expected)


@pytest.mark.parametrize("rate", RATES)
def test_recorded_loss_and_output_match_the_closed_form(recorded, stars, rate):
    run = recorded[rate]
    for t, parameters in enumerate(weights_before(run)):
        d = backprop.backpropagate(parameters, *stars)
        row = run.recording.index.iloc[t]
        assert row["loss"] == pytest.approx(2 * d.loss.mean(), rel=NOISE)
        assert row["output"] == pytest.approx(d.output.mean(), abs=NOISE)


@pytest.mark.parametrize("rate", RATES)
def test_recorded_run_matches_a_hand_written_tape(recorded, stars, rate):
    tf = pytest.importorskip("tensorflow")
    run = recorded[rate]
    model = worked_example_clones()[rate]
    optimizer = keras.optimizers.Adam(rate)
    x, y = (tf.constant(a, tf.float32) for a in stars)
    for t in range(10):
        with tf.GradientTape() as tape:
            error = model(x, training=True) - y
            loss = tf.reduce_mean(tf.square(error))
        gradients = tape.gradient(loss, model.trainable_variables)
        optimizer.apply(gradients, model.trainable_variables)
        assert_float32_close(recorded_gradients(run, t), [g.numpy() for g in gradients])
        assert_float32_close(
            [w[t] for w in run.recording.weights.values()], model.get_weights()
        )


@pytest.mark.parametrize("rate", RATES)
def test_training_is_unchanged_by_recording(recorded, stars, mode, rate):
    model = worked_example_clones()[rate]
    history = train_worked_example(model, rate, stars, mode)
    for plain, with_recorder in zip(
        full_state(model), recorded[rate].state, strict=True
    ):
        np.testing.assert_array_equal(with_recorder, plain)
    assert recorded[rate].history == history.history


def test_the_two_runs_start_from_different_weights(recorded):
    assert not np.array_equal(recorded[0.1].initial[0], recorded[0.3].initial[0])


def test_loss_falls_at_the_small_rate_and_rises_at_the_large_one(recorded):
    small, large = (recorded[rate].recording.index["loss"].diff() for rate in RATES)
    assert not (small > 0).any()
    assert (large > 0).any()
