"""What each store promises: see `hrcallbacks.storage.store.Store`.

A store of your own passes if its maker joins `MAKERS`.
"""

import importlib.util
from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import keras
import numpy as np
import pandas as pd
import pytest

import hrcallbacks as hr
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.storage.store import Snapshot, Store, empty_index
from hrcallbacks.storage.zarr_store import ZarrStore
from hrcallbacks.types import Block, Fit, Key, OptimizerStart, Record, Spec, Step


class ListStore(Store):
    """The least that a store can be: two lists."""

    def __init__(self) -> None:
        super().__init__()
        self._rows: list[dict[str, Any]] = []
        self._values: list[Mapping[Key, np.ndarray]] = []

    def __len__(self) -> int:
        return len(self._rows)

    def append(self, record: Record) -> None:
        self._values.append(record.values)
        self._rows.append(record.row)

    def extend(self, block: Block) -> None:
        for number, row in enumerate(block.rows):
            self._values.append({key: a[number] for key, a in block.values.items()})
            self._rows.append(row)

    def add_metrics(self, first: int, metrics: Mapping[str, Any]) -> None:
        self._rows[first:] = [row | dict(metrics) for row in self._rows[first:]]

    def snapshot(self) -> Snapshot:
        index = pd.DataFrame(self._rows) if self._rows else empty_index()
        values = self._values[:]

        def rows(column: Any) -> np.ndarray:
            rows = np.empty((len(values), *column.shape), column.dtype)
            for number, of_record in enumerate(values):
                column.fill(rows, number, of_record)
            return rows

        fits = list(self.fits)
        return Snapshot([*self.columns], dict(self.attributes), fits, index, rows)


MAKERS: dict[str, Callable[[Any], Store]] = {
    "list": lambda folder: ListStore(),
    "memory": lambda folder: MemoryStore(),
    "zarr": lambda folder: ZarrStore(folder / "run.zarr"),
}
KERNEL, NORM = Key("weights", "raw", "a/kernel"), Key("gradients", "norm", "a/kernel")
SPECS = {KERNEL: Spec((2, 3), "float32"), NORM: Spec((), "float64")}
ATTRIBUTES = {"variables": [("a/kernel", (2, 3))], "weights_at": "after"}


@pytest.fixture(params=MAKERS)
def store(request: pytest.FixtureRequest, tmp_path: Any) -> Store:
    if request.param == "zarr" and not importlib.util.find_spec("zarr"):
        pytest.skip("needs the extra 'zarr'")
    return MAKERS[request.param](tmp_path)


def begin(store: Store, fit: Fit | None = None) -> None:
    store.check_place()
    store.open(chief=True)
    store.declare(SPECS, ATTRIBUTES)
    store.begin_fit(fit or Fit())
    store.begin_epoch(1, len(store), None)


def record(step: int, **more: Any) -> Record:
    values = {KERNEL: np.full((2, 3), step, "float32"), NORM: np.float64(step / 2)}
    return Record(Step(step, 1, step), 1 / step, values, **more)


def block(*steps: int) -> Block:
    records = [record(step) for step in steps]
    values = {key: np.stack([r.values[key] for r in records]) for key in SPECS}
    return Block([r.row for r in records], values)


def read(store: Store) -> hr.Recording:
    store.flush()
    return hr.Recording.of(store.snapshot())


def test_what_was_appended_is_there(store):
    begin(store)
    for step in (1, 2, 3):
        store.append(record(step, learning_rates={"learning_rate": 0.1}))
    assert len(store) == 3
    recording = read(store)
    assert recording.index["step"].tolist() == [1, 2, 3]
    assert recording.index["learning_rate"].tolist() == [0.1] * 3
    np.testing.assert_array_equal(recording.weights["kernel"][:, 1, 2], [1, 2, 3])
    norms = recording.arrays("gradients", "norm")["kernel"]
    assert np.asarray(norms).tolist() == [0.5, 1.0, 1.5]


def test_a_block_is_its_records_in_turn(store):
    begin(store)
    store.append(record(1))
    store.extend(block(2, 3, 4))
    store.append(record(5))
    read(store)  # Somebody looks in between.
    store.extend(block(6, 7))
    assert len(store) == 7
    recording, steps = read(store), [*range(1, 8)]
    assert recording.index["step"].tolist() == steps
    assert recording.index["loss"].tolist() == [1 / step for step in steps]
    kernel = np.asarray(recording.weights["kernel"])
    expected = [record(step).values[KERNEL] for step in steps]
    np.testing.assert_array_equal(kernel, expected)
    norms = recording.arrays("gradients", "norm")["kernel"]
    assert np.asarray(norms).tolist() == [step / 2 for step in steps]


def test_a_block_lacks_a_key_in_all_its_records(store):
    begin(store)
    store.append(record(1))
    of_norms = {NORM: block(2, 3).values[NORM]}
    store.extend(replace(block(2, 3), values=of_norms))
    store.append(record(4))
    kernel = np.asarray(read(store).weights["kernel"])
    assert np.isnan(kernel).all(axis=(1, 2)).tolist() == [False, True, True, False]


