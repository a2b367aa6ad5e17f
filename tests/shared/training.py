"""The two published runs, for tests: the models, and how they are trained."""

import importlib
from dataclasses import dataclass

import keras
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
    model = keras.Sequential(
        [
            keras.layers.Input(shape=(1,)),
            keras.layers.Dense(6, activation="relu", name="hidden"),
            keras.layers.Dense(1, activation="linear", name="output"),
        ]
    )
    clones = {rate: keras.models.clone_model(model) for rate in (0.1, 0.3)}
    for rate, clone in clones.items():
        clone.set_weights(hr.load_initial_weights(rate))
    return clones


def _refuses_several_steps():
    model = keras.Sequential([keras.layers.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", "mse", steps_per_execution=2)
    try:
        model.make_train_function()
    except ValueError as error:
        return "steps_per_execution" in str(error)
    return False


several_steps = pytest.mark.skipif(
    _refuses_several_steps(), reason="this Keras takes no steps_per_execution=2"
)


def full_state(model):
    """Every variable of a model and its optimizer, as arrays."""
    variables = [*model.variables, *model.optimizer.variables]
    return [keras.ops.convert_to_numpy(v) for v in variables]


def forget_compiled():
    """Lets PyTorch compile the next model too.

    It compiles a function, such as a `train_step`, for eight models. Those after them
    it runs line by line, which rounds in another way.
    """
    if keras.config.backend() == "torch":
        importlib.import_module("torch").compiler.reset()


def train_worked_example(model, rate, data, mode, callbacks=()):
    """Trains as the assignment does; returns the History."""
    forget_compiled()
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
