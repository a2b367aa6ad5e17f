"""Several steps in one execution; and what happens when capturing one of them fails."""

import functools
import gc
import importlib
import warnings

import keras
import numpy as np
import pytest
from training import MODES, full_state, several_steps

import hrcallbacks as hr
from hrcallbacks.backends.current import backend
from hrcallbacks.capture.observation import Observation
from hrcallbacks.capture.packing import Packer

BACKEND = keras.config.backend()
STEPS = 5  # An epoch's; of its last batch there are two samples.
per_execution = pytest.mark.parametrize(
    "count", [1, pytest.param(3, marks=several_steps)]
)
# PyTorch's compiler takes its time: it has a test of its own.
SOME_MODES = [m for m in MODES if not (BACKEND == "torch" and m == "xla")]
in_each_mode = pytest.mark.parametrize("mode", SOME_MODES)
# Nor does TensorFlow's, where it makes no difference.
QUICK_MODES = [m for m in SOME_MODES if not (BACKEND == "tensorflow" and m == "xla")]
in_each_quick_mode = pytest.mark.parametrize("mode", QUICK_MODES)


def few_with_xla(*case):
    """Skips all but one case under TensorFlow's XLA, which takes its time to compile.

    Args:
        *case: The arguments `count` and `freq` of that one, if the test has them.
    """

    def limited(test):
        @functools.wraps(test)
        def run(*args, **kwargs):
            given = [kwargs[name] for name in ("count", "freq") if name in kwargs]
            slow = BACKEND == "tensorflow" and kwargs.get("mode") == "xla"
            if slow and given != [*case]:
                pytest.skip("XLA runs another case")
            return test(*args, **kwargs)

        return run

    return limited


def data():
    x = np.linspace(-1, 1, 22, dtype="float32")[:, np.newaxis]
    return x, 3 * x + 1


def make_model(mode, count, kind=keras.Model):
    keras.utils.set_random_seed(7)
    inputs = keras.Input((1,))
    hidden = keras.layers.Dense(3, activation="tanh", name="hidden")(inputs)
    dropped = keras.layers.Dropout(0.3)(hidden)
    model = kind(inputs, keras.layers.Dense(1, name="output")(dropped))
    model.compile("adam", loss="mse", steps_per_execution=count, **MODES[mode])
    return model


def fit(model, *callbacks, x=None, **options):
    keras.utils.set_random_seed(7)  # Dropout draws from PyTorch's own generator.
    given = data() if x is None else (x,)
    options = {"batch_size": 5, "epochs": 2, "shuffle": False, "verbose": 0} | options
    return model.fit(*given, callbacks=[*callbacks], **options)


def assert_same_training(model, plain):
    for ours, theirs in zip(full_state(model), full_state(plain), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class Batches(keras.utils.PyDataset):
    """The same data, with `None` for the weights of the samples."""

    def __init__(self):
        super().__init__()
        self.asked = []

    def __len__(self):
        return STEPS

    def __getitem__(self, index):
        self.asked.append(index)
        x, y = (values[5 * index : 5 * index + 5] for values in data())
        return x, y, None


@in_each_mode
@per_execution
@pytest.mark.parametrize("freq", [1, 4])
@few_with_xla(3, 4)
def test_each_step_is_recorded_and_training_unchanged(mode, count, freq):
    model, plain = make_model(mode, count), make_model(mode, count)
    recorder = hr.GradientRecorder(record_freq=freq)
    history, expected = fit(model, recorder), fit(plain)
    numbers = {1: [*range(1, 11)], 4: [4, 8]}[freq]
    assert recorder.recording.index["step"].tolist() == numbers
    assert history.history == expected.history
    assert_same_training(model, plain)


@in_each_mode
@several_steps
def test_steps_of_an_execution_give_what_they_give_alone(mode):
    alone, several = (hr.GradientRecorder(record_freq=1) for _ in range(2))
    fit(make_model(mode, 1), alone)
    fit(make_model(mode, 3), several)
    for path in alone.recording.paths:
        for values in ("gradients", "weights"):
            one = getattr(alone.recording, values)[path]
            other = getattr(several.recording, values)[path]
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)


@pytest.mark.skipif(BACKEND != "jax", reason="fit itself refuses None there")
def test_batches_with_none_are_divided():
    model, plain = make_model("xla", 2), make_model("xla", 2)
    recorder = hr.GradientRecorder(record_freq=1)
    fit(model, recorder, x=Batches(), batch_size=None)
    fit(plain, x=Batches(), batch_size=None)
    assert len(recorder.recording) == 10
    assert_same_training(model, plain)


# What fails in the recorder's own part of a step.


def fails(*args, **kwargs):
    raise RuntimeError("a later Keras")


def step_that_fails_at_once(model, observe):
    return fails


def step_that_fails_at_its_end(model, observe):
    step = type(backend).capturing_step(backend, model, observe)

    def broken(*args):
        step(*args)
        fails()

    return broken


