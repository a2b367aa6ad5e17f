"""What is written in the picture of a network: its legend, and numbers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

import numpy as np

from hrcallbacks.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D
    from matplotlib.text import Annotation
    from matplotlib.typing import ColorType


def add_legend(
    ax: Axes, widest: float, steepest: float | None, scales: Sequence[str] = ()
) -> None:
    """A legend below the picture, with what the largest marks stand for.

    Args:
        ax: Where the picture is.
        widest: The largest magnitude of a weight.
        steepest: The largest magnitude of a gradient, or None if none are shown.
        scales: What else is shown, and its largest magnitude.
    """
    from matplotlib.lines import Line2D

    def mark(
        marker: str, size: float, face: ColorType, edge: ColorType, label: str
    ) -> Line2D:
        return Line2D(
            [],
            [],
            linestyle="none",
            marker=marker,
            markersize=size,
            markerfacecolor=face,
            markeredgecolor=edge,
            label=label,
        )

    up, down = style.POSITIVE, style.NEGATIVE
    entries = [
        Line2D([], [], color=up, linewidth=3, label="weight > 0"),
        Line2D([], [], color=down, linewidth=3, label="weight < 0"),
    ]
    scale = f"widest: |weight| {widest:.3g}; ring: bias"
    if steepest is not None:
        entries += [
            mark("^", 7, up, up, "gradient > 0"),
            mark("v", 7, down, down, "gradient < 0"),
            mark("o", 9, style.faint(0.25), style.ink(), "no gradient (dead)"),
        ]
        entries.insert(2, entries.pop())  # Columns are filled one after the other.
        scale += f"\nlargest: |gradient| {steepest:.3g}"
    ax.legend(
        handles=entries,
        title="\n".join([scale, *scales]),
        loc="upper center",
        bbox_to_anchor=(0.5, 0.0),
        ncols=2,
        frameon=False,
        fontsize="medium",
        columnspacing=1.2,
        handletextpad=0.4,
        handlelength=1.4,
    )


class Numbers:
    """Numbers beside links and nodes, empty until they are filled in.

    Args:
        ax: Where the picture is.
        middles: Where the weights are written, shape `(links, 2)`.
        glyphs: Where the gradients are written, shape `(links, 2)`.
        angles: Of the links, in degrees.
        below: Where the biases are, shape `(units, 2)`.
        above: Where what units give and get back is, shape `(units, 2)`.
    """

    def __init__(
        self,
        ax: Axes,
        middles: np.ndarray,
        glyphs: np.ndarray,
        angles: np.ndarray,
        below: np.ndarray,
        above: np.ndarray,
    ) -> None:
        self._ax = ax
        self._weights = [self._text(*p, 3) for p in zip(middles, angles, strict=True)]
        self._gradients = [self._text(*p, 6) for p in zip(glyphs, angles, strict=True)]
        self._biases = [self._text(place, 0, -9) for place in below]
        self._units = [self._text(place, 0, 2) for place in above]

    def _text(self, place: np.ndarray, angle: float, gap: float) -> Annotation:
        return self._ax.annotate(
            "",
            (place[0], place[1]),
            (0, gap),
            textcoords="offset points",
            rotation=angle,
            rotation_mode="anchor",
            ha="center",
            va="bottom",
            fontsize=7,
            zorder=4,
        )

    def fill(
        self,
        *,
        weights: Iterable[float],
        gradients: Iterable[float] | None,
        biases: Iterable[float | None],
        outputs: Iterable[float],
        signals: Iterable[float],
    ) -> None:
        """Writes numbers; None where there is none.

        Args:
            weights: One a link.
            gradients: One a link, or None.
            biases: One a unit behind the inputs, each a number or None.
            outputs: One a unit behind the inputs; NaN where it is not known.
            signals: Likewise, the gradients of outputs.
        """
        for text, weight in zip(self._weights, weights, strict=True):
            text.set_text(_number(weight))
        known = [] if gradients is None else gradients
        for text, gradient in zip(self._gradients, known, strict=False):
            text.set_text(f"g {_number(gradient)}")
        for text, bias in zip(self._biases, biases, strict=True):
            text.set_text("" if bias is None else f"b {_number(bias)}")
        for text, *units in zip(self._units, outputs, signals, strict=True):
            named = zip(("y", "\N{GREEK SMALL LETTER DELTA}"), units, strict=True)
            texts = [f"{n} {_number(u, 2)}" for n, u in named if not np.isnan(u)]
            text.set_text("  ".join(texts))


def _number(value: float, digits: int = 3) -> str:
    return f"{value:.{digits}g}".replace("-", "\N{MINUS SIGN}")
