"""The same variable has the same path in each of several runs."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.types import Fit

# Numbers that names end in, by the name without them; 0 for a name that has none.
_Numbers = Mapping[str, set[int]]


def aligned_paths(runs: Sequence[Sequence[str]]) -> list[dict[str, str]]:
    """Paths without the numbers that Keras counts on from one model to the next.

    Keras calls the second model of a process `sequential_1` and its layers `dense_2`,
    `dense_3`. Where names that differ only in such numbers are shifted from run to run,
    or are all different, each run counts from 0; other names stay as they are.

    Args:
        runs: The paths of each run's model.

    Returns:
        For each run, from path to the name that it has in all of them.

    Example:
        >>> first, second = aligned_paths(
        ...     [["net/dense/kernel"], ["net/dense_1/kernel"]]
        ... )
        >>> second
        {'net/dense_1/kernel': 'net/dense/kernel'}
    """
    numbers = [_numbers(paths) for paths in runs]
    bases = {base for found in numbers for base in found}
    counted = {base for base in bases if _is_counted_on(numbers, base)}
    return [
        {path: _renumbered(path, found, counted) for path in paths}
        for paths, found in zip(runs, numbers, strict=True)
    ]


class _Part(NamedTuple):
    base: str
    number: int


def _part(name: str) -> _Part:
    # As Keras counts: no leading zeros, and the first has no number.
    found = re.fullmatch(r"(.+)_([1-9]\d*)", name)
    return _Part(found[1], int(found[2])) if found else _Part(name, 0)


def _numbers(paths: Iterable[str]) -> dict[str, set[int]]:
    found: dict[str, set[int]] = {}
    for path in paths:
        for part in map(_part, path.split("/")):
            found.setdefault(part.base, set()).add(part.number)
    return found


def _is_counted_on(runs: Sequence[_Numbers], base: str) -> bool:
    sets = [run[base] for run in runs if base in run]
    distinct = [*{frozenset(numbers) for numbers in sets}]
    shifted = {frozenset(n - min(numbers) for n in numbers) for numbers in distinct}
    apart = sum(map(len, distinct)) == len(frozenset[int]().union(*distinct))
    return len(distinct) > 1 and (len(shifted) == 1 or apart)


def _renumbered(path: str, numbers: _Numbers, counted: set[str]) -> str:
    def name(text: str) -> str:
        part = _part(text)
        if part.base not in counted:
            return text
        number = part.number - min(numbers[part.base])
        return f"{part.base}_{number}" if number else part.base

    return "/".join(map(name, path.split("/")))


def renamed(recording: "Recording", names: Mapping[str, str]) -> "Recording":
    """A recording whose paths are called otherwise; the same one if none is.

    Args:
        recording: A recording.
        names: From path to name.
    """
    if all(path == name for path, name in names.items()):
        return recording
    variables = recording.attributes.get("variables", ())
    shapes = [(names.get(path, path), shape) for path, shape in variables]
    return type(recording)(
        index=recording.index,
        arrays={k: a.renamed(names) for k, a in recording.arrays_by_kind.items()},
        attributes=recording.attributes | {"variables": shapes},
        fits=[_renamed_fit(fit, names) for fit in recording.fits],
    )


def _renamed_fit(fit: "Fit", names: Mapping[str, str]) -> "Fit":
    def by_name(values: Mapping[str, Any]) -> dict[str, Any]:
        return {names.get(path, path): value for path, value in values.items()}

    def listed(paths: Sequence[str | None]) -> list[str | None]:
        return [path and names.get(path, path) for path in paths]

    return replace(
        fit,
        weights=None if fit.weights is None else by_name(fit.weights),
        variables=by_name(fit.variables),
        sparse=[names.get(path, path) for path in fit.sparse],
        optimizers={
            number: replace(optimizer, paths=listed(optimizer.paths))
            for number, optimizer in fit.optimizers.items()
        },
    )
