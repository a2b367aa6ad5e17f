"""Numbers over time: the loss, norms of gradients, how large updates are."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple, SupportsIndex

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.plot import source, style
from hrcallbacks.plot.lines import Line, draw, name_ends, size_for
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording


def loss(
    recording: Recording | Mapping[str, Recording],
    *,
    smooth: SupportsIndex = 1,
    log: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """The loss of each recorded step's batch, before its update.

    Two runs in one picture: `hr.plot.loss({"Rate 0.1": first, "Rate 0.3": second})`.
    Each line has its name at its end, or of more than 20 lines some; the figure says
    how many have none.

    Args:
        recording: A recording, or several by name, to compare.
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the losses.
        log: Whether the y axis is logarithmic.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If a recording is empty, or `smooth` is below 1.
        ImportError: If Matplotlib is not installed.
    """
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


def gradient_flow(
    recording: Recording,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    by: Literal["layer", "variable"] = "layer",
    ax: Axes | None = None,
) -> Axes:
    """Norms of the gradients over time, one line a layer, on a logarithmic scale.

    Where gradients vanish, the lines of the first layers lie far below those of the
    last. Colours run from light blue, the first layer, to dark orange, the last. Each
    line has its name at its end, or of more than 20 lines some; the figure says how
    many have none. What a logarithmic scale cannot show is marked at its edges: a
    norm of zero at the lower one, a norm that is NaN or infinite at the upper one.

    Args:
        recording: A recording of raw gradients, or of their `"norm"`.
        variables: A glob or list of globs on the paths; None for all.
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the norms, as thin lines. None for a twentieth of the records, 1 for
            no mean.
        by: `"layer"`: a line for all of a layer's gradients together. `"variable"`: a
            line for each variable.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has no norms, if nothing matches
            `variables`, or if another argument has no valid value.
        ImportError: If Matplotlib is not installed.
    """
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


def update_ratio(
    recording: Recording,
    *,
    variables: str | Sequence[str] | None = None,
    smooth: SupportsIndex | None = None,
    ax: Axes | None = None,
) -> Axes:
    """How large each update was, relative to the weights that it changed.

    This is the Frobenius norm of the update over that of the weights before it. As a
    rule of thumb it is about 1e-3 at a good learning rate; a dashed line marks that.
    Colours and names are those of `gradient_flow`.

    A variable whose weights were all zero, as biases are at first, has no such ratio:
    its line has a gap there, and a note says so. That is no sign of a fault; a ratio
    that is NaN or infinite because the weights are is marked at the upper edge.

    Args:
        recording: A recording of the weights' `"update_ratio"`, or of raw weights of
            consecutive steps.
        variables: A glob or list of globs on the paths; None for all.
        smooth: How many records around each one a mean is taken over. It is drawn on
            top of the ratios, as thin lines. None for a twentieth of the records, 1 for
            no mean.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty, if it has no ratios and none can be
            computed from it, or if nothing matches `variables`.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    ratios, absent, from_zero = _update_ratios(recording, variables)
    ax = style.new_axes(ax, size=size_for(list(ratios)))
    x, xlabel = source.time_axis(recording)
    guide = ax.axhline(
        1e-3, color=style.ink(), alpha=0.7, linestyle="--", linewidth=1, zorder=1.5
    )
    guide.set_label("1e-3, rule of thumb")
    lines = _lines(x, ratios, absent | from_zero, list(_layers(ratios).values()))
    entries = [guide, *draw(ax, lines, smooth=smooth, log=True)]
    if from_zero.to_numpy().any():
        entries.append(style.text_entry("gap: all weights were zero"))
    style.legend_above(ax, entries + name_ends(ax, lines), "Update ratio")
    style.finish(ax, xlabel=xlabel, ylabel="Norm of update / norm of weights")
    return ax


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


class _Ratios(NamedTuple):
    """A column a variable, a row a record.

    Attributes:
        table: The ratios.
        absent: Where there is none, because there was no update.
        from_zero: Where there is none, because all weights were zero before it.
    """

    table: pd.DataFrame
    absent: pd.DataFrame
    from_zero: pd.DataFrame


def _update_ratios(
    recording: Recording, variables: str | Sequence[str] | None
) -> _Ratios:
    """Ratios of the chosen variables, by their short names."""
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
    columns: list[dict[str, np.ndarray]] = [{}, {}, {}]
    for path, (ratio, absent) in ratios.items():
        known = ratio, absent, _from_zero(recording, path, ratio, absent)
        for column, values in zip(columns, known, strict=True):
            column[names[path]] = values
    return _Ratios(*map(pd.DataFrame, columns))


def _from_zero(
    recording: Recording,
    path: str,
    ratios: np.ndarray,
    absent: npt.NDArray[np.bool_],
) -> npt.NDArray[np.bool_]:
    """Where a ratio is infinite or NaN only because the weights before it were zero.

    Weights that are NaN or infinite remain so: a ratio that is neither, later in the
    same fit, or weights that are neither after the last update, show that it was zero.
    """
    fits = np.searchsorted(
        [fit.first for fit in recording.fits],
        np.asarray(recording.index["step"]),
        side="right",
    )
    bad = ~np.isfinite(ratios) & ~absent
    good = np.isfinite(ratios) | (bad & _finite_weights(recording, path))
    last = {fit: np.flatnonzero(good & (fits == fit)) for fit in np.unique(fits)}
    ends = np.array([last[fit][-1] if last[fit].size else -1 for fit in fits])
    return bad & (np.arange(len(ratios)) <= ends)


def _finite_weights(recording: Recording, path: str) -> npt.NDArray[np.bool_]:
    """In which records weights after an update are known to be finite."""
    count = len(recording)
    if recording.attributes["weights_at"] != "after":
        return np.zeros(count, bool)
    for reduction in ("raw", "norm"):
        arrays = recording.arrays("weights", reduction)
        if path in arrays:
            rows = np.asarray(arrays[path]).reshape(count, -1)
            return np.asarray(np.isfinite(rows).all(axis=1))
    return np.zeros(count, bool)


def _ratios_of_raw(
    recording: Recording, path: str
) -> tuple[np.ndarray, npt.NDArray[np.bool_]]:
    """Ratios of the updates between consecutive steps, and where there are none."""
    weights = np.asarray(recording.weights[path], np.float64)
    weights = weights.reshape(len(recording), -1)
    steps = np.asarray(recording.index["step"])
    after = recording.attributes["weights_at"] == "after"
    starts = {fit.first: (fit.weights or {}).get(path) for fit in recording.fits}
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


def _ratio(after: np.ndarray, before: np.ndarray) -> float:
    with np.errstate(all="ignore"):
        update = np.linalg.norm(after - before)
        return float(update / np.linalg.norm(before))
