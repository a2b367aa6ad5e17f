"""What a recording may take in memory, and that it takes no more."""

import keras
import numpy as np
import pytest
from synthetic import record

import hrcallbacks as hr
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.types import Key, Spec


def fit(model, line, *callbacks, epochs=2, **options):
    options = {"batch_size": 5, "shuffle": False, "verbose": 0} | options
    return model.fit(*line, epochs=epochs, callbacks=callbacks, **options)


# Ten elements in float32, twice, and four flags in float64.
RECORD = 2 * 4 * 10 + 4 * 8


def test_what_fits_exactly_is_recorded(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, max_bytes=8 * RECORD)
    fit(tiny, line, recorder)
    assert len(recorder.recording) == 8


def test_what_does_not_fit_is_refused_before_training(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, max_bytes=8 * RECORD - 1)
    text = (
        rf"8 records of 4 variables take 896 bytes.*over max_bytes={8 * RECORD - 1}.*"
        r"gradients='norm'.*record_freq=2.*store='run\.zarr'"
    )
    with pytest.raises(ValueError, match=text):
        fit(tiny, line, recorder)
    assert int(tiny.optimizer.iterations) == 0
    # What it names does fit.
    fit(tiny, line, hr.GradientRecorder(record_freq=2, max_bytes=8 * RECORD - 1))


def test_the_remedy_that_is_named_for_large_models_is_right():
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((100,)), keras.layers.Dense(100)])
    model.compile("sgd", loss="mse", jit_compile=False)
    x = np.ones((40, 100), "float32")
    recorder = hr.GradientRecorder(record_freq=1, max_bytes=100_000)
    with pytest.raises(ValueError, match=r"3\.08 MiB.*gradients='norm'") as caught:
        fit(model, (x, x), recorder, epochs=5)
    text = str(caught.value)
    n = int(text.partition("record_freq=")[2].split()[0])
    for freq, fits in ((n, True), (n - 1, False)):
        recorder = hr.GradientRecorder(record_freq=freq, max_bytes=100_000)
        if fits:
            fit(model, (x, x), recorder, epochs=5)
        else:
            with pytest.raises(ValueError, match="max_bytes"):
                fit(model, (x, x), recorder, epochs=5)
    norms = hr.GradientRecorder(
        record_freq=1, gradients="norm", weights="norm", max_bytes=100_000
    )
    fit(model, (x, x), norms, epochs=5)


def test_initial_epoch_and_what_is_held_already_are_counted(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, max_bytes=8 * RECORD)
    fit(tiny, line, recorder, epochs=100, initial_epoch=99)
    fit(tiny, line, recorder, epochs=1)
    with pytest.raises(ValueError, match="4 records of 4 variables take"):
        fit(tiny, line, recorder, epochs=1)
    assert len(recorder.recording) == 8


def test_a_store_on_disk_has_no_such_limit(tiny, line, tmp_path):
    pytest.importorskip("zarr")
    recorder = hr.GradientRecorder(
        record_freq=1, max_bytes=10, store=tmp_path / "run.zarr"
    )
    fit(tiny, line, recorder)
    assert len(recorder.recording) == 8


@pytest.mark.parametrize("freq", [1, lambda step: True])
def test_where_the_length_is_unknown_the_recording_stops_there(tiny, line, freq):
    def batches():
        for start in range(0, 20, 5):
            yield tuple(a[start : start + 5] for a in line)

    recorder = hr.GradientRecorder(record_freq=freq, max_bytes=3 * RECORD)
    with pytest.warns((RuntimeWarning, UserWarning)) as seen:
        tiny.fit(batches(), shuffle=False, verbose=0, callbacks=[recorder])
    ours = [str(w.message) for w in seen if w.category is RuntimeWarning]
    assert len(ours) == 1
    assert f"max_bytes={3 * RECORD}" in ours[0]
    assert int(tiny.optimizer.iterations) >= 4
    recording = recorder.recording
    assert recording.index["step"].tolist() == [1, 2, 3]
    assert "max_bytes" in recording.attributes["fault"]


def test_numpy_says_the_limit_too():
    assert hr.GradientRecorder(max_bytes=np.int64(2**20)) is not None


@pytest.mark.parametrize("size", [0, -1, 2.5, "2 GiB", True])
def test_bad_limits_are_refused(size):
    with pytest.raises(ValueError, match="max_bytes: an int"):
        hr.GradientRecorder(max_bytes=size)


# Buffers.

KEY = Key("weights", "raw", "net/kernel")


def filled_store(rows, count, expected):
    store = MemoryStore()
    variables = [("net/kernel", (rows,))]
    store.declare({KEY: Spec((rows,), "float32")}, {"variables": variables})
    store.expect(expected)
    for number in range(count):
        store.append(record(number + 1, {KEY: np.full(rows, number, "float32")}))
    return store


# Small rows, and those that are kept as they come.
@pytest.mark.parametrize("rows", [10, 40_000])
@pytest.mark.parametrize("expected", [None, 5, 50])
def test_every_record_is_found_whatever_was_expected(rows, expected):
    store = filled_store(rows, 23, expected)
    array = hr.Recording.of(store.snapshot()).weights["kernel"]
    np.testing.assert_array_equal(array[:, -1], np.arange(23))
    store.append(record(24, {KEY: np.full(rows, 23, "float32")}))
    store.append(record(25))
    assert len(array) == 23
    array = hr.Recording.of(store.snapshot()).weights["kernel"]
    np.testing.assert_array_equal(array[:, -1], [*range(24), np.nan])


def test_known_lengths_are_read_without_a_copy():
    store = filled_store(10, 50, expected=50)
    first, second = (
        hr.Recording.of(store.snapshot()).weights["kernel"] for _ in range(2)
    )
    assert np.shares_memory(first, second)
    with pytest.raises(ValueError, match="read-only"):
        first[0] = 1


def test_large_rows_are_not_copied_as_they_come():
    store = MemoryStore()
    (column,) = store.declare({KEY: Spec((40_000,), "float32")}, {})
    row = np.ones(40_000, "float32")
    store.append(record(1, {KEY: row}))
    assert np.shares_memory(store.snapshot().rows(column), row)


def test_reading_holds_no_array_twice():
    """Joining the rows of a column lets each of them go once it is copied."""
    import tracemalloc

    size = 1_000_000
    tracemalloc.start()
    try:
        store = filled_store(size, 20, None)
        held, _ = tracemalloc.get_traced_memory()
        tracemalloc.reset_peak()
        (buffer,) = store._buffers.values()
        # NumPy's new array counts at once, though its memory is taken when written.
        array = buffer.rows(20)
        after, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert array.nbytes == 20 * 4 * size
    assert held == pytest.approx(array.nbytes, rel=0.01)
    assert after == pytest.approx(array.nbytes, rel=0.01)
