import json
import re

import keras
import pytest

import hrcallbacks as hr

L = keras.layers


def classifier():
    """A small convolutional network, in a functional model with a nested one."""
    head = keras.Sequential(
        [L.Dense(4, "relu", name="inner"), L.Dense(3, name="logits")], name="head"
    )
    image = keras.Input((4, 4, 1))
    x = L.Conv2D(2, 3, kernel_regularizer="l2", name="conv")(image)
    x = L.ReLU(name="relu")(x)
    x = L.Flatten(name="flat")(x)
    return keras.Model(image, L.Softmax(name="soft")(head(x)))


def summary(model, loss="mse", metrics=(), *, x=None, y=None, **recorded):
    model.compile("sgd", loss=loss, metrics=list(metrics), jit_compile=False)
    recorder = hr.GradientRecorder(**recorded)
    x = keras.ops.ones((4, *model.input_shape[1:])) if x is None else x
    y = keras.ops.ones((4, *model.output_shape[1:])) if y is None else y
    model.fit(x, y, verbose=0, callbacks=[recorder])
    return recorder.recording


def test_layers_say_what_they_are_and_what_follows_what():
    model = summary(classifier(), "categorical_crossentropy", ["accuracy"]).model
    layers = {layer["path"]: layer for layer in model["layers"]}
    assert [*layers] == ["conv", "relu", "flat", "head/inner", "head/logits", "soft"]
    assert model["connections"] == [
        ["head/inner", "head/logits"],
        ["conv", "relu"],
        ["relu", "flat"],
        ["flat", "head/inner"],
        ["head/logits", "soft"],
    ]
    assert (model["inputs"], model["outputs"]) == (["conv"], ["soft"])
    conv = layers["conv"]
    assert (conv["class"], conv["units"], conv["activation"]) == ("Conv2D", 2, "linear")
    assert conv["parameters"] == 3 * 3 * 2 + 2
    assert conv["variables"] == ["conv/kernel", "conv/bias"]
    assert conv["initializers"]["kernel"]["class"] == "GlorotUniform"
    assert conv["regularizers"]["kernel"]["options"]["l2"] == pytest.approx(0.01)
    assert (layers["relu"]["activation"], layers["soft"]["activation"]) == (
        "relu",
        "softmax",
    )
    assert model["loss"]["name"] == "categorical_crossentropy"
    assert model["metrics"] == ["accuracy"]
    assert model["optimizer"] == "SGD"


def test_paths_are_those_of_the_recording():
    recording = summary(classifier())
    said = [p for layer in recording.model["layers"] for p in layer["variables"]]
    assert said == recording.paths


@pytest.mark.parametrize(
    ("loss", "name", "own"),
    [
        ("mse", "mean_squared_error", False),
        (keras.losses.Huber(delta=2.0), "huber", False),
        (keras.losses.mean_absolute_error, "mean_absolute_error", False),
        (lambda t, p: keras.ops.mean(t - p), "<lambda>", True),
    ],
)
def test_a_loss_is_named_alike_however_it_is_given(loss, name, own):
    said = summary(classifier(), loss).model["loss"]
    assert (said["name"], said["own"]) == (name, own)


def test_options_of_a_loss_are_kept():
    loss = keras.losses.CategoricalCrossentropy(label_smoothing=0.5)
    options = summary(classifier(), loss).model["loss"]["options"]
    assert (options["from_logits"], options["label_smoothing"]) == (False, 0.5)


