"""A recording described in words."""

import html
import math
from typing import TYPE_CHECKING, Any

import pandas as pd

from hrcallbacks.terminal import visible

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording


def as_text(recording: "Recording") -> str:
    """What was recorded, in a few lines."""
    lines = [f"<Recording: {in_a_line(recording)}>"]
    shapes = {visible(path): shape for path, shape in _shapes(recording).items()}
    width = max(map(len, shapes), default=0)
    lines += [f"  {path:<{width}}  {shape}" for path, shape in shapes.items()]
    return "\n".join(lines)


def as_html(recording: "Recording") -> str:
    """The same for a notebook, with the first rows of the index."""
    rows = "".join(
        f"<tr><td><code>{html.escape(visible(path))}</code></td>"
        f"<td>{html.escape(str(shape))}</td></tr>"
        for path, shape in _shapes(recording).items()
    )
    return (
        f"<p><b>Recording</b>: {html.escape(in_a_line(recording))}</p>"
        f"<table><thead><tr><th>path</th><th>shape</th></tr></thead>"
        f"<tbody>{rows}</tbody></table>"
        f"{_head_html(recording)}"
    )


def _head_html(recording: "Recording") -> str:
    head = recording.index.head().rename(columns=lambda name: visible(str(name)))
    most = pd.get_option("display.max_columns")
    # As `_repr_html_`, which pandas options can turn off.
    return head.to_html(max_cols=most, notebook=True, escape=True)


def _shapes(recording: "Recording") -> dict[str, tuple[int, ...]]:
    shapes = dict(recording.attributes.get("variables", ()))
    return {path: tuple(shapes[path]) for path in recording.paths}


def _recorded(recording: "Recording", quantity: str) -> str:
    asked = recording.attributes.get("reductions", {}).get(quantity, ())
    names = recording.reductions_of(quantity)
    names.sort(key=lambda name: [*asked, name].index(name))
    when = f" {recording.attributes['weights_at']} the update"
    return (
        quantity
        + ("" if names == ["raw"] else f" ({', '.join(names)})")
        + (when if quantity == "weights" else "")
    )


def in_a_line(recording: "Recording") -> str:
    """What was recorded, and whether it is complete, in one line."""
    if not len(recording):
        complete = recording.attributes.get("complete", True)
        return visible("empty" if complete else f"empty; {completeness(recording)}")
    size = sum(math.prod(shape) for shape in _shapes(recording).values())
    quantities = [q for q in recording.quantities if recording.reductions_of(q)]
    what = [_recorded(recording, quantity) for quantity in quantities]
    return visible(
        f"{_count(len(recording), 'record')} of "
        f"{_count(len(recording.paths), 'variable')}, "
        f"{_count(size, 'element')}; {_range(recording.index['step'])}; "
        f"{', '.join([*what[:-2], ' and '.join(what[-2:])])}; "
        f"{completeness(recording)}"
    )


def completeness(recording: "Recording") -> str:
    """Whether each fit finished, and what is missing if not."""
    if recording.attributes["complete"]:
        return "complete"
    fault, fits = recording.attributes.get("fault"), recording.fits
    if fault is None:
        number = next(n for n, fit in enumerate(fits, 1) if not fit.ended)
        which = f" {number} of {len(fits)}" if len(fits) > 1 else ""
        fault = f"fit{which} has not finished"
    return f"INCOMPLETE: {fault}"


def _range(steps: Any) -> str:
    first, last = steps.iloc[0], steps.iloc[-1]
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
