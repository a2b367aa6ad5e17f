"""Sinks of the user's own, and what becomes of one that fails."""

import threading
import warnings

import keras
import numpy as np
import pytest

import hrcallbacks as hr


def fit(model, line, *callbacks, epochs=2, **options):
    options = {"batch_size": 5, "shuffle": False, "verbose": 0} | options
    return model.fit(*line, epochs=epochs, callbacks=[*callbacks], **options)


class Keeps(hr.Sink):
    """Keeps what it hears; it has no __init__ of its own to call ours."""

    def begin(self, run):
        self.heard = [("begin", run.per_epoch, run.records)]
        self.records, self.threads = [], set()

    def add(self, record):
        self.heard.append(("add", record.step.step))
        self.records.append(record)
        self.threads.add(threading.current_thread().name)

    def end_epoch(self, epoch, logs):
        self.heard.append(("end_epoch", epoch, sorted(logs)))

    def look(self, recording):
        self.heard.append(("look", len(recording)))

    def end(self):
        self.heard.append(("end",))


@pytest.mark.parametrize("store", [None, "run.zarr"])
def test_it_hears_of_a_fit_in_order(tiny, line, tmp_path, store):
    if store:
        pytest.importorskip("zarr")
        store = tmp_path / store
    sink = Keeps()
    recorder = hr.GradientRecorder(record_freq=2, store=store, sinks=[sink])
    fit(tiny, line, recorder)
    assert sink.heard == [
        ("begin", False, 0),
        ("add", 2),
        ("add", 4),
        ("end_epoch", 1, ["loss"]),
        ("look", 2),
        ("add", 6),
        ("add", 8),
        ("end_epoch", 2, ["loss"]),
        ("look", 4),
        ("end",),
    ]
    main = threading.current_thread().name
    assert (main in sink.threads) == (store is None)
    fit(tiny, line, recorder)
    assert sink.heard[0] == ("begin", False, 4)


def test_a_record_has_what_the_recording_has(tiny, line):
    sink = Keeps()
    recorder = hr.GradientRecorder(
        record_freq=1, gradients=["raw", "norm"], sinks=[sink]
    )
    fit(tiny, line, recorder)
    recording = recorder.recording
    for number, record in enumerate(sink.records):
        row = recording.index.iloc[number]
        assert record.step.epoch == row["epoch"]
        assert record.step.batch == row["batch"]
        assert record.loss == row["loss"]
        assert record.learning_rates == {"learning_rate": row["learning_rate"]}
        for key, value in record.values.items():
            if key.quantity in ("gradients", "weights"):
                arrays = recording.arrays(key.quantity, key.reduction)
                np.testing.assert_array_equal(value, arrays[key.path][number])


HOOKS = ["add", "end_epoch", "look", "end"]


@pytest.mark.parametrize("hook", HOOKS)
@pytest.mark.parametrize("store", [None, "run.zarr"])
def test_one_that_fails_is_said_once_and_the_others_hear_on(
    tiny, line, tmp_path, hook, store
):
    if store:
        pytest.importorskip("zarr")
        store = tmp_path / store

    def fails(self, *args):
        raise OSError("no ear")

    broken = type("Broken", (hr.Sink,), {hook: fails})()
    sink = Keeps()
    recorder = hr.GradientRecorder(record_freq=1, store=store, sinks=[broken, sink])
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        fit(tiny, line, recorder)
    said = [str(w.message) for w in caught if "no ear" in str(w.message)]
    assert len(said) == 1
    assert "Broken" in said[0]
    assert "Training and recording go on" in said[0]
    assert len(sink.records) == len(recorder.recording) == 8
    assert recorder.recording.attributes["complete"]


def test_one_that_cannot_begin_refuses_the_fit(tiny, line, tmp_path):
    pytest.importorskip("zarr")

    class Refuses(hr.Sink):
        def begin(self, run):
            raise ValueError("not this one")

    first = Keeps()
    recorder = hr.GradientRecorder(
        store=tmp_path / "run.zarr", sinks=[first, Refuses()]
    )
    with pytest.raises(ValueError, match="not this one"):
        fit(tiny, line, recorder)
    assert int(tiny.optimizer.iterations) == 0
    assert first.heard[-1] == ("end",)
    assert [*tmp_path.iterdir()] == []


@pytest.mark.parametrize("store", [None, "run.zarr"])
def test_it_may_stop_the_training(tiny, line, tmp_path, store):
    if store:
        pytest.importorskip("zarr")
        store = tmp_path / store

    class Stops(hr.Sink):
        waits = True

        def add(self, record):
            if record.step.step == 6:
                self.say("That will do.", stop=True)

    recorder = hr.GradientRecorder(record_freq=1, store=store, sinks=[Stops()])
    with pytest.warns(RuntimeWarning, match="^That will do.$"):
        fit(tiny, line, recorder, epochs=9)
    assert int(tiny.optimizer.iterations) == 8
    assert recorder.recording.attributes["complete"]


def test_one_that_breaks_off_is_told(tiny, line):
    class Interrupts(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 2:
                raise KeyboardInterrupt

    sink = Keeps()
    recorder = hr.GradientRecorder(record_freq=1, sinks=[sink])
    with pytest.raises(KeyboardInterrupt):
        fit(tiny, line, recorder, Interrupts())
    recorder.reset()
    assert [entry[0] for entry in sink.heard] == ["begin", "add", "add", "add", "end"]


@pytest.mark.parametrize(
    ("sinks", "error", "text"),
    [
        (["nan"], TypeError, r"sinks: a list of hr\.Alert.*Received in it: 'nan'"),
        ([Keeps], TypeError, "Received in it: 'the class Keeps'"),
        (3, TypeError, "Received in it: 3"),
        ([Keeps()] * 2, ValueError, "twice"),
        ([hr.Logs(), hr.Logs(by="variable")], ValueError, "Two of sinks.*Keep one"),
    ],
)
def test_what_is_no_sink_is_refused(sinks, error, text):
    with pytest.raises(error, match=text):
        hr.GradientRecorder(sinks=sinks)


def test_metadata_is_kept(tiny, line, tmp_path):
    pytest.importorskip("zarr")
    given = {"seed": 3, "notes": ["a", {"b": None}]}
    recorder = hr.GradientRecorder(store=tmp_path / "run.zarr", metadata=given)
    given["seed"] = 4
    fit(tiny, line, recorder)
    kept = hr.open_recording(tmp_path / "run.zarr").attributes["metadata"]
    assert kept == {"seed": 3, "notes": ["a", {"b": None}]}
    assert recorder.recording.attributes["metadata"] == kept


@pytest.mark.parametrize("metadata", [{"a": object()}, {"a": np.nan}, [1], "seed 3"])
def test_metadata_that_json_does_not_have_is_refused(metadata):
    with pytest.raises(TypeError, match="metadata: a dict"):
        hr.GradientRecorder(metadata=metadata)
