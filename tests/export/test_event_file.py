import hypothesis
import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis.extra.numpy import arrays

import hrcallbacks as hr
from hrcallbacks.export.event_file import buckets_of, magnitude_buckets

summary = pytest.importorskip("tensorboard.plugins.histogram.summary_v2")
tensor_util = pytest.importorskip("tensorboard.util.tensor_util")


@pytest.mark.parametrize(
    "values",
    [
        np.random.default_rng(0).normal(size=(7, 11)),
        np.arange(12.0),
        np.full(5, 2.5),
        np.array(3.0),
        np.zeros((0, 4)),
    ],
    ids=["normal", "even", "equal", "scalar", "empty"],
)
def test_buckets_are_those_that_tensorboard_makes(values):
    (value,) = summary.histogram_pb("x", values).value
    expected = tensor_util.make_ndarray(value.tensor)
    np.testing.assert_allclose(buckets_of(values), expected, rtol=1e-12, atol=1e-12)


@hypothesis.given(
    arrays(np.float64, st.integers(1, 40), elements=st.floats(-1e300, 1e300)),
    st.integers(1, 40),
)
def test_values_are_counted_as_numpy_counts_them(values, count):
    low, high = values.min() / 2, values.max() / 2
    hypothesis.assume(high - low > 1e-290)
    counts, edges = np.histogram(values / 2, count, (low, high))
    made = buckets_of(values, count)
    assert made[:, 2].sum() == values.size
    # An edge may be rounded otherwise, and then so may a value that lies on it.
    on_edge = np.isclose(values[:, None] / 2, edges, rtol=1e-12, atol=0).any(axis=1)
    if not on_edge[(values > 2 * low) & (values < 2 * high)].any():
        np.testing.assert_array_equal(made[:, 2], counts)


def test_the_range_of_the_largest_values_is_finite():
    buckets = buckets_of(np.array([-1.7e308, 1.7e308]))
    assert np.isfinite(buckets).all()
    assert buckets[:, 2].sum() == 2


def test_magnitudes_are_counted_once_each():
    histogram = hr.Histogram(bins=8, octaves=2)
    x = np.array([0, 0, 1e-4, -3e-3, 3e-3, 1e9, np.nan, -np.inf])
    buckets = magnitude_buckets(histogram.on_host(x)[:-2], histogram.edges)
    assert buckets[:, 2].sum() == 6
    assert buckets[0].tolist() == [0, histogram.edges[0], 2]
    (place,) = np.nonzero((buckets[:, 0] <= 3e-3) & (buckets[:, 1] > 3e-3))
    assert buckets[place, 2].tolist() == [2]
    assert buckets[-1, 1] == histogram.edges[-1]
    assert (buckets[1:, 0] == buckets[:-1, 1]).all()


def test_magnitudes_of_nothing_are_an_empty_histogram():
    assert magnitude_buckets(np.zeros(9), np.ones(9)).tolist() == [[0, 0, 0]]
