"""Nothing is lost in silence: one door between captured steps and bytes on disk."""

import functools
import inspect
import re
import shutil
import threading
import warnings

import keras
import numpy as np
import pytest
import zarr

import hrcallbacks as hr
from hrcallbacks.capture import packing
from hrcallbacks.session import epoch_mean, intake, record_maker
from hrcallbacks.storage import (
    buffer,
    memory,
    store,
    zarr_columns,
    zarr_group,
    zarr_index,
    zarr_store,
)
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.types import Key, Record, Spec, Step

BACKEND = keras.config.backend()


class Killed(BaseException):
    """Ends whatever it is raised in, as SystemExit and KeyboardInterrupt do."""


class Faults:
    """Raises at the n-th call of a function behind the door, in any thread.

    Calls count from the first captured step: what fails before it refuses the fit.

    Args:
        at: Which call, from 1; 0 for none.
        error: What is raised.
    """

    current = None

    def __init__(self, at=0, error=None):
        self._at, self._error = at, error
        self.calls = []
        self.raised_in = None

    def __enter__(self):
        Faults.current = self
        return self

    def __exit__(self, *_):
        Faults.current = None

    def see(self, name):
        if not self.calls and name != "Intake.add":
            return
        self.calls.append(name)
        if len(self.calls) == self._at and self._error:
            self.raised_in = name, threading.current_thread().name
            error, self._error = self._error, None
            raise error


def watched(function, name):
    @functools.wraps(function)
    def wrapper(*args, **kwargs):
        if Faults.current is not None:
            Faults.current.see(name)
        return function(*args, **kwargs)

    return wrapper


def functions_behind_the_door():
    """What lies between a captured step and the bytes: `(owner, name)`."""
    modules = [intake, record_maker, epoch_mean, packing, store, memory, buffer]
    modules += [zarr_store, zarr_group, zarr_columns, zarr_index]
    for module in modules:
        for name, value in vars(module).items():
            if getattr(value, "__module__", None) != module.__name__:
                continue
            if inspect.isfunction(value):
                yield module, name
            if inspect.isclass(value) and not issubclass(value, tuple):
                methods = [n for n, v in vars(value).items() if inspect.isfunction(v)]
                yield from ((value, n) for n in methods if n != "__init__")
    yield from ((zarr.Array, name) for name in ("__setitem__", "resize"))
    yield from ((zarr.Group, name) for name in ("create_array", "update_attributes"))


@pytest.fixture
def watch(monkeypatch):
    for owner, name in [*functions_behind_the_door()]:
        function = getattr(owner, name)
        said = getattr(function, "__qualname__", name)
        monkeypatch.setattr(owner, name, watched(function, said))


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(1)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="line")])
    model.compile("sgd", loss="mse", jit_compile=False)
    return model


X = np.linspace(-1, 1, 6, dtype="float32")[:, np.newaxis]
STEPS = 6  # Two epochs of three.


def train(model, recorder, faults):
    """Trains; gives the warnings, and the exception that ended it, if one did."""
    model.set_weights([np.ones((1, 1)), np.zeros(1)])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            with faults:
                model.fit(
                    X,
                    2 * X,
                    batch_size=2,
                    epochs=2,
                    shuffle=False,
                    verbose=0,
                    callbacks=[recorder],
                )
        except Killed as error:
            return caught, error
    return caught, None


def calls_of_a_run(model, make):
    recorder = make("count")
    faults = Faults()
    train(model, recorder, faults)
    assert len(recorder.recording) == STEPS
    assert recorder.recording.attributes["complete"]
    recorder.reset()
    return faults.calls


def firsts(calls):
    """Where each function is called first."""
    return sorted(calls.index(name) + 1 for name in {*calls})


def in_memory(tmp_path):
    return lambda name: hr.GradientRecorder(record_freq=1, max_bytes=10_000)


def on_disk(tmp_path):
    return lambda name: hr.GradientRecorder(
        record_freq=1, store=tmp_path / f"{name}.zarr"
    )


