"""Names that Matplotlib would take for mathematics, or a page for tags: shown as is."""

import numpy as np
import pytest
from plot_recordings import recording_of

import hrcallbacks as hr
from hrcallbacks.types import Fit

pytest.importorskip("matplotlib")
NAMES = ("$x^{$", "a_b^c", "<b>", "%s{}", "$y$", r"\$z$", "x\x1b\n")
FUNCTIONS = (
    *("loss", "gradient_flow", "update_ratio", "heatmap", "histograms"),
    *("trajectories", "network", "network_animation"),
)
DENSE, OTHER = ("kernel", (2, 2)), ("gamma", (40,))


def recording(kind, shape):
    """A recording with a variable in a layer of each of the names."""
    rng = np.random.default_rng(0)
    paths = [f"net/{layer}/{kind}" for layer in NAMES]
    weights, gradients = (
        {p: rng.normal(size=(3, *shape)) for p in paths} for _ in "wg"
    )
    made = recording_of(gradients, weights)
    made.fits = [Fit()]
    return made


def texts_of(function, *variable):
    """What is written in a picture."""
    import matplotlib.pyplot as plt
    from matplotlib.text import Text

    given = recording(*variable)
    if function == "loss":
        given = dict.fromkeys(NAMES, given)
    made = getattr(hr.plot, function)(given)
    figure = plt.gcf()
    figure.draw_without_rendering()
    assert made is not None
    return [text.get_text() for text in figure.findobj(Text)]


@pytest.fixture(params=["light", "dark"])
def page(request):
    import matplotlib.pyplot as plt

    with plt.style.context(hr.plot.theme(request.param)):
        yield
        plt.close("all")


@pytest.mark.usefixtures("page")
@pytest.mark.filterwarnings("ignore:Animation was deleted:UserWarning")
@pytest.mark.parametrize("function", FUNCTIONS)
def test_names_are_shown_as_they_are(function):
    from matplotlib.cbook import is_math_text

    # A heat map calls each of few elements of dense layers by its symbol.
    variable = OTHER if function == "heatmap" else DENSE
    texts = texts_of(function, *variable)
    plain = [t.replace(r"\$", "$") for t in texts if not is_math_text(t)]
    for name in NAMES:
        shown = name.replace("\x1b\n", r"\x1b\n")
        assert any(shown in text for text in plain), (name, texts)


@pytest.mark.usefixtures("page")
@pytest.mark.parametrize("function", ["network", "trajectories", "heatmap"])
def test_symbols_of_ours_are_mathematics(function):
    from matplotlib.cbook import is_math_text

    ours = r"$\hat{y}_{1}$" if function == "network" else "$w^{1}_{1}$"
    ours = ours.replace("w", "g") if function == "heatmap" else ours
    texts = texts_of(function, *DENSE)
    assert ours in texts
    assert is_math_text(ours)
