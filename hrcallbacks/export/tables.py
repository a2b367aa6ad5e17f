"""Recordings as tables: wide, tidy, and with the symbols of the published tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol, TypeAlias

import numpy as np
import pandas as pd

from hrcallbacks.checks import choice
from hrcallbacks.export.statistic_tables import (
    histograms_of,
    numbers_of,
    tidy_histograms,
    tidy_numbers,
    wide_numbers,
)
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# Wider than anyone reads, and pandas takes long to lay it out.
_MOST_COLUMNS = 20_000

# Names a column, given the quantity ("weight" or "gradient") and an element's index.
Name: TypeAlias = Callable[[str, tuple[int, ...]], str]
# How the columns of each path are named.
Naming: TypeAlias = Mapping[str, Name]


# What a table has.
Of: TypeAlias = Literal["elements", "statistics", "histograms"]


def frame_of(
    recording: Recording,
    *,
    layout: Literal["wide", "tidy"],
    names: Literal["path", "symbol"],
    variables: str | Sequence[str] | None,
    biases: bool,
    of: Of | None,
) -> pd.DataFrame:
    """A recording as one table; see `Recording.to_frame`."""
    choice(layout, "layout", ("wide", "tidy"))
    choice(names, "names", ("path", "symbol"))
    if biases and names != "symbol":
        raise ValueError(
            "biases=True belongs to names='symbol'. With names='path' each "
            "recorded variable has its columns; variables='*/bias' chooses."
        )
    if names == "symbol":
        if layout == "tidy":
            raise ValueError("names='symbol' belongs to layout='wide'.")
        if of not in (None, "elements"):
            raise ValueError("names='symbol' names elements: it takes no of=.")
        paths = raw_paths(recording, variables)
        return wide_table(recording, symbol_names(recording, paths, biases=biases))
    of = _chosen(recording, variables, of)
    if layout == "tidy" or of == "histograms":
        return tidy_rows(recording, variables, of).table(slice(None))
    if of == "statistics":
        return wide_numbers(recording, numbers_of(recording, variables))
    return wide_table(recording, path_names(raw_paths(recording, variables)))


class _Table(Protocol):
    def __call__(self, records: slice, /) -> pd.DataFrame: ...


class Rows(NamedTuple):
    """A tidy table that is made of some records at a time.

    Attributes:
        table: Called with a slice of the records, gives their rows.
        each: About how many rows a record has.
    """

    table: _Table
    each: int


def tidy_rows(
    recording: Recording, variables: str | Sequence[str] | None, of: Of | None
) -> Rows:
    """The tidy table of a recording; arguments as for `Recording.to_frame`."""
    of = _chosen(recording, variables, of)
    if of == "elements":
        paths = raw_paths(recording, variables)
        shapes = dict(recording.attributes["variables"])
        size = sum(math.prod(shapes[path]) for path in paths)
        return Rows(partial(tidy_table, recording, paths), size)
    if of == "statistics":
        numbers = numbers_of(recording, variables)
        return Rows(partial(tidy_numbers, recording, numbers), len(numbers))
    counts = histograms_of(recording, variables)
    size = sum(
        recording.arrays(c.quantity, c.reduction)[c.path].shape[1] for c in counts
    )
    return Rows(partial(tidy_histograms, recording, counts), size)


def _chosen(
    recording: Recording, variables: str | Sequence[str] | None, of: Of | None
) -> Of:
    """What the table has: if nothing is said, elements where there are any."""
    choice(of, "of", (None, "elements", "statistics", "histograms"))
    _check_not_empty(recording)
    if of == "elements" or (of is None and _raw(recording, variables)):
        return "elements"
    if of == "histograms":
        return of
    if not numbers_of(recording, variables):
        raise _nothing(recording, variables)
    return "statistics"


def _check_not_empty(recording: Recording) -> None:
    if not len(recording):
        raise ValueError(
            "The recording is empty: no step that it was to record was trained. "
            "Pass the recorder to fit, model.fit(..., callbacks=[recorder]), and "
            "look at its record_freq."
        )


def _raw(recording: Recording, variables: str | Sequence[str] | None) -> list[str]:
    paths = choose_paths(recording.paths, variables)
    return [p for p in paths if p in recording.gradients or p in recording.weights]


def _nothing(recording: Recording, variables: str | Sequence[str] | None) -> ValueError:
    paths = choose_paths(recording.paths, variables)
    return ValueError(
        "A table has every element of what it shows, or numbers that were recorded of "
        f"it, such as norms, and neither was of {list(paths)[:5]}. There are: "
        f"{recording.recorded}. to_frame(of='histograms') is a table of histograms; "
        "see also recording.arrays(quantity, reduction)."
    )


def raw_paths(recording: Recording, variables: str | Sequence[str] | None) -> list[str]:
    """The chosen paths of which every element was recorded.

    Args:
        recording: A recording.
        variables: A glob or list of globs on the paths; None for all.

    Raises:
        ValueError: If it is empty, nothing matches, or there are no such paths.
    """
    _check_not_empty(recording)
    raw = _raw(recording, variables)
    if not raw:
        raise ValueError(
            "Every element was to be in the table, and none was recorded 'raw' of "
            f"{choose_paths(recording.paths, variables)[:5]}. There are: "
            f"{recording.recorded}. to_frame(of='statistics') has the numbers."
        )
    return raw


def wide_table(recording: Recording, naming: Naming) -> pd.DataFrame:
    """One row a record: the index, then weight and gradient of each element in turn.

    Args:
        recording: The recording.
        naming: What names the columns of each path to take.

    Raises:
        ValueError: If it would have more than 20,000 columns.
    """
    shapes = dict(recording.attributes["variables"])
    size = sum(math.prod(shapes[path]) for path in naming)
    if 2 * size > _MOST_COLUMNS:
        raise ValueError(
            f"A wide table of {size:,} elements would have {2 * size:,} columns, which "
            f"is more than {_MOST_COLUMNS:,}. Choose variables (variables='*/bias'), "
            "use layout='tidy', or take the arrays: recording.gradients[path]."
        )
    columns = {}
    for path, name in naming.items():
        quantities = _quantities(recording, path)
        for element in np.ndindex(*shapes[path]):
            for quantity, array in quantities.items():
                columns[name(quantity, element)] = array[(slice(None), *element)]
    elements = pd.DataFrame(columns, index=recording.index.index)
    return pd.concat([recording.index, elements], axis=1)


def tidy_table(
    recording: Recording, paths: Sequence[str], records: slice = slice(None)
) -> pd.DataFrame:
    """One row a record and element.

    Args:
        recording: The recording.
        paths: The paths to take.
        records: The records to take.

    Returns:
        Columns `step`, `epoch`, `path` (categorical), `element` (the index into the
        flattened variable, from 0), and `weight` and `gradient`, or whichever of these
        two was recorded.
    """
    blocks = []
    index = recording.index[records]
    for path in paths:
        quantities = _quantities(recording, path, records)
        flat = {q: a.reshape(len(index), -1) for q, a in quantities.items()}
        size = next(iter(flat.values())).shape[1]
        block = {
            "step": np.repeat(np.asarray(index["step"]), size),
            "epoch": np.repeat(np.asarray(index["epoch"]), size),
            "path": pd.Categorical([path], categories=paths).repeat(len(index) * size),
            "element": np.tile(np.arange(size), len(index)),
        }
        blocks.append(pd.DataFrame(block | {q: a.ravel() for q, a in flat.items()}))
    table = pd.concat(blocks, ignore_index=True)
    return table.sort_values(["step", "path", "element"], ignore_index=True)


def path_names(paths: Iterable[str]) -> Naming:
    """Names columns by path and index: `weight:hidden/kernel[0,2]`.

    Args:
        paths: The paths to take.

    Returns:
        A naming for `wide_table`.
    """

    def of(path: str) -> Name:
        def name(quantity: str, element: tuple[int, ...]) -> str:
            return f"{quantity}:{path}[{','.join(map(str, element))}]"

        return name

    return {path: of(path) for path in paths}


def symbol_names(
    recording: Recording, paths: Iterable[str], *, biases: bool = False
) -> Naming:
    """Names columns as the published tables do: `w^1_3`, `g^1_3`.

    The superscript counts the model's kernels (its variables of two or more axes),
    recorded or not; the subscript counts a kernel's elements in NumPy's order; both
    from 1.

    Args:
        recording: The recording.
        paths: The paths to take; those that are neither a kernel nor, if asked for, a
            bias, are left out.
        biases: Whether to add each kernel's bias, as `b^1_3` and its gradient
            `gb^1_3`.

    Returns:
        A naming for `wide_table`.

    Raises:
        ValueError: If no kernel (or bias) is among `paths`.
    """
    shapes = dict(recording.attributes["variables"])
    kernels = [path for path, shape in shapes.items() if len(shape) >= 2]
    layer = {_parent(path): number for number, path in enumerate(kernels, start=1)}

    def of(path: str, letters: Mapping[str, str]) -> Name:
        shape = shapes[path]

        def name(quantity: str, element: tuple[int, ...]) -> str:
            number = np.ravel_multi_index(element, shape) + 1
            return f"{letters[quantity]}^{layer[_parent(path)]}_{number}"

        return name

    naming: dict[str, Name] = {}
    for path in paths:
        if path in kernels:
            naming[path] = of(path, {"weight": "w", "gradient": "g"})
        elif biases and path.endswith("/bias") and _parent(path) in layer:
            naming[path] = of(path, {"weight": "b", "gradient": "gb"})
    if not naming:
        raise ValueError(
            "names='symbol' names kernels, and with biases=True their biases. None is "
            f"among the chosen variables: {list(paths)}. Use names='path'."
        )
    return naming


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _quantities(
    recording: Recording, path: str, records: slice = slice(None)
) -> dict[str, np.ndarray]:
    both = {"weight": recording.weights, "gradient": recording.gradients}
    return {
        quantity: np.asarray(arrays[path][records])
        for quantity, arrays in both.items()
        if path in arrays
    }