FAULTS = {
    "at once": (backend, "capturing_step", step_that_fails_at_once),
    "at its end": (backend, "capturing_step", step_that_fails_at_its_end),
    "call": (backend, "as_call", fails),
    "packed": (Observation, "packed", fails),
    "packer": (Packer, "pack", fails),
    "splitter": (backend, "splitter", fails),
}
# Eagerly, what fails at the end of a step is an error after the update.
EAGER = ["eager"] if BACKEND == "tensorflow" else SOME_MODES
# XLA takes its time, and has no part in these faults.
SLOW = [(f, "xla") for f in FAULTS if BACKEND == "tensorflow" and f != "at its end"]
UNSOUND = [("at its end", m) for m in SOME_MODES if BACKEND != "jax" and m in EAGER]


@pytest.mark.parametrize(
    ("fault", "mode"),
    [(f, m) for f in FAULTS for m in SOME_MODES if (f, m) not in UNSOUND + SLOW],
)
@per_execution
@few_with_xla(3)
def test_capturing_that_fails_leaves_training_alone(fault, mode, count, monkeypatch):
    model, plain = make_model(mode, count), make_model(mode, count)
    monkeypatch.setattr(*FAULTS[fault])
    recorder = hr.GradientRecorder(record_freq=2)
    with pytest.warns(RuntimeWarning, match="a later Keras.*incomplete") as caught:
        history = fit(model, recorder)
    assert sum(w.category is RuntimeWarning for w in caught) == 1
    expected = fit(plain)
    assert history.history == expected.history
    assert_same_training(model, plain)
    assert len(recorder.recording) == 0
    assert recorder.recording.attributes["complete"] is False


@pytest.mark.skipif(BACKEND != "torch", reason="PyTorch's compiler")
@several_steps
@pytest.mark.parametrize("fault", [None, "at once", "packed"])
def test_a_compiled_step_of_pytorch(fault, monkeypatch):
    # It compiles a function eight times at most, in whichever model, then none.
    importlib.import_module("torch").compiler.reset()
    if fault is None:
        test_each_step_is_recorded_and_training_unchanged("xla", 3, 1)
    else:
        test_capturing_that_fails_leaves_training_alone(fault, "xla", 1, monkeypatch)


@in_each_quick_mode
def test_failing_again_in_a_second_fit_warns_again(mode, monkeypatch):
    model = make_model(mode, 1)
    monkeypatch.setattr(*FAULTS["packer"])
    recorder = hr.GradientRecorder(record_freq=2)
    for _ in range(2):
        with pytest.warns(RuntimeWarning, match="a later Keras"):
            fit(model, recorder)
    monkeypatch.undo()
    fit(model, recorder)
    assert len(recorder.recording) == 5
    assert all(np.isfinite(g).all() for g in recorder.recording.gradients.values())


# What is wrong with the user's own part of it.


@pytest.fixture
def freed():
    """Frees the iterator that a broken-off fit leaves behind, while it is young.

    TensorFlow waits for its thread, which sleeps twice as long each time: up to a
    minute and more, if it is left to the next collection of garbage.
    """
    yield
    gc.collect()


broken_off = pytest.mark.usefixtures("freed")


class FailsOnce(keras.Model):
    """Its train step raises when it is first run, or traced, and never again."""

    calls = 0

    def train_step(self, *args):
        self.count()
        return super().train_step(*args)

    def count(self):
        FailsOnce.calls += 1  # Not on the model: Keras tracks what is there.
        if FailsOnce.calls == 1:
            raise LookupError("of the user's own making")


def raised(mode, count, *callbacks):
    FailsOnce.calls = 0
    model = make_model(mode, count, FailsOnce)
    with warnings.catch_warnings():
        warnings.simplefilter("error", RuntimeWarning)
        with pytest.raises(Exception, match="of the user's own making") as caught:
            fit(model, *callbacks)
    return type(caught.value), str(caught.value), FailsOnce.calls


@broken_off
@in_each_mode
@per_execution
def test_an_error_of_the_users_step_surfaces_as_without_a_recorder(mode, count):
    recorder = hr.GradientRecorder(record_freq=1)
    assert raised(mode, count, recorder) == raised(mode, count)
    assert repr(recorder.recording) == "<Recording: empty>"


class FailsAt(Batches):
    """Data that cannot be read beyond the second batch."""

    def __getitem__(self, index):
        if index == 2:
            raise LookupError("no third batch")
        return super().__getitem__(index)[:2]


@broken_off
@in_each_quick_mode
@per_execution
def test_an_error_of_the_data_surfaces(mode, count):
    model = make_model(mode, count)
    with pytest.raises(Exception, match="no third batch"):
        fit(model, hr.GradientRecorder(record_freq=1), x=FailsAt(), batch_size=None)


@broken_off
@in_each_mode
def test_a_selection_that_matches_nothing_is_still_refused(mode):
    model = keras.Sequential([keras.layers.Dense(1)])  # Built in its first step.
    model.compile("sgd", "mse", **MODES[mode])
    with pytest.raises(ValueError, match="No trainable variable matches"):
        fit(model, hr.GradientRecorder("nothing/*"))
