import itertools

import numpy as np
import pytest
from contrasts import DARK, WHITE, contrast, linear
from matplotlib.colors import to_hex

import hrcallbacks as hr
from hrcallbacks.plot import style, ticks

pytestmark = pytest.mark.usefixtures("figures")

OKABE_ITO = (
    "#e69f00",
    "#56b4e9",
    "#009e73",
    "#f0e442",
    "#0072b2",
    "#d55e00",
    "#cc79a7",
)

# How colours look to the colour-blind: Machado, Oliveira and Fernandes (2009), table 1,
# severity 1.0, on linear RGB.
VISION = {
    "normal": np.eye(3),
    "protanopia": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "deuteranopia": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "tritanopia": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}


def oklab(rgb):
    """Oklab (Ottosson 2020), in which distances are about as large as they look."""
    cones = [
        [0.4122214708, 0.5363325363, 0.0514459929],
        [0.2119034982, 0.6806995451, 0.1073969566],
        [0.0883024619, 0.2817188376, 0.6299787005],
    ]
    lab = [
        [0.2104542553, 0.7936177850, -0.0040720468],
        [1.9779984951, -2.4285922050, 0.4505937099],
        [0.0259040371, 0.7827717662, -0.8086757660],
    ]
    return np.array(lab) @ np.cbrt(np.array(cones) @ rgb)


def least_distance(palette, vision):
    seen = [oklab(np.clip(np.array(vision) @ linear(c), 0, 1)) for c in palette]
    return min(np.linalg.norm(a - b) for a, b in itertools.combinations(seen, 2))


@pytest.mark.parametrize("paper", [WHITE, DARK])
def test_the_palette_can_be_read_on_light_and_dark(paper):
    assert min(contrast(color, paper) for color in style.PALETTE) >= 3
    for count in (1, 2, 5, 8, 40):
        assert min(contrast(c, paper) for c in style.depth_colors(count)) >= 3


def test_the_palette_is_told_apart_by_the_colour_blind():
    ours = min(least_distance(style.PALETTE, v) for v in VISION.values())
    theirs = min(least_distance(OKABE_ITO, v) for v in VISION.values())
    assert ours > theirs


def test_colours_of_layers_are_told_apart_and_ordered_by_the_colour_blind():
    ours = style.depth_colors(5)
    for name, vision in VISION.items():
        assert least_distance(ours, vision) > 0.07, name
        seen = np.array([oklab(np.array(vision) @ linear(c)) for c in ours])
        for number, color in enumerate(seen):
            deeper = np.linalg.norm(seen[number:] - color, axis=1)
            assert np.all(np.diff(deeper) > 0), name
    lights = [linear(c) @ (0.2126, 0.7152, 0.0722) for c in style.depth_colors(40)]
    assert np.all(np.diff(lights) < 0)


@pytest.mark.parametrize(("name", "paper"), [("light", WHITE), ("dark", DARK)])
def test_a_theme_has_its_paper_and_text_that_can_be_read(name, paper):
    settings = hr.plot.theme(name)
    assert settings["figure.facecolor"] == paper
    assert contrast(settings["text.color"], paper) >= 7


def test_a_theme_has_its_text_whatever_titles_and_legends_were_set_to(figures):
    black = {"axes.titlecolor": "black", "legend.labelcolor": "black"}
    settings = hr.plot.theme("dark")
    with figures.style.context([black, settings]):
        _, ax = figures.subplots()
        ax.plot([1], label="line")
        ax.set_title("title")
        texts = [ax.title, *ax.legend().get_texts()]
    assert {to_hex(t.get_color()) for t in texts} == {settings["text.color"]}


def test_the_transparent_theme_can_be_read_on_both(figures, tmp_path):
    settings = hr.plot.theme("transparent")
    for paper in (WHITE, DARK):
        assert contrast(settings["text.color"], paper) >= 3.9
    with figures.style.context(settings):
        figure, _ = figures.subplots()
        figure.savefig(tmp_path / "empty.png")
    assert figures.imread(tmp_path / "empty.png")[0, 0, 3] == 0


def test_themes_are_what_matplotlib_takes_and_leave_it_as_it_was(figures):
    before = dict(figures.rcParams)
    for name in ("light", "dark", "transparent"):
        with figures.style.context(hr.plot.theme(name)):
            cycle = figures.rcParams["axes.prop_cycle"].by_key()["color"]
            assert tuple(cycle) == style.PALETTE
    assert dict(figures.rcParams) == before
    with pytest.raises(ValueError, match=r"'dark', 'light', 'transparent'.*'solar'"):
        hr.plot.theme("solar")


@pytest.mark.parametrize(
    ("low", "high", "expected"),
    [
        (0.28, 8.0, {"0.3", "0.5", "1", "2", "5"}),
        (0.002, 50.0, {"0.01", "1", "10"}),
        (2e-7, 3.0, {"1e-6", "1e-4", "1e-2", "1"}),
    ],
)
def test_numbers_on_a_logarithmic_axis_are_short(figures, low, high, expected):
    _, ax = figures.subplots()
    ax.plot([1, 2], [low, high])
    ticks.log_ticks(ax.yaxis)
    ax.figure.draw_without_rendering()
    labels = [*ax.get_yticklabels(), *ax.get_yticklabels(minor=True)]
    assert expected <= {tick.get_text() for tick in labels}


def test_no_two_of_many_lines_look_the_same():
    looks = [tuple(style.line_style(n).items()) for n in range(28)]
    assert len(set(looks)) == 28
