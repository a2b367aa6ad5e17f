"""The store on disk: whole, lazy, crash-safe, and what is said when it is damaged."""

import json
import os
import pickle
import shlex
import shutil
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from types import SimpleNamespace

import keras
import numpy as np
import pandas as pd
import pytest
from synthetic import noise, recording_of

import hrcallbacks as hr
from hrcallbacks.backends.current import backend
from hrcallbacks.session.session import Session
from hrcallbacks.storage import zarr_columns, zarr_index, zarr_store
from hrcallbacks.storage.checksums import signed

zarr = pytest.importorskip("zarr")
ROOT = Path(__file__).parent


@pytest.fixture
def path(tmp_path):
    return str(tmp_path / "run.zarr")


def fit(model, line, *callbacks, epochs=2, **options):
    x, y = line
    return model.fit(
        x,
        y,
        batch_size=5,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **options,
    )


def assert_same(ours, theirs):
    pd.testing.assert_frame_equal(ours.index, theirs.index)
    assert ours.paths == theirs.paths
    for quantity in ("gradients", "weights"):
        for name in ours.paths:
            np.testing.assert_array_equal(
                np.asarray(ours.arrays(quantity)[name]),
                np.asarray(theirs.arrays(quantity)[name]),
            )
    pd.testing.assert_frame_equal(ours.has_gradient, theirs.has_gradient)


@pytest.fixture(params=["epoch", 1, 3])
def freq(request):
    return request.param


def test_a_store_holds_what_memory_holds(tiny, line, path, freq):
    start = tiny.get_weights()
    in_memory = hr.GradientRecorder(record_freq=freq)
    on_disk = hr.GradientRecorder(record_freq=freq, store=path)
    fit(tiny, line, in_memory, on_disk, validation_data=line)
    opened = hr.open_recording(path)
    assert_same(opened, in_memory.recording)
    assert_same(on_disk.recording, in_memory.recording)
    assert opened.attributes["complete"]
    assert "val_loss" in opened.index or freq != "epoch"
    assert repr(opened) == repr(in_memory.recording)
    assert not np.array_equal(start[0], tiny.get_weights()[0])
    if freq == 1:
        assert opened.replay().max_error < 1e-6
        pd.testing.assert_frame_equal(
            opened.replay().errors, in_memory.recording.replay().errors
        )


def test_reductions_are_stored(tiny, line, path):
    wanted = {
        "record_freq": 1,
        "gradients": ["norm", hr.Histogram(8), hr.Sample(2)],
        "weights": {"*/kernel": ["raw", "update_ratio"], "*": "std"},
    }
    in_memory = hr.GradientRecorder(**wanted)
    on_disk = hr.GradientRecorder(store=path, **wanted)
    fit(tiny, line, in_memory, on_disk)
    ours, theirs = in_memory.recording, hr.open_recording(path)
    for name in ("norm",):
        pd.testing.assert_frame_equal(
            ours.statistic("gradients", name), theirs.statistic("gradients", name)
        )
    for kind in (
        ("gradients", "histogram"),
        ("gradients", "sample"),
        ("weights", "std"),
    ):
        for name, array in ours.arrays(*kind).items():
            np.testing.assert_array_equal(array, theirs.arrays(*kind)[name][:])
    assert theirs.attributes["reductions"] == ours.attributes["reductions"]


