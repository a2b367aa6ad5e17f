"""A recorder that begins anew: with the same model, and with another one."""

import keras
import numpy as np

import hrcallbacks as hr
from hrcallbacks.capture import armed_step


def fit(model, recorder, x):
    model.fit(x, x[:, :1], batch_size=4, verbose=0, callbacks=[recorder], shuffle=False)


def compiled(width, layer="hidden"):
    layers = [keras.layers.Dense(3, name=layer), keras.layers.Dense(1, name="head")]
    model = keras.Sequential([keras.Input((width,)), *layers], name="net")
    model.compile("sgd", loss="mse")
    return model


def counted(monkeypatch):
    """A list that gets an item for each step that is compiled."""
    made, make = [], armed_step.make_capturing_function
    monkeypatch.setattr(
        armed_step,
        "make_capturing_function",
        lambda *args: made.append(args) or make(*args),
    )
    return made


def test_steps_of_the_same_model_are_not_compiled_again(monkeypatch):
    made = counted(monkeypatch)
    recorder = hr.GradientRecorder(record_freq=1, outputs={"*hidden": "norm"})
    model, x = compiled(2), np.ones((8, 2), "float32")
    fit(model, recorder, x)
    first = recorder.recording
    recorder.reset()
    assert len(recorder.recording) == 0
    fit(model, recorder, x)
    again = recorder.recording
    assert len(made) == 1
    assert again.index["step"].tolist() == first.index["step"].tolist() == [1, 2]
    assert again.arrays("outputs", "norm")["hidden"].shape == (2,)
    path = "net/hidden/kernel"
    np.testing.assert_array_equal(again.fits[0].weights[path], first.weights[path][-1])


def test_another_model_may_follow(monkeypatch):
    made = counted(monkeypatch)
    recorder = hr.GradientRecorder(record_freq=1, outputs={"*": "norm"})
    fit(compiled(2), recorder, np.ones((8, 2), "float32"))
    recorder.reset()
    fit(compiled(5, "wide"), recorder, np.ones((8, 5), "float32"))
    assert len(made) == 2
    assert recorder.recording.gradients["wide/kernel"].shape == (2, 5, 3)
    assert set(recorder.recording.arrays("outputs", "norm")) == {"net/wide", "net/head"}
