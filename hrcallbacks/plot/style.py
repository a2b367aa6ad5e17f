"""What the pictures look like: colours, axes, ticks, and marks of what has no place.

Text and grid have the colours of Matplotlib's rcParams, so that
`plt.style.use("dark_background")` is obeyed. The colours of the data are of middling
lightness: each has a contrast of 3:1 or more with white and with `#1e2129` alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hrcallbacks.optional import optional
from hrcallbacks.terminal import visible

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes
    from matplotlib.colors import LinearSegmentedColormap
    from matplotlib.figure import Figure
    from matplotlib.lines import Line2D
    from matplotlib.typing import ColorType

# Okabe and Ito's blue and vermilion; the others were searched for among the colours
# of that contrast, so as to lie far from each other for each kind of colour vision:
# further than Okabe and Ito's own, some of which are too light for white paper.
PALETTE = ("#0072b2", "#d55e00", "#799e6d", "#c279c2", "#3d92ff", "#9e556d", "#863df3")
POSITIVE, NEGATIVE = PALETTE[:2]

# From the first layer to the last: searched for among the colours of that contrast, so
# as to become darker throughout, and so that five of them are told apart by each kind
# of colour vision.
_DEPTH = ("#0696ff", "#7581cd", "#8a769a", "#996564", "#b0531c")

# Inches. On a phone, a page shows this in 358 pixels, and text of 10 points, which is
# the smallest that is used, in 10.
WIDTH = 4.8

_LINES = ("-", "--", ":", "-.")
# With more records than this, points on a line hide it.
_MOST_POINTS = 30

_THEMES = {
    "light": ("#ffffff", "#24292f"),
    "dark": ("#1e2129", "#d7dae0"),
    # The ink has the same contrast, 4:1, with white and with #1e2129.
    "transparent": ("none", "#7d7f82"),
}


def theme(name: Literal["light", "dark", "transparent"]) -> dict[str, Any]:
    """Settings of Matplotlib for a light page, a dark one, or both.

    The plots have whatever colours of text and background Matplotlib is set to; they
    need no theme. This is for pages: a documentation with a switch between light and
    dark shows a picture of each, or one that is `"transparent"`.

    Args:
        name: `"light"`: on white. `"dark"`: on `#1e2129`. `"transparent"`: without a
            background, with text that can be read on both, though less well than with
            the theme made for it (contrast 4:1).

    Returns:
        A dict of rcParams, for `matplotlib.style.use` or `matplotlib.style.context`.

    Raises:
        ValueError: If there is no such theme.

    Example:
        >>> import matplotlib.pyplot as plt
        >>> with plt.style.context(theme("dark")):
        ...     figure, ax = plt.subplots()
        >>> plt.close(figure)
    """
    if name not in _THEMES:
        raise ValueError(f"Expected a theme of {sorted(_THEMES)}. Received: {name!r}.")
    paper, ink = _THEMES[name]
    papers = ("figure.facecolor", "figure.edgecolor", "axes.facecolor")
    inks = ("text.color", "axes.labelcolor", "axes.edgecolor", "xtick.color")
    inks += ("ytick.color", "grid.color", "hatch.color")
    inks += ("axes.titlecolor", "legend.labelcolor")
    colors = ", ".join(map(repr, PALETTE))
    return {
        **dict.fromkeys(papers, paper),
        **dict.fromkeys(inks, ink),
        "savefig.facecolor": "auto",
        "axes.prop_cycle": f"cycler('color', [{colors}])",
    }


def pyplot() -> Any:
    """The module `matplotlib.pyplot`; `Any`, because no type names one module.

    Raises:
        ImportError: If Matplotlib is not installed.
    """
    with optional("Matplotlib", extra="plot", needed_by="A picture"):
        import matplotlib.pyplot as plt
    return plt


def plain_text(text: str) -> str:
    r"""Text of a recording, escaped so that Matplotlib does not read it as mathtext.

    A layer may be called `$x$`, which would be typeset, or `$x^{$`, which would fail.

    Example:
        >>> print(plain_text("$x$/kernel"))
        \$x\$/kernel
    """
    return visible(text).replace("$", r"\$")


def ink() -> str:
    """The colour of text."""
    return pyplot().rcParams["text.color"]


def faint(alpha: float) -> ColorType:
    """The colour of text, made transparent; `alpha` from 0 to 1."""
    from matplotlib.colors import to_rgba

    return to_rgba(ink(), alpha)


def new_axes(ax: Axes | None, *, size: tuple[float, float] = (WIDTH, 3.4)) -> Axes:
    """The axes to draw on: those passed, or those of a new figure.

    Args:
        ax: Axes, or None.
        size: Width and height of a new figure, in inches.

    Raises:
        TypeError: If `ax` is something else.
    """
    plt = pyplot()
    if ax is None:
        return plt.subplots(figsize=size, layout="constrained")[1]
    if not hasattr(ax, "plot") or not hasattr(ax, "get_xaxis_transform"):
        raise TypeError(f"Expected ax: Matplotlib axes. Received: {ax!r:.200}.")
    return ax


def columns_for(count: int) -> int:
    """In how many columns to lay out a number of panels."""
    return min(count, 2)


class Panels(np.ndarray[Any, np.dtype[np.object_]]):
    """An array of axes, with the figure that they are in."""

    @property
    def figure(self) -> Figure:
        """The figure of the axes."""
        first: Any = self.flat[0]
        return first.get_figure(root=True)


def new_grid(
    axes: Sequence[Axes] | Sequence[Sequence[Axes]] | np.ndarray | None,
    shape: tuple[int, int],
    *,
    size: tuple[float, float],
    columns: int | None = None,
    share: bool = True,
) -> tuple[Panels, bool]:
    """Axes in rows and columns: those passed, or those of a new figure.

    Args:
        axes: Axes, or None.
        shape: How many rows and columns.
        size: Width and height of a new figure, in inches.
        columns: How many columns fit side by side in a new figure; the others go below
            them.
        share: Whether the panels share their x axis.

    Returns:
        An array of axes of that shape, and whether they are new.

    Raises:
        ValueError: If `axes` are not as many.
    """
    plt = pyplot()
    rows, count = shape
    if axes is not None:
        given = np.asarray(axes, object)
        if given.size != rows * count:
            raise ValueError(
                f"Expected axes: {rows * count} of them, for {rows} by {count} panels. "
                f"Received: {given.size}."
            )
        return given.reshape(shape).view(Panels), False
    columns = min(count, columns or count)
    bands = -(-count // columns)
    figure = plt.figure(figsize=size, layout="constrained")
    made = figure.subplots(rows * bands, columns, sharex=share, squeeze=False)
    panels = made.reshape(bands, rows, columns).swapaxes(0, 1).reshape(rows, -1)
    for ax in panels[:, count:].flat:
        ax.remove()
    for ax in panels[-1, :count]:
        ax.tick_params(labelbottom=True)
    return panels[:, :count].view(Panels), True


def line_style(number: int, count: int = 0, *, dashes: int = 0) -> dict[str, Any]:
    """Colour and dashes of a line.

    Args:
        number: Which colour, from 0.
        count: How many colours are needed; above 7 a ramp replaces `PALETTE`.
        dashes: Which dashes, from 0.

    Returns:
        Arguments of `Axes.plot`.
    """
    if count > len(PALETTE):
        color = depth_colors(count)[number]
    else:
        dashes += number // len(PALETTE)
        color = PALETTE[number % len(PALETTE)]
    return {"color": color, "linestyle": _LINES[dashes % len(_LINES)]}


def depth_colors(count: int) -> list[ColorType]:
    """Colours from the first layer, light blue, to the last, dark orange."""
    from matplotlib.colors import LinearSegmentedColormap

    ramp = LinearSegmentedColormap.from_list("depth", _DEPTH)
    return [ramp(n / max(count - 1, 1)) for n in range(count)]


def diverging() -> LinearSegmentedColormap:
    """A colour map for positive and negative numbers, in which zero is transparent.

    So zero has the colour of the paper, light or dark.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    high, low = to_rgb(POSITIVE), to_rgb(NEGATIVE)
    return LinearSegmentedColormap.from_list(
        "diverging",
        [(0, (*low, 1)), (0.5, (*low, 0)), (0.5, (*high, 0)), (1, (*high, 1))],
        N=512,
    )


