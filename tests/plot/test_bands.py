import keras
import matplotlib.pyplot as plt
import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from synthetic import network, recording_of

import hrcallbacks as hr
from hrcallbacks.plot.bands import Band, Series, quantile

RATES = (0.01, 0.1, 1.0)


def losses(seed, records=20):
    return np.exp(np.random.default_rng(seed).normal(size=records))


def make_runs(*, nan=(), records=20, **more):
    """Five seeds by three rates."""
    runs = {}
    for number, rate in enumerate(RATES):
        for seed in range(5):
            name = f"{seed}-{number}"
            loss = losses(10 * number + seed, records)
            loss[12:] = np.nan if name in nan else loss[12:]
            gradients = network(records, seed=100 * number + seed)
            metadata = {"rate": rate, "seed": seed} | more
            runs[name] = recording_of(
                gradients, gradients, loss=loss, metadata=metadata
            )
    return hr.Runs(runs)


def named_lines(ax):
    return {
        line.get_label(): line
        for line in ax.lines
        if not line.get_label().startswith(("_", "1e-3"))
    }


def names(ax):
    return {t.get_text() for t in ax.texts if t.get_text()}


def legend(ax):
    return [t.get_text() for t in ax.get_legend().get_texts()]


def limits_of_band(ax, number):
    """The lowest and highest points of a band at each x."""
    path = ax.collections[number].get_paths()[0].vertices
    table = pd.DataFrame(path, columns=["x", "y"]).groupby("x")["y"]
    return table.min(), table.max()


@given(
    st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=9),
    st.floats(0, 1),
    st.integers(0, 3),
)
def test_quantiles_are_numpys_where_all_is_finite(values, q, absent):
    row = np.array([values + [np.nan] * absent])
    np.testing.assert_allclose(
        quantile(row, q)[0], np.quantile(values, q), rtol=1e-9, atol=1e-6
    )


def test_a_run_that_is_nan_counts_as_larger_than_all_others():
    x = np.arange(3)
    rows = [[1, 1, 1], [2, np.nan, np.inf], [3, 3, np.nan], [4, 4, 4], [5, 5, 5]]
    band = Band.of([Series(x, np.array(row, float), np.zeros(3, bool)) for row in rows])
    assert band.median.tolist() == [3, 4, 5]
    assert band.low.tolist() == [2, 3, 4]
    assert band.high.tolist() == [4, 5, np.inf]
    assert band.bad.tolist() == [False, True, True]


def test_a_run_counts_only_where_it_has_a_record():
    long = Series(np.array([1, 2, 3, 4]), np.array([1.0, 2, 3, 4]), np.zeros(4, bool))
    short = Series(np.array([2, 3]), np.array([4.0, 9]), np.array([False, True]))
    band = Band.of([long, short])
    assert band.x.tolist() == [1, 2, 3, 4]
    assert band.median.tolist() == [1, 3, 3, 4]
    assert not band.bad.any()


def test_loss_by_rate_has_the_medians_and_quartiles_of_the_seeds(figures):
    ax = hr.plot.loss(make_runs(), by="rate")
    lines = named_lines(ax)
    assert [*lines] == ["0.01", "0.1", "1"]
    for number, line in enumerate(lines.values()):
        table = [losses(10 * number + seed) for seed in range(5)]
        np.testing.assert_allclose(line.get_ydata(), np.median(table, axis=0))
        assert np.asarray(line.get_xdata()).tolist() == [*range(1, 21)]
        low, high = limits_of_band(ax, number)
        np.testing.assert_allclose(low, np.percentile(table, 25, axis=0))
        np.testing.assert_allclose(high, np.percentile(table, 75, axis=0))
    assert names(ax) == {*lines}
    assert legend(ax) == ["median and middle half of 5 runs"]
    assert ax.get_title() == "Loss by rate"


