import numpy as np
import pytest
from plot_recordings import overlapping, published, recording_of

import hrcallbacks as hr
from hrcallbacks.plot import style

pytestmark = pytest.mark.usefixtures("figures")

RNG = np.random.default_rng(5)


def line(ax, label):
    """The one line of that label."""
    (found,) = [one for one in ax.lines if one.get_label() == label]
    return found


def marks(ax, marker):
    """x of the marks at an edge of the axes, of all lines."""
    found = [o for o in ax.lines if o.get_marker() == marker and o.get_ls() == "None"]
    return sorted(x for one in found for x in one.get_xdata())


def labels(ax):
    return [text.get_text() for text in ax.get_legend().get_texts()]


def names(ax):
    """What is written at the lines' ends, from the top."""
    found = sorted(ax.texts, key=lambda text: -text.get_position()[1])
    return [text.get_text() for text in found]


def test_loss_is_drawn_over_epochs():
    recording = published(0.3)
    ax = hr.plot.loss(recording)
    (drawn,) = ax.lines
    np.testing.assert_array_equal(drawn.get_xdata(), np.arange(1, 11))
    expected = hr.load_published_table(0.3)["loss"]
    np.testing.assert_array_equal(drawn.get_ydata(), expected)
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("Epoch", "Loss")
    assert ax.get_title() == "Loss"
    assert ax.get_xticks().tolist() == list(range(1, 11))
    assert ax.get_legend() is None


def test_losses_of_several_recordings_are_compared():
    ax = hr.plot.loss({"LR 0.1": published(0.1), "LR 0.3": published(0.3)})
    losses = {r: hr.load_published_table(r)["loss"].iloc[-1] for r in (0.1, 0.3)}
    ranked = sorted(losses, key=losses.get, reverse=True)
    assert names(ax) == [f"LR {rate}" for rate in ranked]
    for rate in (0.1, 0.3):
        expected = hr.load_published_table(rate)["loss"]
        np.testing.assert_array_equal(line(ax, f"LR {rate}").get_ydata(), expected)
    assert line(ax, "LR 0.1").get_color() != line(ax, "LR 0.3").get_color()


def test_recordings_by_epoch_and_by_step_are_compared_by_step():
    by_epoch = recording_of(loss=[4.0, 2.0], steps=[10, 20], by_epoch=True)
    ax = hr.plot.loss({"epoch": by_epoch, "step": recording_of(loss=[3.0, 1.0])})
    assert ax.get_xlabel() == "Step"
    assert line(ax, "epoch").get_xdata().tolist() == [10, 20]


def test_a_second_fit_counts_on_in_steps():
    recording = recording_of(loss=[3.0, 2.0, 1.0], by_epoch=True)
    recording.index["epoch"] = [1, 2, 1]
    ax = hr.plot.loss(recording)
    assert ax.get_xlabel() == "Step"
    assert ax.lines[0].get_xdata().tolist() == [1, 2, 3]


def test_smoothing_draws_a_centred_mean_over_the_losses():
    losses = RNG.random(50)
    ax = hr.plot.loss(recording_of(loss=losses), smooth=np.int64(5))
    raw, smooth = ax.lines
    np.testing.assert_array_equal(raw.get_ydata(), losses)
    assert smooth.get_ydata()[20] == pytest.approx(losses[18:23].mean())
    with pytest.raises(ValueError, match="smooth: an int, 1 or more"):
        hr.plot.loss(recording_of(loss=losses), smooth=0)


def test_losses_that_went_wrong_are_marked():
    ax = hr.plot.loss(recording_of(loss=[1.0, np.inf, np.nan, 2.0]))
    assert marks(ax, "x") == [2, 3]
    assert labels(ax)[-1] == "NaN or infinite"


def test_a_loss_that_is_nan_throughout_is_said():
    ax = hr.plot.loss(recording_of(loss=[np.nan] * 3), log=True)
    assert "all of 3 numbers" in ax.texts[0].get_text()
    assert marks(ax, "x") == [1, 2, 3]