@pytest.mark.parametrize("first", [0, 1, 4095])
def test_blocks_may_be_longer_than_chunks(store, first):
    begin(store)
    count = first + 4100
    for step in range(1, first + 1):
        store.append(record(step))
    store.extend(block(*range(first + 1, count + 1)))
    recording = read(store)
    assert recording.index["step"].tolist() == [*range(1, count + 1)]
    norms = recording.arrays("gradients", "norm")["kernel"]
    assert np.asarray(norms).tolist() == [step / 2 for step in range(1, count + 1)]


def test_of_a_block_memory_keeps_what_fits():
    store = MemoryStore(max_bytes=3 * (6 * 4 + 8) + 5)
    begin(store)
    store.append(record(1))
    with pytest.raises(MemoryError, match="another record would exceed"):
        store.extend(block(2, 3, 4, 5))
    assert read(store).index["step"].tolist() == [1, 2, 3]


def test_what_a_record_lacks_is_nan(store):
    begin(store)
    store.append(record(1))
    store.append(replace(record(2), values={}, loss=None))
    recording = read(store)
    assert np.isnan(np.asarray(recording.weights["kernel"][1])).all()
    assert np.isnan(recording.arrays("gradients", "norm")["kernel"][1])
    assert np.isnan(recording.index["loss"].iloc[1])


def test_a_snapshot_is_left_alone_by_what_comes_later(store):
    begin(store)
    store.append(record(1))
    before = read(store)
    store.append(record(2))
    store.add_metrics(0, {"mae": 3.0})
    assert len(before) == len(before.weights["kernel"]) == 1
    assert "mae" not in before.index
    assert len(read(store)) == 2


def test_metrics_join_the_records_of_an_epoch(store):
    begin(store)
    store.append(record(1))
    store.end_epoch(1, 1)
    read(store)
    store.append(record(2))
    read(store)  # Somebody looks before the epoch has ended.
    store.add_metrics(1, {"mae": 3.0})
    found = read(store).index["mae"]
    assert np.isnan(found.iloc[0])
    assert found.iloc[1] == 3.0


def test_fits_follow_one_another(store):
    start = Fit(
        weights={"a/kernel": np.ones((2, 3), "float32")},
        optimizers={
            "0": OptimizerStart("SGD", {"config": {}}, False, False, ["a/kernel"])
        },
    )
    begin(store, start)
    store.append(record(1))
    assert not read(store).attributes["complete"]
    store.end_fit()
    store.close()
    assert read(store).attributes["complete"]
    begin(store, start)
    store.append(record(2))
    store.note_fault("it broke")
    store.note_fault("and again")
    store.end_fit()
    store.close()
    first, second = read(store).fits
    assert (first.first, first.ended, first.fault) == (0, True, None)
    assert (second.first, second.ended, second.fault) == (1, True, "it broke")
    np.testing.assert_array_equal(second.weights["a/kernel"], np.ones((2, 3)))
    assert list(second.optimizers["0"].paths) == ["a/kernel"]
    assert read(store).attributes["fault"] == "it broke"


def test_a_fit_that_was_withdrawn_leaves_nothing(store):
    begin(store)
    store.withdraw_fit()
    assert len(read(store)) == 0
    assert store.fits == []
    begin(store)
    store.append(record(1))
    assert len(read(store)) == 1


def test_more_variables_may_come(store):
    begin(store)
    store.append(record(1))
    bias = Key("weights", "raw", "a/bias")
    specs = SPECS | {bias: Spec((3,), "float32")}
    variables = [("a/kernel", (2, 3)), ("a/bias", (3,))]
    store.declare(specs, {"variables": variables})
    values = record(2).values | {bias: np.ones(3, "float32")}
    store.append(replace(record(2), values=values))
    recording = read(store)
    assert np.isnan(np.asarray(recording.weights["bias"][0])).all()
    np.testing.assert_array_equal(recording.weights["bias"][1], [1, 1, 1])


def test_another_shape_is_refused_and_changes_nothing(store):
    begin(store)
    store.append(record(1))
    with pytest.raises(ValueError, match=r"'a/kernel' with shape \(2, 3\)"):
        store.declare({KERNEL: Spec((2, 4), "float32")}, {})
    assert len(read(store)) == 1


def test_a_whole_fit_is_recorded(store, tiny, line, monkeypatch):
    """As `GradientRecorder` uses it."""
    from hrcallbacks.session.settings import Settings

    monkeypatch.setattr(Settings, "new_store", lambda self: store)
    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(*line, batch_size=5, epochs=2, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    assert recording.index["step"].tolist() == [*range(1, 9)]
    assert recording.attributes["complete"]
    assert recording.replay().max_error < 1e-6
    for path, variable in zip(recording.paths, tiny.trainable_variables, strict=True):
        last = np.asarray(recording.weights[path][-1])
        np.testing.assert_array_equal(last, keras.ops.convert_to_numpy(variable))
