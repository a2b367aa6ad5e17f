"""Elements by records: all of a variable's numbers in one picture."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot import source, style, ticks

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.colors import Normalize

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.types import QuantityName

_MOST_ELEMENTS = 5_000
_MOST_VARIABLES = 30
# More columns than a screen has; above it several records share one.
_MOST_COLUMNS = 2_000
# With more rows than this, there is no room for a name beside each.
_MOST_NAMED = 30
# No variable has less of the height than this part of an even share.
_LEAST_SHARE = 0.6
_MOST_POWERS = 4
_DECADES = 6.0
# The part of the elements that a scale is made for; the others have its last colour.
_MOST = 0.99


def heatmap(
    recording: Recording,
    *,
    quantity: Literal["gradients", "weights"] = "gradients",
    variables: str | Sequence[str] | None = None,
    scale: Literal["record", "robust", "linear", "log"] | None = None,
    limit: float | None = None,
    decades: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Each element in a row, each record in a column, coloured by its value.

    Positive is blue, negative orange, zero the colour of the paper; the scale is
    symmetric about zero. NaN and infinities are hatched. If there are many elements,
    those of a small variable have higher rows.

    Gradients often shrink a thousandfold while a model learns, so that on one scale for
    all steps the first of them leave the others white. By default each variable of each
    record therefore has a scale of its own: colours show which elements are large among
    the others, and `gradient_flow` how large they are.

    Args:
        recording: A recording of raw values, or of an `hr.Sample` of them.
        quantity: What to draw.
        variables: A glob or list of globs on the paths; None for all.
        scale: What the strongest colour stands for. `"record"`: for each variable of
            each record, the magnitude that 99 % of its elements do not exceed.
            `"robust"`: the magnitude that 99 % of all elements do not exceed.
            `"linear"`: `limit`. `"log"`: `limit`, on a scale that is logarithmic over
            `decades` powers of ten below it, and linear below those. None for
            `"record"` for gradients and `"robust"` for weights; for `"log"` if
            `decades` is given, or else `"linear"` if `limit` is.
        limit: The magnitude of the strongest colour; None for the largest there is.
        decades: How many powers of ten a logarithmic scale has; None for 6.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes; their `images` are those of the variables, from the top. With more
        than 2,000 records, a column stands for several, and shows NaN if there is one,
        or else the value furthest from zero.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty or has no elements, if nothing matches
            `variables`, if more than 30 variables or 5,000 elements match, or if
            another argument has no valid value.
        ImportError: If Matplotlib is not installed.
    """
    source.checked(recording)
    found = source.raw_paths(recording, quantity, variables)
    sizes = {p: int(np.prod(a.shape[1:], dtype=int)) for p, (a, _) in found.items()}
    sizes = {path: size for path, size in sizes.items() if size}
    _check(recording, quantity, variables, sizes)
    colours = _colours(scale, quantity, limit, decades)
    values = {path: _by_column(found[path][0], sizes[path]) for path in sizes}
    if colours.kind == "record":
        values = {path: _of_record(shown) for path, shown in values.items()}
    limit = colours.limit or _largest(values.values(), colours.kind)
    decades = colours.decades
    rows = sum(sizes.values())
    rows = rows if rows <= _MOST_NAMED else len(sizes)
    ax = style.new_axes(ax, size=(style.WIDTH, max(3.6, 0.27 * rows + 1)))
    norm = _norm(limit, decades)
    columns = next(iter(values.values())).shape[1]
    extent = time_extent(ax, recording, columns)
    heights = _heights(sizes)
    bottom = sum(heights.values())
    broken = 0
    boxes: dict[str, _Box] = {}
    for path, shown in values.items():
        top, bottom = bottom, bottom - heights[path]
        boxes[path] = box = _Box(extent.left, extent.right, bottom, top)
        _draw(ax, shown, box, norm)
        broken += _hatch(ax, ~np.isfinite(shown), box)
        if bottom > 0:
            ax.axhline(bottom, color=style.ink(), linewidth=0.6)
    _name_rows(ax, recording, quantity, boxes, found)
    ax.set_xlim(extent.left, extent.right)
    ax.set_ylim(0, sum(heights.values()))
    label = quantity[:-1].capitalize()
    label += " / 99 % of its record" if colours.kind == "record" else ""
    _colorbar(ax, label, limit, decades, values.values())
    _finish(ax, quantity, extent.label, broken)
    return ax


class _Colours(NamedTuple):
    """A valid choice of scale; a limit is known for `"record"`, or if it was given."""

    kind: Literal["record", "robust", "linear", "log"]
    limit: float | None
    decades: float | None


