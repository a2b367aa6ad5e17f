import numpy as np
import pytest
from contrasts import DARK, WHITE, contrast
from matplotlib.colors import to_hex, to_rgb, to_rgba
from PIL import Image
from plot_recordings import overlapping, published, recording_of

import hrcallbacks as hr
from hrcallbacks.plot import style
from hrcallbacks.plot.network import picture_of

pytestmark = pytest.mark.usefixtures("figures")

RNG = np.random.default_rng(9)


def flat(recording, quantity, record):
    """All kernels' elements of a record."""
    arrays = getattr(recording, quantity)
    return np.concatenate([np.ravel(arrays[p][record]) for p in recording.paths])


def shown(recording, record, **options):
    picture = picture_of(recording, **{"values": False, "ax": None} | options)
    picture.show(record)
    return picture


def greys(picture):
    """Numbers of the grey nodes, among all, from 0."""
    return np.flatnonzero(picture.nodes.get_facecolor()[:, 3] > 0).tolist()


@pytest.mark.parametrize("record", [0, 4, -1])
def test_links_show_sign_and_magnitude_of_the_weights(record):
    recording = published(0.3)
    links = shown(recording, record).links
    weights = flat(recording, "weights", record)
    colors = [to_hex(color) for color in links.get_colors()]
    expected = [style.POSITIVE if w > 0 else style.NEGATIVE for w in weights]
    assert colors == expected
    widths = np.asarray(links.get_linewidths())
    largest = max(np.abs(flat(recording, "weights", n)).max() for n in range(10))
    np.testing.assert_allclose(widths, 0.7 + 5.3 * np.abs(weights) / largest)


@pytest.mark.parametrize(
    ("theme", "paper"),
    [("light", WHITE), ("dark", DARK), ("transparent", WHITE), ("transparent", DARK)],
)
def test_each_link_and_ring_can_be_seen(figures, theme, paper):
    weights = {"a/kernel": np.array([[[1e-6, -1e-6, 0.0, 1.0, -1.0, np.nan]]])}
    weights["a/bias"] = np.array([[1e-6, -1e-6, 0.0, 1.0, -1.0, np.nan]])
    with figures.style.context(hr.plot.theme(theme)):
        picture = shown(recording_of(weights=weights), 0)
    for artist in (picture.links.get_colors(), picture.nodes.get_edgecolor()):
        assert len(artist) >= 6
        for color in artist:
            *rgb, alpha = to_rgba(color)
            seen = alpha * np.array(rgb) + (1 - alpha) * np.array(to_rgb(paper))
            assert contrast(seen, paper) >= 3
    assert min(picture.links.get_linewidths()) >= 0.7


@pytest.mark.parametrize("record", [0, 4, -1])
def test_triangles_show_sign_and_magnitude_of_the_gradients(record):
    recording = published(0.3)
    picture = shown(recording, record)
    gradients = flat(recording, "gradients", record)
    up, down = picture.rising.get_sizes(), picture.falling.get_sizes()
    np.testing.assert_array_equal(up > 0, gradients > 0)
    np.testing.assert_array_equal(down > 0, gradients < 0)
    assert not picture.broken.get_sizes().any()
    areas = up + down
    order = np.argsort(np.abs(gradients))
    assert np.all(np.diff(areas[order]) >= 0)


def test_each_link_joins_its_two_units():
    weights = {"a/kernel": np.ones((1, 2, 3)), "b/kernel": np.ones((1, 3, 1))}
    picture = shown(recording_of(weights=weights), 0)
    places = [p.get_extents() for p in picture.nodes.get_paths()]
    places = [((b.x0 + b.x1) / 2, (b.y0 + b.y1) / 2) for b in places]
    pairs = [(i, 2 + j) for i in range(2) for j in range(3)]
    pairs += [(2 + i, 5) for i in range(3)]
    for (start, end), link in zip(pairs, picture.links.get_segments(), strict=True):
        for node, point in ((start, link[0]), (end, link[1])):
            radius = np.linalg.norm(np.subtract(places[node], point))
            assert radius == pytest.approx(0.27, abs=1e-9)


@pytest.mark.parametrize(
    ("rate", "record", "dead"),
    [
        (0.3, 0, [1, 3, 6]),
        (0.3, 1, [1, 2, 3, 6]),
        (0.1, 0, [4, 6]),
        (0.1, 1, [4, 6]),
        (0.1, 2, [2, 4, 6]),
        (0.1, 3, [2, 3, 4, 6]),
        (0.1, -1, [2, 3, 4, 6]),
    ],
)
def test_units_without_gradient_are_grey(rate, record, dead):
    # Node 0 is the input, so that hidden unit n is node n.
    assert greys(shown(published(rate), record)) == dead


def test_a_unit_is_alive_as_long_as_any_gradient_of_it_is():
    gradients = {
        "a/kernel": np.zeros((1, 1, 3)),
        "a/bias": np.array([[0.0, 0.0, 1e-30]]),
        "b/kernel": np.array([[[0.0], [np.nan], [0.0]]]),
    }
    weights = {path: np.ones_like(g) for path, g in gradients.items()}
    assert greys(shown(recording_of(gradients, weights), 0)) == [1]


def test_rings_show_the_biases():
    weights = {"a/kernel": np.ones((1, 1, 2)), "a/bias": np.array([[2.0, -1.0]])}
    nodes = shown(recording_of(weights=weights), 0).nodes
    colors = [to_hex(color) for color in nodes.get_edgecolor()]
    assert colors[1:] == [style.POSITIVE, style.NEGATIVE]
    assert nodes.get_linewidths()[1:] == pytest.approx([3.5, 2.25])


