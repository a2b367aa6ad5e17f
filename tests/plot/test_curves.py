import numpy as np
import pytest
from plot_recordings import published, recording_of

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
    assert labels(ax) == ["LR 0.1", "LR 0.3"]
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
    assert ax.get_legend().get_title().get_text() == "Layer"


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
    assert labels(ax) == ["a", "zero", "NaN or infinite"]


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
    named = labels(ax)
    assert named[0] == "layer_00"
    assert named[-1] == "layer_29"
    assert len(named) == 7


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
    # Biases start at zero: their first ratio is infinite.
    assert marks(made_ax, "x") == marks(recorded_ax, "x") == [1, 1]
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