def _colours(
    scale: Literal["record", "robust", "linear", "log"] | None,
    quantity: QuantityName,
    limit: float | None,
    decades: float | None,
) -> _Colours:
    _check_positive(limit=limit, decades=decades)
    if scale is None and limit is None and decades is None:
        scale = "record" if quantity == "gradients" else "robust"
    scale = scale or ("linear" if decades is None else "log")
    if scale not in ("record", "robust", "linear", "log"):
        raise ValueError(
            "Expected scale: 'record', 'robust', 'linear', 'log' or None. Received: "
            f"{scale!r}."
        )
    if scale in ("record", "robust") and limit is not None:
        raise ValueError(
            f"scale={scale!r} finds its limit itself, and limit={limit!r} was given. "
            "Leave one of them out."
        )
    if scale != "log" and decades is not None:
        raise ValueError(
            f"Only scale='log' has decades. Received: decades={decades!r} with "
            f"scale={scale!r}."
        )
    if scale == "log":
        return _Colours(scale, limit, decades or _DECADES)
    return _Colours(scale, 1.0 if scale == "record" else limit, None)


class Extent(NamedTuple):
    """The ends of the x axis, and its label."""

    left: float
    right: float
    label: str


class _Box(NamedTuple):
    """Where a variable is drawn, in the order of `imshow`'s `extent`."""

    left: float
    right: float
    bottom: float
    top: float


def _check_positive(**numbers: float | None) -> None:
    for name, number in numbers.items():
        if number is not None and not 0 < number < np.inf:
            raise ValueError(
                f"Expected {name}: a number above 0, or None. Received: {number!r}."
            )


def _check(
    recording: Recording,
    quantity: QuantityName,
    variables: str | Sequence[str] | None,
    sizes: Mapping[str, int],
) -> None:
    if not sizes:
        raise ValueError(
            "A heat map is drawn of single elements, and none was recorded of the "
            f"{quantity} of variables={variables!r}. There is "
            f"{source.recorded_of(recording, quantity)}. Record 'raw' or "
            "hr.Sample(n) of them, or see hr.plot.gradient_flow and hr.plot.histograms."
        )
    total = sum(sizes.values())
    if total > _MOST_ELEMENTS or len(sizes) > _MOST_VARIABLES:
        smallest = min(sizes, key=lambda path: sizes[path])
        raise ValueError(
            f"A heat map of {len(sizes)} variables would have {total:,} rows, and "
            f"{_MOST_ELEMENTS:,} of {_MOST_VARIABLES} variables can be seen. Choose "
            f"some, such as variables={smallest!r}, record hr.Sample(n) in place of "
            "'raw', or see hr.plot.histograms and hr.plot.gradient_flow."
        )