def test_values_are_written_and_lie_apart():
    recording = published(0.3)
    ax = hr.plot.network(recording, record=3, values=True)
    written = {text.get_text() for text in ax.texts}
    for quantity, letter in (("weights", ""), ("gradients", "g ")):
        for value in flat(recording, quantity, 3):
            assert f"{letter}{value:.3g}".replace("-", "\N{MINUS SIGN}") in written
    assert overlapping(ax, ax.texts) == []


def test_the_title_says_which_record():
    ax = hr.plot.network(published(0.3), record=3)
    loss = hr.load_published_table(0.3)["loss"][3]
    assert ax.get_title() == f"Epoch 4, loss {loss:.4g}"
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert "gradient < 0" in labels
    assert "input" in [text.get_text() for text in ax.texts]


def test_what_is_nan_is_dotted_and_crossed():
    gradients = {"a/kernel": np.array([[[1.0, np.nan]]])}
    weights = {"a/kernel": np.array([[[np.nan, 1.0]]])}
    picture = shown(recording_of(gradients, weights), 0)
    dashes = [pattern for _, pattern in picture.links.get_linestyles()]
    assert dashes[0] is not None
    assert dashes[1] is None
    assert (picture.broken.get_sizes() > 0).tolist() == [False, True]


@pytest.mark.parametrize("value", [0.0, np.nan])
def test_weights_that_are_all_zero_or_nan_are_drawn(value):
    arrays = {"a/kernel": np.full((1, 1, 1), value), "a/bias": np.full((1, 1), value)}
    hr.plot.network(recording_of(arrays, arrays), values=True)


def test_weights_alone_have_no_triangles():
    ax = hr.plot.network(recording_of(weights={"a/kernel": np.ones((2, 3, 2))}))
    labels = [text.get_text() for text in ax.get_legend().get_texts()]
    assert labels == ["weight > 0", "weight < 0"]


@pytest.mark.parametrize(
    ("shapes", "text"),
    [
        ({"a/kernel": (20, 17)}, r"\[20, 17\] units and 340 weights; up to 16"),
        ({"a/kernel": (3, 3, 1, 4)}, r"'a/kernel' of shape \(3, 3, 1, 4\)"),
        ({"a/kernel": (2, 3), "b/kernel": (4, 1)}, "gives 3 numbers.*takes 4"),
        ({"e/embeddings": (5, 2)}, r"'e/embeddings' of shape \(5, 2\)"),
        ({"n/gamma": (4,), "a/kernel": (4, 2)}, r"'n/gamma' of shape \(4,\)"),
    ],
)
def test_what_cannot_be_drawn_is_refused_with_what_to_call(shapes, text):
    weights = {path: np.ones((1, *shape)) for path, shape in shapes.items()}
    recording = recording_of(weights=weights)
    with pytest.raises(ValueError, match=text) as refusal:
        hr.plot.network(recording)
    assert "hr.plot.gradient_flow(recording)" in str(refusal.value)


def test_other_faults_are_refused():
    with pytest.raises(ValueError, match=r"from -10 to 9.*Received: 10"):
        hr.plot.network(published(0.1), record=10)
    with pytest.raises(ValueError, match=r"GradientRecorder\(weights='raw'\)"):
        hr.plot.network(recording_of({"a/kernel": np.ones((1, 2, 2))}))
    large = recording_of(weights={"a/kernel": np.ones((1, 7, 7))})
    with pytest.raises(ValueError, match=r"98 numbers.*up to 40.*to_frame"):
        hr.plot.network(large, values=True)


def test_an_animation_has_a_frame_for_each_record(tmp_path):
    recording = published(0.3)
    animation = hr.plot.network_animation(recording, interval=250)
    hr.plot.save_animation(animation, tmp_path / "network.gif", dpi=40)
    with Image.open(tmp_path / "network.gif") as gif:
        assert gif.n_frames == len(recording)
        assert gif.info["duration"] == 250
        frames = []
        for number in range(gif.n_frames):
            gif.seek(number)
            frames.append(np.asarray(gif.convert("RGB")).tobytes())
    assert len(set(frames)) == len(recording)


def test_an_animation_without_background_is_saved_on_white(tmp_path, figures):
    with figures.style.context(hr.plot.theme("transparent")):
        recording = recording_of(weights={"a/kernel": np.ones((2, 1, 1))})
        animation = hr.plot.network_animation(recording)
        hr.plot.save_animation(animation, tmp_path / "network.gif", dpi=20)
    with Image.open(tmp_path / "network.gif") as gif:
        assert gif.convert("RGBA").getpixel((0, 0)) == (255, 255, 255, 255)


def test_an_animation_is_saved_as_a_page(tmp_path):
    recording = recording_of(weights={"a/kernel": np.ones((2, 1, 1))})
    animation = hr.plot.network_animation(recording)
    hr.plot.save_animation(animation, tmp_path / "network.html", dpi=20)
    page = (tmp_path / "network.html").read_text()
    assert page.startswith("<!DOCTYPE html>")
    assert page.count("data:image/png;base64") == 2
    with pytest.raises(ValueError, match=r"'.gif', '.html', '.mp4'.*network.txt"):
        hr.plot.save_animation(animation, "network.txt")


def test_a_long_animation_is_refused():
    long = recording_of(weights={"a/kernel": np.ones((501, 1, 1))})
    with pytest.raises(ValueError, match=r"501 records.*500 can be watched"):
        hr.plot.network_animation(long)
