import re
import warnings

import keras
import numpy as np
import pytest
from training import full_state

import hrcallbacks as hr

pytestmark = pytest.mark.filterwarnings("ignore:.*encountered in:RuntimeWarning")
DeadUnits = hr.diagnose.DeadUnits


def fit(model, line, *callbacks, epochs=3, **options):
    """Trains, and gives the warnings of ours that say what was found."""
    options = {"batch_size": 5, "shuffle": False, "verbose": 0} | options
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        model.fit(*line, epochs=epochs, callbacks=[*callbacks], **options)
    texts = [str(w.message) for w in seen]
    return [t for t in texts if "Training goes on." in t or "Training stops" in t]


def spoiled(line, at, value=np.nan):
    x, y = line
    y = y.copy()
    y[at] = value
    return x, y


WAYS = {
    "raw": ("raw", r"gradients of 'tiny/output/bias' \(1 of 1 elements\)"),
    "norm": ("norm", r"gradients of 'tiny/output/bias' \(norm: nan\)"),
    "counts": (hr.Histogram(8), r"gradients of 'tiny/output/bias' \(1 elements\)"),
    "nonfinite": ("nonfinite", r"gradients of 'tiny/output/bias' \(1 elements\)"),
}


@pytest.mark.parametrize(("gradients", "text"), WAYS.values(), ids=WAYS)
def test_nan_is_said_once_with_step_and_path(tiny, line, gradients, text):
    recorder = hr.GradientRecorder(
        "*/output/bias", gradients=gradients, record_freq=1, sinks=[hr.Alert("nan")]
    )
    (said,) = fit(tiny, spoiled(line, 12), recorder)
    assert "NaN or infinity at step 3 (epoch 1, batch 3): the loss (nan)" in said
    assert re.search(text, said)
    assert "weights of 'tiny/output/bias'" in said
    assert int(tiny.optimizer.iterations) == 12


def test_the_end_of_an_epoch_is_the_latest(tiny, line):
    class Epochs(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            seen.append(self.model.stop_training)

    seen = []
    recorder = hr.GradientRecorder(sinks=[hr.Alert("nan", stop=True)])
    (said,) = fit(tiny, spoiled(line, 12), recorder, Epochs())
    assert "step 4 (epoch 1, batch 4)" in said
    assert said.endswith("). Training stops: stop=True.") or "more." in said
    assert len(re.findall("tiny/", said)) <= 4  # Beside the loss.
    assert seen == [True]
    assert recorder.recording.attributes["complete"]


def test_training_stops_within_an_epoch_once_records_reach_the_host(
    tiny, line, monkeypatch
):
    from hrcallbacks.session import intake

    monkeypatch.setattr(intake, "_PENDING_SECONDS", -1.0)
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Alert("nan", stop=True)])
    (said,) = fit(tiny, spoiled(line, 2), recorder)
    assert "step 1 (epoch 1, batch 1)" in said
    assert int(tiny.optimizer.iterations) == 2


@pytest.mark.parametrize("stop", [False, True])
def test_a_store_written_by_a_thread_alerts_too(tiny, line, tmp_path, stop):
    pytest.importorskip("zarr")
    recorder = hr.GradientRecorder(
        record_freq=1, store=tmp_path / "run.zarr", sinks=[hr.Alert(stop=stop)]
    )
    # Where NaN comes to more variables later on, those are said then.
    said, *later = fit(tiny, spoiled(line, 12), recorder)
    assert "step 3 (epoch 1, batch 3)" in said
    assert "the loss" not in "".join(later)
    assert int(tiny.optimizer.iterations) == (4 if stop else 12)
    assert len(recorder.recording) == (4 if stop else 12)


@pytest.mark.parametrize("rules", ["nan", ["nan", "dead_units", "exploding"]])
def test_nothing_found_changes_nothing(tiny, line, rules):
    start = tiny.get_weights()
    ends = []
    for callbacks in ([], [hr.GradientRecorder(sinks=[hr.Alert(rules, stop=True)])]):
        tiny.set_weights(start)
        tiny.compile("adam", "mse", jit_compile=False)
        assert fit(tiny, line, *callbacks) == []
        ends.append((tiny.history.history, full_state(tiny)))
    assert ends[0][0] == ends[1][0]
    for plain, watched in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(plain, watched)


def test_each_fit_says_it_anew_and_once_each(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Alert("nan")])
    bad = spoiled(line, 0)
    assert len(fit(tiny, bad, recorder, epochs=2)) == 1
    (said,) = fit(tiny, bad, recorder, epochs=2)
    assert "step 9 (epoch 1, batch 1)" in said


def test_infinite_update_ratios_of_zero_weights_are_no_finding(tiny, line):
    tiny.set_weights([np.zeros_like(w) for w in tiny.get_weights()])
    recorder = hr.GradientRecorder(
        gradients=None, weights="update_ratio", record_freq=1, sinks=[hr.Alert("nan")]
    )
    assert fit(tiny, line, recorder, epochs=1) == []
    ratios = recorder.recording.statistic("weights", "update_ratio").to_numpy()
    assert not np.isfinite(ratios).all()


