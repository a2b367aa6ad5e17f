import dataclasses
from dataclasses import dataclass
from typing import ClassVar

import keras
import numpy as np
import pytest
from healthy import HEALTHY, train
from synthetic import network, noise, published, recording_of, rows, silence

import hrcallbacks as hr
from hrcallbacks.diagnose import RULES, DeadUnits, Rule, Watch, diagnose
from hrcallbacks.diagnose.tracks import Track

PUBLISHED = {
    0.1: {"never": [4, 6], "died": {2: 3, 3: 4}},
    0.3: {"never": [1, 3, 6], "died": {2: 2}},
}


@pytest.mark.parametrize("rate", PUBLISHED)
def test_the_published_runs_trained_again(recorded, rate):
    found = recorded[rate].recording.diagnose()
    dead = rows(found, rule="dead_units")
    never = dead[dead["evidence"].str.startswith("never alive")]
    died = dead[dead["evidence"].str.startswith("died")]
    assert never["unit"].tolist() == PUBLISHED[rate]["never"]
    steps = dict(zip(died["unit"], died["step"], strict=True))
    assert steps == PUBLISHED[rate]["died"]
    rises = rows(found, rule="loss_rises")
    assert rises["step"].tolist() == ([4] if rate == 0.3 else [])
    assert len(found) == len(dead) + len(rises)  # And nothing else.


@pytest.mark.parametrize("rate", PUBLISHED)
def test_the_published_tables_themselves(rate):
    found = published(rate).diagnose()
    assert set(found["rule"]) <= {"dead_units", "loss_rises"}
    # The tables do not tell what the model was like.
    structure = {n for n, why in found.not_looked.items() if "layers" in why}
    assert {"output_activation", "hidden_activation", "input_scale"} <= structure
    assert {"one_batch", "untouched_rows"} <= set(found.not_looked)


@pytest.fixture(scope="session", params=HEALTHY)
def healthy(request):
    """A small model that trains well, every step recorded."""
    return train(request.param, record_freq=1)


def part(recording, records):
    """Some of the records of a recording, as if no others had been made."""
    arrays = {
        quantity: {
            path: np.asarray(array)[records]
            for path, array in getattr(recording, quantity).items()
        }
        for quantity in ("gradients", "weights")
    }
    index = recording.index[records]
    batches = int(recording.index["batch"].max())
    return recording_of(
        *arrays.values(), loss=index["loss"], steps=index["step"], batches=batches
    )


def test_no_rule_calls_a_healthy_run_sick(healthy):
    recording, losses = healthy
    assert losses[-1] < losses[0] / 2  # It does train well.
    # Every step, each epoch's last, every third, and so far at any moment.
    for records in (
        slice(None),
        slice(7, None, 8),
        slice(2, None, 3),
        *(slice(stop) for stop in range(1, len(recording), 14)),
    ):
        found = part(recording, records).diagnose()
        assert rows(found, severity="severe").empty, found
        warned = rows(found, severity="warning")
        assert set(warned["rule"]) <= {"dead_units"}, found  # Of which some are.


def test_nor_does_one_from_reductions_alone(healthy):
    recording, _ = healthy
    arrays = {
        quantity: {
            f"{path}:{reduction}": recording.statistic(quantity, reduction)[path]
            for path in recording.paths
            for reduction in reductions
        }
        for quantity, reductions in (
            ("gradients", ("norm", "zero_fraction", "nonfinite")),
            ("weights", ("norm",)),
        )
    }
    shapes = dict(recording.attributes["variables"])
    reduced = recording_of(
        *arrays.values(), shapes=shapes, loss=recording.index["loss"], batches=8
    )
    found = reduced.diagnose()
    # A note alone may be said of a gradient that sticks out once, near the end.
    assert found[found["rule"] != "one_batch"].empty, found
    assert rows(found, severity="warning").empty, found
    blind = {"saturated_units", "untouched_rows", "update_size", "identical_units"}
    assert blind <= set(found.not_looked)


