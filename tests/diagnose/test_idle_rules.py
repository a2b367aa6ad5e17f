import numpy as np
import pytest
from synthetic import network, noise, recording_of, rows

from hrcallbacks.diagnose import SaturatedLayer, UntouchedRows


def frozen(recording):
    found = recording.diagnose("frozen")
    assert found.looked == ["frozen"]
    return [(f.path, int(f.step), f.severity) for f in found.itertuples()]


def moving(gradients):
    return {path: np.cumsum(g, axis=0) for path, g in gradients.items()}


def test_what_moves_is_not_frozen():
    gradients = network()
    assert frozen(recording_of(gradients, moving(gradients))) == []


def test_a_variable_that_never_gets_a_gradient():
    lacking = ["net/hidden/bias"]
    found = frozen(recording_of(network(), lacking=lacking))
    assert found == [("net/hidden/bias", 1, "warning")]


def test_a_kernel_whose_gradient_is_zero():
    gradients = network()
    gradients["net/hidden/kernel"][4:] = 0
    found = frozen(recording_of(gradients))
    assert found == [("net/hidden/kernel", 5, "warning")]
    gradients["net/hidden/kernel"][11] = 1
    assert frozen(recording_of(gradients)) == []


def test_weights_that_do_not_move_though_they_have_a_gradient():
    gradients = network()
    weights = moving(gradients)
    weights["net/output/kernel"][5:] = weights["net/output/kernel"][5]
    recording = recording_of(gradients, weights)
    assert frozen(recording) == [("net/output/kernel", 7, "warning")]
    accumulating = {"optimizer": {"config": {"gradient_accumulation_steps": 4}}}
    assert frozen(recording_of(gradients, weights, **accumulating)) == []


def test_weights_that_often_stand_still_must_do_so_far_longer():
    gradients = network(20)
    weights = moving(gradients)
    still = weights["net/output/kernel"]
    still[3:9] = still[3]  # Five updates of zero, then six.
    still[13:] = still[13]
    assert frozen(recording_of(gradients, weights)) == []


def test_recorded_norms_will_do():
    shapes = {"a/kernel": (2, 2), "b/kernel": (2, 2)}
    gradients = {f"{p}:norm": np.ones(9) for p in shapes}
    weights = {"a/kernel:update_norm": np.zeros(9), "b/kernel:update_norm": np.ones(9)}
    recording = recording_of(gradients, weights, shapes=shapes)
    assert frozen(recording) == [("a/kernel", 1, "warning")]


@pytest.mark.parametrize(("loss", "severity"), [(0.7, "severe"), (0.0, None)])
def test_a_model_without_any_gradient(loss, severity):
    gradients = network()
    for array in gradients.values():
        array[3:] = 0
    recording = recording_of(gradients, loss=np.full(12, loss))
    assert frozen(recording) == ([(None, 4, severity)] if severity else [])


def test_a_model_of_nan_is_not_called_frozen():
    gradients = {path: np.full_like(g, np.nan) for path, g in network().items()}
    assert frozen(recording_of(gradients)) == []


def fading(last, records=24, without=()):
    """The first layer's gradient fades; records without any gradient are left out."""
    size = np.logspace(0, np.log10(last), records)[:, None, None]
    gradients = {
        "a/kernel": noise(records, 4, 4) * size,
        "b/kernel": noise(records, 4, 4),
    }
    for array in gradients.values():
        array[list(without)] = 0
    return recording_of(gradients)


def test_a_layer_whose_gradient_fades_is_saturated():
    found = fading(1e-6).diagnose("saturated_layer")
    assert found["path"].tolist() == ["a/kernel"]
    assert fading(1e-2).diagnose("saturated_layer").empty
    assert len(fading(1e-2).diagnose(SaturatedLayer(factor=10.0))) == 1


def test_records_whose_gradients_are_all_zero_tell_nothing_of_saturation():
    (found,) = fading(1e-6).diagnose("saturated_layer")["step"]
    (later,) = fading(1e-6, without=range(5)).diagnose("saturated_layer")["step"]
    assert later > found
    assert fading(1e-2, without=range(5)).diagnose("saturated_layer").empty


def test_gradients_that_fade_together_saturate_nothing():
    size = np.logspace(0, -6, 24)[:, None, None]
    gradients = {p: noise(24, 4, 4, seed=n) * size for n, p in enumerate("ab")}
    assert recording_of(gradients).diagnose("saturated_layer").empty


def lookups(rows_seen, records=20, rows=40, **options):
    """Gradients of an embedding; `rows_seen(record)` says of which rows."""
    gradients = {"words/embeddings": np.zeros((records, rows, 2))}
    for record in range(records):
        gradients["words/embeddings"][record, rows_seen(record)] = 1
    return gradients


def test_rows_that_are_never_looked_up():
    recording = recording_of(lookups(lambda _: slice(0, 10)))
    found = recording.diagnose("untouched_rows")
    assert found["severity"].tolist() == ["warning"]
    text = found["evidence"][0]
    assert "30 of 40 rows (75%; from 0: 10, 11, 12" in text
    found = recording_of(lookups(lambda _: slice(0, 30))).diagnose("untouched_rows")
    assert found["severity"].tolist() == ["note"]


def test_of_a_few_kinds_one_may_be_missing():
    """A model of sentences that is given one at a time has a segment too many."""
    recording = recording_of(lookups(lambda _: slice(0, 1), rows=2))
    found = recording.diagnose("untouched_rows")
    assert found["severity"].tolist() == ["note"]


def test_rows_that_are_looked_up_now_and_then_are_touched():
    for rows_seen in (lambda n: [2 * n, 2 * n + 1], lambda _: slice(1, None)):
        recording = recording_of(lookups(rows_seen))
        assert recording.diagnose("untouched_rows").empty


def test_while_new_rows_still_come_nothing_is_said():
    recording = recording_of(lookups(lambda n: [n]))
    assert recording.diagnose("untouched_rows").empty
    assert len(recording.diagnose(UntouchedRows(new_share=0.5))) == 1


def test_rows_that_moved_between_records_were_touched():
    gradients = lookups(lambda _: slice(0, 10))
    weights = {"words/embeddings": np.zeros((20, 40, 2))}
    weights["words/embeddings"][3:] = 1
    steps = 10 * np.arange(1, 21)
    recording = recording_of(gradients, weights, steps=steps)
    assert recording.diagnose("untouched_rows").empty
    found = recording_of(gradients, steps=steps).diagnose("untouched_rows")
    assert "other steps were not seen" in found["evidence"][0]


def test_without_an_embedding_it_says_so():
    found = recording_of(network()).diagnose("untouched_rows")
    assert found.not_looked == {"untouched_rows": "no embedding was recorded"}
    norms = {"words/embeddings:norm": np.ones(20)}
    found = recording_of(norms, shapes={"words/embeddings": (40, 2)}).diagnose(
        "untouched_rows"
    )
    assert (
        "no raw gradients of ['words/embeddings']" in found.not_looked["untouched_rows"]
    )
    assert rows(found).empty
