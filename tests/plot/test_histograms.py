import numpy as np
import pytest
from plot_recordings import overlapping, published, recording_of

import hrcallbacks as hr

pytestmark = pytest.mark.usefixtures("figures")

RNG = np.random.default_rng(8)


def ridge(ax, number):
    """Heights of a ridge's bins above its base, and their edges; 0 is the upper one."""
    line = ax.lines[number]
    base = ax.get_yticks()[number]
    x, y = line.get_xdata(), line.get_ydata() - base
    return y[::2], np.append(x[::2], x[-1])


def notes(ax):
    return [text.get_text() for text in ax.texts]


def test_ridges_are_histograms_of_the_chosen_records():
    weights = RNG.normal(size=(30, 20, 10))
    (ax,) = hr.plot.histograms(
        recording_of(weights={"a/kernel": weights}), quantity="weights", ridges=4
    )
    assert [t.get_text() for t in ax.get_yticklabels()] == ["1", "11", "20", "30"]
    for number, record in enumerate((0, 10, 19, 29)):
        heights, edges = ridge(ax, number)
        assert edges[0] == weights[[0, 10, 19, 29]].min()
        counts, _ = np.histogram(weights[record], edges)
        np.testing.assert_allclose(heights / heights.max(), counts / counts.max())
    assert np.all(np.diff(ax.get_yticks()) < 0)
    assert (ax.get_title(), ax.get_xlabel(), ax.get_ylabel()) == (
        "a/kernel",
        "Weight",
        "Step",
    )


def test_recorded_histograms_show_the_magnitudes_that_raw_ones_do():
    gradients = {
        "a/kernel": RNG.normal(size=(3, 50)) * 10.0 ** RNG.normal(size=(3, 50))
    }
    gradients["a/kernel"][1, :10] = 0
    histogram = hr.Histogram()
    counts = np.stack([histogram.on_host(row) for row in gradients["a/kernel"]])
    recorded = recording_of(
        reduced={("gradients", "histogram"): {"a/kernel": counts}},
        reductions={"gradients": {"histogram": histogram.describe()}},
    )
    (ax,) = hr.plot.histograms(recorded)
    (same,) = hr.plot.histograms(recording_of(gradients), magnitude=True)
    for number, row in enumerate(gradients["a/kernel"]):
        heights, edges = ridge(ax, number)
        expected, _ = np.histogram(np.abs(row[row != 0]), edges)
        np.testing.assert_allclose(heights / heights.max(), expected / expected.max())
        np.testing.assert_array_equal(heights, ridge(same, number)[0])
    assert ax.get_xscale() == "log"
    assert ax.get_xlabel() == "|gradient|"
    assert notes(ax) == notes(same) == ["", "20 % zero", ""]


def test_gradients_that_shrank_are_more_than_a_spike_at_zero():
    rows = RNG.normal(size=(20, 400)) * 10.0 ** -np.linspace(0, 4, 20)[:, np.newaxis]
    recording = recording_of({"a/kernel": rows})
    (ax,) = hr.plot.histograms(recording)
    assert (ax.get_xscale(), ax.get_xlabel()) == ("log", "|gradient|")
    (values,) = hr.plot.histograms(recording, magnitude=False)
    for number in (6, 11):
        assert np.count_nonzero(ridge(ax, number)[0]) >= 5
        assert np.count_nonzero(ridge(values, number)[0]) <= 2


def test_numbers_below_narrow_panels_lie_apart():
    gradients = {
        f"{name}/kernel": 10.0 ** RNG.normal(-4, 2, size=(3, 90)) for name in "abc"
    }
    for ax in hr.plot.histograms(recording_of(gradients)):
        ticks = [*ax.get_xticklabels(), *ax.get_xticklabels(minor=True)]
        low, high = ax.get_xlim()
        shown = [t for t in ticks if low <= t.get_position()[0] <= high]
        assert overlapping(ax, shown) == []
        assert len([t for t in shown if t.get_text()]) > 1


