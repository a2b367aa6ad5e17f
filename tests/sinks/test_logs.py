import contextlib
import csv
import io
import warnings

import autodiff
import keras
import numpy as np
import pytest
from training import full_state, several_steps

import hrcallbacks as hr

BACKEND = keras.config.backend()


def fit(model, line, *callbacks, epochs=2, **options):
    options = {"batch_size": 5, "shuffle": False, "verbose": 0} | options
    return model.fit(*line, epochs=epochs, callbacks=[*callbacks], **options)


class Logs(keras.callbacks.Callback):
    """Keeps what Keras hands out."""

    def __init__(self):
        super().__init__()
        self.batches = {}
        self.epochs = []

    def on_train_batch_end(self, batch, logs=None):
        self.batches[len(self.epochs), batch] = dict(logs)

    def on_epoch_end(self, epoch, logs=None):
        self.epochs.append(dict(logs))


def norms_of_autodiff(model, line, *, epochs=2, chosen=slice(None)):
    """Each step's gradient norm, by the backend's own tape, in float64.

    The weights that each step starts from are those of a recorder that is not asked
    for norms.
    """
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before", gradients=None)
    fit(model, line, recorder, epochs=epochs)
    weights = recorder.recording.weights
    found = []
    for step in range(4 * epochs):
        rows = slice(step % 4 * 5, step % 4 * 5 + 5)
        now = [weights[path][step] for path in recorder.recording.paths]
        x, y = (a[rows] for a in line)
        gradients = autodiff.gradients(model, now, x, y)[chosen]
        flat = np.concatenate([np.ravel(g) for g in gradients]).astype(np.float64)
        found.append(np.linalg.norm(flat))
    return np.array(found)


@pytest.fixture(scope="module")
def expected():
    """The norms of the steps of two epochs of `tiny` on `line`."""
    return norms_of_autodiff(make_tiny(), make_line())


def make_line():
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    return x, 3 * x + 1


def make_tiny(**options):
    keras.utils.set_random_seed(7)
    layers = [
        keras.Input((1,)),
        keras.layers.Dense(3, activation="relu", name="hidden"),
        keras.layers.Dense(1, name="output"),
    ]
    model = keras.Sequential(layers, name="tiny")
    model.compile("adam", loss="mse", **{"jit_compile": False} | options)
    return model


WAYS = {
    "raw, epochs": {},
    "raw, all steps": {"record_freq": 1},
    "raw, some steps": {"record_freq": 3},
    "reductions": {"gradients": ["norm", "max"], "weights": None, "record_freq": 2},
    "histograms": {"gradients": hr.Histogram(8), "weights": "update_ratio"},
    "weights alone": {"gradients": None},
    "mean": {"epoch_gradient": "mean"},
}


@pytest.mark.parametrize("options", WAYS.values(), ids=WAYS)
def test_logs_have_the_norm_of_every_step_and_its_mean(line, expected, options):
    logs = Logs()
    recorder = hr.GradientRecorder(**options, sinks=[hr.Logs()])
    history = fit(make_tiny(), line, recorder, logs)
    norms = [logs.batches[divmod(n, 4)]["gradient_norm"] for n in range(8)]
    assert all(type(norm) is float for norm in norms)
    np.testing.assert_allclose(norms, expected, rtol=2e-5)
    means = expected.reshape(2, 4).mean(axis=1)
    np.testing.assert_allclose(history.history["gradient_norm"], means, rtol=2e-5)
    assert [e["gradient_norm"] for e in logs.epochs] == history.history["gradient_norm"]


def test_the_norm_is_that_of_the_chosen_variables(line):
    expected = norms_of_autodiff(make_tiny(), line, chosen=slice(0, None, 2))
    recorder = hr.GradientRecorder("*/kernel", sinks=[hr.Logs()])
    history = fit(make_tiny(), line, recorder)
    means = expected.reshape(2, 4).mean(axis=1)
    np.testing.assert_allclose(history.history["gradient_norm"], means, rtol=2e-5)


