import sys

import keras
import numpy as np
import pytest

import hrcallbacks as hr

pytest.importorskip("tensorboard")
import events

BACKEND = keras.config.backend()
PATHS = [f"tiny/{p}/{k}" for p in ("hidden", "output") for k in ("kernel", "bias")]


def fit(model, line, *callbacks, epochs=3, **options):
    options = {"batch_size": 5, "shuffle": False, "verbose": 0} | options
    return model.fit(*line, epochs=epochs, callbacks=[*callbacks], **options)


def recorded(model, line, **options):
    recorder = hr.GradientRecorder(**options)
    fit(model, line, recorder)
    return recorder.recording


def counted(buckets, x):
    """Asserts that a histogram's buckets hold the values x."""
    x = np.sort(np.ravel(x).astype(np.float64))
    assert buckets[:, 2].sum() == x.size
    below = np.cumsum(buckets[:, 2])
    for (_, right, _), count in zip(buckets[:-1], below[:-1], strict=True):
        assert count == np.sum(x < right)
    assert buckets[0, 0] == x[0]
    assert buckets[-1, 1] == x[-1]


def test_raw_records_are_there_as_histograms_and_norms(tiny, line, tmp_path):
    recording = recorded(tiny, line, record_freq=5)
    hr.to_tensorboard(recording, tmp_path)
    found = events.read(tmp_path / "train")
    for path in PATHS:
        of = {"gradients": recording.gradients, "weights": recording.weights}
        for quantity, arrays in of.items():
            norms = found[f"{path}/{quantity}/norm"]
            assert events.steps(norms) == [5, 10]
            flat = arrays[path].reshape(2, -1).astype(np.float64)
            expected = np.sqrt((flat**2).sum(axis=1))
            np.testing.assert_allclose(events.values(norms), expected, rtol=1e-6)
        pairs = (("gradients/histogram", "gradients"), ("histogram", "weights"))
        for tag, quantity in pairs:
            points = found[f"{path}/{tag}"]
            assert events.steps(points) == [5, 10]
            for buckets, x in zip(
                events.values(points), of[quantity][path], strict=True
            ):
                counted(buckets, x)
    np.testing.assert_allclose(
        events.values(found["batch_loss"]), recording.index["loss"], rtol=1e-6
    )
    assert events.steps(found["batch_learning_rate"]) == [5, 10]
    assert not any("nonfinite" in tag for tag in found)
    kind, about = events.plugin_of(tmp_path / "train", f"{PATHS[0]}/histogram")
    assert kind == "histograms"
    assert f"`{PATHS[0]}/weights/nonfinite`" in about


@pytest.mark.skipif(
    BACKEND != "tensorflow", reason="Keras' callback writes with TensorFlow"
)
def test_tags_steps_and_values_are_those_of_keras_callback(tiny, line, tmp_path):
    keras_callback = keras.callbacks.TensorBoard(
        tmp_path / "keras", histogram_freq=1, write_graph=False
    )
    live = hr.GradientRecorder(sinks=[hr.TensorBoard(tmp_path / "live")])
    tiny.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    fit(tiny, line, live, keras_callback, validation_data=line)
    hr.to_tensorboard(live.recording, tmp_path / "later")
    for folder in ("train", "validation"):
        expected = {
            tag: points
            for tag, points in events.read(tmp_path / "keras" / folder).items()
            if not tag.startswith("evaluation_")  # Those of `evaluate`.
        }
        if "kernel/histogram" in expected:
            pytest.skip("this Keras gives the weights of all layers the same tags")
        found = events.read(tmp_path / "live" / folder)
        later = events.read(tmp_path / "later" / folder)
        assert expected.keys() <= found.keys()
        assert expected.keys() - later.keys() <= {"epoch_loss"}
        if folder == "train":
            assert len(expected) == 3 + len(PATHS)
        for tag in expected:
            both = (found[tag], later[tag]) if tag in later else (found[tag],)
            for points in both:
                assert events.steps(points) == events.steps(expected[tag])
                for one, other in zip(
                    events.values(points), events.values(expected[tag]), strict=True
                ):
                    # Edges are rounded in other places, there in float32.
                    np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


def test_recorded_numbers_and_histograms_are_there(tiny, line, tmp_path):
    recording = recorded(
        tiny,
        line,
        gradients=["norm", "max", hr.Histogram(16), hr.Sample(2)],
        weights="update_ratio",
        record_freq=4,
    )
    hr.to_tensorboard(recording, tmp_path)
    found = events.read(tmp_path / "train")
    path = "tiny/hidden/kernel"
    assert {tag for tag in found if tag.startswith(path)} == {
        f"{path}/gradients/norm",
        f"{path}/gradients/max",
        f"{path}/gradients/histogram_magnitudes",
        f"{path}/weights/update_ratio",
    }
    for quantity, name in (("gradients", "max"), ("weights", "update_ratio")):
        points = found[f"{path}/{quantity}/{name}"]
        expected = recording.statistic(quantity, name)[path]
        np.testing.assert_allclose(events.values(points), expected, rtol=1e-6)
    points = found[f"{path}/gradients/histogram_magnitudes"]
    edges = recording.attributes["reductions"]["gradients"]["histogram"]["edges"]
    counts = recording.arrays("gradients", "histogram")[path]
    for buckets, expected in zip(events.values(points), counts, strict=True):
        assert buckets[:, 2].sum() == 3
        for left, _, count in buckets:
            known = expected[edges.index(left)] if left else expected[-3]
            assert count == known
    about = events.plugin_of(
        tmp_path / "train", f"{path}/gradients/histogram_magnitudes"
    )
    assert "Magnitudes" in about[1]