def test_arrays_are_read_when_they_are_indexed(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    fit(tiny, line, recorder, epochs=5)
    array = hr.open_recording(path).gradients["hidden/kernel"]
    whole = np.asarray(array)
    assert array.shape == whole.shape == (20, 1, 3)
    assert len(array) == 20
    assert array.ndim == 3
    for key in (
        3,
        -1,
        slice(2, 5),
        slice(None, None, 7),
        slice(None, None, -1),
        (slice(1, 4), 0),
        (4, 0, 2),
        (slice(None), 0, slice(1, 3)),
        ...,
        (..., 1),
        [1, 5, 2],
        (slice(0, 3), [0], [1]),
        whole[:, 0, 0] > 0,
    ):
        np.testing.assert_array_equal(array[key], whole[key])
    with pytest.raises(IndexError):
        array[20]
    assert "on disk" in repr(array)


def test_second_fit_appends(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    fit(tiny, line, recorder)
    fit(tiny, line, recorder)
    recording = hr.open_recording(path)
    assert recording.index["step"].tolist() == list(range(1, 17))
    assert recording.replay().max_error < 1e-6


@pytest.mark.skipif(
    keras.config.backend() == "torch", reason="PyTorch allows no dots in names"
)
def test_paths_that_look_alike_on_disk_are_told_apart(line, path):
    model = keras.Sequential([keras.Input((1,))], name="net")
    for name in ("a_b", "a.b", "a>b"):
        model.add(keras.layers.Dense(1, name=name))
    model.compile("sgd", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    fit(model, line, recorder)
    recording = hr.open_recording(path)
    for variable in model.trainable_variables:
        np.testing.assert_allclose(
            recording.weights[variable][-1], keras.ops.convert_to_numpy(variable)
        )


LONG = "x" * 300
NAMES = [
    f"net/{LONG}/kernel",
    f"net/{LONG}/bias",
    f"net/{LONG}y/kernel",
    f"net/{LONG[:-1]}y/kernel",
    "net/\N{CJK UNIFIED IDEOGRAPH-91CD}" + 90 * "\N{HIRAGANA LETTER MI}",
    "net/a.b",
    "net/a/b",
    "net/A/b",
    "net/a",
    "net/a/step",
    "/",
    "..",
    "zarr.json",
    "\ud800",
]


def test_any_path_has_a_name_of_its_own_on_disk(path):
    arrays = {name: noise(3, 2, seed=n) for n, name in enumerate(NAMES)}
    recording_of(arrays, arrays).save(path)
    recording = hr.open_recording(path)
    assert recording.paths == NAMES
    for name, array in arrays.items():
        np.testing.assert_array_equal(recording.weights[name], np.float32(array))
    group = zarr.open_group(path, mode="r")["weights/raw"]
    there = [name for name, node in group.members(None) if hasattr(node, "chunks")]
    assert len({name.casefold() for name in there}) == len(NAMES)
    parts = [part for name in there for part in name.split("/")]
    assert max(len(os.fsencode(part)) for part in parts) < 130
    # They can still be told by eye.
    assert sum(name.startswith("net/xxx") for name in there) == 4
    assert sum(name.endswith("/kernel") for name in there) == 3


def test_any_metric_and_reduction_has_a_name_of_its_own_on_disk(path):
    recording = recording_of({f"net/a:{LONG}": noise(3, 2)}, shapes={"net/a": (2,)})
    for number, name in enumerate(NAMES[:-1]):  # The last is none for pandas.
        recording.index[name] = float(number)
    recording.save(path)
    opened = hr.open_recording(path)
    pd.testing.assert_frame_equal(opened.index, recording.index)
    np.testing.assert_array_equal(
        opened.arrays("gradients", LONG)["net/a"],
        recording.arrays("gradients", LONG)["net/a"],
    )


def test_a_layer_with_a_long_name_is_stored(line, path):
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(1, name=LONG)], name="net"
    )
    model.compile("sgd", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    fit(model, line, recorder)
    stored = hr.open_recording(path)
    assert [f"{LONG}/kernel" in name for name in stored.paths] == [True, False]
    assert_same(stored, recorder.recording)


def test_training_is_unchanged(tiny, line, path):
    start = tiny.get_weights()
    ends = []
    for callbacks in ([], [hr.GradientRecorder(record_freq=1, store=path)]):
        tiny.set_weights(start)
        tiny.compile("adam", loss="mse", jit_compile=False)
        fit(tiny, line, *callbacks)
        ends.append(tiny.get_weights())
    for plain, recorded in zip(*ends, strict=True):
        np.testing.assert_array_equal(plain, recorded)


# While it is written.


def test_it_can_be_opened_while_the_run_goes_on(tiny, line, path, monkeypatch):
    monkeypatch.setattr(zarr_store, "_SHORTEST_SECONDS", 0.0)
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    seen = []

    class Looks(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            recorder._session.intake.wait()
            # Zarr puts a file in its place once it is whole.
            for folder in filter(Path.is_dir, Path(path).rglob("*")):
                (folder / "zarr.0a1b.partial").touch()
            opened = hr.open_recording(path)
            seen.append((len(opened), opened.attributes["complete"]))

    fit(tiny, line, recorder, Looks(), epochs=3)
    assert seen == [(0, False), (4, False), (8, False)]


def test_a_thread_of_its_own_writes(tiny, line, path, monkeypatch):
    threads = set()
    append = zarr_store.ZarrStore.append

    def noted(self, *args):
        threads.add(threading.current_thread().name)
        append(self, *args)

    monkeypatch.setattr(zarr_store.ZarrStore, "append", noted)
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    assert all(name.startswith("hrcallbacks") for name in threads)
    assert not any(t.name.startswith("hrcallbacks") for t in threading.enumerate())


CRASH = """
import sys, keras, numpy as np
import hrcallbacks as hr
from hrcallbacks.storage import zarr_store
zarr_store._SHORTEST_SECONDS = zarr_store._FLUSH_SECONDS = 0.0
keras.utils.set_random_seed(0)
layers = [keras.Input((1,)), keras.layers.Dense(300), keras.layers.Dense(1)]
model = keras.Sequential(layers)
model.compile("adam", loss="mse", jit_compile=False)
x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
recorder = hr.GradientRecorder(record_freq=1, store=sys.argv[1])
model.fit(x, 3 * x, batch_size=5, epochs=100000, verbose=0, callbacks=[recorder])
"""


def records_at(path):
    """How many records can be read there now; 0 as long as there is no store."""
    try:
        return len(hr.open_recording(path))
    except (FileNotFoundError, ValueError):
        return 0


def test_killed_at_any_moment_it_opens(tmp_path):
    """Early and later: what is there is whole and can be replayed."""
    for least in (1, 20):
        path = tmp_path / f"{least}.zarr"
        run = subprocess.Popen(
            [sys.executable, "-c", CRASH, str(path)],
            stdout=subprocess.DEVNULL,
            cwd=ROOT,
        )
        deadline = time.monotonic() + 120
        try:
            while records_at(path) < least and time.monotonic() < deadline:
                time.sleep(0.2)
        finally:
            run.send_signal(signal.SIGKILL)
            run.wait()
        recording = hr.open_recording(path)
        count = len(recording)
        assert count >= least
        assert recording.index["step"].tolist() == list(range(1, count + 1))
        assert not recording.attributes["complete"]
        assert "INCOMPLETE" in repr(recording)
        assert recording.replay().max_error < 1e-5


# What can go wrong on the way.


def test_disk_that_fills_up_stops_the_recording_alone(tiny, line, path, monkeypatch):
    monkeypatch.setattr(zarr_store, "_SHORTEST_SECONDS", 0.0)
    write = zarr_columns.ColumnWriter._write

    def full(self, count):
        if count > 8:
            raise OSError(28, "No space left on device")
        write(self, count)

    monkeypatch.setattr(zarr_columns.ColumnWriter, "_write", full)
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    with pytest.warns(RuntimeWarning, match="Recording stopped.*No space left") as seen:
        fit(tiny, line, recorder, epochs=5)
    assert sum(w.category is RuntimeWarning for w in seen) == 1
    assert int(tiny.optimizer.iterations) == 20
    recording = hr.open_recording(path)
    assert recording.index["step"].tolist() == list(range(1, 9))
    assert "No space left" in recording.attributes["fault"]
    np.testing.assert_array_equal(recording.weights["output/bias"][:].shape, (8, 1))


FULL = """
import os, sys, warnings, keras, numpy as np
import hrcallbacks as hr
folder = sys.argv[1]
x = np.random.default_rng(0).normal(size=(50, 100)).astype("float32")
ends, recorders = [], [None, hr.GradientRecorder(record_freq=1)]
recorders.append(hr.GradientRecorder(
    record_freq=1, store=f"{folder}/run.zarr", resume=True
))
for recorder in recorders:
    keras.utils.set_random_seed(0)
    layers = [keras.Input((100,)), keras.layers.Dense(100), keras.layers.Dense(1)]
    model = keras.Sequential(layers, name="net")
    model.compile("adam", loss="mse", jit_compile=False)
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(x, x[:, :1], batch_size=5, epochs=6, shuffle=False, verbose=0,
                  callbacks=[recorder] if recorder else [])
    ends.append(model.get_weights())
texts = [str(w.message) for w in seen if w.category is RuntimeWarning]
assert len(texts) == 1 and "No space left" in texts[0], texts
for plain, recorded in zip(ends[0], ends[2]):
    np.testing.assert_array_equal(plain, recorded)
assert os.statvfs(folder).f_bavail * os.statvfs(folder).f_frsize < 1e6
opened, whole = hr.open_recording(f"{folder}/run.zarr"), recorders[1].recording
count = len(opened)
assert 10 <= count < 60, count
assert "No space left" in opened.attributes["fault"], opened.attributes
for (_, one), (_, other) in zip(opened.gradients.items(), whole.gradients.items()):
    np.testing.assert_array_equal(one[:], other[:count])
print("records:", count)
"""


def test_full_disk_leaves_what_was_flushed_readable(tmp_path):
    """A file system of two MB, which this process alone sees."""
    if not shutil.which("unshare"):
        pytest.skip("a small file system of its own needs Linux' unshare")
    mount = f"mount -t tmpfs -o size=2m tmpfs {tmp_path}"
    inside = ["unshare", "--user", "--map-root-user", "--mount", "bash", "-c"]
    if subprocess.run([*inside, mount], capture_output=True).returncode:
        pytest.skip("this system lets nobody mount a file system")
    python = f"{shlex.quote(sys.executable)} -c {shlex.quote(FULL)} {tmp_path}"
    done = subprocess.run(
        [*inside, f"{mount} && {python}"], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr
    assert "records:" in done.stdout


def test_store_that_vanishes_stops_the_recording_alone(tiny, line, path, monkeypatch):
    monkeypatch.setattr(zarr_store, "_SHORTEST_SECONDS", 0.0)
    recorder = hr.GradientRecorder(record_freq=1, store=path)

    class Removes(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            if epoch == 1:
                recorder._session.intake.wait()
                shutil.rmtree(path)

    with pytest.warns(RuntimeWarning, match="Recording stopped.*has vanished"):
        fit(tiny, line, recorder, Removes(), epochs=5)
    assert int(tiny.optimizer.iterations) == 20
    with pytest.raises(FileNotFoundError, match="no recording at"):
        hr.open_recording(path)


def test_chunk_that_is_cut_short_is_named_and_the_others_can_be_read(
    tiny, line, path, monkeypatch
):
    monkeypatch.setattr(zarr_columns, "_CHUNK_BYTES", 48)  # Four records of (1, 3).
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path), epochs=5)
    array = hr.open_recording(path).gradients["hidden/kernel"]
    whole = array[:]
    chunks = sorted(
        Path(path, "gradients/raw/tiny/hidden/kernel/c").iterdir(),
        key=lambda p: int(p.name),
    )
    assert len(chunks) == 5
    (chunk,) = (p for p in chunks[2].rglob("*") if p.is_file())
    chunk.write_bytes(chunk.read_bytes()[:-5])
    array = hr.open_recording(path).gradients["hidden/kernel"]
    with pytest.raises(
        OSError, match=r"Records 8 to 11 of gradients raw tiny/hidden/k"
    ):
        array[:]
    np.testing.assert_array_equal(array[:8], whole[:8])
    np.testing.assert_array_equal(array[12:], whole[12:])


def test_damage_that_leaves_the_length_is_found_too(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    (chunk,) = (
        p
        for p in Path(path, "weights/raw/tiny/hidden/kernel/c").rglob("*")
        if p.is_file()
    )
    data = bytearray(chunk.read_bytes())
    data[len(data) // 2] ^= 4
    chunk.write_bytes(data)
    with pytest.raises(OSError, match="cannot be read"):
        hr.open_recording(path).weights["hidden/kernel"][:]


# What is refused before training.


def refused(tiny, line, recorder, error, text):
    with pytest.raises(error, match=text):
        fit(tiny, line, recorder)
    assert int(tiny.optimizer.iterations) == 0


def test_path_that_holds_something_is_refused_and_left_alone(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    before = repr(hr.open_recording(path))
    tiny.compile("adam", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(store=path)
    refused(tiny, line, recorder, FileExistsError, r"already.*resume=True")
    assert repr(hr.open_recording(path)) == before
    Path(path).with_name("file").write_text("mine")
    recorder = hr.GradientRecorder(store=Path(path).with_name("file"))
    refused(tiny, line, recorder, FileExistsError, "already")


def test_path_that_cannot_be_written_is_refused(tiny, line, tmp_path):
    (tmp_path / "file").touch()
    recorder = hr.GradientRecorder(store=tmp_path / "file" / "run.zarr")
    refused(tiny, line, recorder, OSError, "file")


@pytest.mark.skipif(os.getuid() == 0, reason="root may write anywhere")
def test_read_only_folder_is_refused(tiny, line, tmp_path):
    tmp_path.chmod(0o500)
    recorder = hr.GradientRecorder(store=tmp_path / "run.zarr")
    refused(tiny, line, recorder, PermissionError, r"run\.zarr")


def test_second_writer_is_refused_and_the_first_goes_on(tiny, line, path):
    class Second(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            for resume in (True, False):
                second = hr.GradientRecorder(store=path, resume=resume)
                second.set_params({"steps": 4, "epochs": 1})
                second.set_model(tiny)
                with pytest.raises(
                    BlockingIOError, match=r"Another recorder.*open_rec.*reset\(\)"
                ):
                    second.on_train_begin()

    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path), Second())
    assert len(hr.open_recording(path)) == 8


def test_unknown_format_is_refused_by_name(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(store=path))
    zarr.open_group(path).attrs["format_version"] = 99
    with pytest.raises(
        ValueError, match=r"format version 99.*reads versions 1 to 2.*upgrade"
    ):
        hr.open_recording(path)
    tiny.compile("adam", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(store=path, resume=True)
    refused(tiny, line, recorder, ValueError, "format version 99")


def test_what_is_no_recording_is_refused(tmp_path):
    with pytest.raises(FileNotFoundError, match=r"no recording at .*nowhere"):
        hr.open_recording(tmp_path / "nowhere")
    zarr.open_group(tmp_path / "other.zarr", mode="w")
    with pytest.raises(ValueError, match="not a recording of hrcallbacks"):
        hr.open_recording(tmp_path / "other.zarr")
    (tmp_path / "other.zarr" / "zarr.json").write_text("{half")
    with pytest.raises(ValueError, match="not a readable Zarr group"):
        hr.open_recording(tmp_path / "other.zarr")


def test_a_store_holds_json_and_numbers_alone(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    files = [p for p in Path(path).rglob("*") if p.is_file()]
    for file in files:
        if file.name == "zarr.json":
            described = json.loads(file.read_text())
            if described["node_type"] == "array":
                assert described["data_type"] in (
                    "int64",
                    "float32",
                    "float64",
                    "int32",
                    "string",  # Coordinates, which only other readers look at.
                )
        else:
            assert file.parent != Path(path)  # A chunk, below an array's folder.


def test_reading_needs_no_keras(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    script = (
        "import sys; sys.modules['keras'] = None\n"
        "import hrcallbacks as hr\n"
        f"r = hr.open_recording({path!r})\n"
        "assert r.to_frame().shape[0] == 8; r.statistic('gradients', 'norm'); repr(r)\n"
        "assert not {'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=ROOT)


@pytest.mark.parametrize("chief", [True, False])
def test_the_chief_alone_writes(tiny, line, path, monkeypatch, chief):
    monkeypatch.setattr(backend, "is_chief", lambda model: chief)
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    fit(tiny, line, recorder)
    assert Path(path).exists() is chief
    assert int(tiny.optimizer.iterations) == 8


@pytest.mark.skipif(keras.config.backend() != "tensorflow", reason="its strategies")
@pytest.mark.parametrize(
    ("task", "jobs", "chief"),
    [
        ((None, None), [], True),
        (("worker", 0), ["worker"], True),
        (("worker", 1), ["worker"], False),
        (("chief", 0), ["chief", "worker"], True),
        (("worker", 0), ["chief", "worker"], False),
    ],
)
def test_which_worker_is_the_chief(task, jobs, chief):
    spec = SimpleNamespace(jobs=jobs)
    resolver = SimpleNamespace(
        task_type=task[0], task_id=task[1], cluster_spec=lambda: spec
    )
    model = SimpleNamespace(
        distribute_strategy=SimpleNamespace(cluster_resolver=resolver)
    )
    assert backend.is_chief(model) is chief
    assert backend.is_chief(SimpleNamespace(distribute_strategy=None))


# Going on after a crash.


class Dies(keras.callbacks.Callback):
    def __init__(self, epoch, batch):
        super().__init__()
        self.at = epoch, batch

    def on_epoch_begin(self, epoch, logs=None):
        self.epoch = epoch

    def on_train_batch_end(self, batch, logs=None):
        if (self.epoch, batch) == self.at:
            raise RuntimeError("died")


def another_process(recorder):
    """What a process that dies leaves: no flush at the end, and no lock."""
    recorder._session.intake.wait()
    recorder._session.store._group.release()


@pytest.mark.parametrize("freq", ["epoch", 1])
def test_resuming_leaves_no_step_twice_and_none_out(
    tiny, line, path, tmp_path, monkeypatch, freq
):
    monkeypatch.setattr(zarr_store, "_SHORTEST_SECONDS", 0.0)
    start = tiny.get_weights()
    whole = hr.GradientRecorder(record_freq=freq)
    fit(tiny, line, whole, epochs=6)

    def again():
        tiny.set_weights(start)
        tiny.compile("adam", loss="mse", jit_compile=False)
        backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
        return hr.GradientRecorder(record_freq=freq, store=path, resume=True), backup

    recorder, backup = again()
    with pytest.raises(RuntimeError, match="died"):
        fit(tiny, line, recorder, backup, Dies(3, 1), epochs=6)
    another_process(recorder)
    recorder, backup = again()
    fit(tiny, line, recorder, backup, epochs=6)
    resumed = hr.open_recording(path)
    assert resumed.attributes["complete"]
    assert resumed.index["step"].tolist() == whole.recording.index["step"].tolist()
    assert resumed.index["epoch"].tolist() == whole.recording.index["epoch"].tolist()
    for name in resumed.paths:
        np.testing.assert_array_equal(
            resumed.weights[name][:], whole.recording.weights[name]
        )
    if freq == 1:
        assert resumed.replay().max_error < 1e-6


def test_resuming_a_run_that_ended_appends(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    recorder = hr.GradientRecorder(record_freq=1, store=path, resume=True)
    fit(tiny, line, recorder)
    recording = hr.open_recording(path)
    assert recording.index["step"].tolist() == list(range(1, 17))
    assert recording.replay().max_error < 1e-6


def test_reset_lets_go_of_the_store_of_a_fit_that_broke_off(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    with pytest.raises(RuntimeError, match="died"):
        fit(tiny, line, recorder, Dies(1, 1))
    recorder.reset()
    tiny.compile("adam", loss="mse", jit_compile=False)
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path, resume=True))
    assert hr.open_recording(path).attributes["complete"]


def test_reset_after_the_store_was_removed(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    fit(tiny, line, recorder)
    shutil.rmtree(path)
    recorder.reset()
    fit(tiny, line, recorder)
    assert len(hr.open_recording(path)) == 8


def test_resuming_with_another_selection_is_refused(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    with pytest.raises(RuntimeError, match="died"):
        fit(tiny, line, recorder, Dies(1, 1))
    another_process(recorder)
    other = hr.GradientRecorder("*/kernel", record_freq=1, store=path, resume=True)
    with pytest.raises(ValueError, match="other variables or reductions"):
        fit(tiny, line, other)


def test_what_a_crash_lost_is_said_and_the_steps_go_on_counting(
    tiny, line, path, tmp_path, monkeypatch
):
    """The backup knows of an epoch that the store was not told of."""
    recorder = hr.GradientRecorder(record_freq=1, store=path, resume=True)
    backup = keras.callbacks.BackupAndRestore(tmp_path / "backup")
    end_epoch = zarr_store.ZarrStore.end_epoch

    def dies(self, epoch, step):
        if epoch == 2:
            self._count = 4  # As if the second epoch had never been appended.
            raise OSError("died")
        end_epoch(self, epoch, step)

    monkeypatch.setattr(zarr_store.ZarrStore, "end_epoch", dies)
    monkeypatch.setattr(Session, "stop", lambda self, error: None)
    with pytest.raises(RuntimeError, match="died"):
        fit(tiny, line, recorder, backup, Dies(2, 0), epochs=4)
    monkeypatch.undo()
    recorder._session.store._group.release()
    recorder = hr.GradientRecorder(record_freq=1, store=path, resume=True)
    with pytest.warns(
        RuntimeWarning, match=r"a crash before epoch 3 lost steps 5 to 8"
    ):
        fit(tiny, line, recorder, backup, epochs=4)
    recording = hr.open_recording(path)
    steps = recording.index["step"].tolist()
    assert steps == [1, 2, 3, 4, 9, 10, 11, 12, 13, 14, 15, 16]
    assert not recording.attributes["complete"]
    assert "steps 5 to 8" in repr(recording)


def test_crash_before_the_first_record_is_resumed(tiny, line, path, monkeypatch):
    recorder = hr.GradientRecorder(record_freq=1, store=path, resume=True)
    create = zarr_index.IndexWriter._create

    def dies(self, name, values):
        create(self, name, values)
        if name == "epoch":  # Two of the columns are there, no record yet.
            del self._arrays[name]
            raise OSError("died")

    monkeypatch.setattr(zarr_index.IndexWriter, "_create", dies)
    with pytest.warns(RuntimeWarning, match="died"):
        fit(tiny, line, recorder)
    monkeypatch.undo()
    assert len(hr.open_recording(path)) == 0
    group = zarr.open_group(path)
    fits = group.attrs["fits"]
    fits[-1] |= {"ended": False, "fault": None}
    group.update_attributes(signed({**group.attrs, "fits": fits}))
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path, resume=True))
    recording = hr.open_recording(path)
    assert recording.index["step"].tolist() == list(range(1, 9))
    assert recording.attributes["complete"]


def test_a_refused_fit_leaves_the_store_to_others(tiny, line, path):
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path))
    described = json.loads(Path(path, "zarr.json").read_text())
    other = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(7, name="hidden")], name="tiny"
    )
    other.compile("sgd", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, store=path, resume=True)
    with pytest.raises(ValueError, match=r"\(1, 3\).*\(1, 7\)"):
        fit(other, line, recorder)
    assert json.loads(Path(path, "zarr.json").read_text()) == described
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=path, resume=True))
    assert len(hr.open_recording(path)) == 16


@pytest.mark.parametrize("store", ["", 3])
def test_what_is_no_path_is_refused(store):
    with pytest.raises(TypeError, match=r"'run\.zarr'.*Received"):
        hr.GradientRecorder(store=store)
    with pytest.raises(TypeError, match=r"'run\.zarr'.*Received"):
        hr.open_recording(store)


# Out of a recording.


def test_save_and_open(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1, gradients=["raw", "norm"])
    fit(tiny, line, recorder)
    recording = recorder.recording
    recording.save(path)
    opened = hr.open_recording(path)
    assert_same(opened, recording)
    assert opened.attributes["complete"]
    assert opened.replay().max_error == recording.replay().max_error
    pd.testing.assert_frame_equal(
        opened.statistic("gradients", "norm"), recording.statistic("gradients", "norm")
    )
    with pytest.raises(FileExistsError, match="already"):
        recording.save(path)


def test_store_at_a_url(tiny, line):
    pytest.importorskip("fsspec")
    url = "memory://runs/first.zarr"
    fit(tiny, line, hr.GradientRecorder(record_freq=1, store=url))
    recording = hr.open_recording(url)
    assert len(recording) == 8
    assert recording.replay().max_error < 1e-6
    recorder = hr.GradientRecorder(store=url)
    tiny.compile("adam", loss="mse", jit_compile=False)
    refused(tiny, line, recorder, FileExistsError, "already")


def test_xarray(tiny, line, path):
    pytest.importorskip("xarray")
    recorder = hr.GradientRecorder(record_freq=1, gradients=["raw", "norm"])
    fit(tiny, line, recorder)
    recording = recorder.recording
    recording.save(path)
    for source in (recording, hr.open_recording(path)):
        dataset = source.to_xarray()
        assert dataset.sizes["step"] == 8
        assert dataset["step"].values.tolist() == list(range(1, 9))
        np.testing.assert_array_equal(
            dataset["gradients:tiny/output/bias"].sel(step=[3, 8]).values,
            recording.gradients["output/bias"][[2, 7]],
        )
        kernel = dataset["gradients:tiny/hidden/kernel"]
        assert kernel.dims == dataset["weights:tiny/hidden/kernel"].dims
        np.testing.assert_array_equal(
            kernel[2:4].values, recording.gradients["hidden/kernel"][2:4]
        )
        assert dataset["gradients:tiny/hidden/kernel:norm"].dims == ("step",)


def test_parquet(tiny, line, tmp_path, monkeypatch):
    pytest.importorskip("pyarrow")
    recorder = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, recorder)
    monkeypatch.setattr("hrcallbacks.export.files._ROWS", 25)  # Several blocks.
    recorder.recording.to_parquet(tmp_path / "run.parquet", variables="hidden/*")
    ours = recorder.recording.to_frame(layout="tidy", variables="hidden/*")
    theirs = pd.read_parquet(tmp_path / "run.parquet")
    pd.testing.assert_frame_equal(
        theirs.astype({"path": str}), ours.astype({"path": str})
    )


def test_pickle(tiny, line, path):
    recorder = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, recorder)
    assert_same(pickle.loads(pickle.dumps(recorder.recording)), recorder.recording)
    recorder.recording.save(path)
    opened = hr.open_recording(path)
    assert_same(pickle.loads(pickle.dumps(opened)), opened)


def test_missing_zarr_names_the_extra(monkeypatch, path):
    monkeypatch.setitem(sys.modules, "zarr", None)
    with pytest.raises(ImportError, match=r'pip install "hrcallbacks\[zarr\]"'):
        hr.GradientRecorder(store=path)
    with pytest.raises(ImportError, match=r'pip install "hrcallbacks\[zarr\]"'):
        hr.open_recording(path)


def test_a_store_can_be_read_from_its_first_write_on(tiny, line, tmp_path, monkeypatch):
    path, update = tmp_path / "run.zarr", zarr.Group.update_attributes
    lengths = []

    def looks(self, attributes):
        lengths.append(len(hr.open_recording(path)))
        return update(self, attributes)

    monkeypatch.setattr(zarr.Group, "update_attributes", looks)
    recorder = hr.GradientRecorder(record_freq=1, store=path)
    tiny.fit(*line, batch_size=5, verbose=0, callbacks=[recorder])
    assert lengths[0] == 0
    assert len(hr.open_recording(path)) == 4