def points(count: int) -> dict[str, Any]:
    """Arguments of `Axes.plot` that show a line's points, if there are few of them."""
    return {"marker": "o", "markersize": 3.5} if count <= _MOST_POINTS else {}


def finish(
    ax: Axes,
    *,
    title: str | None = None,
    xlabel: str | None = None,
    ylabel: str | None = None,
) -> None:
    """Adds labels, and makes the frame unobtrusive."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color=ink(), alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)
    names = {"title": title, "xlabel": xlabel, "ylabel": ylabel}
    ax.set(**{name: text for name, text in names.items() if text is not None})


def mark_edge(
    ax: Axes,
    x: npt.ArrayLike,
    where: npt.NDArray[np.bool_],
    *,
    edge: Literal["top", "bottom"],
    marker: str,
    color: ColorType,
) -> None:
    """Marks at an edge of the axes what its scale cannot show.

    Args:
        ax: The axes.
        x: Places along the x axis.
        where: Which of them to mark.
        edge: Which edge.
        marker: Matplotlib's marker.
        color: Its colour.
    """
    if np.any(where):
        y = {"top": 0.98, "bottom": 0.02}[edge]
        ax.plot(
            np.asarray(x)[where],
            np.full(np.count_nonzero(where), y),
            linestyle="none",
            marker=marker,
            markersize=5,
            markerfacecolor="none",
            color=color,
            clip_on=False,
            transform=ax.get_xaxis_transform(),
            zorder=3,
        )


def mark_entry(marker: str, label: str) -> Line2D:
    """An entry of a legend for such marks."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], linestyle="none", marker=marker, mfc="none", color=ink(), label=label
    )


def note(ax: Axes, text: str) -> None:
    """Writes in the middle of the axes why there is nothing to see."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")
    ax.set_yticks([])


def legend_above(ax: Axes, handles: Sequence[Artist], title: str) -> None:
    """A title, and below it, above the axes, a legend."""
    if handles:
        ax.legend(
            handles=handles,
            loc="lower left",
            bbox_to_anchor=(0, 1.0),
            borderaxespad=0.2,
            frameon=False,
            fontsize="medium",
            handlelength=1.4,
            labelspacing=0.2,
        )
    points: float = pyplot().rcParams["font.size"]
    ax.set_title(title, pad=6 + 1.5 * points * len(handles))


def text_entry(label: str) -> Line2D:
    """An entry of a legend that is text alone."""
    from matplotlib.lines import Line2D

    return Line2D([], [], linestyle="none", label=label)