@pytest.mark.parametrize("gradients", ["raw", hr.Histogram()], ids=["raw", "counts"])
def test_nan_and_infinity_are_counted_and_said(tiny, line, tmp_path, gradients):
    x, y = line
    y = y.copy()
    y[12] = np.inf  # In the third batch.
    recording = recorded(tiny, (x, y), gradients=gradients, weights=None, record_freq=1)
    with pytest.warns(UserWarning, match="NaN or infinity.*from step 3 on.*other tags"):
        hr.to_tensorboard(recording, tmp_path)
    found = events.read(tmp_path / "train")
    points = found["tiny/output/kernel/gradients/nonfinite"]
    assert events.steps(points) == [*range(3, 13)]
    assert events.values(points)[-1] == 3
    name = "histogram" if gradients == "raw" else "histogram_magnitudes"
    histograms = events.values(found[f"tiny/output/kernel/gradients/{name}"])
    assert [h[:, 2].sum() for h in histograms[:2]] == [3, 3]
    assert histograms[-1][:, 2].sum() == 0


@pytest.mark.skipif(BACKEND == "jax", reason="jax.grad gives zeros, never None")
@pytest.mark.filterwarnings("ignore:Gradients do not exist")
def test_variables_without_gradient_have_no_point(line, tmp_path):
    class Idle(keras.layers.Layer):
        def build(self, shape):
            self.idle = self.add_weight(shape=(2,), name="idle")
            self.used = self.add_weight(shape=(1,), name="used")

        def call(self, x):
            return x * self.used

    model = keras.Sequential([keras.Input((1,)), Idle(name="layer")], name="net")
    model.compile("sgd", "mse", jit_compile=False)
    recorder = hr.GradientRecorder(sinks=[hr.TensorBoard(tmp_path / "live")])
    fit(model, line, recorder)
    hr.to_tensorboard(recorder.recording, tmp_path / "later")
    for folder in ("live", "later"):
        found = events.read(tmp_path / folder / "train")
        assert {tag for tag in found if "idle" in tag} == {
            "net/layer/idle/histogram",
            "net/layer/idle/weights/norm",
        }
        assert events.steps(found["net/layer/used/gradients/norm"]) == [0, 1, 2]


@pytest.mark.parametrize("store", [None, "run.zarr"])
@pytest.mark.parametrize("options", [{}, {"record_freq": 3}], ids=["epoch", "steps"])
def test_live_files_are_those_written_later(tiny, line, tmp_path, store, options):
    if store:
        pytest.importorskip("zarr")
        store = tmp_path / store
    tiny.compile("adam", "mse", metrics=["mae"], jit_compile=False)
    recorder = hr.GradientRecorder(
        gradients=["raw", hr.Histogram()],
        store=store,
        sinks=[hr.TensorBoard(tmp_path / "live")],
        **options,
    )
    history = fit(tiny, line, recorder, validation_data=line)
    hr.to_tensorboard(recorder.recording, tmp_path / "later")
    live, later = (events.read(tmp_path / f / "train") for f in ("live", "later"))
    logs = {"epoch_loss", *(() if not options else ("epoch_mae",))}
    assert live.keys() - later.keys() == logs
    for tag, points in later.items():
        assert events.steps(points) == events.steps(live[tag])
        for one, other in zip(
            events.values(points), events.values(live[tag]), strict=True
        ):
            np.testing.assert_array_equal(one, other)
    for name, expected in history.history.items():
        folder = "validation" if name.startswith("val_") else "train"
        found = events.read(tmp_path / "live" / folder)
        points = found[f"epoch_{name.removeprefix('val_')}"]
        assert events.steps(points) == [0, 1, 2]
        np.testing.assert_allclose(events.values(points), expected, rtol=1e-6)


def test_a_recording_on_disk_gives_the_same_files(tiny, line, tmp_path):
    pytest.importorskip("zarr")
    recording = recorded(tiny, line, record_freq=2)
    recording.save(tmp_path / "run.zarr")
    hr.to_tensorboard(recording, tmp_path / "memory")
    hr.to_tensorboard(hr.open_recording(tmp_path / "run.zarr"), tmp_path / "disk")
    one, other = (events.read(tmp_path / f / "train") for f in ("memory", "disk"))
    assert one.keys() == other.keys()
    for tag, points in one.items():
        for a, b in zip(points, other[tag], strict=True):
            assert a[0] == b[0]
            np.testing.assert_array_equal(a[1], b[1])


def test_an_empty_recording_is_refused(tmp_path):
    with pytest.raises(ValueError, match="The recording is empty"):
        hr.to_tensorboard(hr.GradientRecorder().recording, tmp_path)


@pytest.mark.parametrize(
    ("logdir", "error", "text"),
    [
        (3, TypeError, "Expected a folder for TensorBoard.*Received: 3"),
        ("", TypeError, "Expected a folder"),
        ("gs://bucket/logs", ValueError, "a folder of this machine.*gs://bucket"),
    ],
)
def test_bad_folders_are_refused_at_once(tiny, line, logdir, error, text):
    with pytest.raises(error, match=text):
        hr.TensorBoard(logdir)
    with pytest.raises(error, match=text):
        hr.to_tensorboard(recorded(tiny, line), logdir)


def test_without_tensorboard_the_extra_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "tensorboard.compat.proto", None)
    with pytest.raises(ImportError, match=r'pip install "hrcallbacks\[tensorboard\]"'):
        hr.TensorBoard("logs")