def test_a_run_that_diverges_is_called_sick(line):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1)])
    model.compile(keras.optimizers.SGD(20.0), loss="mse")
    recorder = hr.GradientRecorder(record_freq=1)
    x, y = line
    model.fit(x, y, epochs=60, batch_size=20, verbose=0, callbacks=[recorder])
    severe = rows(recorder.recording.diagnose(), severity="severe")
    assert {"nan", "loss_rises", "exploding", "update_size"} <= set(severe["rule"])


def test_sigmoids_behind_one_another_vanish():
    keras.utils.set_random_seed(0)
    deep = [keras.layers.Dense(4, activation="sigmoid") for _ in range(12)]
    model = keras.Sequential([keras.Input((2,)), *deep, keras.layers.Dense(1)])
    model.compile("adam", loss="mse")
    recorder = hr.GradientRecorder(record_freq=1, gradients="norm", weights=None)
    x = noise(16, 2).astype("float32")
    model.fit(
        x, x.sum(axis=1), epochs=4, batch_size=16, verbose=0, callbacks=[recorder]
    )
    found = recorder.recording.diagnose("vanishing")
    first = model.layers[0].kernel.path
    assert rows(found, path=first)["severity"].tolist() == ["severe"]


def test_from_a_store_it_is_the_same_and_read_in_blocks(tmp_path, monkeypatch):
    gradients = silence(network(40), 1, slice(9, None))
    recording = recording_of(gradients, network(40, seed=5), complete=True)
    ten_rows = 10 * 12 * 4
    monkeypatch.setattr("hrcallbacks.storage.zarr_columns._CHUNK_BYTES", ten_rows)
    recording.save(str(tmp_path / "run.zarr"))
    stored = hr.open_recording(str(tmp_path / "run.zarr"))
    read = []
    whole = type(stored.gradients["net/hidden/kernel"])
    monkeypatch.setattr(whole, "__array__", lambda *_: pytest.fail("read whole"))
    getitem = whole.__getitem__
    monkeypatch.setattr(
        whole, "__getitem__", lambda s, key: read.append(key) or getitem(s, key)
    )
    monkeypatch.setattr("hrcallbacks.blocks._READ_BYTES", ten_rows)
    monkeypatch.setattr("hrcallbacks.blocks._ELEMENTS", 10 * 12)
    found = stored.diagnose()
    assert rows(found, unit=2)["step"].tolist() == [10]
    assert slice(10, 20) in read
    assert repr(found) == repr(recording.diagnose())


def test_a_rule_asked_alone_reads_no_tensors(monkeypatch):
    recording = published(0.3)
    monkeypatch.setattr(Track, "read", lambda *_: pytest.fail("read"))
    assert len(recording.diagnose("loss_rises")) == 1


def so_far(gradients, count):
    return recording_of({path: array[:count] for path, array in gradients.items()})


def test_a_run_can_be_watched_while_it_goes_on(monkeypatch):
    gradients = silence(network(30), 1, slice(9, None))
    gradients["net/output/bias"][20] = np.nan
    added = []
    add = Track._add
    monkeypatch.setattr(
        Track, "_add", lambda s, block, _: added.append(len(block)) or add(s, block, _)
    )
    watch = Watch()
    for count in (1, 2, 7, 14, 21, 30):
        recording = so_far(gradients, count)
        watched = watch.look(recording)
        seen = sum(added)
        assert repr(watched) == repr(diagnose(recording))
        del added[:]
        assert seen <= 4 * 9  # Of four variables the new records alone.
    assert set(watched["rule"]) == {"dead_units", "nan"}


def test_another_run_is_watched_from_its_start():
    watch = Watch("dead_units")
    assert watch.look(recording_of(network(20))).empty
    dead = silence(network(20), 1, slice(None))
    assert len(watch.look(recording_of(dead, steps=range(2, 22)))) == 1


