"""Puts the weights of a record back into a model."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrcallbacks.recording.alignment import aligned_paths

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

_MOST_NAMED = 20


@dataclass(frozen=True)
class Restored:
    """What was put back into a model.

    Attributes:
        step: The step of the record.
        weights: Paths of the variables of the model, as it names them.
        optimizer: Paths of the variables of its optimizers; empty if they were left as
            they are.
    """

    step: int
    weights: list[str]
    optimizer: list[str]


def restore(
    recording: Recording,
    model: Any,
    step: int | None = None,
    *,
    optimizer: bool = True,
    partial: bool = False,
) -> Restored:
    """Sets a model's weights to those of a record; see `Recording.restore`."""
    record = _record_of(recording, step)
    step = int(recording.index["step"].iloc[record])
    values = _weights(recording, model, record, partial=partial)
    own = dict(_variables(model))
    state: dict[str, tuple[Any, np.ndarray]] = {}
    if optimizer:
        state = _optimizer(recording, model, record, partial=partial)
    # Nothing is set until all is known to fit.
    for path, value in values.items():
        own[path].assign(value)
    for variable, value in state.values():
        variable.assign(value)
    return Restored(step, [*values], [*state])


def _record_of(recording: Recording, step: int | None) -> int:
    steps = recording.index["step"].to_numpy()
    if not len(steps):
        raise ValueError("The recording is empty: there is nothing to restore.")
    if step is None:
        return len(steps) - 1
    found = np.flatnonzero(steps == step)
    if not len(found):
        near = np.unique(steps)[np.argsort(np.abs(np.unique(steps) - step))[:3]]
        raise ValueError(
            f"Step {step} was not recorded. There are {len(steps):,} records, of steps "
            f"{steps[0]} to {steps[-1]}; the nearest are {sorted(near.tolist())}."
        )
    return int(found[-1])  # Of several updates in a step, the last one.


# The weights.


def _variables(model: Any) -> Iterable[tuple[str, Any]]:
    from hrcallbacks.selection.variables import unique_paths

    return zip(unique_paths(model.weights), model.weights, strict=True)


def _weights(
    recording: Recording, model: Any, record: int, *, partial: bool
) -> dict[str, np.ndarray]:
    """The recorded weights, by the paths that the model has for them."""
    arrays = recording.weights
    if not len(arrays):
        raise ValueError(
            "Restoring needs raw weights: GradientRecorder(weights='raw'). Recorded "
            f"were: {recording.recorded or 'none at all'}."
        )
    if not model.built:
        raise ValueError(
            f"The model {model.name!r} has no weights yet. Build it first: "
            "model.build(input_shape)."
        )
    own = dict(_variables(model))
    names = _names(recording, arrays, own)
    missing = [path for path in arrays if names.get(path) not in own]
    if missing:
        raise ValueError(
            f"The model {model.name!r} has no {_some(missing)}, of which the recording "
            f"has weights. It has: {_some(own)}."
        )
    lacking = [path for path in own if path not in {names[p] for p in arrays}]
    if lacking and not partial:
        raise ValueError(
            f"The recording has no raw weights of {_some(lacking)}, so this would not "
            f"be the model of that step. It has: {_some(arrays)}. restore(model, "
            "step, partial=True) leaves the others as they are."
        )
    for path in arrays:
        was, now = tuple(arrays[path].shape[1:]), tuple(own[names[path]].shape)
        if was != now:
            raise ValueError(
                f"{path!r} was recorded with shape {was}; in {model.name!r} it has "
                f"shape {now}."
            )
    return {names[path]: np.asarray(arrays[path][record]) for path in arrays}


def _names(
    recording: Recording, arrays: Iterable[str], own: Mapping[str, Any]
) -> dict[str, str]:
    """From a recorded path to the model's; a copy of a model has other numbers."""
    recorded = list(arrays)
    if all(path in own for path in recorded):
        return {path: path for path in recorded}
    known = [path for path, _ in recording.attributes.get("variables", ())]
    ours, theirs = aligned_paths([known or recorded, list(own)])
    by_name = {name: path for path, name in theirs.items()}
    return {path: by_name.get(ours.get(path, path), path) for path in recorded}


# The optimizer.


def _optimizer(
    recording: Recording, model: Any, record: int, *, partial: bool
) -> dict[str, tuple[Any, np.ndarray]]:
    from hrcallbacks.quantities.optimizer_state import state_of
    from hrcallbacks.selection.optimizers import find_optimizers

    arrays, optimizers = recording.optimizer, find_optimizers(model)
    if not len(arrays) or not optimizers:
        return {}
    record = _record_of_state(recording, record)
    for each in optimizers:
        if not each.built:
            each.build(model.trainable_variables)
    own = state_of(optimizers)
    names = _names_of_state(arrays, own)
    if names is None:
        raise ValueError(
            f"The optimizers of {model.name!r} have not the variables that were "
            f"recorded: {_some(arrays)}. They have: {_some(own)}. restore(model, "
            "step, optimizer=False) leaves them as they are."
        )
    lacking = [path for path in own if path not in names.values()]
    if lacking and not partial:
        raise ValueError(
            f"Of the optimizer's variables, {_some(lacking)} were not recorded "
            f"'raw'. There are: {_some(arrays)}. restore(model, step, "
            "partial=True) leaves the others as they are; optimizer=False all."
        )
    values = {name: np.asarray(arrays[path][record]) for path, name in names.items()}
    unknown = [
        name
        for name, value in values.items()
        if np.isnan(value).any() and "int" in str(own[name].dtype)
    ]
    if unknown:  # Counters of an optimizer that made no update in that record.
        raise ValueError(
            f"The record has no values of {_some(unknown)}: another optimizer made its "
            "update. restore(model, step, optimizer=False) leaves them as they are."
        )
    return {name: (own[name], value) for name, value in values.items()}


def _record_of_state(recording: Recording, record: int) -> int:
    """The record with the optimizer's variables that belong to a record's weights."""
    if recording.attributes["weights_at"] == "after":
        return record
    steps = recording.index["step"].to_numpy()
    if record == 0 or steps[record - 1] < steps[record] - 1:
        raise ValueError(
            f"The weights are those before step {steps[record]} (weights_at='before'), "
            "and the optimizer's variables are those after each step: these would be "
            f"in a record of step {steps[record] - 1}, which there is not. "
            "restore(model, step, optimizer=False) leaves them as they are."
        )
    return record - 1


def _names_of_state(
    arrays: Mapping[str, Any], own: Mapping[str, Any]
) -> dict[str, str] | None:
    """From a recorded path to the optimizer's; None if they do not fit."""
    shapes = {path: tuple(array.shape[1:]) for path, array in arrays.items()}
    fits = all(p in own and tuple(own[p].shape) == s for p, s in shapes.items())
    if fits:
        return {path: path for path in shapes}
    # Of a copy of the model: the same variables in turn, numbers apart.
    recorded = sorted(shapes, key=lambda path: not shapes[path])
    theirs = sorted(own, key=lambda path: not tuple(own[path].shape))
    same = [shapes[p] for p in recorded] == [tuple(own[p].shape) for p in theirs]
    return dict(zip(recorded, theirs, strict=True)) if same else None


def _some(paths: Iterable[str]) -> str:
    listed = list(paths)
    more = len(listed) - _MOST_NAMED
    return f"{listed[:_MOST_NAMED]}{f' and {more} more' if more > 0 else ''}"
