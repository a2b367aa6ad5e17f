"""Layers of which nothing can be recorded, and what is said of it."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hrcallbacks as hr

pytestmark = pytest.mark.filterwarnings("ignore:Gradients do not exist")


class Odd(keras.Model):
    """Calls `used`; takes the kernel of `borrowed`; leaves `other` to evaluate."""

    def __init__(self):
        super().__init__(name="odd")
        self.used = layers.Dense(2, name="used")
        self.borrowed = layers.Dense(1, name="borrowed")
        self.other = layers.Dense(1, activation="relu", name="other")

    def build(self, shape):
        self.used.build(shape)
        self.borrowed.build((None, 2))
        self.other.build((None, 1))

    def call(self, x, training=False):
        y = ops.matmul(self.used(x), self.borrowed.kernel)
        return y if training else self.other(y)


class Bare(keras.Model):
    """Has no layers."""

    def build(self, shape):
        self.w = self.add_weight(shape=(1, 1), name="w")

    def call(self, x):
        return ops.matmul(x, self.w)


def trained(model, line, **wanted):
    recorder = hr.GradientRecorder(record_freq=1, **wanted)
    model.compile("sgd", "mse", run_eagerly=True)
    model.build((None, 1))
    settings = {"batch_size": 10, "epochs": 2, "verbose": 0}
    model.fit(*line, callbacks=[recorder], validation_data=line, **settings)
    return recorder.recording


@pytest.mark.parametrize("layer", ["other", "other/preactivation", "borrowed"])
def test_a_layer_that_training_never_calls_is_said(line, layer):
    match = rf"outputs={layer!r} asks for .*{layer.split('/')[0]}.*did not call"
    with pytest.warns(UserWarning, match=match) as seen:
        recording = trained(Odd(), line, outputs={layer: "norm", "*": "mean"})
    assert sum("did not call" in str(each.message) for each in seen) == 1
    assert [n.rpartition("/")[2] for n in recording.has_output] == ["used"]
    assert recording.attributes["complete"]


def test_what_a_glob_takes_along_is_not_said(line):
    recording = trained(Odd(), line, outputs={"*": "norm"}, output_gradients="norm")
    assert len(recording.has_output.columns) == 1


def test_a_glob_that_earlier_ones_left_nothing_is_not_said(line):
    model = keras.Sequential([keras.Input((1,)), layers.Dense(1, name="out")])
    recording = trained(model, line, outputs={"out": "norm", "*": "mean"})
    assert list(recording.arrays("outputs", "norm"))


def test_a_model_without_layers_is_refused_before_training(line):
    model = Bare()
    with pytest.raises(ValueError, match="has none: its call computes by itself"):
        trained(model, line, outputs="norm")
    assert int(model.optimizer.iterations) == 0
    assert np.isfinite(keras.ops.convert_to_numpy(model.w)).all()
