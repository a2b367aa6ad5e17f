"""What the pictures of layers take from a recording."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot import source, style
from hrcallbacks.reductions.per_unit import PerUnit, UnitReduction
from hrcallbacks.selection.variables import matches

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

LayerQuantity = Literal["outputs", "output_gradients"]

# More records than a screen has columns; of more, some are drawn.
_MOST_RECORDS = 1_000
_MOST_PANELS = 12
_PREACTIVATION = "/preactivation"


def some_records(recording: Recording) -> npt.NDArray[np.integer]:
    """Numbers of all records, or of every n-th, up to 1,000."""
    return np.arange(0, len(recording), -(-len(recording) // _MOST_RECORDS))


def names_of(
    recording: Recording, quantity: LayerQuantity, layers: str | Sequence[str] | None
) -> list[str]:
    """Names of the outputs of the chosen layers, of which anything was recorded.

    Args:
        recording: The recording.
        quantity: Of what.
        layers: A glob or list of globs on the names; None for all outputs, without
            what goes into activations.

    Raises:
        TypeError: If `layers` has the wrong type.
        ValueError: If nothing matches.
    """
    kinds = recording.reductions_of(quantity)
    there = {name for kind in kinds for name in recording.arrays(quantity, kind)}
    # The flags are of all, in the order in which layers are called.
    flags = {
        "outputs": recording.has_output,
        "output_gradients": recording.has_output_gradient,
    }
    known = [name for name in flags[quantity] if name in there]
    if layers is None:
        outputs = [name for name in known if not name.endswith(_PREACTIVATION)]
        return outputs or known
    globs = [layers] if isinstance(layers, str) else list(layers)
    if not all(isinstance(glob, str) for glob in globs):
        raise TypeError(f"Expected layers: a glob or a list of globs. Got: {layers!r}.")
    chosen = [name for name in known if any(matches(name, glob) for glob in globs)]
    if not chosen:
        raise ValueError(
            f"No recorded layer matches layers={layers!r}. There are: {known}."
        )
    return chosen


def check_panels(names: Sequence[str]) -> None:
    """Refuses more panels than can be read.

    Raises:
        ValueError: If there are more than 12.
    """
    if len(names) > _MOST_PANELS:
        raise ValueError(
            f"That would be {len(names)} panels, and {_MOST_PANELS} can be read. "
            f"Choose some layers, such as layers={names[0]!r}."
        )


def short_names(names: Iterable[str]) -> dict[str, str]:
    """What pictures call each layer: without the model's name, if all begin with it."""
    listed = list(names)
    heads = {name.partition("/")[0] for name in listed}
    strip = len(heads) == 1 and all(
        "/" in name.removesuffix(_PREACTIVATION) for name in listed
    )
    shown = {name: name.partition("/")[2] if strip else name for name in listed}
    return {name: style.plain_text(text) for name, text in shown.items()}


def activation_of(recording: Recording, name: str) -> str | None:
    """The activation of the layer that a name belongs to, as far as it is known."""
    path = re.sub(r"(#\d+)?(\.[^/]*)?$", "", name)
    layers: Sequence[dict[str, Any]] = (recording.model or {}).get("layers", ())
    found = (layer.get("activation") for layer in layers if layer["path"] == path)
    return next(found, None)


class Rows:
    """A layer's outputs in each record, without rows that the batch did not have.

    Args:
        recording: The recording.
        quantity: Outputs, or the gradients of them.
        name: The output's name.
    """

    def __init__(
        self, recording: Recording, quantity: LayerQuantity, name: str
    ) -> None:
        kinds = ["raw", *source.recorded_kind(recording, quantity, "Rows")]
        arrays = (recording.arrays(quantity, kind) for kind in kinds)
        self._array: Any = next((a[name] for a in arrays if name in a), None)
        rows = recording.output_rows.get(name)
        self._rows = None if rows is None else rows.to_numpy()

    def __bool__(self) -> bool:
        """Whether there are any."""
        return self._array is not None

    @property
    def units(self) -> tuple[int, ...]:
        """How many units there are, `(units,)`; nothing if it has rows alone."""
        return tuple(self._array.shape[2:][-1:])

    def of(self, record: int) -> npt.NDArray[np.float64]:
        """Those of a record; none if the layer gave none."""
        row = np.asarray(self._array[record], np.float64)
        if self._rows is None:
            return row
        count = self._rows[record]
        return row[: 0 if np.isnan(count) else int(count)]


def per_unit(
    recording: Recording,
    quantity: LayerQuantity,
    name: str,
    of: UnitReduction,
    records: npt.NDArray[np.integer],
) -> npt.NDArray[np.float64] | None:
    """A number for each unit, `(records, units)`: recorded, or of recorded outputs.

    Args:
        recording: The recording.
        quantity: Outputs, or the gradients of them.
        name: The output's name.
        of: What number.
        records: Of which records.

    Returns:
        None if neither was recorded.
    """
    for kind, about in source.recorded_kind(recording, quantity, "PerUnit").items():
        arrays = recording.arrays(quantity, kind)
        if about.get("of") == of and name in arrays:
            return np.asarray(arrays[name], np.float64)[records]
    rows, reduction = Rows(recording, quantity, name), PerUnit(of)
    if not rows or not rows.units:
        return None
    made = (rows.of(int(n)) for n in records)
    none = np.full(rows.units, np.nan)
    return np.array([reduction.on_host(row) if row.size else none for row in made])
