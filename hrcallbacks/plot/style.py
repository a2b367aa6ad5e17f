"""What the pictures look like: colours, axes, ticks, and marks of what has no place.

Text and grid have the colours of Matplotlib's rcParams, so that
`plt.style.use("dark_background")` is obeyed. The colours of the data are of middling
lightness: each has a contrast of 3:1 or more with white and with `#1e2129` alike.
"""

import numpy as np

from hrcallbacks.terminal import visible

# Okabe and Ito's blue and vermilion; the others were searched for among the colours
# of that contrast, so as to lie far from each other for each kind of colour vision:
# further than Okabe and Ito's own, some of which are too light for white paper.
PALETTE = ("#0072b2", "#d55e00", "#799e6d", "#c279c2", "#3d92ff", "#9e556d", "#863df3")
POSITIVE, NEGATIVE = PALETTE[:2]

_LINES = ("-", "--", ":", "-.")
# With more records than this, points on a line hide it.
_MOST_POINTS = 30
# With more ticks than this, their labels may touch.
_MOST_TICKS = 12

_THEMES = {
    "light": ("#ffffff", "#24292f"),
    "dark": ("#1e2129", "#d7dae0"),
    # The ink has the same contrast, 4:1, with white and with #1e2129.
    "transparent": ("none", "#7d7f82"),
}


def theme(name):
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
    colors = ", ".join(map(repr, PALETTE))
    return {
        **dict.fromkeys(papers, paper),
        **dict.fromkeys(inks, ink),
        "savefig.facecolor": "auto",
        "axes.prop_cycle": f"cycler('color', [{colors}])",
    }


def pyplot():
    """`matplotlib.pyplot`.

    Raises:
        ImportError: If Matplotlib is not installed.
    """
    try:
        import matplotlib.pyplot as plt
    except ImportError as error:
        raise ImportError(
            f"A picture needs Matplotlib ({error}). Install it with: "
            'pip install "hrcallbacks[plot]".'
        ) from error
    return plt


def plain_text(text: str) -> str:
    r"""Text of a recording, as Matplotlib shows it: never as mathematics.

    A layer may be called `$x^{$`, which is no mathtext, or `$x$`, which is, and was
    not meant to be.

    Args:
        text: The text.

    Example:
        >>> print(plain_text("$x$/kernel"))
        \$x\$/kernel
    """
    return visible(text).replace("$", r"\$")


def ink():
    """The colour of text."""
    return pyplot().rcParams["text.color"]


def faint(alpha):
    """The colour of text, let through."""
    from matplotlib.colors import to_rgba

    return to_rgba(ink(), alpha)


def new_axes(ax, *, size=(7, 4)):
    """The axes to draw on: those given, or those of a new figure.

    Args:
        ax: Axes or None.
        size: Width and height of a new figure, in inches.
    """
    plt = pyplot()
    if ax is None:
        _, ax = plt.subplots(figsize=size, layout="constrained")
    elif not hasattr(ax, "plot") or not hasattr(ax, "get_xaxis_transform"):
        raise TypeError(f"Expected ax: Matplotlib axes. Received: {ax!r:.200}.")
    return ax


def columns_for(count):
    """In how many columns so many panels are laid out."""
    return {1: 1, 2: 2, 4: 2}.get(count, 3)


def new_grid(axes, shape, *, size, columns=None, share=True):
    """Axes in rows and columns: those given, or those of a new figure.

    Args:
        axes: An array or list of axes, or None.
        shape: How many rows and columns.
        size: Width and height of a new figure, in inches.
        columns: Of how many columns a new figure is to be: the others go below them.
        share: Whether panels share their x axis.

    Returns:
        An array of axes of that shape, and whether they are new.
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
        return given.reshape(shape), False
    columns = min(count, columns or count)
    bands = -(-count // columns)
    figure = plt.figure(figsize=size, layout="constrained")
    made = figure.subplots(rows * bands, columns, sharex=share, squeeze=False)
    panels = made.reshape(bands, rows, columns).swapaxes(0, 1).reshape(rows, -1)
    for ax in panels[:, count:].flat:
        ax.remove()
    for ax in panels[-1, :count]:
        ax.tick_params(labelbottom=True)
    return panels[:, :count], True


def line_style(number, count=0, *, dashes=0):
    """Colour and dashes of a line.

    Args:
        number: Which colour.
        count: How many colours there are to be: above 7, a ramp in place of `PALETTE`.
        dashes: Which dashes.
    """
    if count > len(PALETTE):
        color = depth_colors(count)[number]
    else:
        dashes += number // len(PALETTE)
        color = PALETTE[number % len(PALETTE)]
    return {"color": color, "linestyle": _LINES[dashes % len(_LINES)]}


def depth_colors(count):
    """Colours from the first layer to the last, all as light as the palette's."""
    from matplotlib.colors import LinearSegmentedColormap

    stops = [PALETTE[0], "#9a6fb0", PALETTE[1]]
    ramp = LinearSegmentedColormap.from_list("depth", stops)
    return [ramp(n / max(count - 1, 1)) for n in range(count)]


