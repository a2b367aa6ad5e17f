"""What was recorded is what trained the model: the weights come out again."""

import inspect
import re

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.recording.replay import Replay

optimizers = keras.optimizers
# Float32 noise over sixty steps, in weights of about 1. It was 3e-7 at the most, but
# for ScheduleFreeAdamW, which divides small differences: 6e-7.
NOISE = 1e-6
WRAPPERS = {"Optimizer", "LossScaleOptimizer", "MultiOptimizer"}
SHIPPED = [
    cls
    for name, cls in inspect.getmembers(optimizers, inspect.isclass)
    if issubclass(cls, optimizers.Optimizer) and name not in WRAPPERS
]
OPTIONS = {
    "momentum": lambda: optimizers.SGD(0.01, momentum=0.9, nesterov=True),
    "centered": lambda: optimizers.RMSprop(centered=True, momentum=0.5),
    "amsgrad": lambda: optimizers.Adam(amsgrad=True),
    "schedule": lambda: optimizers.Adam(
        optimizers.schedules.ExponentialDecay(0.01, 10, 0.5)
    ),
    "clipnorm": lambda: optimizers.Adam(clipnorm=0.1),
    "clipvalue": lambda: optimizers.Adam(clipvalue=0.01),
    "global_clipnorm": lambda: optimizers.Adam(global_clipnorm=0.1),
    "accumulation": lambda: optimizers.Adam(gradient_accumulation_steps=3),
    "moving average": lambda: optimizers.Adam(use_ema=True, ema_overwrite_frequency=7),
    "weight decay": lambda: optimizers.Adam(weight_decay=0.1),
    "loss scale": lambda: optimizers.LossScaleOptimizer(optimizers.Adam()),
    "growing loss scale": lambda: optimizers.LossScaleOptimizer(
        optimizers.Adam(), initial_scale=8.0, dynamic_growth_steps=7
    ),
}


def small_model(optimizer):
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [
            keras.Input((4,)),
            keras.layers.Dense(8, "relu", kernel_constraint="max_norm"),
            keras.layers.Dense(2, name="output"),
        ]
    )
    model.compile(optimizer, loss="mse")
    return model


def fit(model, recorder, epochs=10, callbacks=()):
    rng = np.random.default_rng(0)
    x, y = (rng.normal(size=(60, n)).astype("float32") for n in (4, 2))
    model.fit(
        x,
        y,
        batch_size=10,
        epochs=epochs,
        verbose=0,
        callbacks=[recorder, *callbacks],
    )
    return recorder.recording


def falsify(recording, quantity, path, array):
    """Puts another array in place of a recorded one."""
    (path,) = (p for p in recording.paths if p.endswith(path))
    recording._arrays[quantity, "raw"]._made[path] = array


def assert_replays(recording, count=60):
    result = recording.replay()
    assert len(recording) == count
    assert result.errors.shape == (count, 4)
    assert result.max_error < NOISE
    assert result.max_error == result.errors.to_numpy().max()


@pytest.mark.parametrize("optimizer", SHIPPED, ids=lambda cls: cls.__name__)
def test_every_optimizer_that_keras_ships(optimizer):
    if optimizer.__name__ == "Muon" and keras.__version__.startswith("3.10."):
        pytest.skip("In Keras 3.10 a plain fit with Muon fails, on TensorFlow")
    recorder = hr.GradientRecorder(record_freq=1)
    assert_replays(fit(small_model(optimizer()), recorder))


@pytest.mark.parametrize("option", OPTIONS)
def test_every_option_that_changes_an_update(option):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    assert_replays(fit(small_model(OPTIONS[option]()), recorder))


@pytest.mark.parametrize("weights_at", ["before", "after"])
def test_blocks_of_records_join(weights_at, monkeypatch):
    recorder = hr.GradientRecorder(record_freq=1, weights_at=weights_at)
    recording = fit(small_model("adam"), recorder, epochs=2)
    whole = recording.replay().errors
    monkeypatch.setattr("hrcallbacks.recording.replay._MOST_STEPS", 5)
    in_blocks = recording.replay()
    assert in_blocks.max_error < NOISE
    assert in_blocks.errors.index.equals(whole.index)


def test_learning_rate_that_a_callback_changes_is_followed():
    schedule = keras.callbacks.LearningRateScheduler(lambda epoch: 0.1 / (1 + epoch))
    recorder = hr.GradientRecorder(record_freq=1)
    recording = fit(small_model("sgd"), recorder, callbacks=[schedule])
    rates = recording.index["learning_rate"].to_numpy()
    np.testing.assert_allclose(rates[[0, 6, 12]], [0.1, 0.05, 0.1 / 3], rtol=1e-6)
    assert_replays(recording)