@pytest.mark.parametrize("make", [in_memory, on_disk], ids=lambda m: m.__name__)
@pytest.mark.parametrize("error", [OSError("broke"), Killed("broke")], ids=repr)
def test_whatever_fails_is_said_and_what_is_said_is_there(
    model, make, error, tmp_path, watch
):
    make = make(tmp_path)
    train(model, make("warm"), Faults())
    plain = model.get_weights()
    calls = calls_of_a_run(model, make)
    places = firsts(calls)
    assert len(places) > 10
    raised = 0
    # What lies between is the same on each backend, and the quickest sees it whole.
    every = 1 if BACKEND == "torch" else 5
    for at in places[::every]:
        recorder = make(f"at{at}")
        faults = Faults(at, type(error)(*error.args))
        caught, ended = train(model, recorder, faults)
        if faults.raised_in is None:  # It is called at another place in this run.
            recorder.reset()
            continue
        raised += 1
        what = f"call {at}: {faults.raised_in}"
        recording = recorder.recording
        there = recording.index["step"].tolist()
        assert there == list(range(1, len(there) + 1)), what
        for path in recording.paths:
            assert len(np.asarray(recording.weights[path])) == len(there), what
            assert np.isfinite(np.asarray(recording.weights[path])).all(), what
        said = [w for w in caught if w.category is RuntimeWarning]
        if recording.attributes["complete"]:  # It was made up for: see RecordMaker.
            assert "RecordMaker.block" in faults.calls[: at + 1], what
            assert len(there) == STEPS, what
            assert not said, what
            recorder.reset()
            continue
        if ended is None:
            for ours, theirs in zip(model.get_weights(), plain, strict=True):
                np.testing.assert_array_equal(ours, theirs)
            assert len(said) == 1, (what, [str(w.message) for w in caught])
            assert f"the {len(there)} records" in str(said[0].message), what
        recorder.reset()
    assert raised > 10 // every, raised


# Each of these lost records, and said that the recording was complete.


@pytest.fixture
def data():
    return X, 2 * X


def unknown_length(x, y):
    def batches():
        for start in range(0, len(x), 2):
            yield x[start : start + 2], y[start : start + 2]

    return batches()


@pytest.mark.filterwarnings("ignore:Your input ran out of data")
def test_a_flush_that_fails_as_a_callback_reads_is_said(model, data):
    """Its memory is full, and the fit's length is not known."""
    probe = hr.GradientRecorder(record_freq=1)
    model.fit(*data, batch_size=2, verbose=0, callbacks=[probe])
    size = probe._session.store.columns.record_bytes
    recorder = hr.GradientRecorder(record_freq=1, max_bytes=2 * size)

    class Reads(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            assert recorder.recording is not None

    options = {"verbose": 0, "shuffle": False, "callbacks": [recorder, Reads()]}
    with pytest.warns(RuntimeWarning, match="max_bytes.*the 2 records") as caught:
        model.fit(unknown_length(*data), **options)
    assert [w.category for w in caught].count(RuntimeWarning) == 1
    assert len(recorder.recording) == 2
    assert not recorder.recording.attributes["complete"]


class Raises(keras.callbacks.Callback):
    def __init__(self, hook, error, at=1):
        super().__init__()
        self.calls = 0

        def raises(*args, **kwargs):
            self.calls += 1
            if self.calls == at:
                raise error

        setattr(self, hook, raises)


def too_large(model, data, recorder):
    recorder = hr.GradientRecorder(record_freq=1, max_bytes=100)
    with pytest.raises(ValueError, match="max_bytes=100"):
        model.fit(*data, batch_size=1, epochs=9, verbose=0, callbacks=[recorder])
    return recorder, {"batch_size": 6}


def another_raises(hook):
    def refuse(model, data, recorder):
        other = Raises(hook, RuntimeError("not today"))
        with pytest.raises(RuntimeError, match="not today"):
            model.fit(*data, verbose=0, callbacks=[recorder, other])
        return recorder, {"batch_size": 2}

    refuse.__name__ = hook
    return refuse


REFUSALS = [
    too_large,
    another_raises("on_train_begin"),
    another_raises("on_epoch_begin"),
    another_raises("on_train_batch_begin"),
]


@pytest.mark.parametrize("refuse", REFUSALS, ids=lambda r: r.__name__)
@pytest.mark.parametrize("stored", [False, True])
def test_a_refused_fit_is_as_if_it_had_never_been(
    model, data, refuse, stored, tmp_path
):
    store = tmp_path / "run.zarr" if stored else None
    recorder = hr.GradientRecorder(record_freq=1, store=store)
    recorder, options = refuse(model, data, recorder)
    assert repr(recorder.recording) == "<Recording: empty>"
    assert [*tmp_path.iterdir()] == []
    model.fit(*data, verbose=0, callbacks=[recorder], **options)
    recording = recorder.recording
    assert recording.attributes["complete"]
    assert recording.index["step"].tolist() == [*range(1, len(recording) + 1)]
    assert recording.replay().max_error < 1e-6
    recorder.reset()


def test_a_refused_pattern_leaves_nothing_and_another_model_may_follow(
    model, data, tmp_path
):
    recorder = hr.GradientRecorder("lines/*", record_freq=1, store=tmp_path / "a.zarr")
    with pytest.raises(ValueError, match="No trainable variable matches"):
        model.fit(*data, verbose=0, callbacks=[recorder])
    assert [*tmp_path.iterdir()] == []
    other = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, name="lines")], name="other"
    )
    other.compile("sgd", loss="mse", jit_compile=False)
    other.fit(*data, verbose=0, callbacks=[recorder])
    assert recorder.recording.attributes["complete"]
    assert len(recorder.recording) == 1