def diverging():
    """A colour map for what is positive or negative: what is zero is transparent.

    So zero has the colour of the paper, be it light or dark.
    """
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    high, low = to_rgb(POSITIVE), to_rgb(NEGATIVE)
    return LinearSegmentedColormap.from_list(
        "diverging",
        [(0, (*low, 1)), (0.5, (*low, 0)), (0.5, (*high, 0)), (1, (*high, 1))],
        N=512,
    )


def points(count):
    """Whether a line through so many records shows its points."""
    return {"marker": "o", "markersize": 3.5} if count <= _MOST_POINTS else {}


def finish(ax, *, title=None, xlabel=None, ylabel=None):
    """Labels, and a quiet frame."""
    ax.spines[["top", "right"]].set_visible(False)
    ax.grid(True, color=ink(), alpha=0.15, linewidth=0.8)
    ax.set_axisbelow(True)
    names = {"title": title, "xlabel": xlabel, "ylabel": ylabel}
    ax.set(**{name: text for name, text in names.items() if text is not None})


def time_ticks(ax, x, *, most=8):
    """Whole numbers at a time axis, each of the times where they are few.

    Args:
        ax: Axes.
        x: The times.
        most: How many ticks have room.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    ticks = np.unique(x)
    few = min(_MOST_TICKS, 2 * most)
    if len(ticks) <= few and np.all(np.diff(ticks) == 1) and ticks[-1] < 100:
        ax.set_xticks(ticks)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=most))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def log_ticks(ax):
    """A logarithmic y axis: 0.2 and 30, and powers of ten where numbers are longer."""
    from matplotlib.ticker import FuncFormatter

    ax.set_yscale("log")
    low, high = ax.get_ylim()
    if low < 1e-3 or high > 1e4:
        return
    few = {2, 3, 5} if high / low < 100 else set()

    def text(value, _):
        leading = value / 10.0 ** np.floor(np.log10(value) + 1e-9)
        return f"{value:g}" if round(leading, 6) in few | {1} else ""

    ax.yaxis.set_major_formatter(FuncFormatter(text))
    ax.yaxis.set_minor_formatter(FuncFormatter(text))


def plain_ticks(axis):
    """Writes 1e-08 at each tick, where Matplotlib has a factor beside the axis."""
    largest = np.abs(axis.get_view_interval()).max()
    if largest >= 1e5 or largest < 1e-3:
        axis.set_major_formatter(lambda value, _: f"{value:.3g}")


def mark_edge(ax, x, where, *, edge, marker, color):
    """Marks at an edge of the axes what has no place on its scale.

    Args:
        ax: Axes.
        x: Places along the x axis.
        where: Which of them to mark, array of bool.
        edge: `"top"` or `"bottom"`.
        marker: Matplotlib's marker.
        color: Colour.
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


def mark_entry(marker, label):
    """An entry of a legend for such marks."""
    from matplotlib.lines import Line2D

    return Line2D(
        [], [], linestyle="none", marker=marker, mfc="none", color=ink(), label=label
    )


def note(ax, text):
    """Says in the middle of the axes why there is nothing to see."""
    ax.text(0.5, 0.5, text, transform=ax.transAxes, ha="center", va="center")
    ax.set_yticks([])


def legend_right(ax, handles, title=None):
    """A legend beside the axes."""
    ax.legend(
        handles=handles,
        title=title,
        loc="upper left",
        bbox_to_anchor=(1.01, 1),
        borderaxespad=0,
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        alignment="left",
    )