def test_an_unfinished_recording_is_diagnosed_during_fit(tiny, line):
    texts = []

    class Diagnose(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            texts.append(repr(recorder.recording.diagnose()))

    recorder = hr.GradientRecorder(record_freq=1)
    tiny.fit(*line, epochs=2, verbose=0, callbacks=[recorder, Diagnose()])
    assert "1 record, step 1>" in texts[0]
    assert "2 records, steps 1 to 2>" in texts[1]


def test_one_record_tells_what_it_can():
    found = so_far(network(), 1).diagnose()
    assert found.looked == ["negative_loss", "nan"]
    assert found.not_looked["dead_units"] == "it needs 5 records, and there are 1"


def test_without_gradients_it_says_what_there_is():
    weights = {path: np.cumsum(g, axis=0) for path, g in network().items()}
    found = recording_of(weights=weights).diagnose()
    assert {"nan", "loss_rises", "update_size"} <= set(found.looked)
    for rule in ("exploding", "vanishing", "dead_units", "frozen", "identical_units"):
        assert "weights 'raw'" in found.not_looked[rule]


@dataclass(frozen=True)
class HighLoss(Rule):
    name: ClassVar[str] = "high_loss"
    limit: float = 10.0

    def look(self, survey):
        last = survey.recording.index["loss"].iloc[-1]
        if last > self.limit:
            yield self.found("warning", f"it ends at {last:.3g}", "more epochs.")


def test_a_rule_of_ones_own():
    recording = published(0.3)
    assert recording.diagnose(HighLoss()).empty
    found = recording.diagnose(["nan", HighLoss(limit=0.5)])
    assert found["rule"].tolist() == ["high_loss"]
    assert found.looked == ["nan", "high_loss"]


def test_rules_are_named_and_can_be_changed():
    assert all(name == rule.name for name, rule in RULES.items())
    assert all(rule.__doc__ for rule in RULES.values())
    changed = dataclasses.replace(RULES["dead_units"], min_records=9)
    assert changed == DeadUnits(min_records=9)
    assert hr.diagnose.RULES is RULES


def test_an_empty_recording_is_refused():
    with pytest.raises(ValueError, match=r"empty.*callbacks=\[recorder\]"):
        hr.GradientRecorder().recording.diagnose()


@pytest.mark.parametrize(
    ("rules", "error", "text"),
    [
        ("dead", ValueError, r"no rule 'dead'. There are: \['nan_origin'"),
        (["nan", "x"], ValueError, "no rule 'x'"),
        ([], ValueError, "has no rule. There are"),
        (DeadUnits, TypeError, r"class DeadUnits.*DeadUnits\(\)"),
        (3, TypeError, "Expected rules: None.*Received: 3"),
        ([3], TypeError, "Expected rules: None.*Received: 3"),
    ],
)
def test_bad_rules_are_refused(rules, error, text):
    with pytest.raises(error, match=text):
        published(0.1).diagnose(rules)


@pytest.mark.parametrize(
    ("thresholds", "text"),
    [
        ({"min_records": 0}, "min_records of DeadUnits: an int above 0. Received: 0"),
        ({"min_records": 2.5}, "an int above 0. Received: 2.5"),
        ({"severe_share": 1.5}, "a number above 0, at most 1. Received: 1.5"),
        ({"times": "3"}, "a number above 0. Received: '3'. The default is 3.0"),
        ({"times": float("nan")}, "Received: nan"),
        ({"times": True}, "Received: True"),
    ],
)
def test_bad_thresholds_are_refused(thresholds, text):
    with pytest.raises(ValueError, match=text):
        DeadUnits(**thresholds)


def test_a_rule_that_does_not_look_is_refused_at_once():
    class Blind(hr.diagnose.Rule):
        name = "blind"

    with pytest.raises(TypeError, match="look"):
        Blind()