def test_a_refused_fit_between_two_good_ones_leaves_no_trace(model, data, tmp_path):
    recorder = hr.GradientRecorder(record_freq=1, store=tmp_path / "run.zarr")
    model.fit(*data, batch_size=2, verbose=0, callbacks=[recorder])
    another_raises("on_train_begin")(model, data, recorder)
    another_raises("on_epoch_begin")(model, data, recorder)
    model.fit(*data, batch_size=2, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    assert recording.attributes["complete"]
    assert len(recording.fits) == 2
    assert recording.index["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert recording.replay().max_error < 1e-6


@pytest.mark.parametrize("recorders", [1, 2])
def test_a_callback_that_raises_before_a_step_leaves_the_model(model, data, recorders):
    model.fit(*data, verbose=0)
    function, names = model.train_function, {*vars(model)}
    all_of_them = [hr.GradientRecorder(record_freq=1) for _ in range(recorders)]
    other = Raises("on_train_batch_begin", RuntimeError("not today"), at=2)
    with pytest.raises(RuntimeError, match="not today"):
        model.fit(*data, batch_size=2, verbose=0, callbacks=[*all_of_them, other])
    assert model.train_function is function
    assert {*vars(model)} == names
    model.train_on_batch(*data)
    for recorder in all_of_them:
        assert recorder.recording.index["step"].tolist() == [1]
    # The History of the fit that broke off is left alone, too.
    assert "on_train_batch_begin" not in vars(model.history)


def test_a_history_of_the_users_own_may_come_first(model, data):
    recorder = hr.GradientRecorder(record_freq=1)
    history = keras.callbacks.History()
    for _ in range(2):
        model.fit(*data, batch_size=2, verbose=0, callbacks=[history, recorder])
    assert recorder.recording.index["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert recorder.recording.attributes["complete"]


@pytest.mark.parametrize("error", [SystemExit, KeyboardInterrupt, GeneratorExit])
def test_the_death_of_the_thread_that_writes_is_said(
    model, data, error, tmp_path, monkeypatch
):
    from hrcallbacks.storage.zarr_store import ZarrStore

    extend, calls = ZarrStore.extend, []

    def dies(self, block):
        calls.append(block)
        if len(calls) == 2:
            raise error
        extend(self, block)

    monkeypatch.setattr(ZarrStore, "extend", dies)
    recorder = hr.GradientRecorder(record_freq=1, store=tmp_path / "run.zarr")
    with pytest.warns(RuntimeWarning, match=rf"died: {error.__name__}.*6 records"):
        model.fit(*data, batch_size=1, epochs=2, verbose=0, callbacks=[recorder])
    assert len(recorder.recording) == 6
    assert not hr.open_recording(tmp_path / "run.zarr").attributes["complete"]


def test_a_store_replaced_by_another_is_said_and_the_other_left(model, data, tmp_path):
    path = tmp_path / "run.zarr"
    other = hr.GradientRecorder(record_freq=1)
    model.fit(*data, batch_size=1, verbose=0, callbacks=[other])
    other.recording.save(tmp_path / "other.zarr")
    files = {p.name: p.read_bytes() for p in path_files(tmp_path / "other.zarr")}
    recorder = hr.GradientRecorder(record_freq=1, store=path)

    class Replaces(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            if epoch == 1:
                recorder._session.intake.wait()
                shutil.rmtree(path)
                shutil.copytree(tmp_path / "other.zarr", path)

    with pytest.warns(RuntimeWarning, match="was replaced by another.*the 0 records"):
        model.fit(
            *data, batch_size=2, epochs=3, verbose=0, callbacks=[recorder, Replaces()]
        )
    assert {p.name: p.read_bytes() for p in path_files(path)} == files
    assert hr.open_recording(path).attributes["complete"]
    assert len(recorder.recording) == 0
    assert "replaced" in recorder.recording.attributes["fault"]


def path_files(path):
    return [p for p in path.rglob("*") if p.is_file()]


class InterruptsInTheStep:
    """Ctrl-C after a step's update, before its record was taken."""

    def __init__(self, monkeypatch, at):
        from hrcallbacks.capture.armed_step import ArmedStep

        self.calls = 0
        receive = ArmedStep._receive

        def interrupted(armed, *args):
            self.calls += 1
            if self.calls == at:
                raise KeyboardInterrupt
            receive(armed, *args)

        monkeypatch.setattr(ArmedStep, "_receive", interrupted)


@pytest.mark.skipif(
    BACKEND == "jax", reason="Keras on JAX loses the state of a step broken off there"
)
@pytest.mark.parametrize("freq", [1, 2])
def test_steps_follow_the_optimizer_after_an_interruption(
    model, data, freq, monkeypatch
):
    recorder = hr.GradientRecorder(record_freq=freq)
    start = int(model.optimizer.iterations)
    for _ in range(3):
        with monkeypatch.context() as patch:
            InterruptsInTheStep(patch, at=2)
            with pytest.raises(KeyboardInterrupt):
                model.fit(*data, batch_size=1, verbose=0, callbacks=[recorder])
    model.fit(*data, batch_size=1, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    assert recording.index["step"].iloc[-1] == int(model.optimizer.iterations) - start
    assert re.search(r"step \d+ was interrupted", recording.attributes["fault"])
    assert not recording.attributes["complete"]


def clone(model, name):
    other = keras.models.clone_model(model)
    other.name = name
    other.compile("sgd", loss="mse", jit_compile=False)
    return other


def test_one_recorder_in_two_models_in_two_threads_is_refused(model, data):
    recorder = hr.GradientRecorder(record_freq=1)
    others = [clone(model, "second"), clone(model, "third")]
    errors = []

    class Fits(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                thread = threading.Thread(target=self.fit)
                thread.start()
                thread.join()

        def fit(self):
            try:
                others.pop(0).fit(*data, verbose=0, callbacks=[recorder])
            except ValueError as error:
                errors.append(str(error))

    model.fit(*data, batch_size=2, epochs=2, verbose=0, callbacks=[recorder, Fits()])
    assert len(errors) == 2
    assert "which is still running" in errors[0]
    assert "'second'" in errors[0]
    assert recorder.recording.index["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert recorder.recording.attributes["complete"]
    assert recorder.recording.replay().max_error < 1e-6


@pytest.mark.parametrize("same", [False, True], ids=["another", "the same"])
@pytest.mark.parametrize("hook", ["on_epoch_end", "on_train_batch_begin"])
def test_the_same_recorder_in_a_nested_fit_is_refused(model, data, hook, same):
    if same and BACKEND == "jax":
        pytest.skip("Keras cannot fit a model within its own fit on JAX")
    recorder = hr.GradientRecorder(record_freq=1)
    other = model if same else clone(model, "inner")
    errors = []

    class Nests(keras.callbacks.Callback):
        def nest(self, *args, **kwargs):
            try:
                other.fit(*data, verbose=0, callbacks=[recorder])
            except ValueError as error:
                errors.append(str(error))

    nests = Nests()
    setattr(nests, hook, nests.nest)
    model.fit(*data, batch_size=2, epochs=2, verbose=0, callbacks=[recorder, nests])
    assert errors
    assert all("which is still running" in error for error in errors)
    assert recorder.recording.index["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert recorder.recording.attributes["complete"]


def test_a_callback_that_hands_hooks_on_is_no_other_fit(model, data):
    """Between two hooks its own functions are gone: it is Keras' fit that runs."""
    recorder = hr.GradientRecorder(record_freq=1)
    seen = []

    class HandsOn(keras.callbacks.Callback):
        def set_model(self, model):
            recorder.set_model(model)

        def set_params(self, params):
            recorder.set_params(params)

        def _call(self, hook, *args):
            getattr(recorder, hook)(*args)
            if hook == "on_train_batch_end":
                seen.append(recorder.recording.attributes["complete"])

        def on_train_begin(self, logs=None):
            self._call("on_train_begin", logs)

        def on_epoch_begin(self, epoch, logs=None):
            self._call("on_epoch_begin", epoch, logs)

        def on_train_batch_begin(self, batch, logs=None):
            self._call("on_train_batch_begin", batch, logs)

        def on_train_batch_end(self, batch, logs=None):
            self._call("on_train_batch_end", batch, logs)

        def on_epoch_end(self, epoch, logs=None):
            self._call("on_epoch_end", epoch, logs)

        def on_train_end(self, logs=None):
            self._call("on_train_end", logs)

    for _ in range(2):
        model.fit(*data, batch_size=2, verbose=0, callbacks=[HandsOn()])
    assert seen == [False] * 6
    assert recorder.recording.index["step"].tolist() == [1, 2, 3, 4, 5, 6]
    assert recorder.recording.attributes["complete"]


def test_a_failed_write_names_the_number_that_can_be_read(
    model, data, tmp_path, monkeypatch
):
    from hrcallbacks.storage.zarr_store import ZarrStore

    flush, calls = ZarrStore.flush, []

    def full(self):
        calls.append(self)
        if len(calls) > 1:
            raise OSError("no space left on device")
        flush(self)

    monkeypatch.setattr(ZarrStore, "flush", full)
    monkeypatch.setattr("hrcallbacks.storage.zarr_store._SHORTEST_SECONDS", 0)
    recorder = hr.GradientRecorder(record_freq=1, store=tmp_path / "run.zarr")
    with pytest.warns(RuntimeWarning, match="no space.*the 3 records"):
        model.fit(*data, batch_size=2, epochs=3, verbose=0, callbacks=[recorder])
    assert len(recorder.recording) == 3


def test_compiling_in_mid_fit_is_as_without_the_recorder(data):
    def train(*callbacks):
        keras.utils.set_random_seed(1)
        model = keras.Sequential(
            [
                keras.Input((1,)),
                keras.layers.Dense(2, name="first"),
                keras.layers.Dense(1, name="last"),
            ],
            name="net",
        )
        model.compile("sgd", loss="mse", jit_compile=False)

        class Freezes(keras.callbacks.Callback):
            def on_train_batch_end(self, batch, logs=None):
                model.get_layer("first").trainable = False
                model.compile("sgd", loss="mse", jit_compile=False)

        kind = ValueError if BACKEND == "jax" else TypeError
        with pytest.raises(kind) as caught:
            model.fit(*data, batch_size=2, verbose=0, callbacks=[Freezes(), *callbacks])
        return str(caught.value).split("0x")[0], int(model.optimizer.iterations)

    recorder = hr.GradientRecorder(record_freq=1)
    assert train() == train(recorder)
    assert not recorder.recording.attributes["complete"]


def test_the_mean_of_half_precision_gradients_is_summed_in_float32():
    """Float16 ends at 65,504, and has 11 bits: a sum of 64 steps shows it."""
    if BACKEND == "torch":
        pytest.skip("PyTorch's half precision on a CPU lacks operations of this model")
    keras.utils.set_random_seed(1)
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy("float16")
    try:
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    finally:
        keras.config.set_dtype_policy(before)
    model.compile(keras.optimizers.SGD(0.0), loss="mse", jit_compile=False)
    x = np.full((64, 1), 30.0, "float16")
    y = np.linspace(40, 60, 64)[:, np.newaxis].astype("float16")
    each = hr.GradientRecorder(record_freq=1)
    mean = hr.GradientRecorder(epoch_gradient="mean")
    model.fit(x, y, batch_size=1, verbose=0, shuffle=False, callbacks=[each, mean])
    for path in each.recording.paths:
        steps = each.recording.gradients[path]
        assert steps.dtype == np.float16
        assert abs(steps.astype("float64").sum()) > 65_504 or "bias" in path
        found = mean.recording.gradients[path]
        assert found.dtype == np.float32
        expected = steps.astype("float64").mean(axis=0)
        np.testing.assert_allclose(found[0], expected, rtol=1e-6)


def test_memory_can_be_written_again_where_storing_was_broken_off():
    """As after Ctrl-C in the midst of a record, in a fit that is begun again."""
    size = 20_000  # Kept as it came.
    store = MemoryStore()
    keys = [Key("weights", "raw", name) for name in ("a", "b", "c")]
    store.declare(dict.fromkeys(keys, Spec((size,), "float32")), {})

    def record(step, value, broken=()):
        values = {
            key: "broken" if key.path in broken else np.full(size, value, "float32")
            for key in keys
        }
        return Record(Step(step, 1, step), 0.0, values)

    store.append(record(1, 1))
    with pytest.raises(ValueError, match="broken"):
        store.append(record(2, 2, broken="c"))
    store.append(record(2, 3))
    snapshot = store.snapshot()
    for column in snapshot.columns:
        assert snapshot.rows(column)[:, 0].tolist() == [1, 3]


class Interrupts:
    """Ctrl-C while a captured step is taken."""

    def __init__(self, monkeypatch, at):
        add, self.calls = intake.Intake.add, 0

        def interrupted(*args):
            self.calls += 1
            if self.calls == at:
                raise KeyboardInterrupt
            add(*args)

        monkeypatch.setattr(intake.Intake, "add", interrupted)


def test_an_interruption_in_the_last_step_of_a_loop_ends_it(model, data, monkeypatch):
    recorder = hr.GradientRecorder(record_freq=1)

    def loop():
        with recorder.attached(model):
            for _ in range(2):
                model.train_on_batch(*data)

    with monkeypatch.context() as patch:
        Interrupts(patch, at=2)
        with pytest.raises(KeyboardInterrupt):
            loop()
    assert "KeyboardInterrupt" in recorder.recording.attributes["fault"]
    loop()  # It is attached to nothing any more.
    assert recorder.recording.index["step"].tolist() == [1, 3, 4]


@pytest.mark.skipif(BACKEND == "torch", reason="it has no steps_per_execution")
def test_an_interruption_is_not_lost_where_the_recording_stops(data, monkeypatch):
    """The second step of the same execution fails in another way."""
    errors = [KeyboardInterrupt(), ValueError("broke")]

    def fails(*args):
        raise errors.pop(0)

    monkeypatch.setattr(intake.Intake, "add", fails)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile("sgd", loss="mse", jit_compile=False, steps_per_execution=2)
    recorder = hr.GradientRecorder(record_freq=1)
    with (
        pytest.warns(RuntimeWarning, match="broke"),
        pytest.raises(KeyboardInterrupt),
    ):
        model.fit(*data, batch_size=1, verbose=0, callbacks=[recorder])
    assert not recorder.recording.attributes["complete"]


@pytest.mark.skipif(
    BACKEND == "jax", reason="Keras on JAX loses the state of a step broken off there"
)
def test_a_first_step_of_which_nothing_is_known_is_no_refusal(data, monkeypatch):
    """An optimizer that accumulates does not tell how many steps it was given."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=2)
    model.compile(optimizer, loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1)
    InterruptsInTheStep(monkeypatch, at=1)
    with pytest.raises(KeyboardInterrupt):
        model.fit(*data, batch_size=2, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    assert not recording.attributes["complete"]
    assert "step 1 was interrupted" in recording.attributes["fault"]
    assert "is not known" in recording.attributes["fault"]


def test_of_two_fits_let_in_at_once_the_first_to_begin_is_recorded(model, data):
    recorder = hr.GradientRecorder(record_freq=1)
    other = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="dot")])
    other.compile("sgd", loss="mse", jit_compile=False)

    class LetsIn(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            thread = threading.Thread(target=self.let_in)
            thread.start()
            thread.join()

        def let_in(self):
            recorder.set_model(other)
            recorder.set_params({"steps": 1, "epochs": 1})
            recorder.on_train_begin()

    model.fit(*data, batch_size=2, verbose=0, callbacks=[recorder, LetsIn()])
    assert recorder.recording.index["step"].tolist() == [1, 2, 3]
    assert recorder.recording.paths == [v.path for v in model.trainable_variables]
    assert recorder.recording.replay().max_error < 1e-6
