"""Seeing into layers changes no training, and what cannot be seen is refused."""

import functools

import keras
import numpy as np
import pytest
from keras import layers
from layered import BATCH, MODELS, ROWS, trained
from training import full_state, several_steps

import hrcallbacks as hr
from hrcallbacks.selection.layers import attach_mask, keras_mask

BACKEND = keras.config.backend()
MODES = {
    "tensorflow": {
        "graph": {"jit_compile": False},
        "xla": {"jit_compile": True},
        "eager": {"run_eagerly": True},
    },
    "jax": {"jit": {"jit_compile": True}},
    "torch": {"eager": {}},
}[BACKEND]
EAGERLY = {"run_eagerly": True} if BACKEND == "tensorflow" else {}
QUANTITIES = {
    "raw": "raw",
    "reduced": ["norm", "zero_fraction", hr.PerUnit("mean"), hr.Rows(3)],
}


def assert_same(plain, seen):
    (model, _, _, history), (other, _, _, other_history) = plain, seen
    for a, b in zip(full_state(model), full_state(other), strict=True):
        np.testing.assert_array_equal(a, b)
    assert history == other_history


def watching(what="raw", **kwargs):
    return hr.GradientRecorder(
        record_freq=1, outputs=what, output_gradients=what, optimizer="raw", **kwargs
    )


# Reductions alone leave XLA the most to join. It takes minutes for all of both.
CASES = [
    (name, mode, what)
    for name in MODELS
    for mode in MODES
    for what in QUANTITIES
    if what == "reduced" or BACKEND != "tensorflow" or mode != "xla" or name == "conv"
]


def rows_of(name, mode):
    """How many rows of data: XLA compiles the smaller last batch anew."""
    takes_long = name == "stored" or (mode == "xla" and name != "conv")
    return 16 if takes_long else ROWS


@functools.lru_cache(maxsize=1)
def plainly(name, mode):
    return trained(MODELS[name], compiled=MODES[mode], rows=rows_of(name, mode))


