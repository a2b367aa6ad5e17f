"""What is written in the picture of a network: its legend, and numbers."""

from hrcallbacks.plot import style


def add_legend(ax, widest, steepest):
    """A legend below the picture, with what the largest marks stand for.

    Args:
        ax: Axes.
        widest: The largest magnitude of a weight.
        steepest: The largest magnitude of a gradient, or None if none are shown.
    """
    from matplotlib.lines import Line2D

    def mark(marker, size, face, edge, label):
        entry = Line2D([], [], linestyle="none", marker=marker, markersize=size)
        entry.set(markerfacecolor=face, markeredgecolor=edge, label=label)
        return entry

    up, down = style.POSITIVE, style.NEGATIVE
    entries = [
        Line2D([], [], color=up, linewidth=3, label="weight > 0"),
        Line2D([], [], color=down, linewidth=3, label="weight < 0"),
    ]
    scale = f"widest: |weight| {widest:.3g}"
    if steepest is not None:
        entries += [
            mark("^", 7, up, up, "gradient > 0"),
            mark("v", 7, down, down, "gradient < 0"),
            mark("o", 9, style.faint(0.25), style.ink(), "no gradient (dead)"),
        ]
        scale += f", largest: |gradient| {steepest:.3g}"
    ax.legend(
        handles=entries,
        title=f"{scale}; ring: bias",
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=len(entries),
        frameon=False,
        fontsize="small",
        title_fontsize="small",
        columnspacing=1.2,
        handletextpad=0.4,
        handlelength=1.4,
    )


class Numbers:
    """Numbers beside links and nodes, empty until they are filled in.

    Args:
        ax: Axes.
        middles: Where the weights are written, `(links, 2)`.
        glyphs: Where the gradients are.
        angles: In degrees, how the links run.
        below: Where the biases are, `(units, 2)`.
    """

    def __init__(self, ax, middles, glyphs, angles, below):
        self._ax = ax
        self._weights = [self._text(*p, 3) for p in zip(middles, angles, strict=True)]
        self._gradients = [self._text(*p, 6) for p in zip(glyphs, angles, strict=True)]
        self._biases = [self._text(place, 0, -9) for place in below]

    def _text(self, place, angle, gap):
        return self._ax.annotate(
            "",
            place,
            (0, gap),
            textcoords="offset points",
            rotation=angle,
            rotation_mode="anchor",
            ha="center",
            va="bottom",
            fontsize=7,
            zorder=4,
        )

    def fill(self, *, weights, gradients, biases):
        """Writes numbers; None where there are none."""
        for text, weight in zip(self._weights, weights, strict=True):
            text.set_text(_number(weight))
        known = [] if gradients is None else gradients
        for text, gradient in zip(self._gradients, known, strict=False):
            text.set_text(f"g {_number(gradient)}")
        for text, bias in zip(self._biases, biases, strict=True):
            text.set_text("" if bias is None else f"b {_number(bias)}")


def _number(value):
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
