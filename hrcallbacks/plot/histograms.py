"""How values are distributed over time, a ridge for each of some records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal, Self, SupportsIndex

import numpy as np
import numpy.typing as npt

from hrcallbacks.checks import positive_integer
from hrcallbacks.plot import source, style, ticks
from hrcallbacks.plot.style import Panels
from hrcallbacks.reductions.histogram import Histogram
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.types import QuantityName

_MOST_PANELS = 12
_BINS = 40
# How high a ridge is, as a multiple of the distance to the next.
_RISE = 1.6
_ABSENT = "no gradient"


def histograms(
    recording: Recording,
    *,
    quantity: Literal["gradients", "weights"] = "gradients",
    variables: str | Sequence[str] | None = None,
    ridges: SupportsIndex = 12,
    magnitude: bool | None = None,
    axes: np.ndarray | Sequence[Axes] | None = None,
) -> Panels:
    """Ridges over time: histograms of each variable's elements in some of the records.

    Time runs downwards. Each ridge is scaled to its own fullest bin, so that the shapes
    can be compared. The shares of NaN, of infinities and, for magnitudes, of exact
    zeros are written beside it.

    Args:
        recording: A recording of raw values, or of an `hr.Histogram` of them.
        quantity: What to draw.
        variables: A glob or list of globs on the paths; None for all.
        ridges: How many records to show, evenly spaced from the first to the last.
        magnitude: True for magnitudes, on a logarithmic scale. False for values; an
            `hr.Histogram` has only magnitudes. None for magnitudes of gradients, which
            often shrink a thousandfold, so that their values would be a spike at zero;
            and for values of weights where they were recorded, magnitudes elsewhere.
        axes: As many axes as there are variables; None for a new figure.

    Returns:
        An array of axes, of shape `(variables,)`; its `figure` is theirs.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has neither raw values nor an
            `hr.Histogram`, if nothing matches `variables`, if more than 12 match, or
            if another argument has no valid value.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    count = min(positive_integer(ridges, "ridges"), len(recording))
    chosen = np.linspace(0, len(recording) - 1, count)
    records = chosen.round().astype(int)
    if magnitude is None and quantity == "gradients":
        magnitude = True
    panels = _read(recording, quantity, variables, records, magnitude)
    _check(recording, quantity, variables, magnitude, panels)
    wide = style.columns_for(len(panels))
    size = (style.WIDTH, 3.4 * -(-len(panels) // wide) + 0.4)
    grid, new = style.new_grid(
        axes, (1, len(panels)), size=size, columns=wide, share=False
    )
    names = source.short_names(panels)
    x, label = source.time_axis(recording)
    for number, (ax, path) in enumerate(zip(grid[0], panels, strict=True)):
        _draw(ax, panels[path], x[records], most=6 // wide)
        first = number % wide == 0 or not new
        style.finish(
            ax,
            title=names[path],
            xlabel=_named(quantity, panels[path]),
            ylabel=label if first else None,
        )
        ax.title.set_fontsize("medium")
        ax.grid(visible=False, axis="y")
        ax.spines["left"].set_visible(False)
    return grid[0]


class Ridges:
    """Histograms of one variable, with the same bins.

    Args:
        counts: Counts, shape `(ridges, bins)`.
        edges: Edges of the bins, shape `(bins + 1,)`.
        others: For each kind of elements that no bin holds, their share in each ridge,
            from 0 to 1.
        is_magnitude: Whether they are histograms of magnitudes.
    """

    def __init__(
        self,
        counts: np.ndarray,
        edges: np.ndarray,
        others: dict[str, np.ndarray],
        *,
        is_magnitude: bool,
    ) -> None:
        self.counts: np.ndarray = counts
        self.edges: np.ndarray = edges
        self.others: dict[str, np.ndarray] = others
        self.is_magnitude: bool = is_magnitude

    @classmethod
    def of_values(cls, rows: np.ndarray) -> Self:
        """Ridges of raw values, shape `(ridges, elements)`."""
        finite = rows[np.isfinite(rows)]
        low, high = (finite.min(), finite.max()) if finite.size else (-1.0, 1.0)
        if not low < high:
            low, high = low - max(abs(low), 1) / 2, high + max(abs(high), 1) / 2
        edges = np.linspace(low, high, _BINS + 1)
        counts = [np.histogram(r[np.isfinite(r)], edges)[0] for r in rows]
        others = {"NaN": np.isnan(rows), "inf": np.isinf(rows)}
        shares = {name: where.mean(axis=1) for name, where in others.items()}
        return cls(np.array(counts), edges, shares, is_magnitude=False)

    @classmethod
    def of_counts(cls, counts: np.ndarray, edges: npt.ArrayLike) -> Self:
        """Ridges of what an `hr.Histogram` makes, shape `(ridges, bins + 3)`."""
        edges = np.asarray(edges)
        bins = len(edges) - 1
        counts = np.nan_to_num(counts)  # NaN in a record that has none.
        total = np.maximum(counts.sum(axis=1), 1)
        places = {"zero": bins, "NaN": bins + 1, "inf": bins + 2}
        shares = {name: counts[:, place] / total for name, place in places.items()}
        inner = counts[:, :bins]
        used = np.flatnonzero(inner.any(axis=0))
        first, last = (used[0], used[-1]) if used.size else (bins // 2, bins // 2)
        first, last = max(first - 1, 0), min(last + 1, bins - 1)
        edges = edges[first : last + 2]
        return cls(inner[:, first : last + 1], edges, shares, is_magnitude=True)


def _read(
    recording: Recording,
    quantity: QuantityName,
    variables: str | Sequence[str] | None,
    records: npt.NDArray[np.integer],
    magnitude: bool | None,
) -> dict[str, Ridges]:
    """`Ridges` by path."""
    raw = recording.arrays(quantity)
    found: dict[str, Ridges] = {}
    for path in choose_paths(recording.paths, variables):
        if path in raw and 0 not in raw[path].shape:
            rows = np.stack([np.ravel(raw[path][int(n)]) for n in records])
            found[path] = _of_raw(rows.astype(np.float64), magnitude)
        elif magnitude is not False:
            found |= _of_recorded(recording, quantity, path, records)
        if path in found:
            absent = source.absent(recording, quantity, path)
            found[path].others[_ABSENT] = absent[records]
    return found


def _of_raw(rows: np.ndarray, magnitude: bool | None) -> Ridges:
    if not magnitude:
        return Ridges.of_values(rows)
    histogram = Histogram()
    counts = np.stack([histogram.on_host(row) for row in rows])
    return Ridges.of_counts(counts, histogram.edges)


def _of_recorded(
    recording: Recording,
    quantity: QuantityName,
    path: str,
    records: npt.NDArray[np.integer],
) -> dict[str, Ridges]:
    """Ridges of a recorded `hr.Histogram`, if there is one of this variable."""
    for name, how in source.recorded_kind(recording, quantity, "Histogram").items():
        arrays = recording.arrays(quantity, name)
        if path in arrays:
            counts = np.stack([np.asarray(arrays[path][int(n)]) for n in records])
            return {path: Ridges.of_counts(counts, how["edges"])}
    return {}


def _check(
    recording: Recording,
    quantity: QuantityName,
    variables: str | Sequence[str] | None,
    magnitude: bool | None,
    panels: Mapping[str, Ridges],
) -> None:
    if not panels:
        raise ValueError(
            f"Histograms need raw {quantity} or an hr.Histogram of them"
            f"{' (for magnitude=False raw ones)' if magnitude is False else ''}, and "
            f"neither was recorded of variables={variables!r}. There is "
            f"{source.recorded_of(recording, quantity)}. Record "
            f"GradientRecorder({quantity}=hr.Histogram())."
        )
    if len(panels) > _MOST_PANELS:
        raise ValueError(
            f"Histograms of {len(panels)} variables would be {len(panels)} panels, "
            f"and {_MOST_PANELS} can be read. Choose some, such as variables="
            f"{next(iter(panels))!r}, or see hr.plot.gradient_flow(recording) for all."
        )


def _named(quantity: QuantityName, ridges: Ridges) -> str:
    name = quantity[:-1]
    return f"|{name}|" if ridges.is_magnitude else name.capitalize()


def _draw(ax: Axes, ridges: Ridges, times: np.ndarray, *, most: int) -> None:
    """Draws ridges, the first at the top; there is room for so many ticks below."""
    count = len(ridges.counts)
    x = np.repeat(ridges.edges, 2)[1:-1]
    for number, color in enumerate(style.depth_colors(count)):
        base, counts = count - 1 - number, ridges.counts[number]
        y = base + _RISE * np.repeat(counts / max(counts.max(), 1), 2)
        order = 2 + number / count  # Each before those above it.
        ax.fill_between(x, base, y, color=color, alpha=0.55, linewidth=0, zorder=order)
        ax.plot(x, y, color=color, linewidth=0.9, zorder=order)
        ax.annotate(
            _said_of_others(ridges.others, number),
            (1, base),
            (2, 0),
            xycoords=ax.get_yaxis_transform(),
            textcoords="offset points",
        )
    ax.set_yticks(np.arange(count)[::-1], [f"{t:,}" for t in times])
    ax.tick_params(axis="y", length=0)
    ax.set_ylim(-0.2, count - 1 + _RISE + 0.1)
    if ridges.is_magnitude:
        ticks.log_ticks(ax.xaxis, most=most)
    else:
        ax.locator_params(axis="x", nbins=most)
        ticks.plain_ticks(ax.xaxis)


def _said_of_others(others: Mapping[str, np.ndarray], number: int) -> str:
    shares = {name: share[number] for name, share in others.items()}
    if shares.pop(_ABSENT, 0):
        return _ABSENT
    return ", ".join(f"{_percent(s)} {name}" for name, s in shares.items() if s > 0)


def _percent(share: float) -> str:
    return "<1 %" if share < 0.005 else f"{100 * share:.0f} %"
