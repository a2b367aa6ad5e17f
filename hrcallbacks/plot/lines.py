"""Lines over time, on a linear or a logarithmic scale."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.checks import positive_integer
from hrcallbacks.plot import style

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

# A legend of more lines than this names some of them.
_MOST_NAMED = 14
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


def draw(
    ax: Axes, lines: Sequence[Line], *, smooth: SupportsIndex, log: bool
) -> list[Line2D]:
    """Draws lines, and marks what has no place on their scale.

    Args:
        ax: Where to draw.
        lines: What to draw.
        smooth: Over how many records a running mean is taken; 1 for none.
        log: Whether the y axis is logarithmic. Ignored if no number is positive.

    Returns:
        Entries for a legend.
    """
    width = positive_integer(smooth, "smooth", hint="It counts records.")
    finite = [np.where(np.isfinite(line.y), line.y, np.nan) for line in lines]
    log = log and any((y > 0).any() for y in finite)
    entries: list[Line2D] = []
    marks: dict[str, str] = {}
    for line, y in zip(lines, finite, strict=True):
        shown = np.where(y > 0, y, np.nan) if log else y
        entries.append(_draw_line(ax, line, shown, width))
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
    style.time_ticks(ax, times)
    if log:
        style.log_ticks(ax)
    else:
        style.plain_ticks(ax.yaxis)
    if not any(np.isfinite(y).any() for y in finite):
        count = sum(len(y) for y in finite)
        style.note(ax, f"NaN or infinite: all of {count:,} numbers")
    return _some(entries) + [style.mark_entry(*mark) for mark in marks.items()]


def _zero_or_below(lines: Sequence[Line]) -> str:
    return "zero or below" if any((line.y < 0).any() for line in lines) else "zero"


def _draw_line(ax: Axes, line: Line, y: np.ndarray, smooth: int) -> Line2D:
    width = 1.5 if len(y) <= _MOST_THICK else 1.0
    look: dict[str, Any] = {"linewidth": width} | line.look
    if smooth == 1:
        points = style.points(len(y))
        return ax.plot(line.x, y, label=line.label, **look, **points)[0]
    faint: dict[str, Any] = look | {"alpha": 0.3, "linewidth": 0.8}
    ax.plot(line.x, y, **faint)
    # Centred: a mean of the past alone would lag behind.
    mean = pd.Series(y).rolling(smooth, min_periods=1, center=True).mean()
    mean = np.where(np.isfinite(y), np.asarray(mean), np.nan)
    thick: dict[str, Any] = look | {"linewidth": 1.8}
    return ax.plot(line.x, mean, label=line.label, **thick)[0]


def _some(entries: list[Line2D]) -> list[Line2D]:
    """All entries, or if there are many, some of them from the first to the last."""
    if len(entries) <= _MOST_NAMED:
        return entries
    chosen = np.linspace(0, len(entries) - 1, _MOST_NAMED // 2).round().astype(int)
    return [entries[n] for n in chosen]
