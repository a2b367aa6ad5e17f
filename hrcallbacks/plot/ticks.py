"""Ticks: where they stand along an axis, and how their numbers are written."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.axis import Axis

# With more ticks than this, their labels may touch.
_MOST_TICKS = 12


def time_ticks(ax: Axes, x: np.ndarray, *, most: int = 6) -> None:
    """Puts whole numbers along the time axis: every time, if there are few.

    Args:
        ax: The axes.
        x: The times.
        most: How many ticks there is room for.
    """
    from matplotlib.ticker import MaxNLocator, StrMethodFormatter

    ticks = np.unique(x)
    few = min(_MOST_TICKS, 2 * most)
    if len(ticks) <= few and np.all(np.diff(ticks) == 1) and ticks[-1] < 100:
        ax.set_xticks(ticks)
    else:
        ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=most))
    ax.xaxis.set_major_formatter(StrMethodFormatter("{x:,.0f}"))


def log_ticks(axis: Axis, *, most: int = 6) -> None:
    """Makes an axis logarithmic, labelled 0.2 or 30, or else 1e-6 and so on.

    No exponents are raised: they would be too small to read.

    Args:
        axis: The x axis or the y axis.
        most: How many ticks there is room for.
    """
    from matplotlib.ticker import FuncFormatter, LogLocator

    (axis.axes.set_xscale if axis is axis.axes.xaxis else axis.axes.set_yscale)("log")
    low, high = axis.get_view_interval()
    few = {2, 3, 5} if high / low < 100 else set[int]()
    wide = low < 1e-3 or high > 1e4

    def text(value: float, _: int | None) -> str:
        leading = value / 10.0 ** np.floor(np.log10(value) + 1e-9)
        if round(leading, 6) not in few | {1}:
            return ""
        return short_power(value) if wide else f"{value:g}"

    axis.set_major_locator(LogLocator(numticks=most))
    axis.set_major_formatter(FuncFormatter(text))
    axis.set_minor_formatter(FuncFormatter(text))


def short_power(value: float) -> str:
    """A number such as 1e-6.

    Example:
        >>> short_power(2e-06), short_power(1.0)
        ('2e-6', '1')
    """
    digits, _, power = f"{value:.0e}".partition("e")
    return f"{digits}e{int(power)}" if int(power) else digits


def plain_ticks(axis: Axis) -> None:
    """Writes 1e-08 at each tick, in place of Matplotlib's factor beside the axis."""
    largest = np.abs(axis.get_view_interval()).max()
    if largest >= 1e5 or largest < 1e-3:
        axis.set_major_formatter(lambda value, _: f"{value:.3g}")
