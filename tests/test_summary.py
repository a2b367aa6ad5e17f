import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks import summary
from hrcallbacks.summary import head_text, summarize, summary_text


@pytest.fixture
def fitted(tiny, line):
    """Two epochs of two steps, recorded as asked."""

    def fitted(**options):
        recorder = hr.GradientRecorder(record_freq=1, **options)
        tiny.fit(*line, batch_size=10, epochs=2, verbose=0, callbacks=[recorder])
        return recorder.recording

    return fitted


def test_sizes_are_the_frobenius_norms(fitted):
    recording = fitted()
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


def test_what_was_not_finite_is_counted(tiny, line):
    x, y = line
    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(x, y * np.nan, batch_size=10, verbose=0, callbacks=[recorder])
    table = summarize(recorder.recording, "gradients")
    expected = {
        path: 2 * np.count_nonzero(np.isnan(array[0]))
        for path, array in recorder.recording.gradients.items()
    }
    assert table["nonfinite"].to_dict() == expected
    assert expected["tiny/output/bias"] == 2


def test_what_was_recorded_in_place_of_norms_is_named(fitted):
    recording = fitted(gradients=hr.Histogram(), weights="update_ratio")
    assert summary_text(recording, "gradients") == (
        "Gradients: no norm was recorded of them"
    )
    text = summary_text(recording, "weights")
    assert text.startswith("Weights: norm of the update over that of the weights")
    assert "NaN/Inf" not in text  # Not known.


def test_records_are_told_where_some_are_missing(fitted, monkeypatch):
    recording = fitted()
    assert "records" not in summary_text(recording, "gradients").splitlines()[1]
    there = recording.has_gradient
    there.iloc[0, 0] = False
    monkeypatch.setattr(hr.Recording, "has_gradient", there)
    _, head, first, *_ = summary_text(recording, "gradients").splitlines()
    assert head.split()[:2] == ["shape", "records"]
    assert first.split()[:4] == ["tiny/hidden/kernel", "(1,", "3)", "3"]


def test_paths_lose_their_beginning_where_lines_are_short(fitted, monkeypatch):
    recording = fitted()
    whole = summary_text(recording, "weights").splitlines()
    longest = max(map(len, whole))
    assert summary_text(recording, "weights", width=20).splitlines() == whole
    monkeypatch.setattr(summary, "_SHORTEST_PATH", 10)  # Not 20: they have up to 18.
    cut = summary_text(recording, "weights", width=longest - 6).splitlines()
    assert max(map(len, cut)) == longest - 6
    assert cut[2].startswith("...den/kernel  (1, 3)")


def test_the_head_says_what_holds_for_all(fitted):
    recording = fitted()
    text = " ".join(head_text(recording).split())
    loss = recording.index["loss"]
    for said in (
        "4 records of 4 variables, 10 elements; steps 1 to 4",
        "complete",
        f"Adam, learning rate 0.001; loss {loss[0]:.4g} to {loss[3]:.4g}",
        "record_freq=1",
    ):
        assert said in text


def test_a_run_that_goes_on_is_said_to(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1)
    said = []

    class Look(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            said.append(head_text(recorder.recording))

    tiny.fit(*line, batch_size=10, verbose=0, callbacks=[recorder, Look()])
    assert "INCOMPLETE" in said[0]
    assert "The run goes on, or it broke off" in said[0]
    assert "INCOMPLETE" not in head_text(recorder.recording)
