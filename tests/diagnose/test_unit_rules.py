import numpy as np
import pytest
from synthetic import network, noise, published, recording_of, rows, silence

from hrcallbacks.diagnose import DeadUnits, SaturatedUnits


def dead(recording, **thresholds):
    """Unit, first step and whether it was never alive, of each dead unit."""
    found = recording.diagnose(DeadUnits(**thresholds))
    assert not found.not_looked
    return [
        (int(f.unit), int(f.step), f.evidence.startswith("never alive"))
        for f in found.itertuples()
    ]


@pytest.mark.parametrize(
    ("rate", "units"),
    [
        (0.1, [(2, 3, False), (3, 4, False), (4, 1, True), (6, 1, True)]),
        (0.3, [(1, 1, True), (2, 2, False), (3, 1, True), (6, 1, True)]),
    ],
)
def test_dead_units_of_the_published_tables(rate, units):
    recording = published(rate)
    assert dead(recording) == units
    found = recording.diagnose("dead_units")
    assert set(found["path"]) == {"hidden/kernel"}
    assert set(found["severity"]) == {"severe"}  # Four of six.
    # The tables themselves say so: kernel in and kernel out have no other zeros.
    zero = [
        (np.asarray(recording.gradients[path]).reshape(10, 6) == 0)
        for path in recording.paths
    ]
    for unit, step, _ in units:
        for flags in zero:
            assert flags[step - 1 :, unit - 1].all()
            assert not flags[: step - 1, unit - 1].any()


def test_healthy_units_are_not_dead():
    assert dead(recording_of(network())) == []


def test_units_that_are_silent_for_a_batch_now_and_then_are_not_dead():
    gradients = network(60)
    random = np.random.default_rng(5)
    for unit in range(4):
        for record in np.flatnonzero(random.random(60) < 0.5):
            silence(gradients, unit, slice(record, record + 1))
    assert dead(recording_of(gradients, batches=8)) == []


def test_a_rarely_active_unit_must_be_silent_far_longer_than_ever_before():
    gradients = silence(network(40), 0, slice(0, 40))
    for record in (0, 10, 20):
        gradients["net/hidden/bias"][record, 0] = 1e-30
    assert dead(recording_of(gradients)) == []
    longer = {p: np.concatenate([g, g[-19:]]) for p, g in gradients.items()}
    assert dead(recording_of(longer)) == [(1, 22, False)]


@pytest.mark.parametrize(
    "path", ["net/hidden/kernel", "net/hidden/bias", "net/output/kernel"]
)
def test_one_gradient_that_is_not_zero_is_life(path):
    gradients = silence(network(), 2, slice(None))
    assert dead(recording_of(gradients)) == [(3, 1, True)]
    place = (11, 1, 2) if path.endswith("n/kernel") else (11, 2)
    gradients[path][place] = 1e-38
    assert dead(recording_of(gradients)) == []


def test_a_variable_without_gradient_is_not_dead():
    gradients = silence(network(), 2, slice(None))
    lacking = list(gradients)[:2]
    assert dead(recording_of(gradients, lacking=lacking)) == []


def test_records_without_any_gradient_say_nothing_of_units():
    gradients = {path: array.copy() for path, array in network().items()}
    for array in gradients.values():
        array[6:] = 0
    assert dead(recording_of(gradients)) == []


def test_nan_is_not_zero():
    gradients = silence(network(), 0, slice(4, None))
    gradients["net/hidden/kernel"][11] = np.nan
    assert dead(recording_of(gradients)) == []


@pytest.mark.parametrize(
    ("count", "learns", "stuck"),
    [
        (1, "note", "note"),
        (3, "note", "warning"),
        (6, "note", "warning"),
        (7, "severe", "severe"),
        (10, "severe", "severe"),
    ],
)
def test_severity_is_by_share_and_by_whether_the_run_learns(count, learns, stuck):
    gradients = network(units=10)
    for unit in range(count):
        silence(gradients, unit, slice(3, None))
    for loss, severity in ((None, learns), (np.ones(12), stuck)):
        found = recording_of(gradients, loss=loss).diagnose("dead_units")
        assert found["severity"].tolist() == [severity] * count


def test_thresholds_can_be_set():
    gradients = silence(network(), 0, slice(4, None))
    assert dead(recording_of(gradients), min_records=8) == [(1, 5, False)]
    assert dead(recording_of(gradients), min_records=9) == []


def convolutional(records=10):
    shapes = {
        "conv/kernel": (2, 2, 1, 3),
        "norm/gamma": (3,),
        "dense/kernel": (12, 5),  # Of 2 x 2 places with 3 channels each, flattened.
        "dense/bias": (5,),
        "output/kernel": (5, 1),
    }
    return {p: noise(records, *s, seed=n) for n, (p, s) in enumerate(shapes.items())}


def test_a_channel_leads_into_each_place_of_a_flattened_picture():
    gradients = convolutional()
    gradients["conv/kernel"][..., 1] = 0
    assert dead(recording_of(gradients)) == []  # Something comes out of it.
    gradients["dense/kernel"][:, 1::3] = 0
    assert dead(recording_of(gradients)) == [(2, 1, True)]


