"""Restored models, against what a callback kept of the model while it trained."""

import keras
import numpy as np
import pytest

import hrcallbacks as hr

COMPILED = {} if keras.config.backend() == "torch" else {"jit_compile": False}
FIT = {"batch_size": 5, "shuffle": False, "verbose": 0}  # Four steps an epoch.


class Keeps(keras.callbacks.Callback):
    """Keeps the weights, the optimizer's variables and an answer after each step."""

    def __init__(self, x):
        super().__init__()
        self.x = x
        self.weights, self.state, self.answers = [], [], []

    def on_train_batch_end(self, batch, logs=None):
        model = self.model
        self.weights.append(model.get_weights())
        self.state.append([keras.ops.convert_to_numpy(v) for v in variables(model)])
        self.answers.append(answer(model, self.x))


def variables(model):
    return model.optimizer.variables


def answer(model, x):
    return np.array(keras.ops.convert_to_numpy(model(x)))


def network(name="tiny"):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(3, activation="tanh", name="hidden"),
            keras.layers.Dense(1, name="output"),
        ],
        name=name,
    )
    return compiled(model)


def compiled(model):
    model.compile(keras.optimizers.Adam(0.05), "mse", **COMPILED)
    return model


def trained(line, model=None, **settings):
    settings = {"record_freq": 1, "optimizer": "raw"} | settings
    model, kept = model or network(), Keeps(line[0])
    recorder = hr.GradientRecorder(**settings)
    model.fit(*line, epochs=2, callbacks=[recorder, kept], **FIT)
    return recorder.recording, model, kept


@pytest.fixture(scope="module")
def run():
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    return (x, 3 * x + 1), *trained((x, 3 * x + 1))


@pytest.mark.parametrize("which", ["itself", "one like it", "from disk"])
def test_the_model_is_that_of_the_step(run, which, tmp_path):
    (x, _), recording, model, kept = run
    if which == "one like it":
        model = network("tiny_1")
    if which == "from disk":
        recording.save(tmp_path / "run.zarr")
        recording = hr.open_recording(tmp_path / "run.zarr")
        model = network()
    for step in (1, 4, 8):
        restored = recording.restore(model, step=step)
        assert restored.step == step
        for value, was in zip(model.get_weights(), kept.weights[step - 1], strict=True):
            np.testing.assert_array_equal(value, was)
        np.testing.assert_array_equal(answer(model, x), kept.answers[step - 1])
        state = [keras.ops.convert_to_numpy(v) for v in variables(model)]
        for value, was in zip(state, kept.state[step - 1], strict=True):
            np.testing.assert_array_equal(value, was)
        assert len(restored.optimizer) == len(state)
        assert len(restored.weights) == 4


def test_training_goes_on_as_it_did(run):
    line, recording, _, kept = run
    model = network()
    recording.restore(model, step=4)
    model.fit(*line, epochs=2, initial_epoch=1, **FIT)
    for value, was in zip(model.get_weights(), kept.weights[-1], strict=True):
        np.testing.assert_array_equal(value, was)


def test_weights_before_a_step_are_those_after_the_one_before(line):
    recording, model, kept = trained(line, weights_at="before")
    recording.restore(model, step=5)
    np.testing.assert_array_equal(answer(model, line[0]), kept.answers[3])
    state = [keras.ops.convert_to_numpy(v) for v in variables(model)]
    for value, was in zip(state, kept.state[3], strict=True):
        np.testing.assert_array_equal(value, was)
    with pytest.raises(ValueError, match="in a record of step 0, which there is not"):
        recording.restore(model, step=1)
    assert recording.restore(model, step=1, optimizer=False).optimizer == []


def test_a_step_that_was_not_recorded(line):
    recording, model, kept = trained(line, record_freq=3, optimizer=None)
    with pytest.raises(ValueError, match=r"Step 5 was not recorded.*3 to 6.*\[3, 6\]"):
        recording.restore(model, step=5)
    restored = recording.restore(model)
    assert (restored.step, restored.optimizer) == (6, [])
    np.testing.assert_array_equal(answer(model, line[0]), kept.answers[5])


def test_reductions_do_not_do(line):
    recording, model, _ = trained(line, weights="norm", optimizer=None)
    with pytest.raises(ValueError, match=r"needs raw weights.*weights 'norm'"):
        recording.restore(model)


def refused(recording, model, match, **how):
    before = model.get_weights()
    with pytest.raises(ValueError, match=match):
        recording.restore(model, 4, **how)
    for value, was in zip(model.get_weights(), before, strict=True):
        np.testing.assert_array_equal(value, was)


def test_a_model_or_optimizer_that_does_not_fit_is_left_alone(run):
    _, recording, *_ = run
    wide = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(5, name="hidden"),
            keras.layers.Dense(1, name="output"),
        ],
        name="tiny",
    )
    refused(recording, compiled(wide), r"recorded with shape \(1, 3\).*\(1, 5\)")
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="z")])
    refused(recording, compiled(other), r"has no \[.*hidden/kernel.*It has: \[.*z/ker")
    sgd = network()
    sgd.compile(keras.optimizers.SGD(momentum=0.9), "mse")
    refused(recording, sgd, r"not the variables that were recorded.*optimizer=False")
    assert recording.restore(sgd, 4, optimizer=False).optimizer == []
    unbuilt = keras.Sequential([keras.layers.Dense(1)])
    with pytest.raises(ValueError, match="Build it first"):
        recording.restore(unbuilt, 4)


def test_what_was_not_recorded_stays_only_if_one_says_so(line):
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.BatchNormalization(name="bn"),
            keras.layers.Dense(1, name="output"),
        ],
        name="m",
    )
    wanted = {"optimizer": {"*momentum*": "raw"}}
    recording, model, _ = trained(line, compiled(model), **wanted)
    refused(recording, model, r"no raw weights of \[.*moving_mean.*partial=True")
    average = model.layers[0].moving_mean
    average.assign([5.0])
    restored = recording.restore(model, 4, partial=True)
    assert keras.ops.convert_to_numpy(average).tolist() == [5.0]
    assert not any("moving" in path for path in restored.weights)
    assert all("momentum" in path for path in restored.optimizer)
