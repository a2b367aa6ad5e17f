"""Histograms of many runs: a ridge a group."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from hrcallbacks.plot import bands, source, style, ticks
from hrcallbacks.plot.style import Panels
from hrcallbacks.reductions.histogram import Histogram
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.recording.runs import Runs
    from hrcallbacks.types import QuantityName

# How high a ridge is, as a multiple of the distance to the next.
_RISE = 1.6
_MOST_PANELS = 12


class Shares(NamedTuple):
    """Of a run's last record, the share of elements in each bin of magnitudes.

    Attributes:
        shares: Shape `(bins + 3,)`: then those of zeros, NaN and infinities.
        edges: Edges of the bins.
    """

    shares: np.ndarray
    edges: np.ndarray


def histograms_of_runs(
    runs: Runs,
    *,
    quantity: QuantityName,
    variables: str | Sequence[str] | None,
    by: str | None,
    axes: Any,
) -> Panels:
    """Ridges of many runs; see `hrcallbacks.plot.histograms`."""
    groups = bands.groups_of(runs, by)
    found = bands.of_each(runs, lambda one: _shares(one, quantity, variables))
    paths = [*dict.fromkeys(path for run in found.values() for path in run)]
    if len(paths) > _MOST_PANELS:
        raise ValueError(
            f"That would be {len(paths)} panels, and {_MOST_PANELS} can be read. "
            f"Choose some variables, such as variables={paths[0]!r}."
        )
    height = max(2.0, 0.3 * len(groups)) + 0.9
    size = (style.WIDTH, height * len(paths))
    grid, _ = style.new_grid(axes, (1, len(paths)), size=size, columns=1, share=False)
    names = source.short_names(paths)
    for number, (ax, path) in enumerate(zip(grid[0], paths, strict=True)):
        there = {
            label: [found[run][path] for run in members if path in found[run]]
            for label, members in groups.items()
        }
        _draw(ax, {label: shares for label, shares in there.items() if shares}, path)
        title = names[path]
        if not number:
            title = f"{bands.titled('Last record', by)}: {title}"
        style.legend_above(ax, bands.told(groups, by) if not number else [], title)
        style.finish(ax, xlabel=f"|{quantity[:-1]}|")
        ax.grid(visible=False, axis="y")
        ax.spines["left"].set_visible(False)
    return grid[0]


def _shares(
    recording: Recording, quantity: QuantityName, variables: str | Sequence[str] | None
) -> dict[str, Shares]:
    """By path, without those that got no gradient in the last record."""
    last = len(recording) - 1
    raw = recording.arrays(quantity)
    described = source.recorded_kind(recording, quantity, "Histogram")
    found: dict[str, Shares] = {}
    for path in choose_paths(recording.paths, variables):
        counts = None
        histogram = Histogram()
        edges = histogram.edges
        if path in raw:
            counts = histogram.on_host(np.asarray(raw[path][last], np.float64))
        for name, how in described.items():
            arrays = recording.arrays(quantity, name)
            if counts is None and path in arrays:
                counts, edges = np.asarray(arrays[path][last]), np.array(how["edges"])
        if counts is not None and not source.absent(recording, quantity, path)[last]:
            found[path] = Shares(counts / max(counts.sum(), 1), edges)
    if not found:
        raise ValueError(
            f"Histograms need raw {quantity} or an hr.Histogram of them, and its last "
            f"record has neither of variables={variables!r}. There is "
            f"{source.recorded_of(recording, quantity)}."
        )
    return found


def _draw(ax: Axes, groups: Mapping[str, Sequence[Shares]], path: str) -> None:
    """Draws a ridge a group, the first at the top: the median and the middle half."""
    several = [one for shares in groups.values() for one in shares]
    edges = several[0].edges
    if any(not np.array_equal(one.edges, edges) for one in several):
        raise ValueError(
            f"The runs have histograms of {path!r} with different bins. Record the "
            "same hr.Histogram in each."
        )
    bins = len(edges) - 1
    used = np.flatnonzero(np.any([one.shares[:bins] > 0 for one in several], axis=0))
    first, last = (used[0], used[-1]) if used.size else (bins // 2, bins // 2)
    shown = slice(max(first - 1, 0), min(last + 2, bins))
    x = np.repeat(edges[shown.start : shown.stop + 1], 2)[1:-1]
    count = len(groups)
    for number, shares in enumerate(groups.values()):
        table = np.stack([one.shares for one in shares], axis=1)
        ridge = {q: bands.quantile(table, q)[shown] for q in (0.25, 0.5, 0.75)}
        scale = _RISE / max(ridge[0.5].max(), 1e-12)
        base = count - 1 - number
        low, middle, high = (base + scale * np.repeat(r, 2) for r in ridge.values())
        # A few runs far from the others are not to cover the ridges above.
        high = np.minimum(high, base + 1.25 * _RISE)
        color = style.line_style(number, count)["color"]
        order = 2 + number / count
        ax.fill_between(x, low, high, color=color, alpha=0.3, linewidth=0, zorder=order)
        ax.plot(x, middle, color=color, linewidth=1.2, zorder=order)
        ax.annotate(
            _said(table[bins:].mean(axis=1)),
            (1, base),
            (2, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
        )
    ax.set_yticks(np.arange(count)[::-1], [*groups])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.2, count - 1 + 1.25 * _RISE + 0.1)
    ticks.log_ticks(ax.xaxis)


def _said(others: np.ndarray) -> str:
    named = zip(("zero", "NaN", "inf"), others.tolist(), strict=True)
    return ", ".join(f"{_percent(share)} {name}" for name, share in named if share > 0)


def _percent(share: float) -> str:
    return "<1 %" if share < 0.005 else f"{100 * share:.0f} %"
