import threading
import warnings

import keras
import numpy as np
import pytest
from training import full_state, several_steps

import hrcallbacks as hr
from hrcallbacks.backends.current import backend
from hrcallbacks.worked_example.backprop import mse_gradients

BACKEND = keras.config.backend()
# Keras says so at the end of each epoch whose length it does not know.
OUT_OF_DATA = pytest.mark.filterwarnings("ignore:Your input ran out of data")


def fit(model, data, *callbacks, **kwargs):
    kwargs = {"batch_size": 5, "epochs": 2, "verbose": 0} | kwargs
    return model.fit(*data, callbacks=list(callbacks), **kwargs)


def steps(recorder):
    return recorder.recording.index["step"].tolist()


class Raises(keras.callbacks.Callback):
    """Raises in one of the hooks."""

    def __init__(self, hook, error, at=1):
        super().__init__()
        self._error = error
        self._calls = 0
        self._at = at
        setattr(self, hook, self._raise)

    def _raise(self, *args, **kwargs):
        self._calls += 1
        if self._calls > self._at:
            raise self._error


def test_each_epochs_last_step_is_recorded(tiny, line):
    recorder = hr.GradientRecorder()
    fit(tiny, line, recorder)
    assert recorder.recording.index[["step", "epoch", "batch"]].to_numpy().tolist() == [
        [4, 1, 4],
        [8, 2, 4],
    ]


def test_int_records_every_nth_step_of_the_run(tiny, line):
    recorder = hr.GradientRecorder(record_freq=3)
    fit(tiny, line, recorder)
    assert steps(recorder) == [3, 6]


def test_callable_chooses_the_steps(tiny, line):
    recorder = hr.GradientRecorder(record_freq=lambda step: step in (1, 7))
    fit(tiny, line, recorder)
    assert steps(recorder) == [1, 7]


def test_weights_before_a_step_are_those_after_the_one_before(tiny, line):
    before = hr.GradientRecorder(record_freq=1, weights_at="before")
    fit(tiny, line, before)
    before = before.recording.weights["hidden/kernel"]
    np.testing.assert_array_equal(before[-1] != before[0], True)

    after = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, after, epochs=1)
    np.testing.assert_array_equal(
        after.recording.weights["hidden/kernel"][-1], tiny.get_weights()[0]
    )


