"""Recordings as tables: wide, tidy, and with the symbols of the published tables."""

import math

import numpy as np
import pandas as pd

# Wider than anyone reads, and pandas takes long to lay it out.
_MOST_COLUMNS = 20_000


def wide_table(recording, naming):
    """One row a record: the index, then weight and gradient of each element in turn.

    Args:
        recording: A `Recording`.
        naming: Dict from path to a function that names a column, given the quantity
            (`"weight"` or `"gradient"`) and the element's index, a tuple.

    Returns:
        A DataFrame.

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


def tidy_table(recording, paths, records=slice(None)):
    """One row a record and element.

    Args:
        recording: A `Recording`.
        paths: The paths to take.
        records: The records to take, a slice.

    Returns:
        A DataFrame with columns `step`, `epoch`, `path` (categorical), `element` (the
        index into the flattened variable, from 0), `weight`, `gradient`, or the
        one of these two that was recorded.
    """
    blocks = []
    index = recording.index[records]
    for path in paths:
        quantities = _quantities(recording, path, records)
        flat = {q: a.reshape(len(index), -1) for q, a in quantities.items()}
        size = next(iter(flat.values())).shape[1]
        block = {
            "step": np.repeat(index["step"].to_numpy(), size),
            "epoch": np.repeat(index["epoch"].to_numpy(), size),
            "path": pd.Categorical([path], categories=paths).repeat(len(index) * size),
            "element": np.tile(np.arange(size), len(index)),
        }
        blocks.append(pd.DataFrame(block | {q: a.ravel() for q, a in flat.items()}))
    table = pd.concat(blocks, ignore_index=True)
    return table.sort_values(["step", "path", "element"], ignore_index=True)


def path_names(paths):
    """Names columns by path and index: `weight:hidden/kernel[0,2]`.

    Args:
        paths: The paths to take.

    Returns:
        A naming for `wide_table`.
    """

    def of(path):
        def name(quantity, element):
            return f"{quantity}:{path}[{','.join(map(str, element))}]"

        return name

    return {path: of(path) for path in paths}


def symbol_names(recording, paths, *, biases=False):
    """Names columns as the published tables do: `w^1_3`, `g^1_3`.

    The superscript counts the model's kernels (its variables of two or more axes),
    recorded or not; the subscript counts a kernel's elements in NumPy's order; both
    from 1.

    Args:
        recording: A `Recording`.
        paths: The paths to take; those that are neither kernel nor, if asked for,
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

    def of(path, letters):
        shape = shapes[path]

        def name(quantity, element):
            number = np.ravel_multi_index(element, shape) + 1
            return f"{letters[quantity]}^{layer[_parent(path)]}_{number}"

        return name

    naming = {}
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


def _parent(path):
    return path.rpartition("/")[0]


def _quantities(recording, path, records=slice(None)):
    both = {"weight": recording.weights, "gradient": recording.gradients}
    return {
        quantity: np.asarray(arrays[path][records])
        for quantity, arrays in both.items()
        if path in arrays
    }
