"""The data of a step, against what was passed to `fit`."""

import keras
import numpy as np
import pytest
from keras import layers
from training import full_state, several_steps

import hrcallbacks as hr
from hrcallbacks.quantities.batch import parts_of

BATCH, ROWS = 8, 20  # The last batch is smaller.
COMPILED = {} if keras.config.backend() == "torch" else {"jit_compile": False}
PARTS = hr.Sample(5, seed=1), hr.Projection(4)  # Of a whole tensor.
WANTED = {
    "x/id": ["raw", "mean", hr.Rows(6), *PARTS],
    "x/image": ["raw", "norm", hr.PerUnit("mean"), *PARTS],
    "y*": "raw",
    "sample_weight": "raw",
}


def data():
    """Inputs, targets and weights. Float32 does not hold all of the ids."""
    rng = np.random.RandomState(0)
    x = {
        "image": rng.randn(ROWS, 2, 3).astype("float32"),
        "id": rng.randint(2**25, 2**26, (ROWS, 1)).astype("int32"),
    }
    return x, rng.randn(ROWS, 1).astype("float32"), np.arange(ROWS, dtype="float32")


def compiled(**kwargs):
    keras.utils.set_random_seed(3)
    image = keras.Input((2, 3), name="image")
    number = keras.Input((1,), name="id", dtype="int32")
    scaled = layers.Rescaling(1e-8, name="scaled")(number)
    joined = layers.Concatenate()([layers.Flatten()(image), scaled])
    model = keras.Model(
        {"image": image, "id": number}, layers.Dense(1, name="out")(joined), name="m"
    )
    model.compile(keras.optimizers.Adam(0.01), "mse", **(COMPILED | kwargs))
    return model


def trained(recorder=None, **kwargs):
    x, y, weight = data()
    model = compiled(**kwargs)
    model.fit(
        x,
        y,
        sample_weight=weight,
        batch_size=BATCH,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[recorder] if recorder else [],
    )
    return model


def recorded(**kwargs):
    recorder = hr.GradientRecorder(record_freq=1, batch=WANTED, **kwargs)
    return recorder, trained(recorder)


@pytest.fixture(scope="module")
def run():
    recorder, model = recorded()
    return recorder.recording, model


def parts(t):
    """The batch of record t, by name."""
    x, y, weight = data()
    rows = slice(t % 3 * BATCH, t % 3 * BATCH + BATCH)
    parts = {"x/image": x["image"], "x/id": x["id"], "y": y, "sample_weight": weight}
    return {name: part[rows] for name, part in parts.items()}


def check(recording, records=6):
    assert len(recording) == records
    assert set(recording.batch) == set(parts(0))
    for t in range(records):
        for name, expected in parts(t).items():
            found = recording.batch[name][t]
            assert found.shape == (BATCH, *expected.shape[1:])
            np.testing.assert_array_equal(found[: len(expected)], expected)
            assert np.isnan(found[len(expected) :]).all()
            assert recording.batch_rows[name].iloc[t] == len(expected)
            for part in PARTS if name.startswith("x/") else ():
                filled = np.full((BATCH, *expected.shape[1:]), part.fill, "float32")
                filled[: len(expected)] = expected
                made = recording.arrays("batch", part.name)[name][t]
                rounding = 1e-6 * np.abs(filled).max(initial=0, where=filled == filled)
                np.testing.assert_allclose(made, part.on_host(filled), 0, rounding)
        first = recording.arrays("batch", "rows")["x/id"][t]
        expected = parts(t)["x/id"][:6]
        np.testing.assert_array_equal(first[: len(expected)], expected)
        assert np.isnan(first[len(expected) :]).all()


def test_each_part_of_the_batch_is_what_fit_was_given(run):
    recording, _ = run
    check(recording)
    assert recording.batch["x/id"].dtype == "float64"
    assert recording.batch["x/image"].dtype == "float32"


def test_reductions_are_those_of_the_batch_without_padding(run):
    recording, _ = run
    norms = recording.statistic("batch", "norm")
    for t in range(len(recording)):
        image, number = parts(t)["x/image"], parts(t)["x/id"]
        np.testing.assert_allclose(norms["x/image"].iloc[t], np.linalg.norm(image))
        # From the raw rows.
        y = np.linalg.norm(parts(t)["y"])
        np.testing.assert_allclose(norms["y"].iloc[t], y, rtol=1e-6)
        mean = recording.arrays("batch", "mean")["x/id"][t]
        np.testing.assert_allclose(mean, number.mean(), rtol=1e-6)
        unit = recording.arrays("batch", "mean_per_unit")["x/image"][t]
        np.testing.assert_allclose(unit, image.mean((0, 1)), rtol=1e-5, atol=1e-7)


def test_training_is_unchanged(run):
    _, model = run
    for ours, plain in zip(full_state(model), full_state(trained()), strict=True):
        np.testing.assert_array_equal(ours, plain)


@pytest.mark.parametrize(
    "how",
    [
        {"run_eagerly": True},
        pytest.param({"steps_per_execution": 2}, marks=several_steps),
    ],
    ids=["eager", "several steps"],
)
def test_it_is_seen_however_steps_run(how):
    recorder = hr.GradientRecorder(record_freq=1, batch=WANTED)
    trained(recorder, **how)
    check(recorder.recording)


def test_it_is_on_disk_as_in_memory(tmp_path, run):
    recording, _ = run
    recorder, _ = recorded(store=tmp_path / "run.zarr")
    assert recorder.recording.attributes["complete"]
    check(hr.open_recording(tmp_path / "run.zarr"))
    recording.save(tmp_path / "saved.zarr")
    check(hr.open_recording(tmp_path / "saved.zarr"))


