"""A summary of a recording: a few lines overall, a line for each variable or layer."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

import pandas as pd

from hrcallbacks.recording.description import in_a_line
from hrcallbacks.recording.statistics import read_numbers
from hrcallbacks.terminal import visible

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# The first of these that was recorded is used as the size of a tensor.
_SIZES = {
    "norm": "Frobenius norm",
    "abs_max": "largest magnitude",
    "std": "standard deviation",
    "update_norm": "norm of the update",
    "update_ratio": "norm of the update over that of the weights",
    "zero_fraction": "share of zeros",
}
# What says in which records something was there.
_FLAGS = {
    "gradients": "has_gradient",
    "outputs": "has_output",
    "output_gradients": "has_output_gradient",
}
_COLUMNS = {"min": "smallest", "max": "largest", "nonfinite": "NaN/Inf"}
_SHORTEST_PATH = 20


def summarize(recording: Recording, quantity: str) -> pd.DataFrame:
    """The size of each variable's gradients or weights over the records.

    Or that of each layer's output, or of the gradient with respect to it.

    Args:
        recording: A recording that is not empty.
        quantity: What to summarize.

    Returns:
        A row for each path: `shape`, that of a variable; `records`, how many have it;
        `first`, `last`, `min` and `max` of its size, the last two without NaN;
        `nonfinite`, how many elements in all records are NaN or infinite, if that is
        known. `attrs["size"]` says what the size is: the Frobenius norm, or what was
        recorded instead. Empty if neither was.
    """
    read_numbers(recording, quantity, ["norm", "nonfinite"])
    size, numbers = _first_of(recording, quantity, _SIZES)
    if numbers is None:
        return pd.DataFrame()
    shapes = dict(recording.attributes["variables"])
    flags = _FLAGS.get(quantity)
    there = getattr(recording, flags)[numbers.columns] if flags else numbers.notna()
    columns = {
        "shape": pd.Series({p: str(tuple(shapes[p])) for p in numbers if p in shapes}),
        "records": there.sum(),
        "first": numbers.iloc[0],
        "last": numbers.iloc[-1],
        "min": numbers.min(),
        "max": numbers.max(),
    }
    _, counts = _first_of(recording, quantity, ["nonfinite"])
    if counts is not None:
        columns["nonfinite"] = counts.sum().astype(int)
    table = pd.DataFrame(columns).loc[numbers.columns]
    table.attrs["size"] = _SIZES[size]
    return table


def _first_of(
    recording: Recording, quantity: str, reductions: Iterable[str]
) -> tuple[str, pd.DataFrame | None]:
    for reduction in reductions:
        try:
            return reduction, recording.statistic(quantity, reduction)
        except ValueError:  # Neither recorded nor computable.
            continue
    return "", None


def summary_text(
    recording: Recording, quantity: str, *, width: int | None = None
) -> str:
    """The table of `summarize` as text.

    Args:
        recording: A recording that is not empty.
        quantity: What to summarize.
        width: How many characters fit on a line; paths that are too long lose their
            beginning. None for no limit.
    """
    table = summarize(recording, quantity)
    if table.empty:
        return f"{_title(quantity)}: no norm of them was recorded"
    if quantity not in ("gradients", "weights"):  # Those of layers depend on the batch.
        table = table.drop(columns="shape")
    if set(table["records"]) == {len(recording)}:
        table = table.drop(columns="records")
    table.index = [visible(path) for path in table.index]
    title = f"{_title(quantity)}: {table.attrs['size']}, by record"
    if "nonfinite" not in table:
        table["nonfinite"] = float("nan")
    table["nonfinite"] = [_counted(count) for count in table["nonfinite"]]
    text = table.rename(columns=_COLUMNS).to_string(float_format="{:.3g}".format)
    over = max(map(len, text.splitlines())) - width if width else 0
    if over > 0:
        longest = max(max(map(len, table.index)) - over, _SHORTEST_PATH)
        table.index = [_cut(path, longest) for path in table.index]
        text = table.rename(columns=_COLUMNS).to_string(float_format="{:.3g}".format)
    return f"{title}\n{text}"


def _title(quantity: str) -> str:
    return quantity.capitalize().replace("_", " ")


def _counted(number: float) -> str:
    return "not recorded" if pd.isna(number) else f"{number:.0f}"


def _cut(path: str, longest: int) -> str:
    return path if len(path) <= longest else f"...{path[3 - longest :]}"


def head_text(recording: Recording, *, width: int = 80) -> str:
    """Describes the whole recording in a few lines.

    Args:
        recording: A recording that is not empty.
        width: How many characters fit on a line.
    """
    lines = [in_a_line(recording)]
    if not recording.attributes["complete"] and not recording.attributes["fault"]:
        lines.append(
            "The run is still going, or was interrupted: this was written so far."
        )
    lines.append(f"{_optimizers(recording)}; {_loss(recording)}")
    lines.append(
        f"record_freq={recording.attributes['record_freq']!r}, on Keras' "
        f"{recording.attributes['backend']} backend"
    )
    return "\n".join(
        textwrap.fill(line, width, initial_indent="  ", subsequent_indent="    ")
        for line in lines
    )


def _optimizers(recording: Recording) -> str:
    optimizers = recording.fits[-1].optimizers.values()
    names = " and ".join(str(o.class_name) for o in optimizers)
    rates: Any = recording.index.filter(regex=r"^learning_rate")
    said = [_first_to_last(rates[name]) for name in rates]
    return f"{names}, learning rate {' and '.join(said)}" if said else names


def _loss(recording: Recording) -> str:
    loss: Any = recording.index["loss"]
    return "no loss" if loss.isna().all() else f"loss {_first_to_last(loss)}"


def _first_to_last(series: pd.Series) -> str:
    first, last = (f"{float(series.iloc[place]):.4g}" for place in (0, -1))
    return first if first == last else f"{first} to {last}"