class Own(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = L.Dense(4, "tanh"), L.Dense(1)

    def call(self, x):
        return self.second(self.first(x))


def test_of_a_subclassed_model_the_layers_are_known_and_not_the_graph():
    x, y = keras.ops.ones((4, 2)), keras.ops.ones((4, 1))
    recording = summary(Own(), x=x, y=y)
    model = recording.model
    assert model["connections"] is None
    assert [layer["activation"] for layer in model["layers"]] == ["tanh", "linear"]
    found = recording.diagnose("output_activation")
    assert "subclassed" in found.not_looked["output_activation"]


def test_a_frozen_layer_says_whether_it_was_ever_trained():
    model = keras.Sequential(
        [keras.Input((2,)), L.Dense(3, name="a"), L.Dense(3, name="b"), L.Dense(1)]
    )
    model.layers[1].bias.assign([1.0, 2.0, 3.0])
    for layer in model.layers[:2]:
        layer.trainable = False
    first, second, last = summary(model).model["layers"]
    assert (first["trainable"], first["untouched"]) == (False, True)
    assert (second["trainable"], second["untouched"]) == (False, False)
    assert (last["trainable"], last["untouched"]) == (True, False)


def test_it_is_kept_in_stores_and_copies(tmp_path):
    recording = summary(classifier(), store=tmp_path / "run.zarr")
    assert json.loads(json.dumps(recording.model)) == recording.model
    stored = hr.open_recording(tmp_path / "run.zarr")
    assert stored.model == recording.model
    stored.save(tmp_path / "copy.zarr")
    assert hr.open_recording(tmp_path / "copy.zarr").model == recording.model


def test_what_has_no_config_is_recorded_all_the_same():
    class Odd(L.Layer):
        activation = 3

        def call(self, x):
            return x

        def get_config(self):
            raise NotImplementedError

    place = keras.Input((2,))
    model = keras.Model(place, L.Dense(1)(Odd()(place)))
    recording = summary(model)
    assert recording.model is not None
    assert recording.model["connections"] is None


def test_a_recording_without_it_says_so():
    recording = summary(classifier())
    recording.attributes["model"] = None
    assert recording.model is None
    why = recording.diagnose().not_looked["output_activation"]
    assert why == "the model's layers and loss were not recorded"


OPERATIONS = {
    "scaled": lambda x: 2.0 * x,
    "reshaped": lambda x: keras.ops.reshape(x, (-1, 8)),
    "sliced": lambda x: x[:, :4],
}


def between(operation, *, end=lambda x: x, **layer):
    """Two layers and an operation between them."""
    inputs = keras.Input((4,))
    hidden = L.Dense(8, "relu", name="hidden", **layer)(inputs)
    return keras.Model(inputs, end(L.Dense(3, name="out")(operation(hidden))))


@pytest.mark.parametrize("name", OPERATIONS)
def test_operations_between_layers_are_parts_of_the_graph(name):
    model = summary(between(OPERATIONS[name])).model
    ((_, middle), (again, _)) = model["connections"]
    assert model["connections"] == [["hidden", middle], [middle, "out"]]
    assert again == middle
    assert (model["inputs"], model["outputs"]) == (["hidden"], ["out"])
    parts = {part["path"]: part for part in model["layers"]}
    assert [*parts] == ["hidden", middle, "out"]
    assert [part["operation"] for part in parts.values()] == [False, True, False]
    assert parts[middle]["variables"] == []


def test_an_operation_at_the_end_is_the_output():
    model = summary(between(OPERATIONS["scaled"], end=keras.ops.softmax)).model
    (end,) = model["outputs"]
    assert end.startswith("softmax")
    assert (model["layers"][-1]["path"], model["layers"][-1]["activation"]) == (
        end,
        "softmax",
    )


@pytest.mark.parametrize("name", OPERATIONS)
@pytest.mark.parametrize(
    ("end", "finds"), [(lambda x: x, True), (keras.ops.softmax, False)]
)
def test_rules_see_through_operations(name, end, finds):
    """An output without softmax, and one whose softmax is an operation."""
    model = between(OPERATIONS[name], end=end)
    labels = keras.ops.arange(4) % 3
    recording = summary(
        model, "sparse_categorical_crossentropy", y=labels, record_freq=1
    )
    found = recording.diagnose(["output_activation", "silent_outputs", "input_scale"])
    assert [*found["rule"]] == ["output_activation"] * finds


def test_what_an_operation_makes_of_the_output_is_not_known():
    model = between(lambda x: x, end=lambda x: keras.ops.exp(x) / 9)
    recording = summary(model, "categorical_crossentropy", record_freq=1)
    findings = recording.diagnose("output_activation")
    assert findings.empty
    why = findings.not_looked["output_activation"]
    assert re.search(r"what true_divide\w* makes of the output is not known", why)
