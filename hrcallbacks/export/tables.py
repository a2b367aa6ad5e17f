"""Recordings as tables: wide, tidy, and with the symbols of the published tables."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np
import pandas as pd

from hrcallbacks.checks import choice
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# Wider than anyone reads, and pandas takes long to lay it out.
_MOST_COLUMNS = 20_000

# Names a column, given the quantity ("weight" or "gradient") and an element's index.
Name: TypeAlias = Callable[[str, tuple[int, ...]], str]
# How the columns of each path are named.
Naming: TypeAlias = Mapping[str, Name]


def frame_of(
    recording: Recording,
    *,
    layout: Literal["wide", "tidy"],
    names: Literal["path", "symbol"],
    variables: str | Sequence[str] | None,
    biases: bool,
) -> pd.DataFrame:
    """A recording as one table; see `Recording.to_frame`."""
    choice(layout, "layout", ("wide", "tidy"))
    choice(names, "names", ("path", "symbol"))
    if biases and names != "symbol":
        raise ValueError(
            "biases=True belongs to names='symbol'. With names='path' each "
            "recorded variable has its columns; variables='*/bias' chooses."
        )
    paths = raw_paths(recording, variables)
    if layout == "tidy":
        if names == "symbol":
            raise ValueError("names='symbol' belongs to layout='wide'.")
        return tidy_table(recording, paths)
    if names == "symbol":
        return wide_table(recording, symbol_names(recording, paths, biases=biases))
    return wide_table(recording, path_names(paths))


def raw_paths(recording: Recording, variables: str | Sequence[str] | None) -> list[str]:
    """The chosen paths of which every element was recorded.

    Args:
        recording: A recording.
        variables: A glob or list of globs on the paths; None for all.

    Raises:
        ValueError: If it is empty, nothing matches, or there are no such paths.
    """
    if not len(recording):
        raise ValueError(
            "The recording is empty: none of the selected steps was run. "
            "Pass the recorder to fit, model.fit(..., callbacks=[recorder]), and "
            "look at its record_freq."
        )
    paths = choose_paths(recording.paths, variables)
    raw = [p for p in paths if p in recording.gradients or p in recording.weights]
    if not raw:
        raise ValueError(
            "A table has every element of what it shows, and none was recorded "
            f"'raw' of {list(paths)[:5]}. There are: {recording.recorded}. See "
            "recording.statistic(quantity, reduction)."
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
