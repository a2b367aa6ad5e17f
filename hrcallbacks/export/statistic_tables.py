"""Numbers and histograms of a recording as tables."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
import pandas as pd

from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# What an `hr.Histogram` counts beside its bins, in its order, and where that lies.
_BESIDE = {"zero": 0.0, "nan": np.nan, "inf": np.inf}


class Column(NamedTuple):
    """What was recorded of a variable.

    Attributes:
        quantity: Such as `"gradients"`.
        reduction: Such as `"norm"`.
        path: Of which variable.
    """

    quantity: str
    reduction: str
    path: str


def numbers_of(
    recording: Recording, variables: str | Sequence[str] | None
) -> list[Column]:
    """The numbers that were recorded of the chosen variables."""
    return [
        column
        for column in _reduced(recording, variables)
        if column.reduction != "raw" and _array(recording, column).ndim == 1
    ]


def histograms_of(
    recording: Recording, variables: str | Sequence[str] | None
) -> list[Column]:
    """The histograms that were recorded of the chosen variables.

    Raises:
        ValueError: If there are none.
    """
    found = [
        column
        for column in _reduced(recording, variables)
        if _described(recording, column).get("kind") == "Histogram"
    ]
    if not found:
        raise ValueError(
            f"No hr.Histogram was recorded of variables={variables!r}. There are: "
            f"{recording.recorded}. Record GradientRecorder(gradients=hr.Histogram())."
        )
    return found


def wide_numbers(recording: Recording, columns: Sequence[Column]) -> pd.DataFrame:
    """One row a record: the index, then a column a number.

    Columns are called `gradients:norm:hidden/kernel`.
    """
    numbers = {":".join(c): np.asarray(_array(recording, c)) for c in columns}
    made = pd.DataFrame(numbers, index=recording.index.index)
    return pd.concat([recording.index, made], axis=1)


def tidy_numbers(
    recording: Recording, columns: Sequence[Column], records: slice = slice(None)
) -> pd.DataFrame:
    """One row a record and number.

    Returns:
        Columns `step`, `epoch`, `quantity`, `reduction`, `path`, `value`.
    """
    index = recording.index.iloc[records]
    rows = np.stack(
        [np.asarray(_array(recording, c)[records], np.float64) for c in columns], axis=1
    )
    return _long(index, columns, {"value": rows.ravel()}, each=1)


def tidy_histograms(
    recording: Recording, columns: Sequence[Column], records: slice = slice(None)
) -> pd.DataFrame:
    """One row a record, histogram and bin, and three for what no bin holds.

    Returns:
        Columns `step`, `epoch`, `quantity`, `reduction`, `path`; `bin`, from 0, or
        `"zero"`, `"nan"`, `"inf"`; `low` and `high`, the bin's edges; `count`, of
        magnitudes from `low` to below `high`, NaN where there was no gradient.
    """
    index = recording.index.iloc[records]
    blocks: list[pd.DataFrame] = []
    for column in columns:
        edges = np.asarray(_described(recording, column)["edges"], np.float64)
        counts = np.asarray(_array(recording, column)[records], np.float64)
        names = [*map(str, range(len(edges) - 1)), *_BESIDE]
        beside = [*_BESIDE.values()]
        bins = {
            "bin": np.tile(np.array(names, object), len(index)),
            "low": np.tile([*edges[:-1], *beside], len(index)),
            "high": np.tile([*edges[1:], *beside], len(index)),
            "count": counts.ravel(),
        }
        blocks.append(_long(index, [column], bins, each=len(names)))
    joined = pd.concat(blocks, ignore_index=True)
    return joined.sort_values("step", kind="stable", ignore_index=True)


def _long(
    index: pd.DataFrame, columns: Sequence[Column], values: Mapping[str, Any], each: int
) -> pd.DataFrame:
    """Step, epoch and names of values that come by record, column and place."""
    count = len(columns) * each
    named = {
        name: np.repeat(np.array([getattr(c, name) for c in columns], object), each)
        for name in Column._fields
    }
    table = {
        name: np.repeat(np.asarray(index[name]), count) for name in ("step", "epoch")
    }
    table |= {name: np.tile(texts, len(index)) for name, texts in named.items()}
    return pd.DataFrame(table | dict(values))


def _reduced(
    recording: Recording, variables: str | Sequence[str] | None
) -> Iterator[Column]:
    """What was recorded of the chosen variables."""
    kinds = [
        (quantity, reduction)
        for quantity in recording.quantities
        for reduction in recording.reductions_of(quantity)
    ]
    paths = [*dict.fromkeys(p for kind in kinds for p in recording.arrays(*kind))]
    chosen = choose_paths(paths, variables)
    for quantity, reduction in kinds:
        there = {*recording.arrays(quantity, reduction)}
        yield from (Column(quantity, reduction, p) for p in chosen if p in there)


def _array(recording: Recording, column: Column) -> Any:
    return recording.arrays(column.quantity, column.reduction)[column.path]


def _described(recording: Recording, column: Column) -> Mapping[str, Any]:
    of: Mapping[str, Any] = recording.attributes.get("reductions", {})
    return of.get(column.quantity, {}).get(column.reduction, {})
