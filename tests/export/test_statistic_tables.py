import keras
import numpy as np
import pandas as pd
import pytest
from synthetic import network, recording_of

import hrcallbacks as hr


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(7)
    layers = [keras.layers.Dense(3, name="a"), keras.layers.Dense(1, name="b")]
    model = keras.Sequential([keras.Input((1,)), *layers], name="net")
    model.compile("adam", loss="mse", run_eagerly=True)
    return model


def fitted(model, **options):
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    recorder = hr.GradientRecorder(record_freq=1, **options)
    model.fit(
        x,
        3 * x,
        batch_size=10,
        epochs=3,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


@pytest.fixture(scope="module")
def norms(model):
    chosen = {"*/kernel": ["norm", "max"], "*": "norm"}
    return fitted(model, gradients=chosen, weights="update_ratio")


COLUMNS = [
    "gradients:norm:net/a/kernel",
    "gradients:norm:net/a/bias",
    "gradients:norm:net/b/kernel",
    "gradients:norm:net/b/bias",
    "gradients:max:net/a/kernel",
    "gradients:max:net/b/kernel",
    *(f"weights:update_ratio:net/{v}" for v in ("a/kernel", "a/bias")),
    *(f"weights:update_ratio:net/{v}" for v in ("b/kernel", "b/bias")),
]


def test_a_recording_of_norms_has_a_column_for_each(norms):
    table = norms.to_frame()
    index = [*norms.index]
    assert [*table] == [*index, *COLUMNS]
    pd.testing.assert_frame_equal(table[index], norms.index)
    for name in COLUMNS:
        quantity, reduction, path = name.split(":")
        expected = norms.statistic(quantity, reduction)[path]
        np.testing.assert_array_equal(table[name], expected)
    few = norms.to_frame(variables="a/*")
    assert [*few] == [*index, *(c for c in COLUMNS if "/a/" in c)]


def test_tidy_numbers_are_the_wide_ones_unpivoted(norms):
    wide, tidy = norms.to_frame(), norms.to_frame(layout="tidy")
    columns = ["step", "epoch", "quantity", "reduction", "path", "value"]
    assert [*tidy] == columns
    joined = tidy["quantity"] + ":" + tidy["reduction"] + ":" + tidy["path"]
    expected = wide.melt(["step", "epoch"], COLUMNS).sort_values(
        "step", kind="stable", ignore_index=True
    )
    assert joined.tolist() == expected["variable"].tolist()
    for name in ("step", "epoch", "value"):
        np.testing.assert_array_equal(tidy[name], expected[name])


def test_elements_come_first_and_statistics_where_asked_for(model):
    both = fitted(model, gradients=["raw", "norm"], weights=None)
    assert [*both.to_frame()][-1] == "gradient:net/b/bias[0]"
    table = both.to_frame(of="statistics")
    assert [*table][-1] == "gradients:norm:net/b/bias"
    raw = both.gradients["a/kernel"].reshape(6, -1)
    np.testing.assert_allclose(
        table["gradients:norm:net/a/kernel"], np.linalg.norm(raw, axis=1), rtol=1e-6
    )


def test_histograms_are_long_tables_with_their_edges(model):
    histogram = hr.Histogram(bins=30)
    recording = fitted(model, gradients=["raw", histogram], weights=None)
    table = recording.to_frame(of="histograms", variables="a/kernel")
    assert len(table) == 6 * 33
    assert set(table["path"]) == {"net/a/kernel"}
    assert set(table["reduction"]) == {"histogram"}
    for number, (step, rows) in enumerate(table.groupby("step")):
        assert step == number + 1
        values = np.abs(np.ravel(recording.gradients["a/kernel"][number]))
        bins = rows[rows["bin"].str.isdigit()]
        assert bins["bin"].tolist() == [*map(str, range(30))]
        edges = [*bins["low"], bins["high"].iloc[-1]]
        # None of these values is outside: counted here by NumPy.
        np.testing.assert_array_equal(bins["count"], np.histogram(values, edges)[0])
        assert bins["count"].sum() == 3
        others = rows[~rows["bin"].str.isdigit()]
        assert others["bin"].tolist() == ["zero", "nan", "inf"]
        assert others["count"].tolist() == [0, 0, 0]
        np.testing.assert_array_equal(others["low"], [0, np.nan, np.inf])


@pytest.mark.parametrize("of", ["statistics", "histograms"])
@pytest.mark.parametrize("rows", [7, 1_000_000])  # Blocks of one record, and of all.
def test_parquet_is_the_tidy_table(model, tmp_path, monkeypatch, of, rows):
    recording = fitted(model, gradients=["norm", hr.Histogram()], weights=None)
    monkeypatch.setattr("hrcallbacks.export.files._ROWS", rows)
    recording.to_parquet(tmp_path / "run.parquet", of=of)
    read = pd.read_parquet(tmp_path / "run.parquet")
    ours = recording.to_frame(layout="tidy", of=of)
    pd.testing.assert_frame_equal(read, ours, check_dtype=False, check_exact=True)


def test_parquet_of_norms_needs_no_argument(norms, tmp_path):
    norms.to_parquet(tmp_path / "run.parquet")
    read = pd.read_parquet(tmp_path / "run.parquet")
    assert read["value"].tolist() == norms.to_frame(layout="tidy")["value"].tolist()


@pytest.mark.parametrize(
    ("arguments", "text"),
    [
        ({"of": "norms"}, "of to be one of .*'statistics'.*Received: 'norms'"),
        ({"of": "elements"}, r"none was recorded 'raw'.*of='statistics'\) has the"),
        (
            {"of": "histograms"},
            r"No hr.Histogram.*gradients 'norm'.*Record .*Histogram",
        ),
        ({"names": "symbol"}, "none was recorded 'raw'"),
        ({"names": "symbol", "of": "statistics"}, "names elements"),
        ({"variables": "*/gamma"}, "No recorded variable matches"),
    ],
)
def test_bad_arguments_are_refused(norms, arguments, text):
    with pytest.raises(ValueError, match=text):
        norms.to_frame(**arguments)


def test_what_has_neither_elements_nor_numbers_is_refused():
    sampled = recording_of({"net/a:sample": np.ones((3, 5))}, shapes={"net/a": (9,)})
    with pytest.raises(ValueError, match=r"neither was of \['net/a'\].*'sample'"):
        sampled.to_frame()


def test_many_runs_of_norms_have_one_table(norms):
    runs = hr.Runs({"a": norms, "b": recording_of(network())})
    table = hr.Runs({"a": norms, "c": norms}).to_frame()
    assert [*table] == ["run", *norms.to_frame()]
    assert table["run"].tolist() == ["a"] * 6 + ["c"] * 6
    with pytest.raises(ValueError, match="Of the run 'b'"):
        runs.to_frame(of="statistics")