def test_each_steps_gradient_is_that_of_its_own_batch_and_weights(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    fit(tiny, line, recorder, shuffle=False)
    recording = recorder.recording
    x, y = line
    for t, batch in enumerate(recording.index["batch"]):
        rows = slice(5 * (batch - 1), 5 * batch)
        parameters = [recording.weights[path][t] for path in recording.paths]
        expected = mse_gradients(parameters, x[rows], y[rows])
        for path, gradient in zip(recording.paths, expected, strict=True):
            np.testing.assert_allclose(
                recording.gradients[path][t], gradient, rtol=2e-6, atol=1e-6
            )


def test_loss_is_that_of_the_batch_not_kerass_running_mean(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    fit(tiny, line, recorder, shuffle=False, epochs=1)
    x, y = line
    w1, b1, w2, b2 = recorder.recording.weights.values()
    for t, loss in enumerate(recorder.recording.index["loss"]):
        rows = slice(5 * t, 5 * t + 5)
        output = np.maximum(x[rows] @ w1[t] + b1[t], 0) @ w2[t] + b2[t]
        assert loss == pytest.approx(np.mean((y[rows] - output) ** 2), rel=1e-6)


def test_epoch_records_hold_the_epochs_metrics(tiny, line):
    tiny.compile("adam", loss="mse", metrics=["mae", hr.MeanOutput()])
    recorder = hr.GradientRecorder()
    history = fit(tiny, line, recorder, validation_data=line)
    index = recorder.recording.index
    for name in ("mae", "output", "val_loss", "val_mae"):
        assert index[name].tolist() == history.history[name]
    assert index["loss"].tolist() != history.history["loss"]


def test_last_batch_may_be_smaller(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, recorder, batch_size=6)
    assert steps(recorder) == [*range(1, 9)]
    assert recorder.recording.index["batch"].tolist() == [1, 2, 3, 4] * 2


@OUT_OF_DATA
@pytest.mark.parametrize("freq", ["epoch", 1, 3])
def test_data_of_unknown_length(tiny, line, freq):
    tf = pytest.importorskip("tensorflow")
    data = tf.data.Dataset.from_tensor_slices(line).batch(5).filter(lambda x, y: True)
    recorder = hr.GradientRecorder(record_freq=freq)
    tiny.fit(data, epochs=3, shuffle=False, verbose=0, callbacks=[recorder])
    expected = {"epoch": [4, 8, 12], 1: [*range(1, 13)], 3: [3, 6, 9, 12]}
    assert steps(recorder) == expected[freq]


@OUT_OF_DATA
@pytest.mark.parametrize("freq", ["epoch", 1, 3])
def test_generator_that_runs_out(tiny, line, freq):
    def batches():
        for _ in range(4):
            yield tuple(a[:5] for a in line)

    recorder = hr.GradientRecorder(record_freq=freq)
    tiny.fit(batches(), epochs=1, shuffle=False, verbose=0, callbacks=[recorder])
    assert steps(recorder) == {"epoch": [4], 1: [1, 2, 3, 4], 3: [3]}[freq]


@OUT_OF_DATA
@several_steps
@pytest.mark.parametrize("length", ["known", "unknown"])
@pytest.mark.parametrize("per_execution", [2, 3, 9])
@pytest.mark.parametrize("freq", ["epoch", 1, 3])
def test_every_step_of_an_execution_is_recorded(
    tiny, line, per_execution, freq, length
):
    data, batch_size = {"x": line[0], "y": line[1]}, 5
    if length == "unknown":
        tf = pytest.importorskip("tensorflow")
        batches = tf.data.Dataset.from_tensor_slices(line).batch(5)
        data, batch_size = {"x": batches.filter(lambda x, y: True)}, None
    start = tiny.get_weights()
    recorder = hr.GradientRecorder(record_freq=freq)
    ends = []
    for callbacks in ([], [recorder]):
        tiny.set_weights(start)
        tiny.compile(
            "adam", "mse", steps_per_execution=per_execution, jit_compile=False
        )
        tiny.fit(
            **data,
            batch_size=batch_size,
            epochs=3,
            shuffle=False,
            verbose=0,
            callbacks=callbacks,
        )
        ends.append(full_state(tiny))
    expected = {"epoch": [4, 8, 12], 1: [*range(1, 13)], 3: [3, 6, 9, 12]}
    assert steps(recorder) == expected[freq]
    # Counted right also when an execution reaches past the end of the data.
    assert int(tiny.optimizer.iterations.value) == 12
    for plain, recorded in zip(*ends, strict=True):
        np.testing.assert_array_equal(plain, recorded)


def test_second_fit_appends_and_goes_on_counting(tiny, line):
    recorder = hr.GradientRecorder(record_freq=3)
    fit(tiny, line, recorder)
    fit(tiny, line, recorder)
    assert steps(recorder) == [3, 6, 9, 12, 15]
    recorder.reset()
    assert len(recorder.recording) == 0
    fit(tiny, line, recorder)
    assert steps(recorder) == [3, 6]


def test_initial_epoch_is_kept(tiny, line):
    recorder = hr.GradientRecorder()
    fit(tiny, line, recorder, initial_epoch=3, epochs=5)
    assert recorder.recording.index["epoch"].tolist() == [4, 5]


def test_selected_variables_alone_are_recorded(tiny, line):
    recorder = hr.GradientRecorder("output/*")
    fit(tiny, line, recorder)
    assert recorder.recording.paths == ["tiny/output/kernel", "tiny/output/bias"]


def test_gradients_or_weights_can_be_left_out(tiny, line):
    weights = hr.GradientRecorder(gradients=None)
    fit(tiny, line, weights)
    assert (len(weights.recording.gradients), len(weights.recording.weights)) == (0, 4)
    gradients = hr.GradientRecorder(weights=None)
    fit(tiny, line, gradients)
    assert len(gradients.recording.gradients) == 4
    assert len(gradients.recording.weights) == 0


def test_model_that_keras_builds_in_its_first_step(line):
    class Late(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)

        def call(self, x):
            return self.dense(x)

    model = Late()
    model.compile("sgd", loss="mse")
    recorder = hr.GradientRecorder("*/kernel", record_freq=1)
    fit(model, line, recorder)
    assert len(recorder.recording) == 8
    assert recorder.recording.paths == [model.dense.kernel.path]

    model = Late()
    model.compile("sgd", loss="mse")
    with pytest.raises(ValueError, match=r"No trainable variable matches.*/kernel"):
        fit(model, line, hr.GradientRecorder("*/gamma"))
    assert int(model.optimizer.iterations) == 0


@pytest.mark.skipif(BACKEND == "jax", reason="jax.grad gives zeros, never None")
def test_variable_without_gradient_is_nan_and_flagged(line):
    class Idle(keras.layers.Layer):
        def build(self, shape):
            self.idle = self.add_weight(shape=(2,), name="idle")
            self.used = self.add_weight(shape=(1,), name="used")

        def call(self, x):
            return x * self.used

    model = keras.Sequential([keras.Input((1,)), Idle()])
    model.compile("sgd", loss="mse")
    recorder = hr.GradientRecorder()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Gradients do not exist")
        fit(model, line, recorder)
    recording = recorder.recording
    assert np.isnan(recording.gradients["idle"]).all()
    assert recording.has_gradient.to_numpy().tolist() == [[False, True]] * 2
    assert not recording.has_nonfinite.to_numpy().any()
    assert np.isfinite(recording.weights["idle"]).all()


@pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
def test_nan_and_infinite_gradients_are_recorded_as_they_are(tiny, line):
    x, y = line
    y = y.copy()
    y[7] = np.nan  # In the second batch.
    recorder = hr.GradientRecorder(record_freq=1)
    fit(tiny, (x, y), recorder, shuffle=False, epochs=1)
    gradients = recorder.recording.gradients["output/bias"]
    assert np.isfinite(gradients[0]).all()
    assert np.isnan(gradients[1:]).all()
    flags = recorder.recording.has_nonfinite["tiny/output/bias"]
    assert flags.tolist() == [False, True, True, True]
    assert np.isnan(recorder.recording.index["loss"][1])


def test_recording_is_complete_once_the_fit_has_ended(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    during = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            during.append(recorder.recording.attributes["complete"])

    fit(tiny, line, recorder, Looks())
    assert during == [False, False]
    assert recorder.recording.attributes["complete"] is True


def test_frequency_that_hits_no_step_is_named(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1000)
    with pytest.warns(UserWarning, match=r"record_freq=1000 selects none of the 8"):
        fit(tiny, line, recorder)
    assert len(recorder.recording) == 0
    with pytest.raises(ValueError, match=r"empty.*record_freq"):
        recorder.recording.to_frame()


def test_model_compiled_again_has_one_learning_rate_and_its_own_optimizer(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, recorder)
    tiny.compile(keras.optimizers.SGD(0.25), loss="mse", jit_compile=False)
    fit(tiny, line, recorder)
    rates = recorder.recording.index["learning_rate"]
    np.testing.assert_allclose(rates, np.repeat([0.001, 0.25], 8), rtol=1e-6)
    assert "learning_rate_2" not in recorder.recording.index
    assert recorder.recording.attributes["optimizer"]["class_name"] == "SGD"
    assert recorder.recording.replay().max_error < 1e-6


def test_arrays_are_found_by_variable_too(tiny, line):
    recorder = hr.GradientRecorder()
    fit(tiny, line, recorder)
    kernel = tiny.get_layer("hidden").kernel
    np.testing.assert_array_equal(
        recorder.recording.weights[kernel],
        recorder.recording.weights["tiny/hidden/kernel"],
    )


# What is refused, before anything is trained.


@pytest.mark.parametrize(
    ("arguments", "error", "text"),
    [
        ({"record_freq": 0}, ValueError, "an int, 1 or more"),
        ({"weights_at": "during"}, ValueError, "weights_at.*'during'"),
        ({"gradients": "norm1"}, ValueError, "gradients.*'raw'.*'norm1'"),
        ({"gradients": None, "weights": None}, ValueError, "nothing to record"),
        ({"variables": 3}, TypeError, "glob.*Received: 3"),
        ({"variables": []}, ValueError, "selects nothing"),
    ],
)
def test_bad_arguments_are_refused_at_once(arguments, error, text):
    with pytest.raises(error, match=text):
        hr.GradientRecorder(**arguments)


def test_unmatched_pattern_is_refused_before_training(tiny, line):
    before = tiny.get_weights()
    with pytest.raises(ValueError, match=r"'\*/gamma'.*tiny/hidden/kernel"):
        fit(tiny, line, hr.GradientRecorder("*/gamma"))
    for was, now in zip(before, tiny.get_weights(), strict=True):
        np.testing.assert_array_equal(was, now)


def test_model_without_trainable_weights_is_refused(tiny, line):
    tiny.trainable = False
    tiny.compile("adam", loss="mse")
    with pytest.raises(ValueError, match="no trainable variables"):
        fit(tiny, line, hr.GradientRecorder())


def test_uncompiled_model_is_refused(line):
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    with pytest.raises(ValueError, match=r"call `compile\(\)`"):
        fit(model, line, hr.GradientRecorder())


@pytest.mark.skipif(BACKEND != "tensorflow", reason="Keras itself raises there")
def test_empty_data_is_refused(tiny):
    empty = np.zeros((0, 1))
    with pytest.raises(ValueError, match="no data to train on"):
        fit(tiny, (empty, empty), hr.GradientRecorder())


def test_recorder_of_another_model_is_refused_and_loses_nothing(tiny, line):
    recorder = hr.GradientRecorder()
    fit(tiny, line, recorder)
    other = keras.models.clone_model(tiny)
    other.compile("adam", loss="mse")
    with pytest.raises(
        ValueError, match=r"another model, 'tiny'.*2 records.*reset\(\)"
    ):
        fit(other, line, recorder)
    assert len(recorder.recording) == 2


# What is left behind: nothing.


def attributes(model):
    loss_metric = next(m for m in model.metrics if m.name == "loss")
    return [
        {name: id(value) for name, value in vars(owner).items()}
        for owner in (model, model.optimizer, loss_metric)
    ]


@pytest.fixture
def trained(tiny, line):
    """A model whose train functions exist, and what it holds."""
    fit(tiny, line)
    return tiny


@pytest.mark.parametrize("freq", ["epoch", 1])
def test_nothing_stays_in_the_model(trained, line, freq):
    names = [set(names) for names in attributes(trained)]
    function = trained.train_function
    fit(trained, line, hr.GradientRecorder(record_freq=freq))
    assert trained.train_function is function
    assert [set(names) for names in attributes(trained)] == names


HOOKS = [
    "on_epoch_begin",
    "on_train_batch_begin",
    "on_train_batch_end",
    "on_epoch_end",
]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("error", [RuntimeError("broke"), KeyboardInterrupt()])
@pytest.mark.parametrize("order", ["before", "after"])
def test_interrupted_fit_keeps_its_records_and_leaves_the_model(
    trained, line, hook, error, order
):
    function = trained.train_function
    recorder = hr.GradientRecorder(record_freq=1)
    raises = Raises(hook, error)
    callbacks = [recorder, raises] if order == "after" else [raises, recorder]
    with pytest.raises(type(error)):
        fit(trained, line, *callbacks)
    epochwise = "epoch" in hook
    expected = {"on_epoch_begin": 4, "on_epoch_end": 8, "on_train_batch_begin": 1}
    assert len(recorder.recording) == expected.get(hook, 2)
    assert "INCOMPLETE: fit has not finished" in repr(recorder.recording)
    # A later fit without a recorder records nothing and runs as ever.
    fit(trained, line)
    assert len(recorder.recording) == expected.get(hook, 2)
    assert trained.train_function is function
    assert epochwise or int(trained.optimizer.iterations) > 8


def test_exception_inside_the_step_leaves_the_model(line):
    class Fails(keras.Model):
        def __init__(self):
            super().__init__()
            self.dense = keras.layers.Dense(1)
            self.fails = False

        def call(self, x):
            if self.fails:
                raise RuntimeError("broke")
            return self.dense(x)

    model = Fails()
    model.compile("sgd", loss="mse", run_eagerly=True)
    recorder = hr.GradientRecorder(record_freq=1)

    class BreakLater(keras.callbacks.Callback):
        def on_train_batch_begin(self, batch, logs=None):
            model.fails = batch == 2

    with pytest.raises(RuntimeError, match="broke"):
        fit(model, line, recorder, BreakLater())
    assert steps(recorder) == [1, 2]
    model.fails = False
    assert "train_step" not in vars(model)
    assert "apply" not in vars(model.optimizer)
    fit(model, line)
    assert steps(recorder) == [1, 2]


def test_saved_model_holds_nothing_of_the_recorder(trained, line, tmp_path):
    checkpoint = keras.callbacks.ModelCheckpoint(tmp_path / "best.keras")
    fit(trained, line, hr.GradientRecorder(record_freq=1), checkpoint)
    loaded = keras.saving.load_model(tmp_path / "best.keras")
    for ours, theirs in zip(trained.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


def test_fault_in_recording_warns_once_and_training_goes_on(tiny, line):
    def breaks(step):
        if step == 3:
            raise RuntimeError("disk on fire")
        return True

    recorder = hr.GradientRecorder(record_freq=breaks)
    with pytest.warns(RuntimeWarning, match="disk on fire.*incomplete") as caught:
        fit(tiny, line, recorder)
    assert [w.category for w in caught].count(RuntimeWarning) == 1
    assert int(tiny.optimizer.iterations) == 8
    assert steps(recorder) == [1, 2]
    assert recorder.recording.attributes["complete"] is False
    assert "INCOMPLETE" in repr(recorder.recording)


@pytest.mark.parametrize("how", ["fit", "attached"])
def test_fault_inside_the_step_warns_once_and_training_goes_on(
    tiny, line, monkeypatch, how
):
    def broken(*args):
        raise RuntimeError("no gradient here")

    monkeypatch.setattr(backend, "gradient", broken)
    recorder = hr.GradientRecorder(record_freq=1)
    before = tiny.get_weights()

    def train_on_one_batch():
        with recorder.attached(tiny):
            tiny.train_on_batch(*line)

    with pytest.warns(RuntimeWarning, match="no gradient here") as caught:
        fit(tiny, line, recorder) if how == "fit" else train_on_one_batch()
    assert sum(w.category is RuntimeWarning for w in caught) == 1
    assert int(tiny.optimizer.iterations) == (8 if how == "fit" else 1)
    assert not np.array_equal(before[0], tiny.get_weights()[0])
    assert "no gradient here" in recorder.recording.attributes["fault"]


def test_train_function_that_cannot_be_made_warns_and_training_goes_on(
    tiny, line, monkeypatch
):
    def broken(model, probes):
        raise RuntimeError("no such thing")

    monkeypatch.setattr(
        "hrcallbacks.capture.armed_step.make_capturing_function", broken
    )
    recorder = hr.GradientRecorder()
    with pytest.warns(RuntimeWarning, match=r"no such thing.*incomplete"):
        fit(tiny, line, recorder)
    assert int(tiny.optimizer.iterations.value) == 8
    assert len(recorder.recording) == 0
    assert recorder.recording.attributes["complete"] is False


def test_evaluate_and_predict_are_left_alone(tiny, line):
    recorder = hr.GradientRecorder()
    tiny.evaluate(*line, verbose=0, callbacks=[recorder])
    tiny.predict(line[0], verbose=0, callbacks=[recorder])
    assert len(recorder.recording) == 0


# What a first user stumbled over.


class InterruptsAt(keras.callbacks.Callback):
    def __init__(self, batch):
        super().__init__()
        self.batch = batch

    def on_train_batch_end(self, batch, logs=None):
        if batch == self.batch:
            raise KeyboardInterrupt


@pytest.mark.parametrize("freq", [1, 2])
def test_no_step_is_counted_twice_after_an_interruption(tiny, line, freq):
    recorder = hr.GradientRecorder(record_freq=freq)
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, line, InterruptsAt(1), recorder)
    fit(tiny, line, recorder)
    assert steps(recorder) == list(range(freq, 11, freq))
    assert "INCOMPLETE: fit 1 of 2" in repr(recorder.recording)


def test_layer_frozen_between_two_fits(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, recorder)
    tiny.get_layer("hidden").trainable = False
    tiny.compile("sgd", loss="mse", jit_compile=False)
    fit(tiny, line, recorder)
    recording = recorder.recording
    assert recording.paths == [
        f"tiny/{name}" for name in ("hidden/kernel", "hidden/bias")
    ] + [f"tiny/{name}" for name in ("output/kernel", "output/bias")]
    assert "4 variables" in repr(recording)
    assert recording.to_frame().shape[0] == 16
    assert (
        recording.has_gradient["tiny/hidden/kernel"].tolist()
        == [True] * 8 + [False] * 8
    )
    assert np.isnan(recording.gradients["hidden/kernel"][8:]).all()
    assert recording.replay().max_error < 1e-6


def test_reset_during_a_fit_ends_the_recording_not_the_training(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)

    class Resets(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                recorder.reset()

    fit(tiny, line, recorder, Resets())
    assert int(tiny.optimizer.iterations) == 8
    assert len(recorder.recording) == 0
    fit(tiny, line, recorder)
    assert steps(recorder) == list(range(1, 9))


def test_recorder_twice_among_the_callbacks_is_refused(tiny, line):
    recorder = hr.GradientRecorder()
    with pytest.raises(ValueError, match="twice in the callbacks"):
        fit(tiny, line, recorder, recorder)
    fit(tiny, line, recorder)
    assert steps(recorder) == [4, 8]


def test_epochs_that_end_early_say_why_nothing_was_recorded(tiny, line):
    class Stops(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = batch == 1

    recorder = hr.GradientRecorder()
    with pytest.warns(UserWarning, match=r"no epoch reached it.*freq=1"):
        fit(tiny, line, recorder, Stops())


def test_recorder_says_what_it_holds(tiny, line):
    recorder = hr.GradientRecorder()
    fit(tiny, line, recorder)
    assert repr(recorder) == "<GradientRecorder: 2 records>"


@pytest.mark.parametrize("variables", [3, lambda v: True])
def test_tables_refuse_what_is_no_glob(tiny, line, variables):
    recorder = hr.GradientRecorder()
    fit(tiny, line, recorder)
    with pytest.raises(TypeError, match="glob"):
        recorder.recording.to_frame(variables=variables)


def test_hooks_run_in_another_thread_only_where_steps_run_ahead(tiny, line):
    threads = set()

    class Told(hr.GradientRecorder):
        def on_train_batch_end(self, batch, logs=None):
            threads.add(threading.get_ident())
            super().on_train_batch_end(batch, logs)

    fit(tiny, line, Told())
    # TensorFlow's hooks all run in the training's thread.
    on_a_gpu = BACKEND == "torch" and keras.ops.zeros(()).is_cuda
    elsewhere = threading.get_ident() not in threads
    assert elsewhere == (BACKEND == "jax" or on_a_gpu)
