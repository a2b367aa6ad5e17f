"""Numbers over time: the loss, norms of gradients, how large updates are."""

from collections.abc import Mapping

import numpy as np
import pandas as pd

from hrcallbacks.plot import source, style
from hrcallbacks.plot.lines import Line, draw
from hrcallbacks.selection import choose_paths


def loss(recording, *, smooth=1, log=False, ax=None):
    """The loss of each recorded step's batch, before its update.

    Two runs in one picture: `hr.plot.loss({"Rate 0.1": first, "Rate 0.3": second})`.

    Args:
        recording: A `Recording`, or a dict of them by name, to compare.
        smooth: Records around each of which the mean is drawn, above the losses
            themselves.
        log: Whether the y axis is logarithmic.
        ax: Axes to draw on; None for those of a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If it is no recording.
        ValueError: If a recording is empty, or `smooth` is below 1.
        ImportError: If Matplotlib is not installed.
    """
    several = isinstance(recording, Mapping)
    if several and not recording:
        raise ValueError("Received an empty dict. Give recordings by name.")
    named = dict(recording) if several else {"Loss": recording}
    axes_of = [source.time_axis(source.checked(r)) for r in named.values()]
    names = {name for _, name in axes_of}
    lines = []
    for number, ((name, one), (x, _)) in enumerate(
        zip(named.items(), axes_of, strict=True)
    ):
        x = x if len(names) == 1 else one.index["step"].to_numpy()
        look = style.line_style(number, len(named))
        losses = one.index["loss"].to_numpy(float)
        lines.append(Line(style.plain_text(str(name)), x, losses, look))
    ax = style.new_axes(ax)
    entries = draw(ax, lines, smooth=smooth, log=log)
    if len(entries) > len(lines):
        style.legend_right(ax, entries)
    elif several:
        ax.legend(handles=entries, frameon=False)
    xlabel = names.pop() if len(names) == 1 else "Step"
    style.finish(ax, title="Loss", xlabel=xlabel, ylabel="Loss")
    return ax


def gradient_flow(recording, *, variables=None, smooth=1, by="layer", ax=None):
    """Norms of the gradients over time, one line a layer, on a logarithmic scale.

    Where gradients vanish, the lines of the first layers lie far below those of the
    last. What a logarithmic scale has no place for is marked at its edges: a norm of
    zero below, one that is NaN or infinite above.

    Args:
        recording: A `Recording` of raw gradients, or of their `"norm"`.
        variables: A glob or list of globs on the paths; None for all.
        smooth: Records around each of which the mean is drawn, above the norms.
        by: `"layer"`: the norm of all of a layer's gradients, or `"variable"`.
        ax: Axes to draw on; None for those of a new figure.

    Returns:
        The axes. Of more than 7 layers the first is blue and the last orange, with
        the colours between for those between.

    Raises:
        TypeError: If it is no recording.
        ValueError: If the recording is empty or has no norms, nothing matches
            `variables`, or another argument is none of the above.
        ImportError: If Matplotlib is not installed.
    """
    if by not in ("layer", "variable"):
        raise ValueError(f"Expected by to be 'layer' or 'variable'. Received: {by!r}.")
    source.checked(recording)
    norms, absent = _norms(recording, variables)
    if by == "layer":
        norms, absent = _by_layer(norms, absent)
    layers = _layers(norms).values() if by == "variable" else [[n] for n in norms]
    ax = style.new_axes(ax)
    x, xlabel = source.time_axis(recording)
    entries = draw(ax, _lines(x, norms, absent, layers), smooth=smooth, log=True)
    style.legend_right(ax, entries, title="Layer" if by == "layer" else None)
    style.finish(
        ax,
        title="Gradient flow",
        xlabel=xlabel,
        ylabel="Gradient norm (Frobenius)",
    )
    return ax


