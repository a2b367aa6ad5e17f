"""Numbers over time: the loss, norms of gradients, how large updates are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple, SupportsIndex, overload

import numpy as np
import pandas as pd

from hrcallbacks.plot import bands, source, style
from hrcallbacks.plot.lines import Line, draw, name_ends, size_for
from hrcallbacks.plot.ratios import update_ratios
from hrcallbacks.plot.style import Panels
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.lines import Line2D

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.recording.runs import Runs


def loss(
    recording: Recording | Mapping[str, Recording] | Runs,
    *,
    smooth: SupportsIndex = 1,
    log: bool = False,
    by: str | None = None,
    ax: Axes | None = None,
) -> Axes:
    """The loss of each recorded step's batch, before its update.

    Two runs in one picture: `hr.plot.loss({"Rate 0.1": first, "Rate 0.3": second})`.
    Many runs: `hr.plot.loss(runs, by="learning_rate")` draws the median of the runs of
    each learning rate, and their middle half as a band. A run that is NaN or infinite
    counts as larger than all others there, and is marked at the upper edge.
    Each line has its name at its end, or of more than 20 lines some; the figure says
    how many have none.

    Args:
        recording: A recording, or several by name, to compare.
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the losses.
        log: Whether the y axis is logarithmic.
        by: Of `hr.Runs`, a column of `runs.parameters`: runs that have the same there
            are drawn as one. None for a line each.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `recording` is not a recording, or `by` is given and it is no
            `hr.Runs`.
        ValueError: If a recording is empty, `smooth` is below 1, or there is no column
            `by`.
        ImportError: If Matplotlib is not installed.
    """
    if by is not None:
        return _loss_by(recording, by, smooth=smooth, log=log, ax=ax)
    several = isinstance(recording, Mapping)
    named = dict(recording) if isinstance(recording, Mapping) else {"Loss": recording}
    if not named:
        raise ValueError("Received an empty dict. Give recordings by name.")
    axes_of = [source.time_axis(source.checked(r)) for r in named.values()]
    names = {name for _, name in axes_of}
    lines = []
    for number, ((name, one), (x, _)) in enumerate(
        zip(named.items(), axes_of, strict=True)
    ):
        x = x if len(names) == 1 else np.asarray(one.index["step"])
        look = style.line_style(number, len(named))
        losses = np.asarray(one.index["loss"], float)
        lines.append(Line(style.plain_text(str(name)), x, losses, look))
    ax = style.new_axes(ax, size=size_for([n.label for n in lines if several]))
    entries = draw(ax, lines, smooth=smooth, log=log)
    entries += name_ends(ax, lines) if several else []
    style.legend_above(ax, entries, "Loss")
    xlabel = names.pop() if len(names) == 1 else "Step"
    style.finish(ax, xlabel=xlabel, ylabel="Loss")
    return ax


def _loss_by(
    runs: object, by: str, *, smooth: SupportsIndex, log: bool, ax: Axes | None
) -> Axes:
    if not source.is_runs(runs):
        raise TypeError(
            f"by={by!r} groups runs: pass hr.Runs, such as hr.open_recordings("
            f"'runs/*.zarr') or hr.Runs(a_dict). Received: {type(runs).__name__}."
        )
    groups = bands.groups_of(runs, by)
    times, xlabel = bands.times_of(runs)
    series = {
        label: [
            bands.Series(
                times[name],
                np.asarray(runs[name].index["loss"], float),
                np.zeros(len(runs[name]), bool),
            )
            for name in names
        ]
        for label, names in groups.items()
    }
    ax = style.new_axes(ax, size=size_for([*groups]))
    lines, entries = bands.draw_bands(ax, series, smooth=smooth, log=log)
    entries = [*bands.told(groups, by), *entries, *name_ends(ax, lines)]
    style.legend_above(ax, entries, bands.titled("Loss", by))
    style.finish(ax, xlabel=xlabel, ylabel="Loss")
    return ax


@overload
def gradient_flow(
    recording: Recording,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: Literal["layer", "variable"] = "layer",
    ax: Axes | None = None,
) -> Axes: ...


@overload
def gradient_flow(
    recording: Runs,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: str = "layer",
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> Panels: ...


def gradient_flow(
    recording: Recording | Runs,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: str = "layer",
    ax: Any = None,
) -> Axes | Panels:
    """Norms of the gradients over time, one line per layer, on a logarithmic scale.

    Where gradients vanish, the lines of the first layers lie far below those of the
    last. Colours run from light blue, the first layer, to dark orange, the last. Each
    line has its name at its end, or of more than 20 lines some; the figure says how
    many have none. What a logarithmic scale cannot show is marked at its edges: a
    norm of zero at the lower one, a norm that is NaN or infinite at the upper one.

    Of `hr.Runs`, each layer has a panel, with a line per run; with
    `by="learning_rate"` a line for the median of the runs of each learning rate, and
    their middle half as a band.

    Args:
        recording: A recording of raw gradients, or of their `"norm"`; or `hr.Runs`.
        variables: A glob or list of globs on the paths; None for all.
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the norms, as thin lines. None for a twentieth of the records, 1 for
            no mean.
        by: `"layer"`: a line for all of a layer's gradients together. `"variable"`: a
            line for each variable. Of `hr.Runs` also a column of `runs.parameters`.
        ax: Axes to draw on, of `hr.Runs` as many as there are panels; None for a new
            figure.

    Returns:
        The axes; of `hr.Runs` an array of them, whose `figure` is theirs.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has no norms, if nothing matches
            `variables`, or if another argument has no valid value.
        ImportError: If Matplotlib is not installed.
    """
    if source.is_runs(recording):
        return _flow_of_runs(recording, variables, smooth=smooth, by=by, ax=ax)
    if by not in ("layer", "variable"):
        raise ValueError(f"Expected by to be 'layer' or 'variable'. Received: {by!r}.")
    source.checked(recording)
    norms, absent = _norms(recording, variables)
    if by == "layer":
        norms, absent = _by_layer(norms, absent)
        layers = [[layer] for layer in norms]
    else:
        layers = list(_layers(norms).values())
    ax = style.new_axes(ax, size=size_for(list(norms)))
    x, xlabel = source.time_axis(recording)
    lines = _lines(x, norms, absent, layers)
    entries = draw(ax, lines, smooth=smooth, log=True)
    style.legend_above(ax, entries + name_ends(ax, lines), "Gradient flow")
    style.finish(ax, xlabel=xlabel, ylabel="Gradient norm (Frobenius)")
    return ax


def _flow_of_runs(
    runs: Runs,
    variables: str | Sequence[str] | None,
    *,
    smooth: SupportsIndex | None,
    by: str,
    ax: Any,
) -> Panels:
    def norms(recording: Recording) -> _Numbers:
        found = _norms(recording, variables)
        return found if by == "variable" else _by_layer(*found)

    return bands.panels_of_bands(
        runs,
        bands.of_each(runs, norms),
        by=None if by in ("layer", "variable") else by,
        smooth=smooth,
        ax=ax,
        title="Gradient flow",
        ylabel="Gradient norm",
    )


@overload
def update_ratio(
    recording: Recording,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: None = None,
    ax: Axes | None = None,
) -> Axes: ...


@overload
def update_ratio(
    recording: Runs,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: str | None = None,
    ax: Axes | Sequence[Axes] | np.ndarray | None = None,
) -> Panels: ...


def update_ratio(
    recording: Recording | Runs,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: str | None = None,
    ax: Any = None,
) -> Axes | Panels:
    """How large each update was, relative to the weights that it changed.

    This is the Frobenius norm of the update over that of the weights before it. As a
    rule of thumb it is about 1e-3 at a good learning rate; a dashed line marks that.
    Colours and names are those of `gradient_flow`.

    A variable whose weights were all zero, as biases are at first, has no such ratio:
    its line has a gap there, and a note says so. That is no sign of a fault; a ratio
    that is NaN or infinite because the weights are is marked at the upper edge.

    Of `hr.Runs`, each variable has a panel, with a line per run, or as with
    `gradient_flow` one for the runs that have the same in the column `by`.

    Args:
        recording: A recording of the weights' `"update_ratio"`, or of raw weights of
            consecutive steps; or `hr.Runs`.
        variables: A glob or list of globs on the paths; None for all.
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the ratios, as thin lines. None for a twentieth of the records, 1 for
            no mean.
        by: Of `hr.Runs`, a column of `runs.parameters`; None for a line each.
        ax: Axes to draw on, of `hr.Runs` as many as there are panels; None for a new
            figure.

    Returns:
        The axes; of `hr.Runs` an array of them, whose `figure` is theirs.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty, if it has no ratios and none can be
            computed from it, or if nothing matches `variables`.
        ImportError: If Matplotlib is not installed.
    """
    if source.is_runs(recording):
        return _ratios_of_runs(recording, variables, smooth=smooth, by=by, ax=ax)
    source.checked(recording)
    if by is not None:
        raise TypeError(f"by={by!r} groups runs: pass hr.Runs, and not one recording.")
    ratios, absent, from_zero = update_ratios(recording, variables)
    ax = style.new_axes(ax, size=size_for(list(ratios)))
    x, xlabel = source.time_axis(recording)
    guide = _rule_of_thumb(ax)
    lines = _lines(x, ratios, absent | from_zero, list(_layers(ratios).values()))
    entries = [guide, *draw(ax, lines, smooth=smooth, log=True)]
    if from_zero.to_numpy().any():
        entries.append(style.text_entry("gap: all weights were zero"))
    style.legend_above(ax, entries + name_ends(ax, lines), "Update ratio")
    style.finish(ax, xlabel=xlabel, ylabel="Norm of update / norm of weights")
    return ax


def _rule_of_thumb(ax: Axes) -> Line2D:
    return ax.axhline(
        1e-3,
        color=style.ink(),
        alpha=0.7,
        linestyle="--",
        linewidth=1,
        zorder=1.5,
        label="1e-3, rule of thumb",
    )


def _ratios_of_runs(
    runs: Runs,
    variables: str | Sequence[str] | None,
    *,
    smooth: SupportsIndex | None,
    by: str | None,
    ax: Any,
) -> Panels:
    def ratios(recording: Recording) -> _Numbers:
        table, absent, from_zero = update_ratios(recording, variables)
        return _Numbers(table, absent | from_zero)

    return bands.panels_of_bands(
        runs,
        bands.of_each(runs, ratios),
        by=by,
        smooth=smooth,
        ax=ax,
        title="Update ratio",
        ylabel="Update / weights",
        guide=_rule_of_thumb,
    )


class _Numbers(NamedTuple):
    """A column a variable or layer, a row a record.

    Attributes:
        table: The numbers.
        absent: Where there is no number, because there was no gradient or no update.
    """

    table: pd.DataFrame
    absent: pd.DataFrame


def _norms(recording: Recording, variables: str | Sequence[str] | None) -> _Numbers:
    """Norms of the chosen variables, by their short names."""
    table = recording.statistic("gradients", "norm")
    chosen = [p for p in choose_paths(recording.paths, variables) if p in table]
    if not chosen:
        raise ValueError(
            f"No norm of the gradients of variables={variables!r} was recorded. There "
            f"are those of {list(table)}."
        )
    norms, absent = {}, {}
    for path, name in source.short_names(chosen).items():
        norms[name] = np.asarray(table[path])
        absent[name] = source.absent(recording, "gradients", path)
    return _Numbers(pd.DataFrame(norms), pd.DataFrame(absent))


def _by_layer(norms: pd.DataFrame, absent: pd.DataFrame) -> _Numbers:
    squares = norms.where(~absent, 0.0).astype(float) ** 2
    # Of all of a layer's variables: one that is NaN makes its layer NaN.
    sums = {
        layer: squares[paths].sum(axis=1, skipna=False)
        for layer, paths in _layers(norms).items()
    }
    none = {layer: absent[paths].all(axis=1) for layer, paths in _layers(norms).items()}
    return _Numbers(pd.DataFrame(sums) ** 0.5, pd.DataFrame(none))


def _layers(table: Iterable[str]) -> dict[str, list[str]]:
    """Paths by layer."""
    layers: dict[str, list[str]] = {}
    for path in table:
        layers.setdefault(source.layer_of(path), []).append(path)
    return layers


def _lines(
    x: np.ndarray,
    table: pd.DataFrame,
    absent: pd.DataFrame,
    layers: Collection[Sequence[str]],
) -> list[Line]:
    """A line for each column: a colour for each layer, dashes for its variables."""
    lines = []
    for color, paths in zip(style.depth_colors(len(layers)), layers, strict=True):
        for place, path in enumerate(paths):
            look = style.line_style(0, dashes=place) | {"color": color}
            y, gap = np.asarray(table[path], float), np.asarray(absent[path])
            lines.append(Line(path, x, np.where(gap, np.nan, y), look, gap))
    return lines
