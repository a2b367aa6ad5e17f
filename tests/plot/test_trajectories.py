import numpy as np
import pytest
from plot_recordings import published, recording_of

import hrcallbacks as hr

pytestmark = pytest.mark.usefixtures("figures")

RNG = np.random.default_rng(6)


def drawn(ax):
    """The lines of elements by label."""
    return {o.get_label(): o for o in ax.lines if not o.get_label().startswith("_")}


def legend(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_each_number_of_the_published_table_is_drawn_under_its_symbol(rate):
    table = hr.load_published_table(rate)
    axes = hr.plot.trajectories(published(rate))
    assert axes.shape == (2, 2)
    for layer in (1, 2):
        for row, letter in enumerate("wg"):
            lines = drawn(axes[row, layer - 1])
            assert len(lines) == 6
            for n in range(1, 7):
                found = lines[f"${letter}^{{{layer}}}_{{{n}}}$"]
                np.testing.assert_array_equal(
                    found.get_ydata(), table[f"{letter}^{layer}_{n}"]
                )
                np.testing.assert_array_equal(found.get_xdata(), np.arange(1, 11))


def test_weights_stand_above_gradients_and_share_their_axis():
    axes = hr.plot.trajectories(published(0.1))
    assert [ax.get_ylabel() for ax in axes[:, 0]] == ["Weight", "Gradient"]
    assert [ax.get_xlabel() for ax in axes[-1]] == ["Epoch", "Epoch"]
    assert [ax.get_title() for ax in axes[0]] == ["hidden/kernel", "output/kernel"]
    assert legend(axes[0, 1])[2] == "$w^{2}_{3}$"
    axes[0, 0].set_xlim(2, 5)
    assert axes[1, 0].get_xlim() == (2, 5)


def test_six_lines_of_a_panel_have_six_colours():
    lines = drawn(hr.plot.trajectories(published(0.1))[0, 0]).values()
    assert len({line.get_color() for line in lines}) == 6


def test_other_models_elements_have_their_indices():
    gradients = {
        "conv/kernel": RNG.random((3, 2, 1, 2, 1)),
        "conv/bias": RNG.random((3, 1)),
    }
    axes = hr.plot.trajectories(recording_of(gradients))
    assert axes.shape == (1, 2)
    assert list(drawn(axes[0, 0])) == [
        "[0,0,0,0]",
        "[0,0,1,0]",
        "[1,0,0,0]",
        "[1,0,1,0]",
    ]
    found = drawn(axes[0, 0])["[1,0,0,0]"]
    np.testing.assert_array_equal(
        found.get_ydata(), gradients["conv/kernel"][:, 1, 0, 0, 0]
    )


def test_many_elements_are_drawn_as_median_and_bands():
    weights = RNG.normal(size=(5, 40, 10))
    axes = hr.plot.trajectories(recording_of(weights={"a/kernel": weights}))
    rows = weights.reshape(5, -1)
    lines = drawn(axes[0, 0])
    assert list(lines) == ["median"]
    np.testing.assert_allclose(lines["median"].get_ydata(), np.median(rows, axis=1))
    bands = {b.get_label(): b for b in axes[0, 0].collections}
    for label, low, high in (("all", 0, 1), ("90 %", 0.05, 0.95), ("50 %", 0.25, 0.75)):
        (path,) = bands[label].get_paths()
        for q in (low, high):
            edge = np.quantile(rows, q, axis=1)
            for number, y in enumerate(edge, start=1):
                assert np.abs(path.vertices - (number, y)).sum(axis=1).min() < 1e-12


def test_a_recorded_sample_is_drawn_under_its_indices():
    sample = hr.Sample(3, seed=1)
    values = RNG.random((4, 3))
    recording = recording_of(
        reduced={("weights", "sample"): {"conv/kernel": values}},
        reductions={"weights": {"sample": sample.describe()}},
        variables=[("conv/kernel", (10, 10, 10))],
    )
    lines = drawn(hr.plot.trajectories(recording)[0, 0])
    # hr.Sample(3, seed=1) takes 0, 417 and 720 of 1000: see its docstring.
    assert list(lines) == ["[0,0,0]", "[4,1,7]", "[7,2,0]"]
    np.testing.assert_array_equal(lines["[4,1,7]"].get_ydata(), values[:, 1])


def test_nan_is_marked_and_a_missing_gradient_is_not():
    gradients = {"a/kernel": np.array([[[1.0]], [[np.nan]], [[np.inf]], [[2.0]]])}
    flags = {"a/kernel": [1, 0, 1, 1]}
    axes = hr.plot.trajectories(recording_of(gradients, has_gradient=flags))
    (marks,) = [o for o in axes[0, 0].lines if o.get_marker() == "x"]
    assert marks.get_xdata().tolist() == [3]
    assert legend(axes[0, 0]) == ["$g^{1}_{1}$", "NaN, inf"]


@pytest.mark.parametrize(
    ("flag", "text"), [(1, "NaN or infinite\nin all"), (0, "no gradient\nin all")]
)
def test_what_has_no_number_at_all_is_said(flag, text):
    gradients = {"a/kernel": np.full((3, 4, 5), np.nan)}
    flags = {"a/kernel": [flag] * 3}
    axes = hr.plot.trajectories(recording_of(gradients, has_gradient=flags))
    assert axes[0, 0].texts[0].get_text().startswith(text)


def test_what_of_a_variable_was_not_recorded_is_said():
    recording = recording_of(
        {"a/kernel": np.ones((2, 1, 1))}, {"b/kernel": np.ones((2, 1, 1))}
    )
    axes = hr.plot.trajectories(recording)
    assert axes[0, 0].texts[0].get_text() == "weights not recorded"
    assert axes[1, 1].texts[0].get_text() == "gradients not recorded"


def test_one_record_of_one_unit_is_a_point():
    axes = hr.plot.trajectories(recording_of({"a/kernel": np.full((1, 1, 1), 3.0)}))
    (line,) = drawn(axes[0, 0]).values()
    assert line.get_ydata().tolist() == [3]
    assert line.get_marker() == "o"


def test_given_axes_are_drawn_on(figures):
    _, given = figures.subplots(2, 2)
    axes = hr.plot.trajectories(published(0.1), axes=given)
    assert axes[1, 1] is given[1, 1]
    assert given[0, 1].get_ylabel() == "Weight"
    with pytest.raises(ValueError, match=r"4 of them, for 2 by 2 panels.*Received: 2"):
        hr.plot.trajectories(published(0.1), axes=given[0])


def test_more_variables_than_can_be_read_are_refused():
    many = recording_of({f"layer_{n}/bias": np.ones((2, 1)) for n in range(13)})
    with pytest.raises(ValueError, match=r"13 columns.*layer_0/bias.*gradient_flow"):
        hr.plot.trajectories(many)


def test_norms_alone_have_no_trajectories():
    norms = recording_of(reduced={("gradients", "norm"): {"a/kernel": np.ones(3)}})
    with pytest.raises(ValueError, match=r"there is norm.*'raw' or hr.Sample"):
        hr.plot.trajectories(norms)
