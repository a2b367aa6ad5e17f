"""What comes back to each layer from the loss."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from hrcallbacks.plot import of_layers, source, style
from hrcallbacks.plot.lines import Line, draw, name_ends, size_for

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording


def backward_flow(
    recording: Recording,
    *,
    layers: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Norms of the gradients with respect to layers' outputs, one line per layer.

    This is what back-propagation hands from the last layer, dark orange, to the first,
    light blue. Where it vanishes on the way, so do the gradients of the weights before.
    The norm is over the whole batch. Names, gaps and marks are those of
    `gradient_flow`.

    Args:
        recording: A recording of raw `output_gradients`, or of their `"norm"`.
        layers: A glob or list of globs on the outputs' names, such as `"hidden*"`; None
            for all, without what goes into activations (`"*/preactivation"`).
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the norms, as thin lines. None for a twentieth of the records, 1 for
            no mean.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has no such norms, if nothing matches
            `layers`, or if `smooth` is below 1.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    names = of_layers.names_of(recording, "output_gradients", layers)
    if not names:
        raise ValueError(
            "No gradients of layers' outputs were recorded. Record "
            "GradientRecorder(output_gradients='norm')."
        )
    norms = recording.statistic("output_gradients", "norm")
    there = recording.has_output_gradient
    x, xlabel = source.time_axis(recording)
    shown = of_layers.short_names([name for name in names if name in norms])
    ax = style.new_axes(ax, size=size_for([*shown.values()]))
    lines: list[Line] = []
    for color, (name, label) in zip(
        style.depth_colors(len(shown)), shown.items(), strict=True
    ):
        absent = ~there[name].to_numpy(bool)
        y = np.where(absent, np.nan, norms[name].to_numpy(float))
        lines.append(Line(label, x, y, {"color": color, "linestyle": "-"}, absent))
    entries = draw(ax, lines, smooth=smooth, log=True)
    style.legend_above(ax, entries + name_ends(ax, lines), "Backward flow")
    style.finish(ax, xlabel=xlabel, ylabel="Norm of output gradient")
    return ax