def update_ratio(recording, *, variables=None, smooth=1, ax=None):
    """How large each update was, relative to the weights that it changed.

    It is the Frobenius norm of the update over that of the weights before it. About
    1e-3 is a rule of thumb for a rate that is neither too high nor too low; a dashed
    line shows it.

    Args:
        recording: A `Recording` of the weights' `"update_ratio"`, or of raw weights of
            consecutive steps.
        variables: A glob or list of globs on the paths; None for all.
        smooth: Records around each of which the mean is drawn, above the ratios.
        ax: Axes to draw on; None for those of a new figure.

    Returns:
        The axes. Of weights that were all zero, such as fresh biases, the ratio is
        infinite, and marked at the upper edge.

    Raises:
        TypeError: If it is no recording.
        ValueError: If the recording is empty or no ratios can be made of it, or nothing
            matches `variables`.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    ratios, absent = _update_ratios(recording, variables)
    ax = style.new_axes(ax)
    x, xlabel = source.time_axis(recording)
    guide = ax.axhline(
        1e-3, color=style.ink(), alpha=0.7, linestyle="--", linewidth=1, zorder=1.5
    )
    guide.set_label("1e-3, rule of thumb")
    lines = _lines(x, ratios, absent, _layers(ratios).values())
    entries = draw(ax, lines, smooth=smooth, log=True)
    style.legend_right(ax, [*entries, guide])
    style.finish(
        ax,
        title="Update ratio",
        xlabel=xlabel,
        ylabel="Norm of update / norm of weights",
    )
    return ax


def _norms(recording, variables):
    """Norms of the chosen variables by their short names, and where there is none."""
    table = recording.statistic("gradients", "norm")
    chosen = [p for p in choose_paths(recording.paths, variables) if p in table]
    if not chosen:
        raise ValueError(
            f"No norm of the gradients of variables={variables!r} was recorded. There "
            f"are those of {list(table)}."
        )
    absent = pd.DataFrame(
        {path: source.absent(recording, "gradients", path) for path in chosen},
        index=recording.index.index,
    )
    norms = table[chosen].set_axis(recording.index.index)
    names = source.short_names(chosen)
    return norms.rename(columns=names), absent.rename(columns=names)


def _by_layer(norms, absent):
    squares = norms.where(~absent, 0.0).astype(float) ** 2
    # Of all of a layer's variables: one that is NaN makes its layer NaN.
    sums = {
        layer: squares[paths].sum(axis=1, skipna=False)
        for layer, paths in _layers(norms).items()
    }
    none = {layer: absent[paths].all(axis=1) for layer, paths in _layers(norms).items()}
    return np.sqrt(pd.DataFrame(sums)), pd.DataFrame(none)


def _layers(table):
    """Paths by layer."""
    layers = {}
    for path in table:
        layers.setdefault(source.layer_of(path), []).append(path)
    return layers


def _lines(x, table, absent, layers):
    """A line for each column: a colour for each layer, dashes for its variables."""
    lines = []
    for number, paths in enumerate(layers):
        for place, path in enumerate(paths):
            look = style.line_style(number, len(layers), dashes=place)
            y, gap = table[path].to_numpy(float), absent[path].to_numpy()
            lines.append(Line(path, x, np.where(gap, np.nan, y), look, gap))
    return lines


def _update_ratios(recording, variables):
    """Ratios, and where there is none to be known."""
    paths = choose_paths(recording.paths, variables)
    recorded = recording.arrays("weights", "update_ratio")
    ratios = {}
    for path in paths:
        if path in recorded:
            ratios[path] = np.asarray(recorded[path]), np.zeros(len(recording), bool)
        elif path in recording.weights:
            ratios[path] = _ratios_of_raw(recording, path)
    if all(absent.all() for _, absent in ratios.values()):
        raise ValueError(
            "An update is the difference of the weights of two consecutive steps, and "
            f"this recording has none of {paths[:5]}: of the weights it has "
            f"{source.recorded_of(recording, 'weights')}, with record_freq="
            f"{recording.attributes.get('record_freq')!r}. Record "
            "GradientRecorder(weights='update_ratio'), or weights='raw' with "
            "record_freq=1."
        )
    names = source.short_names(ratios)
    return (
        pd.DataFrame({names[p]: ratio for p, (ratio, _) in ratios.items()}),
        pd.DataFrame({names[p]: absent for p, (_, absent) in ratios.items()}),
    )


def _ratios_of_raw(recording, path):
    """Ratios of the updates between consecutive steps, and where there are none."""
    weights = np.asarray(recording.weights[path], np.float64)
    weights = weights.reshape(len(recording), -1)
    steps = recording.index["step"].to_numpy()
    after = recording.attributes["weights_at"] == "after"
    starts = {fit["first"]: (fit["weights"] or {}).get(path) for fit in recording.fits}
    ratios = np.full(len(recording), np.nan)
    absent = np.ones(len(recording), bool)
    for number, step in enumerate(steps):
        follows = step == (steps[number - 1] if number else 0) + 1
        before = weights[number - 1] if number else None
        if number in starts:  # A fit may begin with other weights than one before left.
            before = starts[number] if after else None
        row = number if after else number - 1
        if follows and before is not None:
            ratios[row], absent[row] = _ratio(weights[number], np.ravel(before)), False
    return ratios, absent


def _ratio(after, before):
    with np.errstate(all="ignore"):
        update = np.linalg.norm(after - before)
        return update / np.linalg.norm(before)