@pytest.mark.parametrize(("name", "mode", "what"), CASES)
def test_training_is_the_same_to_the_last_bit(name, mode, what):
    recorder, rows = watching(QUANTITIES[what]), rows_of(name, mode)
    seen = trained(MODELS[name], [recorder], compiled=MODES[mode], rows=rows)
    assert_same(plainly(name, mode), seen)
    assert recorder.recording.attributes["complete"]
    assert len(recorder.recording) == 2 * -(-rows // BATCH)


@several_steps
def test_training_is_the_same_with_several_steps_per_execution():
    compiled = {"steps_per_execution": 2, "jit_compile": BACKEND == "jax"}
    plain = trained(MODELS["dense"], compiled=compiled, rows=16)
    recorder = watching()
    assert_same(plain, trained(MODELS["dense"], [recorder], compiled=compiled, rows=16))
    assert recorder.recording.outputs["m/hidden"].shape == (4, 8, 4)


@pytest.mark.skipif(BACKEND == "torch", reason="mixed_float16 needs a GPU on torch")
def test_training_is_the_same_in_mixed_precision():
    keras.config.set_dtype_policy("mixed_float16")
    try:
        plain = trained(MODELS["dense"])
        assert_same(plain, trained(MODELS["dense"], [watching()]))
    finally:
        keras.config.set_dtype_policy("float32")


# On TensorFlow nothing takes a tensor's place, nor needs its mask.
PARTS = ["backend.tap"] + ["attach_mask"] * (BACKEND != "tensorflow")


@pytest.mark.parametrize("part", PARTS)
def test_a_tap_that_fails_stops_the_recording_alone(part, monkeypatch):
    def fail(*args, **kwargs):
        raise AttributeError("renamed in a later Keras")

    plain = trained(MODELS["dense"])
    monkeypatch.setattr(f"hrcallbacks.capture.observation.{part}", fail)
    recorder = watching()
    with pytest.warns(RuntimeWarning, match="renamed in a later Keras") as said:
        seen = trained(MODELS["dense"], [recorder])
    ours = [str(w.message) for w in said if w.category is RuntimeWarning]
    assert len(ours) == 1, ours
    assert_same(plain, seen)
    assert not recorder.recording.attributes["complete"]


def test_masks_are_where_keras_has_them():
    tensor = keras.ops.ones((2, 3))
    assert keras_mask(tensor) is None
    attach_mask(tensor, keras.ops.ones((2,)))
    assert keras_mask(tensor) is not None
    masked = layers.Masking()(tensor[:, None])
    assert keras_mask(masked) is not None


def test_nothing_of_it_stays_behind():
    model, *_ = trained(MODELS["dense"], [watching()])
    for layer in model.layers:
        assert "call" not in vars(layer)
    assert model.layers[0].activation is keras.activations.tanh
    if BACKEND == "tensorflow":
        import tensorflow as tf

        assert not hasattr(tf.GradientTape.gradient, "__wrapped__")


def test_a_step_without_it_is_the_one_that_there_was(monkeypatch):
    """Where nothing is asked of layers none is touched, and no tape."""
    from hrcallbacks.backends.current import backend

    def fail(*args, **kwargs):
        raise AssertionError

    for name in ("tap", "watched", "with_rows", "untouched"):
        monkeypatch.setattr(backend, name, fail)
    recorder = hr.GradientRecorder()
    trained(MODELS["dense"], [recorder])
    assert recorder.recording.attributes["complete"]


@pytest.mark.parametrize("name", ["outputs", "output_gradients"])
def test_a_glob_without_match_lists_the_layers(name):
    recorder = hr.GradientRecorder(**{name: "raw"} | {name: {"hiden": "norm"}})
    with pytest.raises(ValueError, match=rf"{name}='hiden'.*'m/hidden', 'm/out'"):
        trained(MODELS["dense"], [recorder])


def test_an_optimizers_glob_without_match_lists_its_variables():
    recorder = hr.GradientRecorder(optimizer={"*speed*": "norm"})
    with pytest.raises(ValueError, match=r"optimizer='\*speed\*'.*iteration"):
        trained(MODELS["dense"], [recorder])


def test_raw_outputs_that_do_not_fit_are_refused_before_training():
    recorder = watching(max_bytes=2000)
    untrained, *_ = trained(MODELS["dense"], epochs=0)
    keras.utils.set_random_seed(3)
    model, x = MODELS["dense"]()
    model.compile("adam", "mse")
    with pytest.raises(ValueError, match=r"over max_bytes=2,000.*What would fit"):
        model.fit(x, x[:, :1], batch_size=8, verbose=0, callbacks=[recorder])
    for a, b in zip(untrained.get_weights(), model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_what_is_recorded_each_epoch_is_refused_before_the_first_step():
    recorder = hr.GradientRecorder(outputs="raw", max_bytes=600)
    keras.utils.set_random_seed(3)
    model, x = MODELS["dense"]()
    model.compile("adam", "mse")
    before = model.get_weights()
    with pytest.raises(ValueError, match=r"hr\.PerUnit"):
        model.fit(x, x[:, :1], epochs=2, batch_size=8, verbose=0, callbacks=[recorder])
    for a, b in zip(before, model.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)


def test_a_rematerialised_layer_is_refused_by_name():
    def make():
        with keras.RematScope(mode="full"):
            inner = layers.Dense(3, name="again")
        model = keras.Sequential(
            [keras.Input((2,)), inner, layers.Dense(1, name="out")], name="m"
        )
        return model, np.zeros((ROWS, 2), "float32")

    with pytest.raises(ValueError, match=r"rematerialised.*'m/again'"):
        trained(make, [hr.GradientRecorder(outputs="norm")])
    recorder = hr.GradientRecorder(outputs={"again": None, "*": "norm"})
    # In a graph of TensorFlow, Keras cannot run such a layer at all.
    trained(make, [recorder], compiled=EAGERLY)
    assert list(recorder.recording.arrays("outputs", "norm")) == ["m/out"]


@pytest.mark.skipif(BACKEND == "torch", reason="torch loops in Python: cells are seen")
def test_a_cell_in_a_loop_is_refused_by_name_or_left_out():
    with pytest.raises(ValueError, match=r"lstm_cell.*function of its own"):
        trained(MODELS["lstm"], [hr.GradientRecorder(outputs={"*cell": "norm"})])
    recorder = watching("norm")
    trained(MODELS["lstm"], [recorder])
    recording = recorder.recording
    assert recording.attributes["complete"]
    assert recording.attributes["out_of_reach"] == ["m/lstm/lstm_cell"]
    assert not [n for n in recording.arrays("outputs", "norm") if "cell" in n]


def test_a_loop_of_ones_own_is_refused(tiny, line):
    recorder = hr.GradientRecorder(outputs="norm")
    gradients = [np.zeros(v.shape, "float32") for v in tiny.trainable_variables]
    gradients = [keras.ops.convert_to_tensor(g) for g in gradients]
    with (
        pytest.raises(ValueError, match="hand-written loop"),
        recorder.attached(tiny),
    ):
        tiny.optimizer.apply(gradients, tiny.trainable_variables)


def test_train_on_batch_is_seen_into(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, outputs="raw")
    x, y = line
    with recorder.attached(tiny):
        for _ in range(2):
            tiny.train_on_batch(x, y)
    assert recorder.recording.outputs["output"].shape == (2, 20, 1)


def test_layers_are_found_in_models_and_composites():
    """Keras' private list of layers is what it is taken for."""
    from hrcallbacks.selection.layers import layers_of

    found = [each.path for each in layers_of(MODELS["attention"]()[0])]
    assert {"mha", "mha/query", "mha/key", "norm", "out"} <= set(found)