def test_gradient_flow_has_the_norm_of_each_layer():
    recording = published(0.1)
    ax = hr.plot.gradient_flow(recording)
    for layer in ("hidden", "output"):
        rows = recording.gradients[f"{layer}/kernel"].reshape(10, -1)
        expected = np.linalg.norm(rows, axis=1)
        np.testing.assert_allclose(line(ax, layer).get_ydata(), expected)
    assert ax.get_yscale() == "log"
    assert ax.get_ylabel() == "Gradient norm (Frobenius)"
    assert set(names(ax)) == {"hidden", "output"}


def test_a_layers_norm_is_that_of_all_its_variables():
    gradients = {"a/kernel": RNG.random((4, 2, 3)), "a/bias": RNG.random((4, 3))}
    recording = recording_of(gradients)
    both = np.concatenate([g.reshape(4, -1) for g in gradients.values()], axis=1)
    ax = hr.plot.gradient_flow(recording)
    expected = np.linalg.norm(both, axis=1)
    np.testing.assert_allclose(line(ax, "a").get_ydata(), expected)
    ax = hr.plot.gradient_flow(recording, by="variable", variables="*/bias")
    expected = np.linalg.norm(gradients["a/bias"], axis=1)
    np.testing.assert_allclose(line(ax, "a/bias").get_ydata(), expected)


def test_norms_that_were_recorded_will_do():
    reduced = {("gradients", "norm"): {"a/kernel": np.array([1.0, 2.0])}}
    ax = hr.plot.gradient_flow(recording_of(reduced=reduced))
    assert line(ax, "a").get_ydata().tolist() == [1, 2]


def test_zero_and_nan_norms_are_marked_at_the_edges():
    gradients = {"a/kernel": np.array([[1.0], [0.0], [np.nan], [2.0]])}
    ax = hr.plot.gradient_flow(recording_of(gradients))
    assert marks(ax, "v") == [2]
    assert marks(ax, "x") == [3]
    assert labels(ax) == ["zero", "NaN or infinite"]
    assert names(ax) == ["a"]


def test_a_missing_gradient_is_a_gap_and_no_mark():
    gradients = {
        "a/kernel": np.array([[1.0], [np.nan], [2.0]]),
        "a/bias": np.ones((3, 1)),
    }
    flags = {"a/kernel": [1, 0, 1], "a/bias": [1, 1, 1]}
    recording = recording_of(gradients, has_gradient=flags)
    ax = hr.plot.gradient_flow(recording, by="variable")
    assert marks(ax, "x") == []
    assert np.isnan(line(ax, "a/kernel").get_ydata()).tolist() == [False, True, False]
    ax = hr.plot.gradient_flow(recording)
    np.testing.assert_allclose(line(ax, "a").get_ydata(), [2**0.5, 1, 5**0.5])


def test_norms_that_are_all_zero_are_drawn():
    ax = hr.plot.gradient_flow(recording_of({"a/kernel": np.zeros((3, 2))}))
    assert ax.get_yscale() == "linear"
    assert line(ax, "a").get_ydata().tolist() == [0, 0, 0]


def test_many_layers_are_coloured_by_depth_and_some_are_named():
    gradients = {f"layer_{n:02}/kernel": np.full((3, 2), 10.0**-n) for n in range(30)}
    ax = hr.plot.gradient_flow(recording_of(gradients))
    colors = [line(ax, f"layer_{n:02}").get_color() for n in range(30)]
    assert len(set(colors)) == 30
    assert colors == style.depth_colors(30)
    assert names(ax)[0] == "layer_00"
    assert names(ax)[-1] == "layer_29"
    assert len(names(ax)) == 20
    assert labels(ax) == ["10 of 30 lines are not named"]