def _by_column(array: npt.ArrayLike, size: int) -> np.ndarray:
    """Elements by columns; a column is a record, or several if there are many."""
    array = np.asarray(array, np.float64).reshape(-1, size)
    each = -(-len(array) // _MOST_COLUMNS)
    if each == 1:
        return array.T
    pad = np.zeros((-len(array) % each, size))
    blocks = np.concatenate([array, pad]).reshape(-1, each, size)
    place = np.abs(blocks).argmax(axis=1)  # Of NaN, where there is one.
    return np.take_along_axis(blocks, place[:, np.newaxis], axis=1)[:, 0].T


def _largest(arrays: Iterable[np.ndarray], kind: str) -> float:
    """The largest magnitude, or that which 99 % do not exceed; 1 if it is zero."""
    known = np.concatenate([np.abs(a[np.isfinite(a)]) for a in arrays])
    if not known.size:
        return 1.0
    robust = np.quantile(known, _MOST, method="higher") if kind == "robust" else 0.0
    return float(robust or known.max()) or 1.0


def _of_record(shown: np.ndarray) -> np.ndarray:
    """Each column as parts of the magnitude that 99 % of it do not exceed."""
    finite = np.where(np.isfinite(shown), np.abs(shown), np.nan)
    some = np.isfinite(finite).any(axis=0)
    scales = np.ones(shown.shape[1])
    if some.any():
        known = finite[:, some]
        scales[some] = np.nanquantile(known, _MOST, axis=0, method="higher")
        # Where nearly all are zero, the largest.
        largest = np.nanmax(known, axis=0)
        scales[some] = np.where(scales[some] > 0, scales[some], largest)
    return shown / np.where(scales > 0, scales, 1.0)


def _heights(sizes: Mapping[str, int]) -> dict[str, float]:
    """How high each variable is drawn: by its elements, but high enough for a name."""
    total, least = sum(sizes.values()), _LEAST_SHARE / len(sizes)
    least = 0 if total <= _MOST_NAMED else least
    return {path: max(size / total, least) for path, size in sizes.items()}


def time_extent(ax: Axes, recording: Recording, columns: int) -> Extent:
    """The ends and the label of the x axis, whose ticks it sets."""
    from matplotlib.ticker import FuncFormatter, MaxNLocator

    x, label = source.time_axis(recording)
    gaps = np.unique(np.diff(x))
    if len(gaps) <= 1 and (len(x) == 1 or gaps[0] > 0):
        half = (gaps[0] if len(gaps) else 1) / 2
        ticks.time_ticks(ax, x)
        width = 2 * half * (columns * -(-len(x) // columns))
        return Extent(x[0] - half, x[0] - half + width, label)
    # Unevenly spaced: a column a record, labelled with the times.
    each = -(-len(x) // columns)

    def text(value: float, _: int | None) -> str:
        place = round(value)
        return f"{x[place]:,}" if 0 <= place < len(x) else ""

    ax.xaxis.set_major_locator(MaxNLocator(integer=True, nbins=8))
    ax.xaxis.set_major_formatter(FuncFormatter(text))
    return Extent(-0.5, columns * each - 0.5, label)


def _norm(limit: float, decades: float | None) -> Normalize:
    from matplotlib.colors import Normalize, SymLogNorm

    if decades is None:
        return Normalize(-limit, limit)
    threshold = limit * 10.0**-decades
    return SymLogNorm(threshold, linscale=0.5, vmin=-limit, vmax=limit)


def _draw(ax: Axes, shown: np.ndarray, box: _Box, norm: Normalize) -> None:
    ax.imshow(
        np.ma.masked_invalid(shown),
        cmap=style.diverging(),
        norm=norm,
        extent=box,
        aspect="auto",
        interpolation="nearest",
    )


def _hatch(ax: Axes, bad: npt.NDArray[np.bool_], box: _Box) -> int:
    """Hatches cells; returns how many."""
    from matplotlib.collections import PatchCollection
    from matplotlib.patches import Rectangle

    left, right, bottom, top = box
    rows, columns = bad.shape
    width, height = (right - left) / columns, (top - bottom) / rows
    patches = []
    for row in np.flatnonzero(bad.any(axis=1)):
        ends = np.flatnonzero(np.diff(np.concatenate([[0], bad[row], [0]])))
        for start, stop in zip(ends[::2], ends[1::2], strict=True):
            place = left + start * width, top - (row + 1) * height
            patches.append(Rectangle(place, (stop - start) * width, height))
    if patches:
        cells = PatchCollection(
            patches,
            hatch="////",
            facecolor=style.faint(0.2),
            edgecolor=style.ink(),
            linewidth=0.0,
            zorder=2,
        )
        ax.add_collection(cells, autolim=False)
    return int(bad.sum())


def _name_rows(
    ax: Axes,
    recording: Recording,
    quantity: QuantityName,
    boxes: Mapping[str, _Box],
    found: Mapping[str, source.Elements],
) -> None:
    """Names each element if there is room, or else each variable."""
    short = source.short_names(boxes)
    rows = sum(np.prod(found[path].array.shape[1:], dtype=int) for path in boxes)
    places: list[float] = []
    labels: list[str] = []
    for path, box in boxes.items():
        names = [short[path]]
        if rows <= _MOST_NAMED and source.is_dense(recording):
            indices = found[path].indices
            names = source.element_labels(recording, path, quantity, indices)
        step = (box.top - box.bottom) / len(names)
        places += [box.top - (n + 0.5) * step for n in range(len(names))]
        labels += names
    ax.set_yticks(places, labels)
    ax.tick_params(axis="y", length=0)


def _colorbar(
    ax: Axes,
    label: str,
    limit: float,
    decades: float | None,
    values: Iterable[np.ndarray],
) -> None:
    finite = [v[np.isfinite(v)] for v in values]
    low = any((v < -limit).any() for v in finite)
    high = any((v > limit).any() for v in finite)
    extend = ("both" if high else "min") if low else ("max" if high else "neither")
    bar = ax.figure.colorbar(ax.images[0], ax=ax, pad=0.02, extend=extend)
    bar.set_label(label)
    if decades is None:
        ticks.plain_ticks(bar.ax.yaxis)
    else:
        powers = _powers(limit, decades)
        texts = [ticks.short_power(power) for power in powers]
        minus = [f"\N{MINUS SIGN}{text}" for text in texts[::-1]]
        bar.set_ticks([*(-powers[::-1]), 0, *powers], labels=[*minus, "0", *texts])
        bar.ax.minorticks_off()
    bar.outline.set_linewidth(0.6)


def _powers(limit: float, decades: float) -> np.ndarray:
    """The powers of ten to label, between the threshold and the limit."""
    last = int(np.floor(np.log10(limit)))
    first = int(np.ceil(np.log10(limit) - decades))
    step = -(-(last - first + 1) // _MOST_POWERS)
    return 10.0 ** np.arange(last, first - 1, -step)[::-1]


def _finish(ax: Axes, quantity: QuantityName, xlabel: str, broken: int) -> None:
    style.finish(ax, title=quantity.capitalize(), xlabel=xlabel)
    ax.grid(visible=False)
    if broken:
        from matplotlib.patches import Patch

        entry = Patch(
            facecolor=style.faint(0.2),
            edgecolor=style.ink(),
            hatch="////",
            linewidth=0,
            label=f"NaN or infinite: {broken:,} cells",
        )
        ax.legend(
            handles=[entry],
            loc="upper right",
            bbox_to_anchor=(1, -0.12),
            frameon=False,
            fontsize="medium",
        )
