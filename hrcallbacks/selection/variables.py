"""Which variables are recorded."""

from __future__ import annotations

import difflib
import fnmatch
import functools
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

# With more names than this, an error is too long to read.
_MOST_NAMED = 20


def unique_paths(variables: Iterable[Any]) -> list[str]:
    """Names each variable by its path, and tells repeated paths apart.

    Keras lets two variables share a path (two layers given the same name). The
    second becomes `path#2`, the third `path#3`.

    Args:
        variables: Keras variables, in the model's order.

    Returns:
        Distinct names, one per variable.
    """
    seen: dict[str, int] = {}
    paths: list[str] = []
    for variable in variables:
        count = seen[variable.path] = seen.get(variable.path, 0) + 1
        paths.append(variable.path if count == 1 else f"{variable.path}#{count}")
    return paths


def matches(path: str, glob: str) -> bool:
    """Whether a glob matches a path, or what follows one of the path's slashes.

    A path begins with the model's name, which Keras numbers (`sequential_3`), so
    `"hidden/*"` must match `"sequential_3/hidden/kernel"`. `*` also matches `/`.

    Example:
        >>> matches("sequential_3/hidden/kernel", "hidden/*")
        True
    """
    return pattern_of(glob).match(path) is not None


@functools.cache
def pattern_of(glob: str) -> re.Pattern[str]:
    """What matches where `matches` does.

    PyTorch's compiler can look into a match, but not into a cache.
    """
    return re.compile(f"(?s:.*/)?{fnmatch.translate(glob)}")


def check_pattern(variables: object) -> None:
    """Rejects a `variables` argument that is not a selection.

    Raises:
        TypeError: If it is not None, a glob, globs, or a callable.
        ValueError: If it is an empty list.
    """
    if variables is None or callable(variables):
        return
    if isinstance(variables, str):
        globs = [variables] if variables else []
    else:
        globs = list(variables) if isinstance(variables, Iterable) else [variables]
    if not globs:
        raise ValueError(
            f"variables={variables!r} selects nothing. Use None for every trainable "
            "variable, or a glob such as variables='*/kernel'."
        )
    if not all(isinstance(glob, str) for glob in globs):
        raise TypeError(
            "Expected `variables` to be None, a glob or a list of globs on "
            "Variable.path, or a callable(variable) -> bool. "
            f"Received: {_described(variables)}."
        )


def _described(variables: object) -> str:
    several = isinstance(variables, list | tuple | set)
    items: Iterable[Any] = variables if several else [variables]
    if paths := [v.path for v in items if hasattr(v, "path")]:
        return f"Keras variables. Use their paths: variables={paths}"
    kinds = sorted({type(v).__name__ for v in items})
    of = f" of {', '.join(kinds)}" if several else ""
    return f"{variables!r:.200} ({type(variables).__name__}{of})"


def select_variables(
    variables: str | Sequence[str] | Callable[[Any], bool] | None,
    trainable: Sequence[Any],
) -> dict[str, Any]:
    """Picks the trainable variables to record.

    Args:
        variables: None for all, a glob or list of globs on the variable's path (see
            `matches`), or a `callable(variable) -> bool`.
        trainable: The model's trainable Keras variables.

    Returns:
        The variables by path (see `unique_paths`), in the model's order.

    Raises:
        ValueError: If the model has no trainable variables, or if a glob or the
            callable matches none.
    """
    named = dict(zip(unique_paths(trainable), trainable, strict=True))
    if not named:
        raise ValueError(
            "The model has no trainable variables, so there are no gradients to "
            "record. Add a layer with weights, or set layer.trainable = True and "
            "compile() again."
        )
    if variables is None:
        return named
    if callable(variables):
        chosen = {path: v for path, v in named.items() if variables(v)}
        if not chosen:
            raise _nothing_matches(variables, named)
        return chosen
    globs = [variables] if isinstance(variables, str) else list(variables)
    for glob in globs:
        if not any(matches(path, glob) for path in named):
            raise _nothing_matches(glob, named)
    return {
        path: v
        for path, v in named.items()
        if any(matches(path, glob) for glob in globs)
    }


def choose_paths(
    paths: Iterable[str], variables: str | Sequence[str] | None
) -> list[str]:
    """Picks from the recorded variables.

    Args:
        paths: The recorded paths.
        variables: None for all, or a glob or list of globs on the paths.

    Returns:
        The chosen paths, in their order.

    Raises:
        TypeError: If `variables` has the wrong type.
        ValueError: If nothing matches.
    """
    check_pattern(variables)
    if variables is None:
        return list(paths)
    if callable(variables):
        raise TypeError("Expected variables: a glob or a list of globs on the paths.")
    globs = [variables] if isinstance(variables, str) else list(variables)
    chosen = [p for p in paths if any(matches(p, g) for g in globs)]
    if not chosen:
        raise ValueError(
            f"No recorded variable matches variables={variables!r}. "
            f"There are: {list(paths)}."
        )
    return chosen


def _nothing_matches(pattern: object, named: Mapping[str, Any]) -> ValueError:
    what = getattr(pattern, "__qualname__", repr(pattern))
    return ValueError(
        f"No trainable variable matches variables={what}. The model has: "
        f"{few_of(list(named))} "
        "(frozen variables have no gradient). "
        f"Try variables={close_glob(pattern, named)!r}."
    )


def few_of(names: Sequence[str]) -> str:
    """Names as a list; of many the first and the last ones."""
    if len(names) <= _MOST_NAMED:
        return str(list(names))
    half = _MOST_NAMED // 2
    first, last = str(list(names[:half])), str(list(names[-half:]))
    return f"{first[:-1]}, ... {len(names) - 2 * half} more ..., {last[1:]}"


def close_glob(pattern: object, paths: Iterable[str]) -> str:
    """The matching glob that is most like the given one."""
    globs: dict[str, str] = {}
    for path in paths:
        parts = path.split("/")
        for start in range(len(parts)):
            globs.setdefault("/".join(parts[start:]).lower(), "/".join(parts[start:]))
        for end in range(1, len(parts)):
            layer = "/".join(parts[max(0, end - 1) : end])
            globs.setdefault(layer.lower(), f"{layer}/*")
    asked = str(pattern).lower().strip("*/")
    found = difflib.get_close_matches(asked, globs, n=1, cutoff=0.6)
    return globs[found[0]] if found else "*/" + next(iter(paths)).rpartition("/")[2]
