"""Lines over time, on a linear or a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.checks import positive_integer
from hrcallbacks.plot import style, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# Of more lines than this, some are named.
_MOST_NAMED = 20
# From one name to the next, as a multiple of the size of the text.
_SPACING = 1.3
# More records than this are drawn with thinner lines.
_MOST_THICK = 100


@dataclass(frozen=True)
class Line:
    """A line over time.

    Attributes:
        label: What it is called.
        x: Times.
        y: Numbers.
        look: Colour and dashes, arguments of `Axes.plot`.
        absent: Where there is no number, such as that of a variable without gradient:
            a gap. NaN anywhere else is a number that went wrong, and is marked.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    look: dict[str, Any]
    absent: npt.NDArray[np.bool_] = field(default_factory=lambda: np.zeros(1, bool))


def size_for(lines: Sequence[str]) -> tuple[float, float]:
    """Width and height of a figure of lines of these names, in inches.

    Names that are long make it wider, for text that is shrunk cannot be read.
    """
    count = min(len(lines), _MOST_NAMED)
    longest = max(map(len, lines), default=0)
    return style.WIDTH + 0.08 * max(0, longest - 18), max(3.4, 0.235 * count)


def draw(
    ax: Axes, lines: Sequence[Line], *, smooth: SupportsIndex | None, log: bool
) -> list[Line2D]:
    """Draws lines, and marks what has no place on their scale.

    Args:
        ax: Where to draw.
        lines: What to draw.
        smooth: Over how many records a running mean is taken; 1 for none, None for a
            twentieth of them.
        log: Whether the y axis is logarithmic. Ignored if no number is positive.

    Returns:
        Entries for a legend of the marks.
    """
    if smooth is None:
        smooth = max(1, max(len(line.x) for line in lines) // 20)
    width = positive_integer(smooth, "smooth", hint="It counts records.")
    finite = [np.where(np.isfinite(line.y), line.y, np.nan) for line in lines]
    log = log and any((y > 0).any() for y in finite)
    marks: dict[str, str] = {}
    for line, y in zip(lines, finite, strict=True):
        shown = np.where(y > 0, y, np.nan) if log else y
        _draw_line(ax, line, shown, width)
        low = (y <= 0) & log
        bad = ~np.isfinite(line.y) & ~line.absent
        color = line.look["color"]
        style.mark_edge(ax, line.x, low, edge="bottom", marker="v", color=color)
        style.mark_edge(ax, line.x, bad, edge="top", marker="x", color=color)
        marks |= {"v": _zero_or_below(lines)} if low.any() else {}
        marks |= {"x": "NaN or infinite"} if bad.any() else {}
    times = np.concatenate([line.x for line in lines])
    # Records without a number have their place too.
    ax.update_datalim(np.column_stack([times, times]), updatey=False)
    ax.autoscale_view()
    ticks.time_ticks(ax, times)
    if log:
        ticks.log_ticks(ax.yaxis)
    else:
        ticks.plain_ticks(ax.yaxis)
    if not any(np.isfinite(y).any() for y in finite):
        count = sum(len(y) for y in finite)
        style.note(ax, f"NaN or infinite: all of {count:,} numbers")
    return [style.mark_entry(*mark) for mark in marks.items()]


def name_ends(ax: Axes, lines: Sequence[Line]) -> list[Line2D]:
    """Names lines at their right ends, one below the other where these lie close.

    Args:
        ax: Where they were drawn, with the limits that they will have.
        lines: What was drawn.

    Returns:
        An entry for a legend that says how many had no room for a name, if any.
    """
    size: float = style.pyplot().rcParams["font.size"]
    figure: Any = ax.get_figure(root=True)
    inches = ax.get_position().height * figure.get_size_inches()[1]
    step = _SPACING * size / 72 / inches
    named = _some(lines, min(_MOST_NAMED, int(1 / step) + 1))
    drawn = {one.get_label(): one for one in ax.lines}
    ends = [_end(ax, drawn[line.label]) for line in named]
    places = spread([end.height for end in ends], step)
    for line, (point, coordinates, _), place in zip(named, ends, places, strict=True):
        ax.annotate(
            line.label,
            point,
            (1.06, place),
            xycoords=coordinates,
            textcoords="axes fraction",
            va="center",
            annotation_clip=False,
            arrowprops={
                "arrowstyle": "-",
                "color": line.look["color"],
                "linewidth": 1.2,
                "relpos": (0, 0.5),
                "shrinkA": 1,
                "shrinkB": 0,
            },
        )
    missing = len(lines) - len(named)
    said = f"{missing} of {len(lines)} lines are not named"
    return [style.text_entry(said)] if missing else []


def spread(heights: Sequence[float], step: float) -> np.ndarray:
    """Heights from 0 to 1, as near to those given as lie `step` or more apart.

    The least squares: where some are too close, they are moved as one block.

    Example:
        >>> spread([0.5, 0.5, 0.9], 0.1).round(3).tolist()
        [0.45, 0.55, 0.9]
    """
    order = np.argsort(heights, kind="stable")
    shift = step * np.arange(len(order))
    blocks: list[list[float]] = []
    for height in np.asarray(heights)[order] - shift:
        blocks.append([height])
        while len(blocks) > 1 and np.mean(blocks[-2]) > np.mean(blocks[-1]):
            blocks[-2:] = [blocks[-2] + blocks[-1]]
    means = np.concatenate([np.full(len(block), np.mean(block)) for block in blocks])
    found = np.empty(len(order))
    found[order] = np.clip(means, 0, 1 - shift[-1]) + shift
    return found


class _End(NamedTuple):
    """Where a line ends, in which coordinates, and its height in the axes, 0 to 1."""

    point: tuple[float, float]
    coordinates: Literal["data", "axes fraction"]
    height: float


def _end(ax: Axes, line: Line2D) -> _End:
    """The last point of a line; of one without points, the lower right corner."""
    x, y = np.asarray(line.get_xdata(), float), np.asarray(line.get_ydata(), float)
    known = np.flatnonzero(np.isfinite(y))
    if not known.size:
        return _End((1.0, 0.0), "axes fraction", 0.0)
    point = float(x[known[-1]]), float(y[known[-1]])
    height = ax.transAxes.inverted().transform(ax.transData.transform(point))[1]
    return _End(point, "data", float(height))


def _zero_or_below(lines: Sequence[Line]) -> str:
    return "zero or below" if any((line.y < 0).any() for line in lines) else "zero"


def _draw_line(ax: Axes, line: Line, y: np.ndarray, smooth: int) -> None:
    width = 1.5 if len(y) <= _MOST_THICK else 1.0
    look: dict[str, Any] = {"linewidth": width} | line.look
    if smooth == 1:
        ax.plot(line.x, y, label=line.label, **look, **style.points(len(y)))
        return
    thin: dict[str, Any] = look | {"alpha": 0.4, "linewidth": 0.5, "linestyle": "-"}
    ax.plot(line.x, y, **thin)
    # Centred: a mean of the past alone would lag behind.
    mean = pd.Series(y).rolling(smooth, min_periods=1, center=True).mean()
    mean = np.where(np.isfinite(y), np.asarray(mean), np.nan)
    thick: dict[str, Any] = look | {"linewidth": 1.8, "zorder": 2.5}
    ax.plot(line.x, mean, label=line.label, **thick)


def _some(lines: Sequence[Line], most: int) -> list[Line]:
    """All lines, or if there are many, some of them from the first to the last."""
    if len(lines) <= most:
        return list(lines)
    chosen = np.linspace(0, len(lines) - 1, most).round().astype(int)
    return [lines[n] for n in chosen]
