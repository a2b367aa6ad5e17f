"""Format 2 of recordings on disk, and its JSON.

A Zarr 3 group that xarray opens too. At its top the columns of `Recording.index`, one
array each along the dimension `step`; in groups the columns of `storage.columns`, with
a row per record: `gradients/raw/hidden/kernel`, or `gradients/norm/norm` with a
coordinate `path`. `fits/<n>/...` has what a replay starts from, `fits/epochs` a row
`(fit, epoch, last step)` for each epoch that ended, and `batches/<step>/...` the data
of single steps.

The store's attributes are JSON: what the columns hold, and `Recording.attributes`.
While a run writes, arrays may be longer than the recording: the attribute `records` of
the group `index` says how many rows count. It is set last, after all else is written,
so that a record counts only when it is complete. When the run ends, each array is cut
to that length, and the metadata are consolidated.

Every chunk ends in a checksum (Zarr's `crc32c`), each array's metadata and the
attributes that we read have one too, in `checksum`. Every chunk is written, so that a
missing one is damage; before the record `first_record` of an array there are none.
Opening a store runs nothing that it holds.
"""

import importlib.metadata
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from hrcallbacks.storage.columns import Column
from hrcallbacks.storage.names import on_disk
from hrcallbacks.types import Fit, Key, OptimizerStart, VariableStart

FORMAT = "hrcallbacks recording"
VERSION = 2
INDEX, EPOCHS = "index", "fits/epochs"
WRITER = f"hrcallbacks {importlib.metadata.version('hrcallbacks')}"


def attributes_json(
    recording_id: str,
    columns: Iterable[Column],
    attributes: Mapping[str, Any],
    fits: Iterable[Fit],
    saved: Mapping[str, Any],
    batches: Mapping[int, Any],
) -> dict[str, Any]:
    """The attributes of a store's group.

    Args:
        recording_id: Identifies this recording.
        columns: Its columns.
        attributes: `Recording.attributes`.
        fits: The recording's fits.
        saved: By folder of the fits' arrays that are on disk, the JSON of these.
        batches: By step, the JSON of its data that are on disk.
    """
    return {
        "format": FORMAT,
        "format_version": VERSION,
        "recording_id": recording_id,
        "written_by": WRITER,
        "coordinates": "epoch batch",
        "columns": [_column_json(column) for column in columns],
        "attributes": dict(attributes),
        "fits": [_fit_json(number, fit, saved) for number, fit in enumerate(fits)],
        "batches": [list(item) for item in batches.items()],
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
    """Whether several keys may share a column, from its JSON."""
    # The first stores lack that field; only the name tells.
    return json.get("shared", json["name"].startswith("numbers"))


def weights_folder(number: int) -> str:
    """The folder of the weights that a fit started from."""
    return f"fits/{number}/weights"


def state_folder(number: int, optimizer: str) -> str:
    """The folder of the optimizer state that a fit started from."""
    return f"fits/{number}/optimizers/{on_disk(optimizer)}"


def batch_folder(step: int) -> str:
    """The folder of the data of a step."""
    return f"batches/{step}"


def fit_arrays(
    number: int, fit: Fit
) -> Iterator[tuple[str, Mapping[str, np.ndarray] | Sequence[np.ndarray]]]:
    """The arrays that a replay of a fit starts from.

    Yields:
        A folder, and its arrays, by the variable's path if they have one.
    """
    if fit.weights is not None:
        yield weights_folder(number), fit.weights
    for name, optimizer in fit.optimizers.items():
        if optimizer.state is not None:
            yield state_folder(number, name), optimizer.state


def array_json(path: str, name: str, array: np.ndarray) -> list[Any]:
    """What the attributes say of an array that is no column."""
    return [path, name, array.dtype.name, list(array.shape)]


def _fit_json(number: int, fit: Fit, saved: Mapping[str, Any]) -> dict[str, Any]:
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
        "weights": saved.get(weights_folder(number), []),
        "optimizers": {
            name: {
                "class_name": optimizer.class_name,
                "config": optimizer.config,
                "scheduled": optimizer.scheduled,
                "skips_nonfinite": optimizer.skips_nonfinite,
                "paths": list(optimizer.paths),
                "has_state": state_folder(number, name) in saved,
                "state": saved.get(state_folder(number, name), []),
            }
            for name, optimizer in fit.optimizers.items()
        },
    }


def fit_of(
    json: Mapping[str, Any],
    weights: Mapping[str, np.ndarray] | None,
    states: Mapping[str, Sequence[np.ndarray]],
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
