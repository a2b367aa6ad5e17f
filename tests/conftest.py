"""Fixtures: the worked example, trained once in each way that Keras can run it."""

import gc
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "-1")
os.environ.setdefault("MPLBACKEND", "Agg")

import keras
import numpy as np
import pytest
from training import (
    MODES,
    Run,
    full_state,
    train_worked_example,
    worked_example_clones,
)

import hrcallbacks as hr

# The most objects that Python's garbage collector has to look through.
_MOST_OBJECTS = 200_000


@pytest.hookimpl(trylast=True)
def pytest_runtest_teardown(item, nextitem):
    """Spares the collector what TensorFlow keeps of each function that it traced.

    It keeps millions of objects in the end, and looking through them again and again
    took more time than most tests.
    """
    ends = nextitem is None or nextitem.path != item.path
    if ends and len(gc.get_objects()) > _MOST_OBJECTS:
        gc.collect()
        gc.freeze()


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


@pytest.fixture
def figures():
    """Lays out each figure that a test has made, and closes it."""
    import matplotlib.pyplot as plt

    yield plt
    try:
        for number in plt.get_fignums():
            plt.figure(number).draw_without_rendering()
    finally:
        plt.close("all")
