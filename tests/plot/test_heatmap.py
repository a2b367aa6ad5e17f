import numpy as np
import pytest
from matplotlib.collections import PatchCollection
from plot_recordings import overlapping, published, recording_of

import hrcallbacks as hr

pytestmark = pytest.mark.usefixtures("figures")

RNG = np.random.default_rng(7)


def hatched(ax):
    """Boxes `(x0, x1, y0, y1)` of what is hatched."""
    collections = [c for c in ax.collections if isinstance(c, PatchCollection)]
    boxes = [p.get_extents() for c in collections for p in c.get_paths()]
    return [tuple(np.round([b.x0, b.x1, b.y0, b.y1], 6)) for b in boxes]


def test_each_element_has_a_row_and_each_record_a_column():
    recording = published(0.3)
    ax = hr.plot.heatmap(recording, scale="linear")
    assert len(ax.images) == 2
    for image, path in zip(ax.images, recording.paths, strict=True):
        expected = recording.gradients[path].reshape(10, 6).T
        np.testing.assert_array_equal(image.get_array(), expected)
        assert image.get_extent()[:2] == [0.5, 10.5]
    assert ax.images[0].get_extent()[2:] == [0.5, 1.0]
    assert (ax.get_title(), ax.get_xlabel()) == ("Gradients", "Epoch")


def test_few_elements_are_named_by_their_symbols():
    ax = hr.plot.heatmap(published(0.3), quantity="weights")
    labels = ax.get_yticklabels()
    assert [label.get_text() for label in labels] == [
        f"$w^{{{layer}}}_{{{n}}}$" for layer in (1, 2) for n in range(1, 7)
    ]
    # From the top.
    assert np.all(np.diff(ax.get_yticks()) < 0)
    assert overlapping(ax, labels) == []


@pytest.mark.parametrize("rows", [12, 400])
def test_each_record_has_a_scale_of_its_own_by_default(rows):
    values = RNG.normal(size=(5, rows)) * 10.0 ** -np.arange(5)[:, np.newaxis]
    other = 1e6 * RNG.normal(size=(5, 3))
    ax = hr.plot.heatmap(recording_of({"a/kernel": values, "a/bias": other}))
    for image, array in zip(ax.images, (values, other), strict=True):
        shown = image.get_array()
        for record, row in enumerate(array):
            # The fewest elements that are 99 % or more have this magnitude or less.
            scale = np.sort(np.abs(row))[int(np.ceil(0.99 * (len(row) - 1)))]
            np.testing.assert_allclose(shown[:, record], row / scale)
        assert (image.norm.vmin, image.norm.vmax) == (-1, 1)
    bar = ax.images[0].colorbar
    assert bar.ax.get_ylabel() == "Gradient / 99 % of its record"
    assert bar.extend != "neither" or rows == 12


def test_late_small_gradients_are_not_white():
    values = (
        RNG.normal(size=(100, 50)) * np.where(np.arange(100) < 30, 1, 1e-4)[:, None]
    )
    recording = recording_of({"a/kernel": values})

    def strength(**options):
        image = hr.plot.heatmap(recording, **options).images[0]
        return image.cmap(image.norm(image.get_array()[:, 50:]))[..., 3].mean()

    assert strength() > 0.25
    assert strength(scale="log") > 0.25
    assert strength(scale="linear") < 0.01


def test_a_robust_scale_leaves_single_outliers_out():
    values = RNG.normal(size=(40, 50))
    values[3, 7] = 1e6
    weights = recording_of(weights={"a/kernel": values})
    robust = hr.plot.heatmap(weights, quantity="weights").images[0]
    ranked = np.sort(np.abs(values), axis=None)
    assert robust.norm.vmax == ranked[int(np.ceil(0.99 * (len(ranked) - 1)))]
    np.testing.assert_array_equal(robust.get_array(), values.T)
    linear = hr.plot.heatmap(weights, quantity="weights", scale="linear").images[0]
    assert linear.norm.vmax == 1e6


def test_records_of_zeros_and_nan_have_a_scale():
    values = np.zeros((4, 300))
    values[1, 0], values[2] = 5.0, np.nan
    values[3, 0] = np.inf
    shown = hr.plot.heatmap(recording_of({"a/kernel": values})).images[0].get_array()
    assert shown[0, 1] == 1
    assert shown[:, 0].tolist() == [0] * 300
    assert shown.mask[:, 2].all()
    assert shown.mask[:, 3].sum() == 1


def test_colours_are_symmetric_about_zero_which_has_none():
    ax = hr.plot.heatmap(published(0.3), scale="linear")
    for image in ax.images:
        largest = max(np.abs(i.get_array()).max() for i in ax.images)
        assert (image.norm.vmin, image.norm.vmax) == (-largest, largest)
        low, zero, high = image.cmap(image.norm([-largest, 0, largest]))
        assert zero[3] < 0.01
        assert low[3] == high[3] == 1
        # Blue above, orange below.
        assert high[2] > high[0]
        assert low[0] > low[2]