def test_nan_and_infinities_are_counted_beside_the_ridge():
    rows = np.arange(40.0).reshape(4, 10)
    rows[1, :2], rows[2], rows[3, 0] = np.nan, np.nan, np.inf
    recording = recording_of({"a/kernel": rows})
    (ax,) = hr.plot.histograms(recording, magnitude=False)
    assert notes(ax) == ["", "20 % NaN", "100 % NaN", "10 % inf"]
    assert not ridge(ax, 2)[0].any()


def test_a_missing_gradient_is_said():
    rows = np.array([[1.0, 2.0], [np.nan, np.nan]])
    recording = recording_of({"a/kernel": rows}, has_gradient={"a/kernel": [1, 0]})
    for magnitude in (False, True):
        (ax,) = hr.plot.histograms(recording, magnitude=magnitude)
        assert notes(ax)[1] == "no gradient"


@pytest.mark.parametrize("value", [0.0, 3.0, -1e-30, np.nan, 3e38])
@pytest.mark.parametrize("magnitude", [False, True])
def test_elements_that_are_all_the_same_are_drawn(value, magnitude):
    recording = recording_of({"a/kernel": np.full((2, 5), value)})
    (ax,) = hr.plot.histograms(recording, magnitude=magnitude)
    heights, _ = ridge(ax, 0)
    shown = np.isfinite(value) and not (magnitude and value == 0)
    assert np.count_nonzero(heights) == int(shown)


def test_the_largest_float32_numbers_are_drawn():
    recording = recording_of({"a/kernel": np.array([[-3e38, 0, 3e38]])})
    (ax,) = hr.plot.histograms(recording, magnitude=False)
    assert np.count_nonzero(ridge(ax, 0)[0]) == 3


def test_each_variable_has_a_panel():
    axes = hr.plot.histograms(published(0.1))
    assert [ax.get_title() for ax in axes] == ["hidden/kernel", "output/kernel"]
    assert [ax.get_ylabel() for ax in axes] == ["Epoch", ""]


def test_one_record_of_one_unit_is_a_ridge():
    (ax,) = hr.plot.histograms(recording_of({"a/kernel": np.ones((1, 1, 1))}))
    assert len(ax.lines) == 1


def test_numpy_says_how_many_ridges_too():
    raw = recording_of({"a/kernel": np.random.default_rng(0).normal(size=(9, 2, 2))})
    (ax,) = hr.plot.histograms(raw, ridges=np.int64(4))
    assert len(ax.lines) == 4


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({}, r"There is norm\. Record GradientRecorder\(gradients=hr\.Histogram\(\)\)"),
        ({"quantity": "weights"}, "There is nothing.*weights=hr.Histogram"),
        ({"ridges": 0}, "ridges: an int, 1 or more"),
    ],
)
def test_what_was_not_recorded_is_said(options, text):
    norms = recording_of(reduced={("gradients", "norm"): {"a/kernel": np.ones(3)}})
    with pytest.raises(ValueError, match=text):
        hr.plot.histograms(norms, **options)


def test_values_are_not_to_be_had_from_magnitudes():
    recorded = recording_of(
        reduced={("gradients", "h"): {"a/kernel": np.ones((2, 67))}},
        reductions={"gradients": {"h": hr.Histogram(name="h").describe()}},
    )
    assert len(hr.plot.histograms(recorded)) == 1
    with pytest.raises(ValueError, match="for magnitude=False raw ones"):
        hr.plot.histograms(recorded, magnitude=False)


def test_more_variables_than_can_be_read_are_refused():
    many = recording_of({f"layer_{n}/bias": np.ones((2, 1)) for n in range(13)})
    with pytest.raises(ValueError, match=r"13 panels.*layer_0/bias.*gradient_flow"):
        hr.plot.histograms(many)
