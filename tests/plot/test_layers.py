"""Pictures of layers: what they draw is what was recorded, and what they refuse."""

import numpy as np
import pytest
from matplotlib.colors import to_hex, to_rgba
from plot_recordings import layered, overlapping

import hrcallbacks as hr
from hrcallbacks.plot import style
from hrcallbacks.plot.network import picture_of

pytestmark = pytest.mark.usefixtures("figures")

RNG = np.random.default_rng(5)
HIDDEN, HEAD = RNG.normal(size=(6, 8, 3)), RNG.normal(size=(6, 8, 1))


def bands(ax):
    """Lower and upper edges of what was filled, from the pale band to the dark."""
    found = []
    for collection in ax.collections:
        x, y = collection.get_paths()[0].vertices.T
        times = np.unique(x)
        found.append([(y[x == t].min(), y[x == t].max()) for t in times])
    return np.array(found)


def test_bands_hold_nine_tenths_and_half_of_the_outputs():
    recording = layered({"net/hidden": HIDDEN, "net/hidden/preactivation": HIDDEN})
    (ax,) = hr.plot.activations(recording)
    assert ax.get_title() == "hidden"
    for band, (low, high) in zip(bands(ax), [(5, 95), (25, 75)], strict=True):
        expected = np.percentile(HIDDEN.reshape(6, -1), [low, high], axis=1).T
        np.testing.assert_allclose(band, expected)
    median = np.median(HIDDEN.reshape(6, -1), axis=1)
    np.testing.assert_allclose(ax.lines[0].get_ydata(), median)
    both = hr.plot.activations(recording, layers="*hidden*")
    titles = [ax.get_title() for ax in both]
    assert titles == ["hidden", "hidden/preactivation"]


def test_rows_that_the_batch_did_not_have_are_no_nan_and_others_are_marked():
    padded = HIDDEN.copy()
    padded[2, 5:] = np.nan
    padded[4, 0, 0] = np.inf
    recording = layered({"a": padded}, rows={"a": [8, 8, 5, 8, 8, 8]})
    (ax,) = hr.plot.activations(recording)
    median = np.median(HIDDEN[2, :5])
    assert ax.lines[0].get_ydata()[2] == pytest.approx(median)
    (marks,) = [line for line in ax.lines if line.get_marker() == "x"]
    assert marks.get_xdata().tolist() == [5]
    assert [t.get_text() for t in ax.get_legend().get_texts()] == ["NaN or infinite"]


def test_a_dead_unit_is_a_full_row():
    zeros = np.array([[0.25, 1.0, np.nan], [0.5, 1.0, 0.0]])
    recording = layered(
        {"a:zero_fraction_per_unit": zeros, "b:zero_fraction_per_unit": zeros},
        activations={"a": "relu", "b": "linear"},
    )
    (ax,) = hr.plot.units(recording)
    assert ax.get_title() == "a: zeros"
    (image,) = ax.images
    np.testing.assert_array_equal(image.get_array().filled(np.nan), zeros.T)
    assert image.get_clim() == (0, 1)
    assert image.get_extent() == [0.5, 2.5, 3.5, 0.5]
    (ax,) = hr.plot.units(recording, layers="b")
    assert ax.get_title() == "b: zeros"


@pytest.mark.parametrize(
    ("activation", "outputs", "shares"),
    [
        ("tanh", [[0.995, 0.5], [-0.985, -0.5], [0.97, 0.0], [0.2, 0.9]], [0.5, 0]),
        ("sigmoid", [[0.005, 0.5], [0.995, 0.9], [0.98, 0.2], [0.02, 1]], [0.5, 0.25]),
        ("relu", [[0.0, 1.0], [0.0, 0.0], [2.0, 1.0], [3.0, 1.0]], [0.5, 0.25]),
    ],
)
def test_units_are_saturated_near_the_limits_of_their_activation(
    activation, outputs, shares
):
    recording = layered({"a": [outputs]}, activations={"a": activation})
    (ax,) = hr.plot.units(recording)
    assert ax.images[0].get_array()[:, 0].tolist() == shares
    kind = "zeros" if activation == "relu" else f"saturated ({activation})"
    assert ax.get_title() == f"a: {kind}"


def test_a_layer_without_output_in_a_step_is_grey():
    padded = np.concatenate([HIDDEN[:1], np.full((1, 8, 3), np.nan)])
    for activation in ("relu", "tanh"):
        options = {"rows": {"a": [8, np.nan]}, "activations": {"a": activation}}
        (ax,) = hr.plot.units(layered({"a": padded}, **options))
        assert ax.images[0].get_array().mask.tolist() == [[False, True]] * 3


def test_many_records_are_thinned_and_stay_in_their_place():
    zeros = np.linspace(0, 1, 2_500)[:, np.newaxis]
    (ax,) = hr.plot.units(layered({"a:zero_fraction_per_unit": zeros}))
    shown = ax.images[0].get_array()[0]
    np.testing.assert_array_equal(shown, zeros[::3, 0])
    assert ax.images[0].get_extent()[:2] == [0.5, 2502.5]