def test_learning_rate_that_stagnation_lowers_is_followed():
    # No improvement is ever large enough: halved after each epoch but the first.
    plateau = keras.callbacks.ReduceLROnPlateau(
        monitor="loss", factor=0.5, patience=1, min_delta=1e9
    )
    recorder = hr.GradientRecorder(record_freq=1)
    recording = fit(small_model("sgd"), recorder, callbacks=[plateau])
    rates = recording.index["learning_rate"].to_numpy()
    np.testing.assert_allclose(rates[[0, 12, 18]], [0.01, 0.005, 0.0025], rtol=1e-6)
    assert_replays(recording)


def test_second_fit_and_state_from_an_earlier_one():
    model = small_model("adam")
    fit(model, hr.GradientRecorder(), epochs=2)
    recorder = hr.GradientRecorder(record_freq=1)
    fit(model, recorder, epochs=3)
    fit(model, hr.GradientRecorder(), epochs=1)  # Not seen by the other recorder.
    assert_replays(fit(model, recorder, epochs=2), count=30)


def test_a_gradient_that_was_not_recorded_right_shows():
    recorder = hr.GradientRecorder(record_freq=1)
    recording = fit(small_model("sgd"), recorder, epochs=2)
    changed = recording.gradients["output/kernel"].copy()
    changed[5] *= 2
    falsify(recording, "gradients", "output/kernel", changed)
    result = recording.replay()
    assert result.max_error > 1e-4
    assert (result.errors.to_numpy()[:5] < NOISE).all()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"record_freq": 2}, r"needs every step.*record_freq=2"),
        ({"record_freq": 1, "variables": "output/*"}, r"needs all the variables"),
        ({"record_freq": 1, "weights": None}, r"every element of the gradients"),
    ],
)
def test_recording_that_cannot_be_replayed_says_why(arguments, text):
    recording = fit(small_model("sgd"), hr.GradientRecorder(**arguments), epochs=1)
    with pytest.raises(ValueError, match=text):
        recording.replay()


def test_optimizer_without_config_is_named():
    class Own(optimizers.SGD):
        def get_config(self):
            raise NotImplementedError

    recorder = hr.GradientRecorder(record_freq=1)
    recording = fit(small_model(Own()), recorder, epochs=1)
    with pytest.raises(ValueError, match=r"Own cannot be replayed.*get_config"):
        recording.replay()


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="Keras builds it before the step"
)
def test_model_that_was_built_in_its_first_step_says_so():
    model = keras.Sequential([keras.layers.Dense(2)])
    model.compile("sgd", loss="mse", jit_compile=False)
    recording = fit(model, hr.GradientRecorder(record_freq=1), epochs=1)
    with pytest.raises(ValueError, match=r"model\.built was False.*model\.build\("):
        recording.replay()


def test_empty_recording_says_so():
    with pytest.raises(ValueError, match="empty"):
        hr.GradientRecorder(record_freq=1).recording.replay()


@pytest.mark.skipif(
    keras.config.backend() != "tensorflow", reason="Keras' gradients are dense here"
)
def test_sparse_gradients_replay_exactly_where_the_update_is_linear():
    for optimizer, exact in (("sgd", True), ("adam", False)):
        keras.utils.set_random_seed(4)
        model = keras.Sequential(
            [
                keras.Input((3,), dtype="int32"),
                keras.layers.Embedding(5, 2, name="embedding"),
                keras.layers.Flatten(),
                keras.layers.Dense(1, name="output"),
            ]
        )
        model.compile(optimizer, loss="mse", jit_compile=False)
        recorder = hr.GradientRecorder(record_freq=1)
        x = np.random.default_rng(0).integers(0, 5, (8, 3))
        model.fit(x, np.ones((8, 1)), epochs=5, verbose=0, callbacks=[recorder])
        if exact:
            assert recorder.recording.replay().max_error < NOISE
        else:
            with pytest.warns(UserWarning, match=r"embedding.* were sparse.*adaptive"):
                assert recorder.recording.replay().max_error > NOISE


def test_repr_says_where_the_largest_error_is():
    recording = fit(small_model("sgd"), hr.GradientRecorder(record_freq=1), epochs=1)
    exact = Replay(0.0, 0 * recording.replay().errors)
    assert repr(exact) == "<Replay of 6 records: max_error=0>"
    changed = recording.weights["output/bias"].copy()
    changed[4] += 1
    falsify(recording, "weights", "output/bias", changed)
    assert re.search(
        r"6 records: max_error=1 at step 5 in .*output/bias", repr(recording.replay())
    )
