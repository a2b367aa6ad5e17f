"""What a recording holds: a few lines on the whole, and a line a variable."""

import textwrap

import pandas as pd

from hrcallbacks.terminal import visible

# The first of these that there is says how large a tensor is, or how it moves.
_SIZES = {
    "norm": "Frobenius norm",
    "abs_max": "largest magnitude",
    "std": "standard deviation",
    "update_norm": "norm of the update",
    "update_ratio": "norm of the update over that of the weights",
}
_COLUMNS = {"min": "smallest", "max": "largest", "nonfinite": "NaN/Inf"}
_SHORTEST_PATH = 20


def summarize(recording, quantity):
    """Size of each variable's gradients or weights, over the records.

    Args:
        recording: A `Recording` that is not empty.
        quantity: `"gradients"` or `"weights"`.

    Returns:
        DataFrame, a row for each path: `shape`; `records`, in how many it has one;
        `first`, `last`, `min` and `max` of its size, NaN left out of the last two;
        `nonfinite`, how many elements of all records are NaN or infinite, where that is
        known. `attrs["size"]` says what the size is: the Frobenius norm, or what was
        recorded in its place. Empty if that is none.
    """
    size, numbers = _first_of(recording, quantity, _SIZES)
    if numbers is None:
        return pd.DataFrame()
    shapes = dict(recording.attributes["variables"])
    there = recording.has_gradient if quantity == "gradients" else numbers.notna()
    columns = {
        "shape": pd.Series({path: str(tuple(shapes[path])) for path in numbers}),
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


def _first_of(recording, quantity, reductions):
    for reduction in reductions:
        try:
            return reduction, recording.statistic(quantity, reduction)
        except ValueError:  # Neither recorded nor to be made.
            continue
    return "", None


def summary_text(recording, quantity, *, width=None):
    """The table of `summarize`, to be read.

    Args:
        recording: A `Recording` that is not empty.
        quantity: `"gradients"` or `"weights"`.
        width: Characters a line has; paths that are too long lose their beginning.
            None: whatever it takes.
    """
    table = summarize(recording, quantity)
    if table.empty:
        return f"{quantity.capitalize()}: no norm was recorded of them"
    if set(table["records"]) == {len(recording)}:
        table = table.drop(columns="records")
    table.index = [visible(path) for path in table.index]
    title = f"{quantity.capitalize()}: {table.attrs['size']}, by record"
    text = table.rename(columns=_COLUMNS).to_string(float_format="{:.3g}".format)
    over = max(map(len, text.splitlines())) - width if width else 0
    if over > 0:
        longest = max(max(map(len, table.index)) - over, _SHORTEST_PATH)
        table.index = [_cut(path, longest) for path in table.index]
        text = table.rename(columns=_COLUMNS).to_string(float_format="{:.3g}".format)
    return f"{title}\n{text}"


def _cut(path, longest):
    return path if len(path) <= longest else f"...{path[3 - longest :]}"


def in_a_line(recording):
    """What its `repr` says first."""
    said, _, _ = repr(recording).partition("\n")
    return said.removeprefix("<Recording: ").removesuffix(">")


def head_text(recording, *, width=80):
    """What holds for the whole recording, in a few lines.

    Args:
        recording: A `Recording` that is not empty.
        width: Characters a line has.
    """
    lines = [in_a_line(recording)]
    if not recording.attributes["complete"] and not recording.attributes["fault"]:
        lines.append(
            "The run goes on, or it broke off: this is what was written until now."
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


def _optimizers(recording):
    optimizers = recording.fits[-1]["optimizers"].values()
    names = " and ".join(str(o["class_name"]) for o in optimizers)
    rates = recording.index.filter(regex=r"^learning_rate")
    said = [_first_to_last(rates[name]) for name in rates]
    return f"{names}, learning rate {' and '.join(said)}" if said else names


def _loss(recording):
    loss = recording.index["loss"]
    return "no loss" if loss.isna().all() else f"loss {_first_to_last(loss)}"


def _first_to_last(series):
    first, last = (f"{float(series.iloc[place]):.4g}" for place in (0, -1))
    return first if first == last else f"{first} to {last}"