@pytest.fixture(scope="module")
def pair():
    """A model of two inputs in a tuple, which is trained again and again."""
    a, b = keras.Input((1,)), keras.Input((1,))
    model = keras.Model((a, b), layers.Dense(1)(layers.Add()([a, b])))
    model.compile("sgd", "mse", **COMPILED)
    return model


class Sequence(keras.utils.PyDataset):
    def __len__(self):
        return 3

    def __getitem__(self, place):
        return (np.full((4, 1), place), np.full((4, 1), 2.0)), np.full((4, 1), 3.0)


def generated():
    for place in range(3):
        yield Sequence()[place]


@pytest.mark.parametrize("kind", ["generator", "dataset", "tf.data"])
def test_tuples_from_any_source(pair, kind):
    source = generated() if kind == "generator" else Sequence()
    if kind == "tf.data":
        tf = pytest.importorskip("tensorflow")
        (a, b), y = (np.repeat([0, 1, 2], 4)[:, None], np.full((12, 1), 2)), 3.0
        slices = tf.data.Dataset.from_tensor_slices(((a, b), np.full((12, 1), y)))
        source = slices.batch(4)
    recorder = hr.GradientRecorder(record_freq=1, batch="raw")
    pair.fit(source, steps_per_epoch=3, verbose=0, callbacks=[recorder], shuffle=False)
    batch = recorder.recording.batch
    assert list(batch) == ["x/0", "x/1", "y"]
    assert batch["x/0"].shape == (3, 4, 1)
    for t in range(3):
        assert (batch["x/0"][t] == t).all()
    assert (batch["x/1"] == 2).all()
    assert (batch["y"] == 3).all()


def test_a_glob_that_matches_nothing_says_what_there_is(pair):
    before = pair.get_weights()
    recorder = hr.GradientRecorder(record_freq=1, batch={"x/*": "raw", "z": "norm"})
    with pytest.raises(ValueError, match=r"matches batch='z'.*'x/0', 'x/1', 'y'"):
        pair.fit(Sequence(), verbose=0, callbacks=[recorder], shuffle=False)
    for old, new in zip(before, pair.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_what_memory_has_no_room_for_is_refused_before_an_update(pair):
    before = pair.get_weights()
    recorder = hr.GradientRecorder(record_freq=1, batch="raw", max_bytes=290)
    with pytest.raises(ValueError, match=r"max_bytes=290.*would fit.*hr.Rows\(\d"):
        pair.fit(Sequence(), verbose=0, callbacks=[recorder], shuffle=False)
    for old, new in zip(before, pair.get_weights(), strict=True):
        np.testing.assert_array_equal(old, new)


def test_train_on_batch_shows_it_and_a_loop_does_not(pair):
    recorder = hr.GradientRecorder(record_freq=1, batch={"y": "raw"})
    x, y = (np.ones((4, 1), "float32"),) * 2, np.zeros((4, 1), "float32")
    with recorder.attached(pair):
        for number in range(3):
            y[:] = number  # Into the memory of the batch before.
            pair.train_on_batch(x, y)
    assert recorder.recording.batch["y"][:, 0, 0].tolist() == [0, 1, 2]
    recorder.reset()
    variables = pair.trainable_variables
    zeros = [keras.ops.zeros(v.shape) for v in variables]
    with (
        pytest.raises(ValueError, match="batch= cannot be recorded here"),
        recorder.attached(pair),
    ):
        pair.optimizer.apply(zeros, variables)


def test_rows_that_a_batch_lacks_are_no_alarm(pair):
    x = np.ones((6, 1)), np.ones((6, 1))
    recorder = hr.GradientRecorder(
        record_freq=1, batch="raw", outputs="raw", sinks=[hr.Alert("nan")]
    )
    y = np.ones((6, 1))
    pair.fit(x, y, batch_size=4, verbose=0, callbacks=[recorder])
    assert np.isnan(recorder.recording.batch["y"][1, 2:]).all()
    # A warning is an error in these tests; this one is due.
    y[5] = np.nan
    recorder.reset()
    with pytest.warns(RuntimeWarning, match="batch of 'y' .1 of 2 elements"):
        pair.fit(x, y, batch_size=4, verbose=0, callbacks=[recorder], shuffle=False)


def test_rows_of_another_shape_stop_the_recording_alone():
    if keras.config.backend() == "tensorflow":
        pytest.skip("refused before training: the shape is not known")
    model = keras.Sequential(
        [keras.Input((None, 1)), layers.GlobalAveragePooling1D(), layers.Dense(1)]
    )
    model.compile("sgd", "mse", **COMPILED)

    def longer():
        for length in (2, 3):
            yield np.ones((4, length, 1)), np.ones((4, 1))

    recorder = hr.GradientRecorder(record_freq=1, batch={"x": "raw"})
    with pytest.warns(RuntimeWarning, match=r"rows have shape \(3, 1\)"):
        model.fit(
            longer(), steps_per_epoch=2, verbose=0, callbacks=[recorder], shuffle=False
        )
    assert model.optimizer.iterations == 2


def test_data_of_another_form_have_their_places_for_names():
    data = (np.ones(1), {"a": np.ones(2), "b": None}, [np.ones(3)], np.ones(4))
    assert {name: len(part) for name, part in parts_of(data).items()} == {
        "0": 1,
        "1/a": 2,
        "2/0": 3,
        "3": 4,
    }
    assert list(parts_of(np.ones(3))) == ["x"]
