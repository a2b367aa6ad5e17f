"""What a tracker is sent of a record, compared with NumPy's own histograms."""

import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.types import Key, Record, RunInfo, Step

WEIGHTS = np.random.default_rng(0).normal(size=(40, 30)).astype("float32")
WEIGHTS[1, :5] = 0  # An hr.Histogram counts them apart.
HISTOGRAM = hr.Histogram()


def record():
    gradient = WEIGHTS.copy()
    gradient[0, 0], gradient[0, 1] = np.nan, np.inf
    values = {
        Key("gradients", "norm", "net/kernel"): np.asarray(2.5),
        Key("gradients", "raw", "net/kernel"): gradient,
        Key("weights", "histogram", "net/kernel"): HISTOGRAM.on_host(WEIGHTS),
        Key("weights", "sample", "net/kernel"): np.zeros(3),
        Key("has_gradient", "", "net/kernel"): np.asarray(1.0),
    }
    return Record(Step(7, 2, 3), 0.5, values)


def run_info(*, chief=True):
    reductions = {
        "gradients": {"norm": {"kind": "Named"}, "raw": {"kind": "Raw"}},
        "weights": {
            "histogram": {"kind": "Histogram", "edges": list(HISTOGRAM.edges)},
            "sample": {"kind": "Sample"},
        },
    }
    return RunInfo(reductions, per_epoch=False, skips_nonfinite=False, chief=chief)


def sent_by(tracker_of, *, chief=True):
    sent = []
    tracker = tracker_of(sent.append)
    tracker.begin(run_info(chief=chief))
    tracker.add(record())
    return sent


def test_numbers_alone_are_sent_without_a_class_for_histograms():
    (sent,) = sent_by(hr.Tracker)
    assert sent == {
        "recorded_step": 7,
        "recorded_epoch": 2,
        "gradients/norm/net/kernel": 2.5,
    }


def test_histograms_count_what_numpy_counts():
    def tracker_of(log):
        return hr.Tracker(log, histogram=lambda np_histogram: np_histogram)

    (sent,) = sent_by(tracker_of)
    counts, edges = sent["gradients/raw/net/kernel"]
    finite = WEIGHTS.ravel()[2:].astype("float64")
    assert counts.tolist() == np.histogram(finite, edges)[0].tolist()
    assert counts.sum() == finite.size
    counts, edges = sent["weights/histogram/net/kernel"]
    magnitudes = np.abs(WEIGHTS.ravel().astype("float64"))
    assert counts.sum() == magnitudes.size
    assert counts.tolist() == np.histogram(magnitudes, edges)[0].tolist()
    assert "weights/sample/net/kernel" not in sent


def test_of_several_workers_the_chief_alone_sends():
    assert sent_by(hr.Tracker, chief=False) == []


@pytest.mark.parametrize("arguments", [{"log": 3}, {"log": print, "histogram": 3}])
def test_what_cannot_be_called_is_refused(arguments):
    with pytest.raises(TypeError, match=r"Expected (log|histogram).*Received: 3"):
        hr.Tracker(**arguments)


def test_a_copy_sends_to_the_same_run():
    import copy

    sent = []
    tracker = copy.deepcopy(hr.Tracker(sent.append))
    tracker.begin(run_info())
    tracker.add(record())
    assert len(sent) == 1