def test_units_of_layers_side_by_side_are_found_after_concatenation():
    shapes = {"a/kernel": (2, 4), "b/kernel": (2, 4), "out/kernel": (8, 1)}
    gradients = {p: noise(9, *s, seed=n) for n, (p, s) in enumerate(shapes.items())}
    gradients["b/kernel"][..., 2] = 0
    gradients["out/kernel"][:, 6] = 0
    found = recording_of(gradients).diagnose("dead_units")
    assert found[["path", "unit"]].to_numpy().tolist() == [["b/kernel", 3]]


def test_outputs_and_recurrent_layers_are_left_alone():
    shapes = {
        "lstm/kernel": (2, 16),
        "lstm/recurrent_kernel": (4, 16),
        "lstm/bias": (16,),
        "output/kernel": (4, 3),
    }
    gradients = {p: noise(9, *s, seed=n) for n, (p, s) in enumerate(shapes.items())}
    gradients["lstm/kernel"][..., 2] = 0
    gradients["output/kernel"][..., 1] = 0
    found = recording_of(gradients).diagnose("dead_units")
    assert found.not_looked == {
        "dead_units": "no kernel of the model leads into another one"
    }


def test_weights_that_moved_between_records_show_life():
    def recording(**attributes):
        gradients = silence(network(), 0, slice(None))
        still = {p: np.ones_like(g) for p, g in gradients.items()}
        still["net/hidden/kernel"][8:, :, 0] = 2  # Moved before the ninth record.
        steps = 10 * np.arange(1, 13)
        return recording_of(gradients, still, steps=steps, batches=10, **attributes)

    assert dead(recording()) == []
    assert dead(recording(epoch_gradient="mean")) == [(1, 10, True)]
    decayed = {"optimizer": {"config": {"weight_decay": 0.01}}}
    found = recording(**decayed).diagnose("dead_units")
    assert found["unit"].tolist() == [1]
    assert "steps between the records were not seen" in found["evidence"][0]


def test_with_several_batches_a_unit_must_be_silent_for_two_epochs():
    gradients = silence(network(48), 1, slice(33, None))
    # 15 records, and two epochs have 16; then three more.
    assert dead(recording_of(gradients, batches=8)) == []
    longer = {p: np.concatenate([g, g[-3:]]) for p, g in gradients.items()}
    assert dead(recording_of(longer, batches=8)) == [(2, 34, False)]
    assert dead(recording_of(longer, batches=8), min_epochs=3) == []


def test_in_an_epoch_that_does_not_end_many_records_will_do():
    gradients = silence(network(109), 1, slice(10, None))
    assert dead(recording_of(gradients, batches=10**6)) == []
    assert dead(recording_of(gradients, batches=10**6), most_records=99) == [
        (2, 11, False)
    ]


def test_what_is_not_seen_is_never_severe():
    gradients = network()
    for unit in range(4):
        silence(gradients, unit, slice(None))
    steps = 10 * np.arange(1, 13)
    found = recording_of(gradients, steps=steps).diagnose("dead_units")
    assert set(found["severity"]) == {"warning"}
    assert len(found) == 4


def test_zero_fractions_say_how_many_but_not_which():
    def recording(*shares):
        shapes = {"a/kernel": (1, 6), "a/bias": (6,), "b/kernel": (6, 1)}
        names = [f"{p}:zero_fraction" for p in shapes]
        fractions = [np.full(10, share) for share in shares]
        return recording_of(dict(zip(names, fractions, strict=True)), shapes=shapes)

    found = recording(0.5, 0.5, 0.67).diagnose("dead_units")
    assert found["severity"].tolist() == ["warning"]
    assert "as if 3 of 6 units were dead" in found["evidence"][0]
    assert found["unit"].isna().all()
    # Pixels that are always 0 leave the bias alone.
    assert recording(0.8, 0.0, 0.0).diagnose("dead_units").empty


def test_what_is_missing_is_said():
    recording = recording_of(
        {"a/kernel:norm": np.ones(9), "b/kernel:norm": np.ones(9)},
        shapes={"a/kernel": (1, 6), "b/kernel": (6, 1)},
    )
    for rule in ("dead_units", "saturated_units"):
        found = recording.diagnose(rule)
        assert found.empty
        assert "raw gradients" in found.not_looked[rule]
        assert "there are: gradients 'norm'" in found.not_looked[rule]


def test_a_unit_with_a_constant_output_is_saturated_not_dead():
    gradients = network()
    gradients["net/hidden/kernel"][3:, :, 1] = 0
    gradients["net/hidden/bias"][3:, 1] = 0
    recording = recording_of(gradients)
    found = recording.diagnose(SaturatedUnits())
    assert found[["unit", "step"]].to_numpy().tolist() == [[2, 4]]
    assert dead(recording) == []


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_dead_units_are_not_called_saturated(rate):
    assert published(rate).diagnose("saturated_units").empty
    assert recording_of(network()).diagnose("saturated_units").empty


def test_units_that_saturate_for_a_while_are_not_named():
    gradients = network()
    gradients["net/hidden/kernel"][3:10, :, 1] = 0
    gradients["net/hidden/bias"][3:10, 1] = 0
    assert rows(recording_of(gradients).diagnose("saturated_units"), unit=2).empty