def test_a_logarithmic_scale_shows_small_gradients():
    gradients = {"a/kernel": np.array([[1.0, 1e-6, -1e-6, 0.0]])}
    recording = recording_of(gradients)
    linear = hr.plot.heatmap(recording, scale="linear").images[0]
    image = hr.plot.heatmap(recording, decades=8).images[0]
    assert image.cmap(image.norm(1e-6))[3] > 0.2
    assert image.norm(1e-6) - 0.5 == pytest.approx(0.5 - image.norm(-1e-6))
    assert linear.cmap(linear.norm(1e-6))[3] < 0.01


def test_nan_and_infinity_are_hatched_where_they_are():
    values = np.ones((4, 2))
    values[1:3, 0] = np.nan
    values[3, 1] = np.inf
    ax = hr.plot.heatmap(recording_of({"a/kernel": values}))
    # Steps 2 and 3 of the upper row, step 4 of the lower one.
    assert hatched(ax) == [(1.5, 3.5, 0.5, 1.0), (3.5, 4.5, 0.0, 0.5)]
    (entry,) = ax.get_legend().get_texts()
    assert entry.get_text() == "NaN or infinite: 3 cells"
    assert ax.images[0].norm.vmax == 1


def test_what_is_nan_throughout_is_hatched_throughout():
    ax = hr.plot.heatmap(recording_of({"a/kernel": np.full((3, 2), np.nan)}))
    assert hatched(ax) == [(0.5, 3.5, 0.5, 1.0), (0.5, 3.5, 0.0, 0.5)]


def test_small_variables_are_high_enough_to_be_named():
    gradients = {}
    for n in range(5):
        gradients[f"conv_{n}/kernel"] = RNG.normal(size=(6, 3, 3, 8, 8))
        gradients[f"conv_{n}/bias"] = RNG.normal(size=(6, 8))
    ax = hr.plot.heatmap(recording_of(gradients))
    labels = ax.get_yticklabels()
    assert [label.get_text() for label in labels] == list(gradients)
    assert overlapping(ax, labels) == []


def test_unevenly_spaced_steps_have_columns_as_wide_and_their_ticks_say_which():
    gradients = {"a/kernel": RNG.normal(size=(4, 2))}
    ax = hr.plot.heatmap(recording_of(gradients, steps=[1, 10, 100, 1000]))
    assert ax.images[0].get_extent()[:2] == [-0.5, 3.5]
    ax.figure.draw_without_rendering()
    texts = {t.get_text() for t in ax.get_xticklabels()}
    assert {"1", "10", "100", "1,000"} <= texts


def test_more_records_than_columns_keep_each_peak_and_each_nan():
    values = RNG.normal(size=(5001, 1))
    values[1234], values[4000] = 50.0, np.nan
    ax = hr.plot.heatmap(recording_of({"a/kernel": values}), scale="linear")
    shown = ax.images[0].get_array()
    assert shown.shape == (1, 1667)
    assert shown[0, 1234 // 3] == 50
    assert shown.mask[0].nonzero()[0].tolist() == [4000 // 3]
    block = values[300:303, 0]
    assert shown[0, 100] == block[np.abs(block).argmax()]
    assert ax.images[0].get_extent()[:2] == [0.5, 5001.5]


def test_one_record_of_one_element_is_a_cell():
    ax = hr.plot.heatmap(recording_of({"a/kernel": np.zeros((1, 1, 1))}))
    assert ax.images[0].get_array().shape == (1, 1)


def test_what_lies_beyond_the_limit_is_said_at_the_colour_bar():
    recording = recording_of({"a/kernel": np.array([[3.0, -1.0]])})
    ax = hr.plot.heatmap(recording, limit=2)
    assert ax.images[0].norm.vmax == 2
    assert ax.images[0].colorbar.extend == "max"


@pytest.mark.parametrize(
    ("options", "text"),
    [
        ({"limit": 0}, "limit: a number above 0"),
        ({"decades": -1}, "decades: a number above 0"),
        ({"scale": "step"}, "'record', 'robust', 'linear', 'log'.*'step'"),
        ({"scale": "robust", "limit": 2.0}, "finds its limit itself, and limit=2.0"),
        ({"scale": "linear", "decades": 3}, "Only scale='log' has decades"),
        ({"quantity": "activations"}, "quantity"),
        ({"quantity": "weights"}, "There is nothing.*hr.plot.histograms"),
    ],
)
def test_bad_arguments_are_refused(options, text):
    with pytest.raises(ValueError, match=text):
        hr.plot.heatmap(recording_of({"a/kernel": np.ones((2, 2))}), **options)


def test_a_large_model_is_refused_with_numbers_and_what_to_call():
    gradients = {"a/kernel": np.zeros((2, 100, 60)), "a/bias": np.zeros((2, 60))}
    with pytest.raises(ValueError, match=r"6,060 rows.*'a/bias'.*hr.plot.histograms"):
        hr.plot.heatmap(recording_of(gradients))
