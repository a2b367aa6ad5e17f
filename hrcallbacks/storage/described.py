"""What other readers are told of a column: dimensions, units, coordinates."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from hrcallbacks.storage.column_names import BIN, HIGH, LOW, PATH
from hrcallbacks.storage.columns import Column
from hrcallbacks.types import HAS_GRADIENT, HAS_OUTPUT, HAS_OUTPUT_GRADIENT, OUTPUT_ROWS

STEP = "step"
# Units of what has those of the tensor itself. Others have their own.
_OF_TENSOR = {
    "gradients": "loss per unit of the variable",
    "weights": "unit of the variable",
    "outputs": "unit of the output",
    "output_gradients": "loss per unit of the output",
}
_OF_REDUCTION = {
    "zero_fraction": "1",
    "nonfinite": "elements",
    "update_ratio": "1",
}
_OF_FLAG = {
    HAS_GRADIENT: "1 where the variable got a gradient, else 0",
    HAS_OUTPUT: "1 where the layer gave that output, else 0",
    HAS_OUTPUT_GRADIENT: "1 where there was a gradient of the output, else 0",
    OUTPUT_ROWS: "number of rows of the output",
}
_OF_INDEX = {
    "step": "training step, counted from 1 over the whole run",
    "epoch": "epoch, counted from 1 in each fit",
    "batch": "batch in the epoch, counted from 1",
    "call": "which update of a variable, if the step made several",
    "loss": "loss of this batch, before the update",
}
# What an `hr.Histogram` counts after its bins.
_BESIDE = {"zero": 0.0, "nan": np.nan, "inf": np.inf}


@dataclass(frozen=True)
class Coordinate:
    """An array beside a statistic.

    Attributes:
        name: Its name.
        dimension: Along what it lies.
        values: Text or float64.
        attributes: Its description.
    """

    name: str
    dimension: str
    values: Any
    attributes: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Described:
    """What describes a column.

    Attributes:
        dimensions: Names of its axes; unique in the store, but for shared ones.
        attributes: Units and a description.
        coordinates: Arrays in its group.
    """

    dimensions: tuple[str, ...]
    attributes: Mapping[str, Any]
    coordinates: tuple[Coordinate, ...] = ()


def described(column: Column, reductions: Mapping[str, Any]) -> Described:
    """What other readers are told of a column.

    Args:
        column: The column.
        reductions: `Recording.attributes["reductions"]`.
    """
    quantity, reduction, path = column.keys[0]
    about = reductions.get(quantity, {}).get(reduction, {})
    edges = about.get("edges") if isinstance(about, Mapping) else None
    attributes = {"quantity": quantity, "reduction": reduction}
    units = "elements" if edges is not None else _units(quantity, reduction)
    attributes |= {"units": units} if units else {}
    attributes["long_name"] = _name(quantity, reduction)
    if not column.is_shared:
        of = path if reduction == "raw" else f"{path}:{reduction}"
        axes = [f"{of}:axis_{n}" for n in range(len(column.shape))]
        attributes |= {"path": path, "long_name": f"{attributes['long_name']} {path}"}
        return Described((STEP, *axes), attributes)
    paths = [key.path for key in column.keys]
    coordinates = [Coordinate(PATH, PATH, paths, {"long_name": "path"})]
    if edges is not None and column.each == (len(edges) - 1 + len(_BESIDE),):
        axes = [BIN]
        coordinates += _bins(edges)
    else:
        axes = [f"axis_{n}" for n in range(len(column.each))]
    return Described((STEP, PATH, *axes), attributes, tuple(coordinates))


def _bins(edges: Any) -> list[Coordinate]:
    beside = [*_BESIDE.values()]
    count = "magnitudes from `low` to below `high`; then zeros, NaN and infinities"
    return [
        Coordinate(
            BIN, BIN, [*map(str, range(len(edges) - 1)), *_BESIDE], {"long_name": count}
        ),
        Coordinate(LOW, BIN, np.array([*edges[:-1], *beside], np.float64)),
        Coordinate(HIGH, BIN, np.array([*edges[1:], *beside], np.float64)),
    ]


def _units(quantity: str, reduction: str) -> str | None:
    if quantity in _OF_FLAG:
        return "1"
    return _OF_REDUCTION.get(reduction, _OF_TENSOR.get(quantity))


def _name(quantity: str, reduction: str) -> str:
    if quantity in _OF_FLAG:
        return _OF_FLAG[quantity]
    return quantity if reduction == "raw" else f"{reduction} of {quantity}"


def described_index(name: str, axes: int) -> Described:
    """What other readers are told of a column of the index.

    Args:
        name: Its name in `Recording.index`.
        axes: How many axes a row of it has.
    """
    about = _OF_INDEX.get(name, name)
    units = {} if name not in _OF_INDEX or name == "loss" else {"units": "1"}
    dimensions = (STEP, *(f"{name}:axis_{n}" for n in range(axes)))
    return Described(dimensions, {"name": name, "long_name": about, **units})
