"""Which units are off or saturated, and when."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot import of_layers, source, style
from hrcallbacks.plot.heatmap import time_extent
from hrcallbacks.plot.style import Panels

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording

_MOST_NAMED = 12
# How near an output lies to a limit of its activation where it is saturated, as a part
# of the distance between the limits.
_NEAR = 0.01
_LIMITS = {"sigmoid": (0.0, 1.0), "hard_sigmoid": (0.0, 1.0), "tanh": (-1.0, 1.0)}


def units(
    recording: Recording,
    *,
    layers: str | Sequence[str] | None = None,
    axes: np.ndarray | Sequence[Axes] | None = None,
) -> Panels:
    """Dead and saturated units: a row per unit, a column per record, coloured by share.

    That is the share of the batch for which a unit gave exactly zero. A dead ReLU is a
    row of full colour from some step on. In layers with a sigmoid or tanh whose outputs
    were recorded, it is the share for which a unit was saturated: within 1 % of the
    activation's range from one of its limits. The title says which.

    Args:
        recording: A recording of `outputs=hr.PerUnit("zero_fraction")`, of raw outputs
            or of their `hr.Rows(n)`.
        layers: A glob or list of globs on the outputs' names, such as `"hidden*"`; None
            for all, without layers that are linear and without what goes into
            activations (`"*/preactivation"`).
        axes: As many axes as there are layers; None for a new figure.

    Returns:
        An array of axes, of shape `(layers,)`; its `figure` is theirs. A record without
        that output, or with a NaN in it, is grey. Of more than 1,000 records, every
        n-th is drawn.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has no such outputs, if nothing matches
            `layers`, or if more than 12 match.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    names = of_layers.names_of(recording, "outputs", layers)
    if layers is None:  # Zeros of a linear layer mean nothing.
        kinds = {name: of_layers.activation_of(recording, name) for name in names}
        names = [name for name in names if kinds[name] != "linear"] or names
    records = of_layers.some_records(recording)
    found = {name: _shares(recording, name, records) for name in names}
    shares = {name: share for name, share in found.items() if share is not None}
    _check(recording, layers, [*shares])
    counts = [share.table.shape[1] for share in shares.values()]
    heights = [0.7 + min(1.6, max(0.4, 0.16 * count)) for count in counts]
    grid, _ = style.new_grid(
        axes, (1, len(shares)), size=(style.WIDTH, sum(heights) + 0.5), columns=1
    )
    shown = of_layers.short_names(shares)
    for number, (ax, name) in enumerate(zip(grid[0], shares, strict=True)):
        kind, table = shares[name]
        label = _draw(ax, recording, table)
        last = number == len(shares) - 1
        style.finish(
            ax,
            title=f"{shown[name]}: {kind}",
            xlabel=label if last else None,
            ylabel="Unit",
        )
        ax.title.set_fontsize("medium")
        ax.grid(visible=False)
    bar = grid.figure.colorbar(grid[0, 0].images[0], ax=[*grid[0]], pad=0.02)
    bar.set_label("Share of the batch")
    bar.outline.set_linewidth(0.6)
    return grid[0]


class _Shares(NamedTuple):
    """What is drawn of a layer.

    Attributes:
        kind: What the shares are of.
        table: A share by record and unit; NaN where there is none.
    """

    kind: str
    table: npt.NDArray[np.float64]


def _shares(
    recording: Recording, name: str, records: npt.NDArray[np.integer]
) -> _Shares | None:
    activation = of_layers.activation_of(recording, name)
    rows = of_layers.Rows(recording, "outputs", name)
    limits = _LIMITS.get(activation or "")
    if limits is not None and rows and rows.units:
        made = [_saturated(rows.of(int(n)), limits) for n in records]
        none = np.full(rows.units, np.nan)
        table = np.array([none if row is None else row for row in made])
        return _Shares(f"saturated ({activation})", table)
    zeros = of_layers.per_unit(recording, "outputs", name, "zero_fraction", records)
    return None if zeros is None else _Shares("zeros", zeros)


def _saturated(
    rows: npt.NDArray[np.float64], limits: tuple[float, float]
) -> npt.NDArray[np.float64] | None:
    if not rows.size:
        return None
    low, high = limits
    outputs = rows.reshape(-1, rows.shape[-1])
    near = np.minimum(outputs - low, high - outputs) < _NEAR * (high - low)
    broken = ~np.isfinite(outputs).all(axis=0)
    return np.where(broken, np.nan, near.mean(axis=0))


def _check(
    recording: Recording, layers: str | Sequence[str] | None, found: Sequence[str]
) -> None:
    if not found:
        raise ValueError(
            "Dead and saturated units are told from shares of zeros or from whole "
            f"outputs, and neither was recorded of layers={layers!r}. There is of "
            f"outputs: {source.recorded_of(recording, 'outputs')}. Record "
            "GradientRecorder(outputs=hr.PerUnit('zero_fraction')), or 'raw'."
        )
    of_layers.check_panels(found)


def _draw(ax: Axes, recording: Recording, table: np.ndarray) -> str:
    """Draws shares, `(records, units)`; returns what the x axis counts."""
    from matplotlib.colors import LinearSegmentedColormap, to_rgb

    left, right, label = time_extent(ax, recording, len(table))
    rgb = to_rgb(style.NEGATIVE)
    ends = [(*rgb, 0.0), (*rgb, 1.0)]
    paper_to_full = LinearSegmentedColormap.from_list("share", ends)
    count = table.shape[1]
    ax.imshow(
        np.ma.masked_invalid(table.T),
        cmap=paper_to_full.with_extremes(bad=style.faint(0.4)),
        vmin=0,
        vmax=1,
        extent=(left, right, count + 0.5, 0.5),
        aspect="auto",
        interpolation="nearest",
    )
    if count <= _MOST_NAMED:
        ax.set_yticks(range(1, count + 1))
    return label