@several_steps
@pytest.mark.parametrize("freq", [1, "epoch", 3])
@pytest.mark.parametrize("count", [3, 4])  # 3: an epoch's last execution has one step.
def test_executions_of_several_steps(line, expected, count, freq):
    model, logs = make_tiny(steps_per_execution=count), Logs()
    recorder = hr.GradientRecorder(record_freq=freq, sinks=[hr.Logs()])
    history = fit(model, line, recorder, logs)
    last = {3: [2, 3, 6, 7], 4: [3, 7]}[count]
    norms = [batch["gradient_norm"] for batch in logs.batches.values()]
    np.testing.assert_allclose(norms, expected[last], rtol=2e-5)
    means = expected.reshape(2, 4).mean(axis=1)
    np.testing.assert_allclose(history.history["gradient_norm"], means, rtol=2e-5)


def test_the_index_has_what_the_logs_have(line, expected):
    steps = hr.GradientRecorder(record_freq=2, sinks=[hr.Logs()])
    fit(make_tiny(), line, steps)
    index = steps.recording.index
    np.testing.assert_allclose(index["gradient_norm"], expected[1::2], rtol=2e-5)
    epochs = hr.GradientRecorder(sinks=[hr.Logs()])
    history = fit(make_tiny(), line, epochs)
    index = epochs.recording.index
    assert index["gradient_norm"].tolist() == history.history["gradient_norm"]


@pytest.mark.parametrize("compiled", [{"run_eagerly": True}, {"jit_compile": True}])
def test_training_and_other_logs_are_unchanged(line, compiled):
    plain, logged = make_tiny(**compiled), make_tiny(**compiled)
    before = fit(plain, line).history
    recorder = hr.GradientRecorder(gradients="norm", weights=None, sinks=[hr.Logs()])
    history = fit(logged, line, recorder).history
    assert history.pop("gradient_norm")
    assert history == before
    for one, other in zip(full_state(plain), full_state(logged), strict=True):
        np.testing.assert_array_equal(one, other)


def test_without_it_logs_are_as_keras_makes_them(tiny, line):
    logs = Logs()
    recorder = hr.GradientRecorder(record_freq=1)
    history = fit(tiny, line, recorder, logs)
    assert [*history.history] == ["loss"]
    assert {*map(tuple, logs.batches.values()), *map(tuple, logs.epochs)} == {("loss",)}
    assert "gradient_norm" not in recorder.recording.index


def test_keras_callbacks_see_it(tiny, line, tmp_path):
    recorder = hr.GradientRecorder(sinks=[hr.Logs()])
    stop = keras.callbacks.EarlyStopping("gradient_norm", mode="max", patience=1)
    table = keras.callbacks.CSVLogger(tmp_path / "log.csv")
    shown = io.StringIO()
    with contextlib.redirect_stdout(shown):
        history = fit(tiny, line, recorder, stop, table, epochs=9, verbose=1)
    norms = history.history["gradient_norm"]
    # It stops at the first epoch whose norm is no larger than one before.
    assert len(norms) < 9
    assert norms[-1] <= norms[-2]
    with (tmp_path / "log.csv").open() as file:
        assert [float(r["gradient_norm"]) for r in csv.DictReader(file)] == norms
    assert f"gradient_norm: {norms[0]:.4f}" in shown.getvalue()


def test_threads_in_which_keras_runs_hooks_lose_no_step(line, expected):
    # Without a callback that is not safe there, Keras runs hooks in other threads.
    class OnAGPU(hr.GradientRecorder):
        async_safe = True

    recorder = OnAGPU(record_freq=1, sinks=[hr.Logs()])
    history = fit(make_tiny(), line, recorder)
    means = expected.reshape(2, 4).mean(axis=1)
    np.testing.assert_allclose(history.history["gradient_norm"], means, rtol=2e-5)


def test_steps_may_be_asked_for_in_any_order():
    log = hr.Logs()
    for batch in range(1, 7):
        tensor = keras.ops.convert_to_tensor([float(batch)])
        log.see_step(batch, {"gradient_norm": tensor})
    late, early, partial = {}, {}, {}
    log.log_batch(late, range(3, 5))
    log.log_batch(early, range(1, 3))
    log.log_batch(partial, range(5, 9))
    assert [logs["gradient_norm"] for logs in (late, early, partial)] == [4, 2, 6]
    epoch = {}
    log.log_epoch(epoch)
    assert epoch["gradient_norm"] == np.mean([1, 2, 3, 4, 5, 6])


