"""Lines over time, on a linear or a logarithmic scale."""

from dataclasses import dataclass, field

import numpy as np
import pandas as pd

from hrcallbacks.plot import style

# A legend of more lines than this names some of them.
_MOST_NAMED = 14
# More records than this are drawn with thinner lines.
_MOST_THICK = 100


@dataclass
class Line:
    """A line.

    Attributes:
        label: What it is called.
        x: Times.
        y: Numbers.
        look: Colour and dashes, arguments of `Axes.plot`.
        absent: Where there is no number, as of a variable without gradient: a gap. NaN
            elsewhere is a number that went wrong, and is marked.
    """

    label: str
    x: np.ndarray
    y: np.ndarray
    look: dict
    absent: np.ndarray = field(default_factory=lambda: np.zeros(1, bool))


def draw(ax, lines, *, smooth, log):
    """Draws lines, and marks what has no place on their scale.

    Args:
        ax: Axes.
        lines: `Line`s.
        smooth: Records of a running mean.
        log: Whether the y axis is logarithmic; it is not where nothing is positive.

    Returns:
        Entries for a legend.
    """
    _check_smooth(smooth)
    finite = [np.where(np.isfinite(line.y), line.y, np.nan) for line in lines]
    log = log and any((y > 0).any() for y in finite)
    entries, marks = [], {}
    for line, y in zip(lines, finite, strict=True):
        shown = np.where(y > 0, y, np.nan) if log else y
        entries.append(_draw_line(ax, line, shown, smooth))
        low = log & (y <= 0)
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


def _check_smooth(smooth):
    if isinstance(smooth, bool) or not isinstance(smooth, int) or smooth < 1:
        raise ValueError(
            f"Expected smooth: an int, 1 or more, of records. Received: {smooth!r}."
        )


def _zero_or_below(lines):
    return "zero or below" if any((line.y < 0).any() for line in lines) else "zero"


def _draw_line(ax, line, y, smooth):
    look = {"linewidth": 1.5 if len(y) <= _MOST_THICK else 1.0} | line.look
    if smooth == 1:
        points = style.points(len(y))
        return ax.plot(line.x, y, label=line.label, **look, **points)[0]
    ax.plot(line.x, y, **look | {"alpha": 0.3, "linewidth": 0.8})
    # Centred: a mean of the past alone would lag behind what it is of.
    mean = pd.Series(y).rolling(smooth, min_periods=1, center=True).mean()
    mean = np.where(np.isfinite(y), np.asarray(mean), np.nan)
    return ax.plot(line.x, mean, label=line.label, **look | {"linewidth": 1.8})[0]


def _some(entries):
    """All entries, or where there are many, some of them from first to last."""
    if len(entries) <= _MOST_NAMED:
        return entries
    chosen = np.linspace(0, len(entries) - 1, _MOST_NAMED // 2).round().astype(int)
    return [entries[n] for n in chosen]
