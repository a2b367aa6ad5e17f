"""Several runs in one picture: medians of groups, and the middle half around them."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, SupportsIndex, TypeVar

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.plot import source, style
from hrcallbacks.plot.lines import Line, draw, name_ends, size_for
from hrcallbacks.plot.style import Panels

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.recording.runs import Runs

_MOST_PANELS = 12
_PANEL_HEIGHT = 2.6  # Inches.
_T = TypeVar("_T")


@dataclass(frozen=True)
class Series:
    """Numbers of one run over time.

    Attributes:
        x: Times.
        y: Numbers.
        absent: Where there is none, such as of a variable without gradient.
    """

    x: np.ndarray
    y: np.ndarray
    absent: npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Band:
    """What several runs have at each time.

    Attributes:
        x: The times of any of them.
        low: The lower quartile of those that have a number there.
        median: Their median.
        high: Their upper quartile.
        bad: Where one of them is NaN or infinite. It counts as larger than all others.
    """

    x: np.ndarray
    low: np.ndarray
    median: np.ndarray
    high: np.ndarray
    bad: npt.NDArray[np.bool_]

    @classmethod
    def of(cls, series: Sequence[Series]) -> Band:
        """The band of some runs."""
        x = np.unique(np.concatenate([one.x for one in series]))
        table = np.full((len(x), len(series)), np.nan)
        bad = np.zeros(len(x), bool)
        for column, one in enumerate(series):
            places = np.searchsorted(x, one.x[~one.absent])
            y = one.y[~one.absent].astype(np.float64)
            bad[places] |= ~np.isfinite(y)
            table[places, column] = np.where(np.isfinite(y), y, np.inf)
        low, median, high = (quantile(table, q) for q in (0.25, 0.5, 0.75))
        return cls(x, low, median, high, bad)


def quantile(table: np.ndarray, q: float) -> np.ndarray:
    """A quantile of each row, NaN left out, between two numbers in proportion.

    Beside an infinite number it is infinite, where NumPy's is NaN.

    Example:
        >>> quantile(np.array([[1.0, 2.0, np.inf], [3.0, np.nan, 4.0]]), 0.5).tolist()
        [2.0, 3.5]
    """
    ranked = np.sort(table, axis=1)  # NaN come last.
    last = np.maximum(np.sum(~np.isnan(table), axis=1) - 1, 0)
    below = np.floor(q * last).astype(int)
    share = q * last - below
    rows = np.arange(len(table))
    low, high = ranked[rows, below], ranked[rows, np.minimum(below + 1, last)]
    with np.errstate(invalid="ignore"):
        between = low + share * (high - low)
    return np.where(share == 0, low, np.where(np.isinf(high), np.inf, between))


def groups_of(runs: Runs, by: str | None) -> dict[str, list[str]]:
    """Names of runs by what they have in common.

    Args:
        runs: The runs.
        by: A column of `runs.parameters`; None for each run by itself.

    Raises:
        ValueError: If there is no such column.
    """
    if by is None:
        return {style.plain_text(name): [name] for name in runs}
    table = runs.parameters
    if by not in table:
        raise ValueError(
            f"runs.parameters has no column {by!r} to group by. There are: "
            f"{[*table]}. GradientRecorder(metadata={{{by!r}: ...}}) makes one."
        )
    values: dict[str, Any] = dict(zip(table.index, table[by].tolist(), strict=True))
    known = {name: value for name, value in values.items() if not _unknown(value)}
    found: dict[str, list[str]] = {}
    for value in _sorted(known.values()):
        found[_label(value)] = [
            n for n, v in known.items() if _label(v) == _label(value)
        ]
    if len(known) < len(values):
        found["unknown"] = [name for name in values if name not in known]
    return found


def _unknown(value: Any) -> bool:
    return value is None or (isinstance(value, float) and np.isnan(value))


def _sorted(values: Any) -> list[Any]:
    listed = [*dict.fromkeys(values)]
    try:
        return sorted(listed)
    except TypeError:  # Of several types.
        return sorted(listed, key=str)


def _label(value: Any) -> str:
    number = isinstance(value, int | float) and not isinstance(value, bool)
    return style.plain_text(f"{value:g}" if number else str(value))


def of_each(runs: Runs, make: Callable[[Recording], _T]) -> dict[str, _T]:
    """What a function makes of each run; an error names the run."""
    made: dict[str, _T] = {}
    for name, recording in runs.aligned.items():
        try:
            made[name] = make(source.checked(recording))
        except ValueError as error:
            raise ValueError(f"Of the run {name!r}: {error}") from error
    return made


def times_of(runs: Runs) -> tuple[Mapping[str, np.ndarray], str]:
    """The runs' times by name, and what they count: steps if they do not agree."""
    axes = of_each(runs, source.time_axis)
    labels = {label for _, label in axes.values()}
    if len(labels) == 1:
        return {name: times for name, (times, _) in axes.items()}, labels.pop()
    return {n: np.asarray(r.index["step"]) for n, r in runs.aligned.items()}, "Step"


