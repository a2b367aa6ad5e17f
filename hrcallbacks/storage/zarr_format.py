"""Format 1 of recordings on disk, and its JSON.

A Zarr 3 group with an array for each column of `storage.columns`, one row per record;
`index/<column>` with the columns of `Recording.index`; `epochs`, a row `(fit, epoch,
last step)` for each epoch that ended; `fits/<n>/...` with the arrays that a replay
starts from; `batches/<step>/...` with the data of single steps. The group's attributes
are JSON: what the columns hold, and `Recording.attributes`. Arrays may be longer than
the recording: the attribute `records` of the group `index` says how many rows count. It
is set last, after all else is written, so that a record counts only when it is
complete. Opening a store runs nothing that it holds.
"""

import importlib.metadata
from collections.abc import Collection, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from hrcallbacks.storage.columns import Column
from hrcallbacks.types import Fit, Key, OptimizerStart, VariableStart

FORMAT = "hrcallbacks recording"
VERSION = 1
WRITER = f"hrcallbacks {importlib.metadata.version('hrcallbacks')}"
_UNITS = "gradients: loss per unit of the weight; weights: the model's own"


def attributes_json(
    recording_id: str,
    columns: Iterable[Column],
    attributes: Mapping[str, Any],
    fits: Iterable[Fit],
    saved: Collection[str],
) -> dict[str, Any]:
    """The attributes of a store's group.

    Args:
        recording_id: Identifies this recording.
        columns: Its columns.
        attributes: `Recording.attributes`.
        fits: The recording's fits.
        saved: Folders of the fits' arrays that are on disk.
    """
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "recording_id": recording_id,
        "written_by": WRITER,
        "units": _UNITS,
        "columns": [_column_json(column) for column in columns],
        "attributes": dict(attributes),
        "fits": [_fit_json(number, fit, saved) for number, fit in enumerate(fits)],
    }


def _column_json(column: Column) -> dict[str, Any]:
    return {
        "name": column.name,
        "keys": [[key.quantity, key.reduction, key.path] for key in column.keys],
        "dtypes": list(column.dtypes),
        "shape": list(column.shape),
        "shared": column.is_shared,
    }


def column_of(json: Mapping[str, Any]) -> Column:
    """A column from its JSON."""
    keys = [Key(*key) for key in json["keys"]]
    shape = tuple(json["shape"])
    return Column(json["name"], keys, json["dtypes"], shape, is_shared(json))


def is_shared(json: Mapping[str, Any]) -> bool:
    """Whether a column holds single numbers, from its JSON."""
    # Older stores lack that field; only the name tells.
    return json.get("shared", json["name"].startswith("numbers"))


def weights_folder(number: int) -> str:
    """The folder of the weights that a fit started from."""
    return f"fits/{number}/weights"


def state_folder(number: int, optimizer: str) -> str:
    """The folder of the optimizer state that a fit started from."""
    return f"fits/{number}/optimizers/{optimizer}"


def fit_arrays(
    number: int, fit: Fit
) -> Iterator[tuple[str, list[tuple[str, np.ndarray]]]]:
    """The arrays that a replay of a fit starts from.

    Yields:
        A folder, and the arrays in it, each with a name.
    """
    if fit.weights is not None:
        yield weights_folder(number), list(fit.weights.items())
    for name, optimizer in fit.optimizers.items():
        if optimizer.state is not None:
            yield state_folder(number, name), [("", array) for array in optimizer.state]


def _fit_json(number: int, fit: Fit, saved: Collection[str]) -> dict[str, Any]:
    return {
        "first": fit.first,
        "ended": fit.ended,
        "fault": fit.fault,
        "run_eagerly": fit.run_eagerly,
        "variables": {
            path: [variable.dtype, variable.constraint]
            for path, variable in fit.variables.items()
        },
        "sparse": list(fit.sparse),
        "has_weights": weights_folder(number) in saved,
        "optimizers": {
            name: {
                "class_name": optimizer.class_name,
                "config": optimizer.config,
                "scheduled": optimizer.scheduled,
                "skips_nonfinite": optimizer.skips_nonfinite,
                "paths": list(optimizer.paths),
                "has_state": state_folder(number, name) in saved,
            }
            for name, optimizer in fit.optimizers.items()
        },
    }


def fit_of(
    json: Mapping[str, Any],
    weights: Mapping[str, np.ndarray] | None,
    states: Mapping[str, list[np.ndarray]],
) -> Fit:
    """A fit from its JSON and its arrays.

    Args:
        json: The JSON.
        weights: The weights that it started from.
        states: By name of an optimizer, the state that it started from.
    """
    return Fit(
        first=json["first"],
        ended=json["ended"],
        fault=json["fault"],
        run_eagerly=json.get("run_eagerly", False),
        weights=weights,
        variables={
            path: VariableStart(dtype, constraint)
            for path, (dtype, constraint) in json.get("variables", {}).items()
        },
        sparse=json.get("sparse", ()),
        optimizers={
            name: OptimizerStart(
                class_name=optimizer["class_name"],
                config=optimizer.get("config"),
                scheduled=optimizer.get("scheduled", False),
                skips_nonfinite=optimizer.get("skips_nonfinite", False),
                paths=optimizer.get("paths", ()),
                state=states.get(name),
            )
            for name, optimizer in json["optimizers"].items()
        },
    )
