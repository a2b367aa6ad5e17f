"""A replay makes the user's own classes again, and runs nothing else for a store."""

import sys

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.recording.revive import revive

optimizers = keras.optimizers


class Lion2(optimizers.Optimizer):
    def __init__(self, learning_rate=0.01, **options):
        super().__init__(learning_rate, **options)

    def update_step(self, gradient, variable, learning_rate):
        rate = keras.ops.cast(learning_rate, variable.dtype)
        self.assign_sub(variable, rate * keras.ops.sign(gradient))


class Falling(optimizers.schedules.LearningRateSchedule):
    def __init__(self, first):
        self.first = first

    def __call__(self, step):
        return self.first / (1 + keras.ops.cast(step, "float32"))

    def get_config(self):
        return {"first": self.first}


class Small(keras.constraints.Constraint):
    def __call__(self, w):
        return keras.ops.clip(w, -0.1, 0.1)


def clipped(w):
    return keras.ops.clip(w, -0.2, 0.2)


def record(optimizer, *, constraint=None, store=None):
    keras.utils.set_random_seed(0)
    layer = keras.layers.Dense(1, kernel_constraint=constraint, name="line")
    model = keras.Sequential([keras.Input((3,)), layer])
    model.compile(optimizer, loss="mse", jit_compile=False)
    x = np.random.default_rng(0).normal(size=(40, 3)).astype("float32")
    recorder = hr.GradientRecorder(record_freq=1, store=store)
    model.fit(x, x @ np.ones((3, 1)), 8, epochs=2, verbose=0, callbacks=[recorder])
    return recorder.recording


OWN = {
    "optimizer": lambda: {"optimizer": Lion2(0.01)},
    "schedule": lambda: {"optimizer": optimizers.Adam(Falling(0.1))},
    "both": lambda: {"optimizer": Lion2(Falling(0.1))},
    "inner": lambda: {"optimizer": optimizers.LossScaleOptimizer(Lion2(0.01))},
    "constraint": lambda: {"optimizer": "sgd", "constraint": Small()},
}


@pytest.mark.parametrize("case", OWN)
def test_own_classes_are_found_without_registration(case, tmp_path):
    recording = record(**OWN[case](), store=tmp_path / "run.zarr")
    for _ in range(2):  # No replay changes what the next one reads.
        assert recording.replay().max_error < 1e-6
    assert hr.open_recording(tmp_path / "run.zarr").replay().max_error < 1e-6
    assert recording.replay().errors.shape == (10, 2)


def test_own_class_that_is_not_loaded_is_named_and_can_be_passed():
    recording = record(Lion2(0.01))
    (spec,) = recording.fits[0].optimizers.values()
    elsewhere = {"module": "elsewhere", "class_name": "Tiger"}
    spec.config.update(elsewhere | {"registered_name": "Tiger"})
    text = (
        r"class 'Tiger' of the module 'elsewhere', and no optimizer.* is loaded\. "
        r"Import it first, or pass it: .*replay\(custom_objects=\{'Tiger': Tiger\}\)"
    )
    with pytest.raises(ValueError, match=text):
        recording.replay()
    assert "elsewhere" not in sys.modules
    assert recording.replay(custom_objects={"Tiger": Lion2}).max_error < 1e-6
    with pytest.raises(TypeError, match=r"custom_objects: a dict.*Received: \[<class"):
        recording.replay(custom_objects=[Lion2])


def record_constrained(constraint):
    try:
        return record("sgd", constraint=constraint)
    except ValueError as error:
        if "Invalid value for attribute `constraint`" not in str(error):
            raise
        pytest.skip("this Keras takes none but its own class of constraints")


def test_own_function_is_called_only_if_it_is_passed():
    recording = record_constrained(clipped)
    with pytest.raises(
        ValueError, match=r"function 'clipped'.*calls no function.*Pass"
    ):
        recording.replay()
    assert recording.replay(custom_objects={"clipped": clipped}).max_error < 1e-6


def test_constraint_without_config_is_recorded_and_named():
    class Bare:
        def __call__(self, w):
            return keras.ops.clip(w, -0.3, 0.3)

    recording = record_constrained(Bare())
    assert len(recording) == 10
    with pytest.raises(ValueError, match=r"constraint Bare of .*kernel.*get_config"):
        recording.replay()


def test_classes_of_one_name_are_told_apart_by_their_modules():
    own = type("SGD", (Lion2,), {"__module__": "elsewhere.optimizers"})
    nested = revive(
        keras.saving.serialize_keras_object(optimizers.LossScaleOptimizer(own(0.5))),
        None,
    )
    assert type(nested.inner_optimizer) is own
    keras_own = revive(keras.saving.serialize_keras_object(optimizers.SGD()), None)
    assert isinstance(keras_own, optimizers.SGD)


def test_a_run_on_pytorch_can_be_replayed_on_another_backend():
    config = node("keras.src.backend.torch.optimizers.torch_sgd", "SGD", {}, "SGD")
    assert isinstance(revive(config, None), optimizers.SGD)


def test_of_a_class_defined_twice_the_latest_is_taken():
    first = type("Twice", (Lion2,), {"__module__": "notebook"})
    latest = type("Twice", (Lion2,), {"__module__": "notebook"})
    config = keras.saving.serialize_keras_object(first(0.5))
    assert type(revive(config, None)) is latest


def test_config_that_its_class_does_not_take_says_so():
    class Narrow(optimizers.SGD):
        def __init__(self):
            super().__init__(0.1)

    with pytest.raises(
        ValueError, match=r"'Narrow' cannot be made again.*its get_config"
    ):
        revive(keras.saving.serialize_keras_object(Narrow()), None)


def node(module, class_name, config, registered_name=None):
    return {
        "module": module,
        "class_name": class_name,
        "config": config,
        "registered_name": registered_name,
    }


def lambda_layer():
    return keras.saving.serialize_keras_object(keras.layers.Lambda(lambda x: x))


HOSTILE = {
    "builtin": lambda: node("builtins", "function", "exec", "exec"),
    "system": lambda: node("os", "function", "system", "system"),
    "class": lambda: node("subprocess", "Popen", {"args": "true"}),
    "import": lambda: node("keras_hub.models", "Backbone", {}),
    "private": lambda: node("keras.src.utils.file_utils", "get_file", {"fname": "x"}),
    "download": lambda: node("keras.utils", "function", "get_file", "get_file"),
    "layer": lambda: node("keras.layers", "Dense", {"units": 1}),
    "lambda layer": lambda_layer,
    "lambda": lambda: node(None, "__lambda__", {"value": ["4wAA", None, None]}),
    "typespec": lambda: node("os", "__typespec__", []) | {"spec_name": "system"},
    "no name": lambda: node("keras.optimizers", ["Adam"], {}),
}


@pytest.mark.parametrize("place", ["alone", "schedule", "inner"])
@pytest.mark.parametrize("kind", HOSTILE)
def test_what_a_store_names_is_not_run(kind, place, monkeypatch):
    # Not even where Keras was told to run lambdas.
    monkeypatch.setattr(
        "keras.src.saving.serialization_lib.in_safe_mode", lambda: False
    )
    config = HOSTILE[kind]()
    if place == "schedule":
        config = node("keras.optimizers", "SGD", {"learning_rate": config})
    if place == "inner":
        config = node(
            "keras.optimizers", "LossScaleOptimizer", {"inner_optimizer": config}
        )
    before = set(sys.modules)
    with pytest.raises(ValueError, match=r"^The recording (names the|contains a)"):
        revive(config, None)
    assert set(sys.modules) - before <= {"keras.src.saving.serialization_lib"}