def draw_bands(
    ax: Axes,
    groups: Mapping[str, Sequence[Series]],
    *,
    smooth: SupportsIndex,
    log: bool,
) -> tuple[list[Line], list[Artist]]:
    """Draws the band of each group.

    Args:
        ax: Where to draw.
        groups: Runs by what a group is called.
        smooth: Over how many records the mean of the medians is taken.
        log: Whether the y axis is logarithmic.

    Returns:
        The lines, to be named, and entries for a legend.
    """
    lines: list[Line] = []
    bands = {label: Band.of(series) for label, series in groups.items()}
    for number, (label, band) in enumerate(bands.items()):
        look = style.line_style(number, len(groups))
        finite = np.isfinite(band.median)
        y = np.where(finite, band.median, np.nan)
        # What is not finite is marked below, for each run rather than the median.
        lines.append(Line(label, band.x, y, look, ~finite))
        high = np.where(np.isinf(band.high), np.nan, band.high)
        ax.fill_between(
            band.x, band.low, high, color=look["color"], alpha=0.2, linewidth=0
        )
    entries: list[Artist] = [*draw(ax, lines, smooth=smooth, log=log)]
    for line, band in zip(lines, bands.values(), strict=True):
        color = line.look["color"]
        style.mark_edge(ax, band.x, band.bad, edge="top", marker="x", color=color)
    if any(band.bad.any() for band in bands.values()):
        entries.append(style.mark_entry("x", "NaN or infinite in a run"))
    return lines, entries


def told(groups: Mapping[str, Sequence[Any]], by: str | None) -> list[Artist]:
    """An entry for a legend that says what lines and bands are."""
    if by is None:
        return []
    counts = sorted({len(names) for names in groups.values()})
    if counts == [1]:
        return []
    runs = " to ".join(map(str, dict.fromkeys((counts[0], counts[-1]))))
    return [style.text_entry(f"median and middle half of {runs} runs")]


def titled(title: str, by: str | None) -> str:
    """A title that says what the groups have in common."""
    return title if by is None else f"{title} by {style.plain_text(by)}"


def panels_of_bands(
    runs: Runs,
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    *,
    by: str | None,
    smooth: SupportsIndex | None,
    ax: Any,
    title: str,
    ylabel: str,
    guide: Callable[[Axes], Artist] | None = None,
) -> Panels:
    """A panel for each column of the runs' tables, with the band of each group.

    Args:
        runs: The runs.
        tables: By run, numbers by column, and where there is none.
        by: A column of `runs.parameters`, or None.
        smooth: Over how many records the mean of the medians is taken; None for one.
        ax: As many axes as there are panels; None for a new figure.
        title: What the numbers are.
        ylabel: The same, for the axis.
        guide: Draws something in each panel first, and returns its legend's entry.
    """
    groups = groups_of(runs, by)
    times, xlabel = times_of(runs)
    columns = [
        *dict.fromkeys(column for table, _ in tables.values() for column in table)
    ]
    if len(columns) > _MOST_PANELS:
        raise ValueError(
            f"That would be {len(columns)} panels, and {_MOST_PANELS} can be read. "
            f"Choose some of them, such as variables='{columns[0]}*'."
        )
    width, _ = size_for([*groups])
    size = (width, _PANEL_HEIGHT * len(columns) + 0.5)
    axes = None if ax is None else [*np.ravel(np.asarray(ax, object))]
    grid, new = style.new_grid(axes, (1, len(columns)), size=size, columns=1)
    panels = grid[0]
    if new:  # The same scale: which of them are small shows.
        for panel in panels[1:]:
            panel.sharey(panels[0])
    drawn = []
    for panel, column in zip(panels, columns, strict=True):
        series = _series(groups, tables, times, column)
        entries = [guide(panel)] if guide else []
        lines, marks = draw_bands(panel, series, smooth=smooth or 1, log=True)
        drawn.append((lines, [*entries, *marks]))
    for number, (panel, column) in enumerate(zip(panels, columns, strict=True)):
        lines, entries = drawn[number]
        entries = [*entries, *name_ends(panel, lines)]
        if not number:
            entries = [*told(groups, by), *entries]
        heading = f"{titled(title, by)}: {column}" if not number else column
        style.legend_above(panel, entries, heading)
        last = number == len(columns) - 1
        style.finish(panel, xlabel=xlabel if last else None, ylabel=ylabel)
    return panels


def _series(
    groups: Mapping[str, Sequence[str]],
    tables: Mapping[str, tuple[pd.DataFrame, pd.DataFrame]],
    times: Mapping[str, np.ndarray],
    column: str,
) -> dict[str, list[Series]]:
    """The numbers of a column by group; without groups that have none."""

    def of(name: str) -> Series:
        table, absent = tables[name]
        flags = np.asarray(absent[column], bool)
        return Series(times[name], np.asarray(table[column], float), flags)

    found = {
        label: [of(name) for name in names if column in tables[name][0]]
        for label, names in groups.items()
    }
    return {label: series for label, series in found.items() if series}
