"""How the outputs of layers are distributed over time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from hrcallbacks.plot import of_layers, source, style, ticks
from hrcallbacks.plot.style import Panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.typing import ColorType

    from hrcallbacks.recording.recording import Recording

# From the outside in: bands between these parts of the elements, and the median.
_BANDS = ((5, 95, 0.2), (25, 75, 0.35))


def activations(
    recording: Recording,
    *,
    layers: str | Sequence[str] | None = None,
    axes: np.ndarray | Sequence[Axes] | None = None,
) -> Panels:
    """How the outputs of each layer are distributed over time: bands and a median.

    The pale band holds nine tenths of a step's outputs, the darker one half of them,
    the line is the median. Where units die the bands shrink to zero; where they
    saturate they lie at the activation's limits. Where an output is NaN or infinite,
    the record is marked at the upper edge, and its bands are of the others.

    Args:
        recording: A recording of raw outputs, or of their `hr.Rows(n)`.
        layers: A glob or list of globs on the outputs' names, such as `"hidden*"`; None
            for all, without what goes into activations (`"*/preactivation"`).
        axes: As many axes as there are layers; None for a new figure.

    Returns:
        An array of axes, of shape `(layers,)`; its `figure` is theirs. Of more than
        1,000 records, every n-th is drawn.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has no such outputs, if nothing matches
            `layers`, or if more than 12 match.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    names = of_layers.names_of(recording, "outputs", layers)
    found = {name: of_layers.Rows(recording, "outputs", name) for name in names}
    found = {name: rows for name, rows in found.items() if rows}
    _check(recording, layers, [*found])
    records = of_layers.some_records(recording)
    times, label = source.time_axis(recording)
    wide = style.columns_for(len(found))
    size = (style.WIDTH, 1.9 * -(-len(found) // wide) + 0.6)
    grid, new = style.new_grid(axes, (1, len(found)), size=size, columns=wide)
    colors = style.depth_colors(len(found))
    shown = of_layers.short_names(found)
    bad = False
    for number, (ax, name) in enumerate(zip(grid[0], found, strict=True)):
        rows = [found[name].of(int(n)).ravel() for n in records]
        bad |= _draw(ax, times[records], rows, colors[number])
        ticks.time_ticks(ax, times, most=6 // wide)
        below = not new or number + wide >= len(found)
        style.finish(ax, title=shown[name], xlabel=label if below else None)
        ax.title.set_fontsize("medium")
    handles = [style.mark_entry("x", "NaN or infinite")] if bad else []
    for ax in grid[0][:1]:
        if handles:
            ax.legend(handles=handles, frameon=False, fontsize="medium")
        ax.set_ylabel("Output")
    return grid[0]


def _check(
    recording: Recording, layers: str | Sequence[str] | None, found: Sequence[str]
) -> None:
    if not found:
        raise ValueError(
            "The distribution of outputs needs their elements, and none were recorded "
            f"of layers={layers!r}. There is of outputs: "
            f"{source.recorded_of(recording, 'outputs')}. Record "
            "GradientRecorder(outputs=hr.Rows(32)), or 'raw'."
        )
    of_layers.check_panels(found)


def _draw(
    ax: Axes, x: np.ndarray, rows: Sequence[np.ndarray], color: ColorType
) -> bool:
    """Draws bands and median; returns whether any output is NaN or infinite."""
    finite = [row[np.isfinite(row)] for row in rows]
    shares = sorted({share for low, high, _ in _BANDS for share in (low, high)} | {50})
    none = np.full(len(shares), np.nan)
    table = np.array([np.percentile(f, shares) if f.size else none for f in finite])
    of = dict(zip(shares, table.T, strict=True))
    for low, high, alpha in _BANDS:
        ax.fill_between(x, of[low], of[high], color=color, alpha=alpha, linewidth=0)
    ax.plot(x, of[50], color=color, linewidth=1.5, **style.points(len(x)))
    bad = np.array([f.size < row.size for f, row in zip(finite, rows, strict=True)])
    style.mark_edge(ax, x, bad, edge="top", marker="x", color=color)
    ticks.plain_ticks(ax.yaxis)
    return bool(bad.any())