def test_backward_flow_draws_the_norm_of_each_layers_gradient():
    padded = HIDDEN.copy()
    padded[-1, 5:] = np.nan
    recording = layered(
        {"net/hidden": HIDDEN},
        {"net/hidden": padded, "net/head": HEAD, "net/head/preactivation": HEAD},
        rows={"net/hidden": [8, 8, 8, 8, 8, 5]},
    )
    ax = hr.plot.backward_flow(recording)
    first, last = ax.lines
    norms = np.linalg.norm(HIDDEN.reshape(6, -1), axis=1)
    norms[-1] = np.linalg.norm(HIDDEN[-1, :5])
    np.testing.assert_allclose(first.get_ydata(), norms)
    np.testing.assert_allclose(last.get_ydata(), np.linalg.norm(HEAD[..., 0], axis=1))
    assert [line.get_label() for line in ax.lines] == ["hidden", "head"]
    assert to_hex(first.get_color()) == to_hex(style.depth_colors(2)[0])
    assert ax.get_yscale() == "log"


@pytest.mark.parametrize(
    ("function", "text"),
    [
        (hr.plot.activations, r"outputs=hr\.Rows\(32\)"),
        (hr.plot.units, r"outputs=hr\.PerUnit\('zero_fraction'\)"),
        (hr.plot.backward_flow, r"output_gradients='norm'"),
    ],
)
def test_what_was_not_recorded_is_refused_with_what_to_record(function, text):
    norms = {"a:norm": np.ones(3)}
    with pytest.raises(ValueError, match=text):
        function(layered(norms, weights={"w/kernel": np.ones((3, 1, 1))}))
    arrays = {f"layer_{n}": HIDDEN for n in range(13)}
    recording = layered(arrays, arrays)
    with pytest.raises(ValueError, match=r"layers='c\*'\. There are: \['layer_0'"):
        function(recording, layers="c*")
    with pytest.raises(TypeError, match="Expected layers: a glob"):
        function(recording, layers=[3])
    if function is not hr.plot.backward_flow:
        with pytest.raises(ValueError, match=r"13 panels, and 12.*layers='layer_0'"):
            function(recording)


def chain(outputs, signals=None, **options):
    """A 2-3-1 network with outputs and the gradients of them."""
    shapes = {"net/hidden/kernel": (2, 3), "net/head/kernel": (3, 1)}
    weights = {path: np.ones((2, *shape)) for path, shape in shapes.items()}
    return layered(outputs, signals, weights=weights, **options)


MEANS = {
    "net/hidden:mean_per_unit": np.array([[0.5, -1.0, 0.0], [0.25, 0.5, 2.0]]),
    "net/head:mean_per_unit": np.array([[0.125], [-0.5]]),
}
SIGNALS = {"net/hidden:mean_per_unit": np.array([[0.1, -0.2, 0.0], [0.3, np.nan, 1.0]])}


def test_the_network_shows_each_units_mean_output_and_signal():
    picture = picture_of(chain(MEANS, SIGNALS), values=False, ax=None)
    picture.show(0)
    faces = [to_rgba(face) for face in picture.nodes.get_facecolor()[2:]]
    expected = [(style.POSITIVE, 0.5 / 2), (style.NEGATIVE, 1 / 2), (None, 0)]
    expected.append((style.POSITIVE, 0.125 / 2))
    for face, (color, share) in zip(faces, expected, strict=True):
        alpha = 0 if color is None else 0.1 + 0.45 * share
        assert face[3] == pytest.approx(alpha)
        assert color is None or face[:3] == to_rgba(color)[:3]
    assert (picture.gaining.get_sizes() > 0).tolist() == [True, False, False, False]
    assert (picture.losing.get_sizes() > 0).tolist() == [False, True, False, False]
    assert not picture.failing.get_sizes().any()
    picture.show(1)
    assert (picture.failing.get_sizes() > 0).tolist() == [False, True, False, False]
    assert picture.gaining.get_sizes()[2] == pytest.approx(70)
    legend = picture.ax.get_legend().get_title().get_text()
    assert "mean output, darkest 2\n" in legend
    assert legend.endswith("its gradient, largest 1")


def test_of_raw_outputs_it_shows_the_mean_of_the_batch_s_own_rows():
    padded = HIDDEN.copy()
    padded[1, 5:] = np.nan
    recording = chain({"net/hidden": padded[:2]}, rows={"net/hidden": [8, 5]})
    ax = hr.plot.network(recording, values=True)
    texts = {text.get_text() for text in ax.texts}
    for mean in HIDDEN[1, :5].mean(axis=0):
        assert f"y {mean:.2g}".replace("-", "\N{MINUS SIGN}") in texts


def test_numbers_of_units_lie_apart_from_others():
    rng = np.random.default_rng(2)
    shapes = {"net/hidden/kernel": (1, 6), "net/output/kernel": (6, 1)}
    shapes |= {"net/hidden/bias": (6,), "net/output/bias": (1,)}
    arrays = {path: rng.normal(size=(2, *shape)) for path, shape in shapes.items()}
    # As long as numbers of two digits are.
    means = {
        "net/hidden:mean_per_unit": -0.0012 * rng.uniform(1, 2, size=(2, 6)),
        "net/output:mean_per_unit": -0.0012 * rng.uniform(1, 2, size=(2, 1)),
    }
    recording = layered(means, means, weights=arrays, gradients=arrays)
    ax = hr.plot.network(recording, values=True)
    assert len(ax.texts) > 40
    assert overlapping(ax, ax.texts) == []