def test_gradients_that_a_loss_scale_optimizer_skips_are_no_finding(tiny, line):
    optimizer = keras.optimizers.LossScaleOptimizer(keras.optimizers.SGD(0.01))
    tiny.compile(optimizer, "mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Alert("nan")])
    (said,) = fit(tiny, spoiled(line, 2), recorder, epochs=1)
    assert "the loss (nan)" in said
    assert "gradients of" not in said


def dead(model):
    """A unit that is dead from the start."""
    kernel, bias, *others = model.get_weights()
    bias[1] = -100.0
    model.set_weights([kernel, bias, *others])


def test_rules_are_asked_at_each_epochs_end_and_said_once(tiny, line):
    dead(tiny)
    recorder = hr.GradientRecorder(
        record_freq=1, sinks=[hr.Alert(DeadUnits(min_records=6))]
    )
    texts = fit(tiny, line, recorder, epochs=4)
    assert len([t for t in texts if "unit 2" in t]) == 1
    assert all("dead_units in tiny/hidden/kernel, unit" in t for t in texts)


class SixRecords(hr.diagnose.Rule):
    """Finds something as soon as there are six records, and notes before that."""

    name = "six_records"

    def look(self, survey):
        count = len(survey.recording)
        severity = "warning" if count >= 6 else "note"
        yield self.found(severity, f"{count} records", "fewer", path="all", step=6)


def test_what_a_rule_finds_is_in_the_warning_and_notes_are_not(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Alert(SixRecords())])
    assert fit(tiny, line, recorder, epochs=4) == [
        "six_records in all, from step 6: 8 records. Try: fewer. Training goes on."
    ]


@pytest.mark.parametrize("store", [None, "run.zarr"])
def test_a_rule_stops_training(tiny, line, tmp_path, store):
    if store:
        pytest.importorskip("zarr")
        store = tmp_path / store
    recorder = hr.GradientRecorder(
        record_freq=1, sinks=[hr.Alert(["nan", SixRecords()], stop=True)], store=store
    )
    (said,) = fit(tiny, line, recorder, epochs=9)
    assert "8 records" in said
    assert int(tiny.optimizer.iterations) == 8  # The first epoch with six records.
    assert recorder.recording.attributes["complete"]


def test_a_rule_that_fails_is_said_once_and_all_else_goes_on(tiny, line):
    class Broken(hr.diagnose.Rule):
        name = "broken"

        def look(self, survey):
            raise RuntimeError("no rule at all")

    recorder = hr.GradientRecorder(sinks=[hr.Alert(Broken(), stop=True)])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        tiny.fit(*line, epochs=3, verbose=0, callbacks=[recorder])
    texts = [str(w.message) for w in seen if "not called again" in str(w.message)]
    assert len(texts) == 1
    assert "no rule at all" in texts[0]
    assert len(recorder.recording) == 3
    assert recorder.recording.attributes["complete"]


def test_an_empty_recording_is_no_matter_for_rules():
    alert = hr.Alert(["dead_units"])
    alert.look(hr.GradientRecorder().recording)
    assert [*alert.messages()] == []


def test_attached_loops_are_warned(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Alert("nan")])
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with recorder.attached(tiny):
            tiny.train_on_batch(*line)
            tiny.train_on_batch(*spoiled(line, 3))
    texts = [str(w.message) for w in seen if "NaN or infinity" in str(w.message)]
    assert len(texts) == 1
    assert "at step 2" in texts[0]


def test_a_loop_without_a_loss_is_no_finding(tiny, line):
    recorder = hr.GradientRecorder(record_freq=1, sinks=[hr.Alert("nan")])
    gradients = [keras.ops.ones(v.shape) for v in tiny.trainable_variables]
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with recorder.attached(tiny):
            tiny.optimizer.apply(gradients, tiny.trainable_variables)
    assert len(recorder.recording) == 1
    assert not [w for w in seen if "NaN or infinity" in str(w.message)]


def test_attached_loops_cannot_be_stopped(tiny):
    recorder = hr.GradientRecorder(sinks=[hr.Alert("nan", stop=True)])
    with (
        pytest.raises(ValueError, match=r"stop=True\) can stop only fit"),
        recorder.attached(tiny),
    ):
        pass


@pytest.mark.parametrize(
    ("rules", "error", "text"),
    [
        ("NaN", ValueError, "Expected rules.*'nan'.*Received: 'NaN'"),
        (["nan", "deads"], ValueError, "no rule 'deads'"),
        ([], ValueError, r"Received: \[\]"),
        (3, TypeError, "Expected rules.*Received: 3"),
        (DeadUnits, TypeError, "Expected rules"),
    ],
)
def test_bad_values_are_refused(rules, error, text):
    with pytest.raises(error, match=text):
        hr.Alert(rules)
