"""Fixtures: the worked example, trained once in each way that Keras can run it."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")

from dataclasses import dataclass

import keras
import numpy as np
import pytest

import hrcallbacks as hr

# How Keras can run a training step.
MODES = {
    "xla": {"jit_compile": True},
    "graph": {"jit_compile": False},
    "eager": {"run_eagerly": True},
}


@dataclass
class Run:
    """One of the two published runs, trained again."""

    initial: list
    recording: hr.Recording
    state: list
    history: dict


def worked_example_clones():
    """The two initial models of the published runs, by learning rate."""
    keras.utils.set_random_seed(1453)
    model = keras.Sequential(
        [
            keras.layers.Input(shape=(1,)),
            keras.layers.Dense(6, activation="relu", name="hidden"),
            keras.layers.Dense(1, activation="linear", name="output"),
        ]
    )
    return {rate: keras.models.clone_model(model) for rate in (0.1, 0.3)}


def full_state(model):
    """Every variable of a model and its optimizer, as arrays."""
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in variables]


def train_worked_example(model, rate, data, mode, callbacks=()):
    """Trains as the assignment does; returns the History."""
    x, y = data
    model.compile(
        keras.optimizers.Adam(rate),
        loss="mse",
        metrics=[hr.MeanOutput()],
        **MODES[mode],
    )
    return model.fit(
        x,
        y,
        batch_size=len(x),
        epochs=10,
        shuffle=False,
        verbose=0,
        callbacks=list(callbacks),
    )


@pytest.fixture(scope="session")
def stars():
    """x and y of the bundled catalogue."""
    return hr.training_data(seed=1453)


@pytest.fixture(scope="session", params=MODES)
def mode(request):
    """A way to run a training step."""
    return request.param


@pytest.fixture(scope="session")
def recorded(mode, stars):
    """Both published runs with a recorder, by learning rate."""
    runs = {}
    for rate, model in worked_example_clones().items():
        recorder = hr.GradientRecorder()
        initial = model.get_weights()
        history = train_worked_example(model, rate, stars, mode, [recorder])
        runs[rate] = Run(
            initial, recorder.recording, full_state(model), history.history
        )
    return runs


@pytest.fixture
def line():
    """Twenty points of a line, float32."""
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    return x, 3 * x + 1


@pytest.fixture
def tiny():
    """A compiled network of two layers, 1-3-1."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(3, activation="relu", name="hidden"),
            keras.layers.Dense(1, name="output"),
        ],
        name="tiny",
    )
    model.compile("adam", loss="mse", jit_compile=False)
    return model