def test_a_run_that_became_nan_is_marked(figures):
    ax = hr.plot.loss(make_runs(nan={"0-1", "3-1"}), by="rate")
    assert "NaN or infinite in a run" in legend(ax)
    (marks,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert np.asarray(marks.get_xdata()).tolist() == [*range(13, 21)]
    assert marks.get_color() == named_lines(ax)["0.1"].get_color()
    table = np.array([losses(10 + seed) for seed in range(5)])
    table[np.ix_([0, 3], range(12, 20))] = np.inf
    expected = np.sort(table, axis=0)[2]
    np.testing.assert_allclose(named_lines(ax)["0.1"].get_ydata(), expected)


def test_runs_without_the_parameter_are_a_group_of_their_own(figures):
    runs = dict(make_runs())
    runs["old"] = recording_of(network(20), loss=losses(99))
    ax = hr.plot.loss(hr.Runs(runs), by="rate")
    assert [*named_lines(ax)] == ["0.01", "0.1", "1", "unknown"]
    np.testing.assert_allclose(named_lines(ax)["unknown"].get_ydata(), losses(99))
    assert legend(ax)[0] == "median and middle half of 1 to 5 runs"


def test_twenty_runs_are_named_or_the_figure_says_how_many_are_not(figures):
    runs = hr.Runs(
        {f"run {n}": recording_of(network(4), loss=losses(n, 4)) for n in range(30)}
    )
    ax = hr.plot.loss(runs)
    unnamed = 30 - len(names(ax))
    assert f"{unnamed} of 30 lines are not named" in legend(ax)
    panels = hr.plot.gradient_flow(runs)
    for panel in panels:
        unnamed = 30 - len(names(panel))
        assert f"{unnamed} of 30 lines are not named" in legend(panel)


def layer_norms(runs, layer, rate):
    """By run of that rate, the norms of a layer's gradients, by NumPy."""
    found = []
    for run in runs.values():
        if run.attributes["metadata"]["rate"] == rate:
            both = [
                np.asarray(run.gradients[f"{layer}/{v}"]).reshape(20, -1)
                for v in ("kernel", "bias")
            ]
            found.append(np.linalg.norm(np.concatenate(both, axis=1), axis=1))
    return found


def test_gradient_flow_has_a_panel_a_layer(figures):
    runs = make_runs()
    panels = hr.plot.gradient_flow(runs, by="rate")
    titles = [panel.get_title() for panel in panels]
    assert titles == ["Gradient flow by rate: hidden", "output"]
    for panel, layer in zip(panels, ("hidden", "output"), strict=True):
        for rate, line in zip(RATES, named_lines(panel).values(), strict=True):
            expected = np.median(layer_norms(runs, layer, rate), axis=0)
            np.testing.assert_allclose(line.get_ydata(), expected, rtol=1e-6)
        assert names(panel) == {"0.01", "0.1", "1"}
        assert panel.get_yscale() == "log"
    assert panels[0].get_ylim() == panels[1].get_ylim()
    each = hr.plot.gradient_flow(runs, by="variable", variables="hidden/*")
    assert len(each) == 2
    assert len(named_lines(each[0])) == 15


def test_update_ratio_has_a_panel_a_variable(figures):
    runs = make_runs()
    panels = hr.plot.update_ratio(runs, by="rate", variables="*/kernel")
    assert len(panels) == 2
    table = []
    for seed in range(5):
        w = np.asarray(runs[f"{seed}-0"].weights["hidden/kernel"], float).reshape(
            20, -1
        )
        norms = np.linalg.norm(np.diff(w, axis=0), axis=1)
        table.append(norms / np.linalg.norm(w[:-1], axis=1))
    line = named_lines(panels[0])["0.01"]
    np.testing.assert_allclose(
        np.asarray(line.get_ydata())[1:], np.median(table, axis=0), rtol=1e-6
    )
    assert "1e-3, rule of thumb" in legend(panels[1])


@pytest.mark.parametrize("recorded", ["raw", "histogram"])
def test_histograms_have_a_ridge_a_group(figures, recorded):
    histogram = hr.Histogram()
    runs = {}
    for name, run in make_runs().items():
        if recorded == "histogram":
            rows = np.asarray(run.gradients["hidden/kernel"], float)
            counts = np.stack([histogram.on_host(row) for row in rows])
            run = recording_of(
                {"net/hidden/kernel:histogram": counts},
                shapes={"net/hidden/kernel": (3, 4)},
                metadata=run.attributes["metadata"],
                reductions={"gradients": {"histogram": histogram.describe()}},
            )
        runs[name] = run
    (ax,) = hr.plot.histograms(hr.Runs(runs), by="rate", variables="hidden/kernel")
    assert [t.get_text() for t in ax.get_yticklabels()] == ["0.01", "0.1", "1"]
    values = [
        np.abs(np.asarray(run.gradients["hidden/kernel"])[-1].ravel())
        for name, run in make_runs().items()
        if name.endswith("-0")
    ]
    line = ax.lines[0]
    x = np.asarray(line.get_xdata())
    edges = np.array([*x[::2], x[-1]])
    shares = np.median([np.histogram(v, edges)[0] / 12 for v in values], axis=0)
    heights = np.asarray(line.get_ydata())[::2] - 2
    np.testing.assert_allclose(heights / heights.max(), shares / shares.max())


def test_pictures_align_paths_that_keras_numbers(figures, line):
    runs = {}
    for seed in range(2):
        layers = [keras.Input((1,)), keras.layers.Dense(3), keras.layers.Dense(1)]
        model = keras.Sequential(layers)
        model.compile("sgd", loss="mse", run_eagerly=True)
        recorder = hr.GradientRecorder(record_freq=1, metadata={"seed": seed, "a": 1})
        model.fit(*line, batch_size=10, verbose=0, callbacks=[recorder])
        runs[seed] = recorder.recording
    panels = hr.plot.gradient_flow(hr.Runs(runs), by="a")
    assert [p.get_title() for p in panels] == ["Gradient flow by a: dense", "dense_1"]


@pytest.mark.parametrize(
    "draw",
    [hr.plot.loss, hr.plot.gradient_flow, hr.plot.update_ratio, hr.plot.histograms],
)
def test_a_bad_by_lists_the_columns_there_are(draw):
    runs = make_runs()
    message = r"no column 'speed'.*\['rate', 'seed', .*'complete'\].*\{'speed': ...\}"
    with pytest.raises(ValueError, match=message):
        draw(runs, by="speed")
    plt.close("all")


@pytest.mark.parametrize(
    "draw", [hr.plot.loss, hr.plot.update_ratio, hr.plot.histograms]
)
def test_by_is_for_runs(draw):
    with pytest.raises(TypeError, match=r"by='rate' groups runs: pass hr.Runs"):
        draw(make_runs()["0-0"], by="rate")


def test_the_run_that_cannot_be_drawn_is_named():
    runs = dict(make_runs()) | {"new": recording_of(loss=[])}
    with pytest.raises(ValueError, match="Of the run 'new': The recording is empty"):
        hr.plot.loss(hr.Runs(runs), by="rate")


def test_too_many_panels_are_refused():
    gradients = {f"net/{n}/kernel": np.ones((3, 2)) for n in range(13)}
    runs = hr.Runs({"a": recording_of(gradients, gradients)})
    for draw in (hr.plot.gradient_flow, hr.plot.update_ratio, hr.plot.histograms):
        with pytest.raises(ValueError, match="13 panels, and 12 can be read"):
            draw(runs)


def test_axes_may_be_given(figures):
    _, axes = plt.subplots(1, 2)
    panels = hr.plot.gradient_flow(make_runs(), by="rate", ax=axes)
    assert panels.figure is axes[0].figure
    with pytest.raises(ValueError, match=r"2 of them.*Received: 1"):
        hr.plot.gradient_flow(make_runs(), by="rate", ax=axes[0])
