"""What each quantity promises: see `hrcallbacks.quantities.quantity.Quantity`.

A quantity of your own passes if its maker joins `MAKERS`.
"""

import json
from collections.abc import Callable, Mapping
from typing import Any

import keras
import numpy as np
import pytest

from hrcallbacks.backends.call import Call
from hrcallbacks.backends.current import backend
from hrcallbacks.capture.observation import Observation
from hrcallbacks.capture.probe import Probe
from hrcallbacks.quantities.gradient_norm import GradientNorm
from hrcallbacks.quantities.gradients import Gradients
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.quantities.step_values import StepValues
from hrcallbacks.quantities.weights import Weights
from hrcallbacks.types import HAS_GRADIENT, Key, Spec


class Signs(Quantity):
    """The least that a quantity can be: how many of a gradient's elements are > 0."""

    name = "signs"
    is_apart = True

    def choose(self, variables: Mapping[str, Any]) -> Mapping[Key, Spec]:
        return {Key(self.name, "", path): Spec((), "int32") for path in variables}

    def observer(self, scene: Scene) -> Observer:
        return _CountsSigns(scene)


class _CountsSigns(Observer):
    def before(self, call: Call) -> None:
        for path in self.scene.places:
            gradient = self.scene.gradient(call, path)
            if gradient is not None:
                count = keras.ops.sum(keras.ops.cast(gradient > 0, "int32"))
                self.scene.put(Key("signs", "", path), count)


MAKERS: dict[str, Callable[[], Quantity]] = {
    "toy": Signs,
    "step": StepValues,
    "gradients": lambda: Gradients(["raw", "norm"]),
    "gradients of a mean": lambda: Gradients("raw", mean=True),
    "weights after": lambda: Weights(["raw", "update_norm"], at="after"),
    "weights before": lambda: Weights("raw", at="before"),
    "gradient norm": lambda: GradientNorm(by_variable=True),
}
GRADIENTS = {"a": np.array([[1.0, -2.0]], "float32"), "b": np.float32([3.0, 4.0])}


@pytest.fixture(params=MAKERS)
def quantity(request: pytest.FixtureRequest) -> Quantity:
    return MAKERS[request.param]()


@pytest.fixture
def variables() -> dict[str, Any]:
    shapes = {"a": (1, 2), "b": (2,)}
    return {p: keras.Variable(np.ones(s), dtype="float32") for p, s in shapes.items()}


class Model:
    """All that an observation asks of a model."""

    def __init__(self, variables: Mapping[str, Any]) -> None:
        self.trainable_variables = list(variables.values())


def take(
    quantity: Quantity, variables: Mapping[str, Any], without: str | None = None
) -> dict[Key, np.ndarray]:
    """The record of one eager step of SGD at a rate of 0.5."""
    observation, probe = observed(quantity, variables)
    grads = [
        None if path == without else keras.ops.convert_to_tensor(g)
        for path, g in GRADIENTS.items()
    ]
    optimizer = keras.optimizers.SGD(0.5)
    optimizer.build([*variables.values()])

    def update() -> None:
        for variable, gradient in zip(variables.values(), grads, strict=True):
            if gradient is not None:
                variable.assign(variable.value - 0.5 * gradient)

    call = Call(
        optimizer=optimizer,
        grads=grads,
        variables=[*variables.values()],
        learning_rate=keras.ops.convert_to_tensor(0.5),
        scale=None,
        run=update,
        value=backend.value,
        knows=lambda variable: True,
    )
    observation.see_loss(keras.ops.convert_to_tensor(2.0))
    observation.see_call(call)
    (packed,) = observation.packed(backend.value)
    assert probe.failure is None
    return probe.packer.unpack(packed).get(0, {})


def observed(
    quantity: Quantity, variables: Mapping[str, Any]
) -> tuple[Observation, Probe]:
    def select(trainable: Any) -> Mapping[str, Any]:
        quantity.choose(variables)
        return variables

    probe = Probe([quantity], select)
    probe.variables(Model(variables))
    return Observation(Model(variables), [probe], backend.trace(None)), probe


def test_it_has_a_name_and_describes_itself_in_json(quantity):
    assert quantity.name.isidentifier()
    described = json.loads(json.dumps(quantity.describe()))
    assert all(isinstance(about, dict) for about in described.values())


def test_what_it_declares_is_what_a_record_holds(quantity, variables):
    specs = quantity.choose(variables)
    values = take(quantity, variables)
    assert values
    quantity.complete(values)
    for key, spec in specs.items():
        value = values[key]
        assert np.shape(value) == spec.shape, key
        assert np.can_cast(np.asarray(value).dtype, spec.dtype), key
    assert {key.quantity for key in values} <= {quantity.name, HAS_GRADIENT}


def test_a_missing_gradient_breaks_nothing(quantity, variables):
    values = take(quantity, variables, without="b")
    whole = take(quantity, variables)
    quantity.complete(values)
    assert Key("gradients", "raw", "b") not in values
    assert values.keys() <= whole.keys() | {
        Key(HAS_GRADIENT, "", path) for path in variables
    }


def test_taking_it_changes_no_weight(quantity, variables):
    take(quantity, variables)
    for path, variable in variables.items():
        np.testing.assert_array_equal(
            backend.to_host(variable), 1 - 0.5 * GRADIENTS[path]
        )


def test_it_may_be_chosen_again_for_another_model(quantity, variables):
    first = quantity.choose(variables)
    assert quantity.choose(variables) == first
    assert all(key.path != "b" for key in quantity.choose({"a": variables["a"]}))


def test_a_step_without_a_call_takes_nothing_of_variables(quantity, variables):
    observation, probe = observed(quantity, variables)
    (packed,) = observation.packed(backend.value)
    assert probe.failure is None
    assert probe.packer.unpack(packed) == {}


def test_the_values_are_those_worked_out_by_hand(variables):
    assert take(Signs(), variables) == {
        Key("signs", "", "a"): 1,
        Key("signs", "", "b"): 2,
    }
    norm = take(GradientNorm(by_variable=True), variables)[GradientNorm.KEY]
    np.testing.assert_allclose(norm, np.sqrt([30, 5, 25]), rtol=1e-6)
