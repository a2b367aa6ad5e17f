import shutil

import keras
import numpy as np
import pandas as pd
import pytest
from synthetic import network, recording_of, silence

import hrcallbacks as hr


def train(rate, seed, line, *, store=None, **options):
    """A run of a tiny network whose names Keras makes up."""
    keras.utils.set_random_seed(seed)
    layers = [keras.Input((1,)), keras.layers.Dense(3), keras.layers.Dense(1)]
    model = keras.Sequential(layers)
    model.compile(keras.optimizers.SGD(rate), loss="mse", run_eagerly=True)
    options = {"record_freq": 1, "metadata": {"seed": seed}} | options
    recorder = hr.GradientRecorder(store=store, **options)
    model.fit(*line, batch_size=10, epochs=2, verbose=0, callbacks=[recorder])
    return recorder.recording


def make_line():
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    return x, 3 * x + 1


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Runs 0 to 10: rates 0.1 and 0.3 in turn, and their seeds."""
    folder = tmp_path_factory.mktemp("runs")
    keras.utils.clear_session()
    for n in range(11):
        rate = (0.1, 0.3)[n % 2]
        train(rate, n // 2, make_line(), store=folder / f"{n}.zarr")
    return folder


@pytest.fixture
def runs(folder):
    return hr.open_recordings(f"{folder}/*.zarr")


def test_a_glob_opens_them_in_the_order_of_their_numbers(runs, folder):
    assert [*runs] == [str(n) for n in range(11)]
    one = hr.open_recording(folder / "7.zarr")
    assert runs["7"].paths == one.paths
    np.testing.assert_array_equal(
        runs["7"].gradients[one.paths[0]], one.gradients[one.paths[0]]
    )
    assert len(runs) == 11
    assert "11, 11 of them complete: 0, 1, 2" in repr(runs)


@pytest.mark.parametrize(
    ("paths", "names"),
    [
        (["1.zarr", "0.zarr"], ["1", "0"]),
        (["0.zarr"], ["0"]),
        ("*.zarr", ["0", "1", "a/run", "b/run"]),
        (["a/*.zarr", "b/run.zarr"], ["a/run", "b/run"]),
        (["a/run.zarr"], ["run"]),
        (["0.zarr", "a/run.zarr", "0.zarr"], ["0", "a/run"]),
    ],
)
def test_a_run_is_called_by_what_its_path_has_beyond_that_of_all(
    folder, tmp_path, monkeypatch, paths, names
):
    monkeypatch.chdir(tmp_path)
    for name in ("0.zarr", "1.zarr", "a/run.zarr", "b/run.zarr"):
        shutil.copytree(folder / "0.zarr", name)
    paths = "**/*.zarr" if paths == "*.zarr" else paths
    assert [*hr.open_recordings(paths)] == names


def test_runs_behind_a_url(folder):
    hr.open_recording(folder / "0.zarr").save("memory://sweep/2.zarr")
    hr.open_recording(folder / "1.zarr").save("memory://sweep/10.zarr")
    assert [*hr.open_recordings("memory://sweep/*.zarr")] == ["2", "10"]


def test_parameters_tell_what_was_trained(runs):
    table = runs.parameters
    assert table.index.tolist() == [*runs]
    assert table.index.name == "run"
    assert table["seed"].tolist() == [n // 2 for n in range(11)]
    assert table["learning_rate"].tolist() == [(0.1, 0.3)[n % 2] for n in range(11)]
    assert set(table["optimizer"]) == {"SGD"}
    assert set(table["momentum"]) == {0.0}
    assert set(table["version.keras"]) == {keras.__version__}
    assert set(table["backend"]) == {keras.config.backend()}
    assert set(table["records"]) == set(table["last_step"]) == {4}
    assert table["complete"].all()


def test_metadata_of_any_shape_is_a_parameter():
    nested = {"data": {"name": "stars", "sizes": [10, [20]]}, "learning_rate": 1}
    optimizer = {
        "class_name": "SGD",
        "config": {"learning_rate": float(np.float32(0.1))},
    }
    runs = hr.Runs(
        {
            "a": recording_of(network(), metadata=nested, optimizer=optimizer),
            "b": recording_of(network(), optimizer=optimizer),
        }
    )
    table = runs.parameters
    assert table.loc["a", "data.name"] == "stars"
    assert table.loc["a", "data.sizes"] == (10, (20,))
    assert table.loc["a", "learning_rate"] == 1
    assert np.isnan(table.loc["b", "learning_rate"])
    assert table["recorded.learning_rate"].tolist() == [0.1, 0.1]


def test_the_rate_under_a_schedule_and_in_mixed_precision(tiny, line):
    found = {}
    schedule = keras.optimizers.schedules.ExponentialDecay(0.5, 1, 0.5)
    scaled = keras.optimizers.LossScaleOptimizer(keras.optimizers.Adam(0.25))
    for name, optimizer in {
        "schedule": keras.optimizers.SGD(schedule),
        "scaled": scaled,
    }.items():
        tiny.compile(optimizer, loss="mse", jit_compile=False)
        recorder = hr.GradientRecorder(record_freq=1)
        tiny.fit(*line, verbose=0, callbacks=[recorder])
        found[name] = recorder.recording
    table = hr.Runs(found).parameters
    assert table["learning_rate"].to_dict() == {"schedule": 0.5, "scaled": 0.25}
    assert table["optimizer"].to_dict() == {"schedule": "SGD", "scaled": "Adam"}


def test_tables_have_all_runs_and_a_column_for_the_run(runs):
    paths = ["dense/kernel", "dense/bias", "dense_1/kernel", "dense_1/bias"]
    paths = [f"sequential/{path}" for path in paths]
    assert runs.paths == paths
    assert len({tuple(one.paths) for one in runs.values()}) == 11  # In no two the same.
    norms = runs.statistic("gradients", "norm")
    assert [*norms] == ["run", "step", *paths]
    index, wide, tidy = runs.index, runs.to_frame(), runs.to_frame(layout="tidy")
    for name, one in runs.items():
        expected = one.statistic("gradients", "norm")
        found = norms[norms["run"] == name]
        assert found["step"].tolist() == expected.index.tolist()
        np.testing.assert_array_equal(found[paths], expected)
        rows = index[index["run"] == name].drop(columns="run")
        pd.testing.assert_frame_equal(rows.reset_index(drop=True), one.index)
        rows = wide[wide["run"] == name].drop(columns="run")
        np.testing.assert_array_equal(rows, one.to_frame())
        rows = tidy[tidy["run"] == name]
        np.testing.assert_array_equal(
            rows["gradient"], one.to_frame(layout="tidy")["gradient"]
        )
        assert {*rows["path"]} == {*paths}
    few = runs.to_frame(variables="dense_1/*")
    assert [c for c in few if c.startswith("weight:")] == [
        *(f"weight:sequential/dense_1/kernel[{n},0]" for n in range(3)),
        "weight:sequential/dense_1/bias[0]",
    ]


def test_a_run_that_lacks_it_is_named():
    runs = hr.Runs(
        {
            "raw": recording_of(network()),
            "norms": recording_of(
                {"a/kernel:norm": np.ones(3)}, shapes={"a/kernel": (2, 2)}
            ),
        }
    )
    with pytest.raises(ValueError, match=r"Of the run 'norms': No 'max' of gradients"):
        runs.statistic("gradients", "max")
    norms = runs.statistic("gradients", "norm")
    assert norms["a/kernel"].isna().sum() == 12
    assert norms["net/hidden/kernel"].isna().sum() == 3


def test_an_empty_run_is_in_the_parameters_and_nowhere_else():
    empty = recording_of(loss=[])
    runs = hr.Runs({"empty": empty, "full": recording_of(network())})
    assert runs.parameters["records"].tolist() == [0, 12]
    assert {*runs.index["run"]} == {"full"}
    assert runs.index["step"].dtype == np.int64
    assert {*runs.diagnose().loc["empty"]} == {"not looked"}
    assert "empty" not in {*runs.findings()["run"]}


def test_diagnose_is_a_table_of_runs_by_rules():
    dead = recording_of(silence(network(), 1, slice(None)))
    norms = recording_of(
        {"net/hidden/kernel:norm": np.ones(12)}, shapes={"net/hidden/kernel": (3, 4)}
    )
    runs = hr.Runs({"dead": dead, "fine": recording_of(network()), "norms": norms})
    table = runs.diagnose()
    assert table["dead_units"].to_dict() == {
        "dead": dead.diagnose("dead_units")["severity"].iloc[0],
        "fine": "none",
        "norms": "not looked",
    }
    long = runs.findings()
    for name, one in runs.items():
        expected = one.diagnose().to_frame()
        found = long[long["run"] == name].drop(columns="run")
        assert found.to_dict("list") == expected.to_dict("list")
        worst = dict.fromkeys(one.diagnose().looked, "none")
        for rule, severity in zip(expected["rule"], expected["severity"], strict=True):
            if worst[rule] == "none":  # The most severe comes first.
                worst[rule] = severity
        there = table.loc[name]
        assert there[there != "not looked"].to_dict() == worst
    assert [*runs.diagnose(["nan", "loss_rises"])] == ["nan", "loss_rises"]
    with pytest.raises(ValueError, match="no rule 'dead'"):
        runs.diagnose("dead")


@pytest.mark.parametrize(
    ("paths", "message"),
    [
        ("{0}/*.store", r"No path matches '.*/\*.store' in '.*runs/\*.zarr"),
        ([], r"empty list of paths.*runs/\*.zarr"),
        (["{0}/*.store", "{0}/[xy]"], r"No path matches '.*store', '.*\[xy\]'"),
        ("memory://nowhere/*", r"No path matches 'memory://nowhere/\*'\. "),
    ],
)
def test_no_match_says_what_was_looked_for(folder, paths, message):
    paths = (
        paths.format(folder)
        if isinstance(paths, str)
        else [p.format(folder) for p in paths]
    )
    with pytest.raises(FileNotFoundError, match=message):
        hr.open_recordings(paths)


def test_a_broken_store_is_named_and_may_be_skipped(folder, tmp_path):
    for n in range(3):
        shutil.copytree(folder / f"{n}.zarr", tmp_path / f"{n}.zarr")
    (tmp_path / "1.zarr" / "zarr.json").write_text("{")
    (tmp_path / "notes.csv").write_text("a,b\n")
    message = r"2 of 4 recordings cannot be opened:\n'.*1.zarr': .*\n'.*notes.csv': .*"
    with pytest.raises(ValueError, match=f"{message}\n.*broken='skip'"):
        hr.open_recordings(f"{tmp_path}/*")
    with pytest.warns(RuntimeWarning, match=message) as caught:
        runs = hr.open_recordings(f"{tmp_path}/*", broken="skip")
    assert caught[0].filename == __file__
    assert [*runs] == ["0", "2"]
    with pytest.raises(ValueError, match="2 of 2 recordings cannot be opened"):
        hr.open_recordings(
            [tmp_path / "1.zarr", tmp_path / "missing.zarr"], broken="skip"
        )


@pytest.mark.parametrize(
    ("make", "kind", "message"),
    [
        (lambda: hr.Runs({}), ValueError, "empty dict"),
        (lambda: hr.Runs(["a.zarr"]), TypeError, r"dict.*list.*hr.open_recordings\("),
        (lambda: hr.Runs({"a": hr.GradientRecorder()}), TypeError, "use its recording"),
        (lambda: hr.Runs({"a": 3}), TypeError, "as 'a': int"),
        (lambda: hr.open_recordings(3), TypeError, "glob.*Received: 3"),
        (lambda: hr.open_recordings([3]), TypeError, "Received: 3"),
        (
            lambda: hr.open_recordings("a", broken="drop"),
            ValueError,
            "broken to be one of",
        ),
    ],
)
def test_bad_arguments(make, kind, message):
    with pytest.raises(kind, match=message):
        make()


def test_an_unknown_run_lists_those_there_are(runs):
    with pytest.raises(KeyError, match=r"no run '11'.*There are: 0, 1, .* and 1 more"):
        runs["11"]
