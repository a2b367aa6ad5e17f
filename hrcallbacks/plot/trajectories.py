"""Each weight and each gradient over time."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot import source, style, ticks
from hrcallbacks.plot.style import Panels

if TYPE_CHECKING:
    from matplotlib.artist import Artist
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.types import QuantityName

_MOST_PANELS = 12
# With more elements than this, bands replace lines.
_MOST_LINES = 12
# Lower and upper end of each band, and its alpha.
_QUANTILES = ((0, 1, 0.12), (0.05, 0.95, 0.25), (0.25, 0.75, 0.45))

# By quantity and path.
Rows: TypeAlias = "dict[QuantityName, dict[str, source.Elements]]"


def trajectories(
    recording: Recording,
    *,
    variables: str | Sequence[str] | None = None,
    axes: np.ndarray | Sequence[Axes] | Sequence[Sequence[Axes]] | None = None,
) -> Panels:
    """Weights over time, and their gradients below them, a column for each variable.

    A variable of up to 12 elements has a line for each: in a dense network under the
    symbols of the published tables, `w^1_3` and so on, elsewhere under its indices.
    For a larger one the median is drawn, with bands of the middle half, the middle nine
    tenths, and all of its elements. NaN and infinities are marked at the upper edge.

    Args:
        recording: A recording of raw gradients or weights, or of an `hr.Sample` of
            them.
        variables: A glob or list of globs on the paths; None for all.
        axes: Axes to draw on, of shape `(rows, variables)`; None for a new figure.

    Returns:
        An array of axes, of shape `(2, variables)`: weights, then gradients. If only
        one of the two was recorded, `(1, variables)`. Its `figure` is theirs.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has neither, if nothing matches
            `variables`, if more than 12 match, or if `axes` has the wrong number of
            axes.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    rows: Rows = {}
    for quantity in ("weights", "gradients"):
        if found := source.raw_paths(recording, quantity, variables):
            rows[quantity] = found
    paths = [p for p in recording.paths if any(p in found for found in rows.values())]
    _check(recording, paths, variables)
    wide = style.columns_for(len(paths))
    height = (2.1 * len(rows) + 0.6) * -(-len(paths) // wide)
    shape = (len(rows), len(paths))
    size = (style.WIDTH, height)
    panels, new = style.new_grid(axes, shape, size=size, columns=wide)
    entries: dict[str, list[Artist]] = {}
    for place, path in enumerate(paths):
        column = dict(zip(rows, panels[:, place], strict=True))
        entries[path] = _draw_column(column, recording, path, rows, most=8 // wide)
    _name_axes(panels, recording, rows, each=wide if new else 1)
    _head(panels[0], entries, wide)
    return panels


def _check(
    recording: Recording, paths: Sequence[str], variables: str | Sequence[str] | None
) -> None:
    if not paths:
        raise ValueError(
            "Trajectories are drawn of single elements, and none was recorded of "
            f"variables={variables!r}. Of the gradients there is "
            f"{source.recorded_of(recording, 'gradients')}, of the weights "
            f"{source.recorded_of(recording, 'weights')}. Record 'raw' or hr.Sample(n) "
            "of them, or see hr.plot.gradient_flow and hr.plot.histograms."
        )
    if len(paths) > _MOST_PANELS:
        raise ValueError(
            f"Trajectories of {len(paths)} variables would be {len(paths)} columns, "
            f"and {_MOST_PANELS} can be read. Choose some, such as variables="
            f"{paths[0]!r}, or see hr.plot.gradient_flow(recording) for all."
        )


def _draw_column(
    column: Mapping[QuantityName, Axes],
    recording: Recording,
    path: str,
    rows: Rows,
    *,
    most: int,
) -> list[Artist]:
    """Draws one variable's weights and gradients; returns entries for a legend.

    Args:
        column: The axes of each quantity.
        recording: The recording.
        path: The variable's path.
        rows: What was recorded.
        most: How many ticks there is room for.
    """
    x, _ = source.time_axis(recording)
    entries: list[Artist] = []
    broken = False
    for quantity, ax in column.items():
        ticks.time_ticks(ax, x, most=most)
        style.finish(ax)
        if path not in rows[quantity]:
            style.note(ax, f"{quantity} not recorded")
            continue
        array, indices = rows[quantity][path]
        values = np.asarray(array, np.float64).reshape(len(recording), -1)
        finite = np.where(np.isfinite(values), values, np.nan)
        if values.shape[1] <= _MOST_LINES:
            labels = source.element_labels(recording, path, quantity, indices)
            drawn = _lines(ax, x, finite, labels)
        else:
            drawn = _bands(ax, x, finite)
        entries = entries or drawn
        _zero_line(ax)
        ticks.plain_ticks(ax.yaxis)
        absent = source.absent(recording, quantity, path)
        bad = ~np.isfinite(values).all(axis=1) & ~absent
        style.mark_edge(ax, x, bad, edge="top", marker="x", color=style.ink())
        broken = broken or bool(bad.any())
        if values.size and not np.isfinite(values).any():
            what = "no gradient" if absent.all() else "NaN or infinite"
            style.note(ax, f"{what}\nin all records")
    return entries + ([style.mark_entry("x", "NaN, inf")] if broken else [])


def _lines(
    ax: Axes, x: np.ndarray, values: np.ndarray, labels: Sequence[str]
) -> list[Artist]:
    look: dict[str, Any] = style.points(len(x)) | {"markersize": 2.5, "linewidth": 1.2}
    return [
        ax.plot(x, values[:, n], label=label, **style.line_style(n), **look)[0]
        for n, label in enumerate(labels)
    ]


def _bands(ax: Axes, x: np.ndarray, values: np.ndarray) -> list[Artist]:
    """The median, and bands about it."""
    color = style.PALETTE[0]
    quantiles = sorted({q for low, high, _ in _QUANTILES for q in (low, high)} | {0.5})
    curves = dict(zip(quantiles, _quantiles(values, quantiles), strict=True))
    entries: list[Artist] = [
        *ax.plot(x, curves[0.5], color=color, label="median", **style.points(len(x)))
    ]
    for low, high, alpha in _QUANTILES:
        band = ax.fill_between(
            x, curves[low], curves[high], color=color, alpha=alpha, linewidth=0
        )
        share = round(100 * (high - low))
        band.set_label("all" if share == 100 else f"{share} %")
        entries.append(band)
    return entries


def _quantiles(values: np.ndarray, quantiles: Sequence[float]) -> np.ndarray:
    """Quantiles of each row's numbers; NaN where a row has none."""
    found = np.full((len(quantiles), len(values)), np.nan)
    some = np.isfinite(values).any(axis=1)
    if some.any():
        found[:, some] = np.nanquantile(values[some], quantiles, axis=1)
    return found


def _zero_line(ax: Axes) -> None:
    low, high = ax.get_ylim()
    if low < 0 < high:
        ax.axhline(0, color=style.ink(), alpha=0.4, linewidth=0.8, zorder=1)


def _name_axes(
    panels: npt.NDArray[np.object_],
    recording: Recording,
    rows: Iterable[QuantityName],
    *,
    each: int,
) -> None:
    """Labels the x axes, and the y axes of each column that is a multiple of `each`."""
    for ax in panels[-1]:
        ax.set_xlabel(source.time_axis(recording)[1])
    for quantity, row in zip(rows, panels, strict=True):
        for ax in row[::each]:
            ax.set_ylabel(quantity[:-1].capitalize())
    if each > 1:
        panels[0, 0].figure.align_ylabels(list(panels[:, ::each].flat))


def _head(
    panels: Sequence[Axes], entries: Mapping[str, Sequence[Artist]], wide: int
) -> None:
    """Adds titles, level within each row, and the legends below them."""
    names = source.short_names(entries)
    most = {path: _most_columns(shown, wide) for path, shown in entries.items()}
    for start in range(0, len(entries), wide):
        row = list(entries)[start : start + wide]
        tallest = max(-(-len(entries[path]) // most[path]) for path in row)
        for ax, path in zip(panels[start:], row, strict=False):
            ax.set_title(names[path], pad=6 + 15 * tallest, fontsize="medium")
            _legend(ax, entries[path], most[path])


def _most_columns(entries: Sequence[Artist], wide: int) -> int:
    """How many entries of a legend have room side by side above a panel."""
    labels = [str(entry.get_label()).strip("$") for entry in entries]
    # A symbol's indices take as much room as one letter.
    longest = max((1 if "^" in text else len(text) for text in labels), default=0)
    return max(1, int(style.WIDTH * 0.8 / wide / (0.36 + 0.085 * longest)))


def _legend(ax: Axes, entries: Sequence[Artist], most: int) -> None:
    """A legend between the title and the panel, where it covers no line."""
    if entries:
        ax.legend(
            handles=entries,
            ncols=min(most, len(entries)),
            loc="lower center",
            bbox_to_anchor=(0.5, 1.0),
            borderaxespad=0.2,
            frameon=False,
            handlelength=1.0,
            handletextpad=0.3,
            columnspacing=0.7,
            labelspacing=0.2,
        )
