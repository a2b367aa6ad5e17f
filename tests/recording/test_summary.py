import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.recording import summary
from hrcallbacks.recording.summary import head_text, summarize, summary_text


@pytest.fixture(scope="module")
def model():
    keras.utils.set_random_seed(7)
    layers = [
        keras.layers.Dense(3, name="hidden"),
        keras.layers.Dense(1, name="output"),
    ]
    model = keras.Sequential([keras.Input((1,)), *layers], name="tiny")
    compile_anew(model)
    return model


def compile_anew(model):
    """With an optimizer that knows of no step; nothing is compiled: there are few."""
    model.compile("adam", loss="mse", run_eagerly=True)


def fitted(model, *callbacks, target=1.0, **options):
    """Two epochs of two steps, recorded as asked."""
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    recorder = hr.GradientRecorder(record_freq=1, **options)
    callbacks = [recorder, *(make(recorder) for make in callbacks)]
    model.fit(x, target * x, batch_size=10, epochs=2, verbose=0, callbacks=callbacks)
    return recorder.recording


@pytest.fixture(scope="module")
def recording(model):
    return fitted(model)


def test_sizes_are_the_frobenius_norms(recording):
    table = summarize(recording, "gradients")
    assert list(table.index) == recording.paths
    assert table.attrs["size"] == "Frobenius norm"
    for path in recording.paths:
        rows = np.asarray(recording.gradients[path], "float64").reshape(4, -1)
        norms = np.sqrt((rows**2).sum(axis=1))
        expected = [norms[0], norms[-1], norms.min(), norms.max()]
        found = table.loc[path, ["first", "last", "min", "max"]].to_numpy(float)
        np.testing.assert_allclose(found, expected, rtol=1e-12)
    assert table["shape"].tolist() == ["(1, 3)", "(3,)", "(3, 1)", "(1,)"]
    assert table["records"].tolist() == [4] * 4
    assert table["nonfinite"].tolist() == [0] * 4


def test_what_was_not_finite_is_counted(model):
    before = model.get_weights()
    table = summarize(fitted(model, target=np.nan), "gradients")
    model.set_weights(before)
    compile_anew(model)
    # Each of four steps: kernels and biases of three, three, three and one element.
    assert table["nonfinite"].tolist() == [12, 12, 12, 4]


def test_what_was_recorded_in_place_of_norms_is_named(model):
    recording = fitted(model, gradients=hr.Histogram(), weights="update_ratio")
    assert summary_text(recording, "gradients") == (
        "Gradients: no norm of them was recorded"
    )
    text = summary_text(recording, "weights")
    assert text.startswith("Weights: norm of the update over that of the weights")
    assert text.splitlines()[1].endswith("NaN/Inf")
    assert all(line.endswith("  not recorded") for line in text.splitlines()[2:])


def test_nan_is_unknown_only_where_it_was_not_recorded(model):
    chosen = {"*/kernel": ["norm", "nonfinite"], "*": "norm"}
    recording = fitted(model, gradients=chosen, weights=None)
    lines = summary_text(recording, "gradients").splitlines()[2:]
    unknown = [line.split()[0] for line in lines if line.endswith(" not recorded")]
    assert unknown == ["tiny/hidden/bias", "tiny/output/bias"]
    known = [line.split()[-1] for line in lines if line.split()[0] not in unknown]
    counts = recording.statistic("gradients", "nonfinite").sum()
    assert known == [f"{counts[path]:.0f}" for path in recording.paths[::2]]


def test_records_are_told_where_some_are_missing(recording, monkeypatch):
    assert "records" not in summary_text(recording, "gradients").splitlines()[1]
    there = recording.has_gradient
    there.iloc[0, 0] = False
    monkeypatch.setattr(hr.Recording, "has_gradient", there)
    _, head, first, *_ = summary_text(recording, "gradients").splitlines()
    assert head.split()[:2] == ["shape", "records"]
    assert first.split()[:4] == ["tiny/hidden/kernel", "(1,", "3)", "3"]


def test_paths_lose_their_beginning_where_lines_are_short(recording, monkeypatch):
    whole = summary_text(recording, "weights").splitlines()
    longest = max(map(len, whole))
    assert summary_text(recording, "weights", width=20).splitlines() == whole
    monkeypatch.setattr(summary, "_SHORTEST_PATH", 10)  # Not 20: they have up to 18.
    cut = summary_text(recording, "weights", width=longest - 6).splitlines()
    assert max(map(len, cut)) == longest - 6
    assert cut[2].startswith("...en/kernel  (1, 3)")


def test_the_head_says_what_holds_for_all(recording):
    text = " ".join(head_text(recording).split())
    loss = recording.index["loss"]
    for said in (
        "4 records of 4 variables, 10 elements; steps 1 to 4",
        "complete",
        f"Adam, learning rate 0.001; loss {loss[0]:.4g} to {loss[3]:.4g}",
        "record_freq=1",
    ):
        assert said in text


def test_a_run_that_goes_on_is_said_to(model, recording):
    said = []

    class Look(keras.callbacks.Callback):
        def __init__(self, recorder):
            super().__init__()
            self.recorder = recorder

        def on_epoch_end(self, epoch, logs=None):
            said.append(head_text(self.recorder.recording))

    fitted(model, Look)
    assert "INCOMPLETE" in said[0]
    assert "The run is still going, or was interrupted" in said[0]
    assert "INCOMPLETE" not in head_text(recording)


def test_outputs_of_layers_have_sizes_but_no_shapes(model):
    recording = fitted(model, outputs={"*/hidden": "norm"})
    norms = recording.statistic("outputs", "norm")["tiny/hidden"]
    text = summary_text(recording, "outputs").splitlines()
    assert text[0] == "Outputs: Frobenius norm, by record"
    assert text[1].split() == ["first", "last", "smallest", "largest", "NaN/Inf"]
    assert text[2].split()[:2] == ["tiny/hidden", f"{norms.iloc[0]:.3g}"]


def test_each_quantity_is_named_in_the_head(model):
    recording = fitted(model, outputs="zero_fraction", output_gradients="norm")
    expected = (
        "gradients, weights after the update, outputs (zero_fraction) and "
        "output_gradients (norm); complete"
    )
    assert expected in " ".join(head_text(recording).split())
    text = summary_text(recording, "outputs")
    assert text.startswith("Outputs: share of zeros, by record")
    title = summary_text(recording, "output_gradients").splitlines()[0]
    assert title == "Output gradients: Frobenius norm, by record"