@pytest.mark.parametrize("count", [1, 2, 8, 20, 60])
@pytest.mark.parametrize("spread", [0.0, 0.3])
def test_names_at_the_ends_lie_apart_and_in_the_order_of_the_lines(count, spread):
    ends = RNG.random(count) * spread
    gradients = {
        f"layer_{n:02}/kernel": np.array([[1.0], [e + 1]]) for n, e in enumerate(ends)
    }
    ax = hr.plot.gradient_flow(recording_of(gradients))
    assert overlapping(ax, [*ax.texts, ax.title]) == []
    written = names(ax)
    assert len(written) == min(count, 20)
    if spread:
        heights = [ends[int(name.removeprefix("layer_"))] for name in written]
        assert heights == sorted(heights, reverse=True)


def test_what_a_small_panel_has_no_room_to_name_is_counted(figures):
    gradients = {f"layer_{n:02}/kernel": np.ones((3, 1)) for n in range(20)}
    _, panels = figures.subplots(2, 2, figsize=(9, 5), layout="constrained")
    ax = hr.plot.gradient_flow(recording_of(gradients), ax=panels[0, 0])
    missing = 20 - len(ax.texts)
    assert missing > 0
    assert labels(ax) == [f"{missing} of 20 lines are not named"]
    assert overlapping(ax, ax.texts) == []


def test_many_losses_are_named_or_the_figure_says_how_many_are_not():
    runs = {f"run {n}": recording_of(loss=[1.0, n + 1.0]) for n in range(24)}
    ax = hr.plot.loss(runs)
    assert len(names(ax)) == 20
    assert labels(ax) == ["4 of 24 lines are not named"]
    assert overlapping(ax, ax.texts) == []


def test_long_runs_have_thin_lines_under_a_smooth_one():
    rows = 10.0 ** RNG.normal(size=(200, 1))
    recording = recording_of({"a/kernel": rows})
    raw, smooth = hr.plot.gradient_flow(recording).lines
    np.testing.assert_allclose(raw.get_ydata(), rows[:, 0])
    assert smooth.get_ydata()[100] == pytest.approx(rows[95:105].mean())
    assert raw.get_linewidth() < smooth.get_linewidth() / 2
    assert len(hr.plot.gradient_flow(recording, smooth=1).lines) == 1


def test_variables_of_a_layer_share_its_colour_and_differ_in_dashes():
    gradients = {f"{n}/{v}": np.ones((3, 1)) for n in "ab" for v in ("kernel", "bias")}
    ax = hr.plot.gradient_flow(recording_of(gradients), by="variable")
    lines = {name: line(ax, name) for name in gradients}
    assert lines["a/kernel"].get_color() == lines["a/bias"].get_color()
    assert lines["a/kernel"].get_color() != lines["b/kernel"].get_color()
    assert lines["a/kernel"].get_linestyle() != lines["a/bias"].get_linestyle()


@pytest.fixture
def trained(tiny):
    """A recording with both the weights and the ratios that were made in the step."""
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    recorder = hr.GradientRecorder(record_freq=1, weights=["raw", "update_ratio"])
    tiny.fit(x, 3 * x, batch_size=5, epochs=2, verbose=0, callbacks=[recorder])
    return recorder.recording


def test_ratios_made_of_weights_are_those_that_the_step_recorded(trained):
    raw = {("weights", "raw"): trained.arrays("weights")}
    made = hr.Recording(trained.index, raw, trained.attributes, trained.fits)
    recorded_ax, made_ax = hr.plot.update_ratio(trained), hr.plot.update_ratio(made)
    for path, expected in trained.statistic("weights", "update_ratio").items():
        expected = np.where(np.isfinite(expected), expected, np.nan)
        name = path.removeprefix("tiny/")
        np.testing.assert_array_equal(line(recorded_ax, name).get_ydata(), expected)
        made_y = line(made_ax, name).get_ydata()
        np.testing.assert_allclose(made_y, expected, rtol=1e-4)
    # Biases start at zero: their first ratio is infinite, and no fault.
    for ax in (made_ax, recorded_ax):
        assert marks(ax, "x") == []
        assert labels(ax)[-1] == "gap: all weights were zero"
    guide = line(made_ax, "1e-3, rule of thumb")
    assert set(guide.get_ydata()) == {1e-3}