def test_each_variable_has_its_own(line):
    each = hr.GradientRecorder(gradients="norm", weights=None, record_freq=1)
    logged = hr.GradientRecorder(record_freq=1, sinks=[hr.Logs(by="variable")])
    logs = Logs()
    history = fit(make_tiny(), line, each, logged, logs).history
    for path in each.recording.paths:
        norms = each.recording.arrays("gradients", "norm")[path]
        found = [batch[f"gradient_norm/{path}"] for batch in logs.batches.values()]
        np.testing.assert_allclose(found, norms, rtol=1e-6)
        in_index = logged.recording.index[f"gradient_norm/{path}"]
        np.testing.assert_allclose(in_index, norms, rtol=1e-6)
        means = norms.reshape(2, 4).mean(axis=1)
        np.testing.assert_allclose(history[f"gradient_norm/{path}"], means, rtol=1e-6)
    squares = sum(
        each.recording.arrays("gradients", "norm")[p] ** 2 for p in each.recording.paths
    )
    found = [batch["gradient_norm"] for batch in logs.batches.values()]
    np.testing.assert_allclose(found, np.sqrt(squares), rtol=1e-6)


def test_nan_and_infinity_are_in_the_logs(tiny, line):
    x, y = line
    y = y.copy()
    y[7] = np.nan  # In the second batch.
    logs = Logs()
    recorder = hr.GradientRecorder(sinks=[hr.Logs()])
    history = fit(tiny, (x, y), recorder, logs, epochs=1)
    finite = [np.isfinite(b["gradient_norm"]) for b in logs.batches.values()]
    assert finite == [True, False, False, False]
    assert np.isnan(history.history["gradient_norm"]).all()


class WithoutUpdate(keras.Model):
    """A model whose training step calls no optimizer."""

    def train_step(self, *args):
        if BACKEND == "jax":
            return {"loss": keras.ops.zeros(())}, args[0]
        return {"loss": keras.ops.zeros(())}


def test_an_epoch_without_any_gradient_has_nan(line):
    inputs = keras.Input((1,))
    model = WithoutUpdate(inputs, keras.layers.Dense(1)(inputs))
    model.compile("sgd", loss="mse", jit_compile=False)
    logs = Logs()
    with pytest.warns(UserWarning, match="No optimizer was called"):
        fit(model, line, hr.GradientRecorder(sinks=[hr.Logs()]), logs, epochs=1)
    assert "gradient_norm" not in logs.batches[0, 0]
    assert np.isnan(logs.epochs[0]["gradient_norm"])


def test_a_second_fit_goes_on(line, expected):
    model = make_tiny()
    recorder = hr.GradientRecorder(sinks=[hr.Logs()])
    norms = []
    for _ in range(2):
        norms += fit(model, line, recorder, epochs=1).history["gradient_norm"]
    means = expected.reshape(2, 4).mean(axis=1)
    np.testing.assert_allclose(norms, means, rtol=2e-5)


def test_a_number_of_that_name_is_kept_and_said(tiny, line):
    first = hr.GradientRecorder(sinks=[hr.Logs()])
    second = hr.GradientRecorder("*/bias", sinks=[hr.Logs()])
    with pytest.warns(RuntimeWarning, match="'gradient_norm' from elsewhere") as seen:
        history = fit(tiny, line, first, second)
    assert sum("'gradient_norm' from" in str(w.message) for w in seen) == 1
    alone = fit(make_tiny(), line, hr.GradientRecorder(sinks=[hr.Logs()]))
    assert history.history == alone.history


def test_an_early_end_is_no_missing_optimizer(tiny, line):
    class Stop(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            self.model.stop_training = True

    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        fit(tiny, line, hr.GradientRecorder(sinks=[hr.Logs()]), Stop())
    texts = [str(w.message) for w in seen]
    assert sum("Nothing was recorded" in text for text in texts) == 1
    assert not any("No optimizer was called" in text for text in texts)


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"gradients": "mean"}, r"gradients to be one of \('norm',\).*'mean'"),
        ({"by": "layer"}, r"by to be one of \(None, 'variable'\).*'layer'"),
    ],
)
def test_bad_values_are_refused(arguments, text):
    with pytest.raises(ValueError, match=text):
        hr.Logs(**arguments)


def test_outside_of_fit_there_are_no_logs(tiny):
    recorder = hr.GradientRecorder(sinks=[hr.Logs()])
    with (
        pytest.raises(ValueError, match=r"hr\.Logs adds to the logs of fit"),
        recorder.attached(tiny),
    ):
        pass