def test_ratios_of_weights_before_the_update_belong_to_their_step():
    weights = {"a/kernel": np.array([[1.0], [1.5], [3.0], [9.0]])}
    before = recording_of(weights=weights, weights_at="before")
    ax = hr.plot.update_ratio(before)
    drawn = line(ax, "a/kernel").get_ydata()
    np.testing.assert_allclose(drawn, [0.5, 1.0, 2.0, np.nan])
    ax = hr.plot.update_ratio(recording_of(weights=weights))
    drawn = line(ax, "a/kernel").get_ydata()
    np.testing.assert_allclose(drawn, [np.nan, 0.5, 1.0, 2.0])
    assert marks(ax, "x") == []
    assert ax.get_xlim()[0] < 1


@pytest.mark.parametrize(
    ("ratios", "norms", "alarms"),
    [
        ([np.inf, 0.5, 0.1], None, []),
        ([np.nan, np.inf, 0.1], None, []),  # No update from zero, then one.
        ([0.1, np.inf, np.nan], None, [2, 3]),
        ([np.inf, 0.5, np.nan], None, [3]),
        ([0.1, 0.1, np.inf], [1.0, 1.0, np.inf], [3]),
        ([0.1, 0.1, np.inf], [1.0, 0.0, 2.0], []),
    ],
)
def test_a_ratio_that_only_zero_weights_made_infinite_is_no_alarm(
    ratios, norms, alarms
):
    reduced = {("weights", "update_ratio"): {"a/bias": np.array(ratios)}}
    if norms:
        reduced["weights", "norm"] = {"a/bias": np.array(norms)}
    ax = hr.plot.update_ratio(recording_of(reduced=reduced))
    assert marks(ax, "x") == alarms
    assert ("gap: all weights were zero" in labels(ax)) == (
        len(alarms) != sum(not np.isfinite(r) for r in ratios)
    )


def test_weights_that_become_nan_are_an_alarm():
    weights = {"a/kernel": np.array([[0.0], [1.0], [np.nan], [np.nan]])}
    ax = hr.plot.update_ratio(recording_of(weights=weights))
    assert marks(ax, "x") == [3, 4]
    assert "gap: all weights were zero" in labels(ax)


def test_weights_that_lie_steps_apart_make_no_ratio():
    weights = {"a/kernel": np.array([[1.0], [1.5], [3.0]])}
    ax = hr.plot.update_ratio(recording_of(weights=weights, steps=[5, 6, 9]))
    drawn = line(ax, "a/kernel").get_ydata()
    np.testing.assert_allclose(drawn, [np.nan, 0.5, np.nan])
    recording = recording_of(weights=weights, steps=[5, 7, 9], record_freq=2)
    with pytest.raises(ValueError, match=r"record_freq=2.*weights='update_ratio'"):
        hr.plot.update_ratio(recording)


@pytest.mark.parametrize(
    ("plot", "options", "text"),
    [
        (hr.plot.gradient_flow, {"by": "unit"}, "'layer' or 'variable'.*'unit'"),
        (hr.plot.gradient_flow, {"variables": "x/*"}, "No recorded variable matches"),
        (hr.plot.update_ratio, {}, "of the weights it has nothing"),
    ],
)
def test_bad_arguments_are_refused(plot, options, text):
    recording = recording_of({"a/kernel": np.ones((3, 2))})
    with pytest.raises(ValueError, match=text):
        plot(recording, **options)


def test_given_axes_are_drawn_on(figures):
    _, ax = figures.subplots()
    assert hr.plot.loss(published(0.1), ax=ax) is ax
    with pytest.raises(TypeError, match=r"Expected ax: Matplotlib axes.*'left'"):
        hr.plot.loss(published(0.1), ax="left")


def test_text_has_the_colours_that_matplotlib_is_set_to(figures):
    with figures.style.context("dark_background"):
        ax = hr.plot.update_ratio(published(0.1))
        assert style.ink() == "white"
        guide = line(ax, "1e-3, rule of thumb")
        assert guide.get_color() == ax.title.get_color() == "white"
