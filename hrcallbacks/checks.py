"""Argument checks that several modules share."""

import operator
from typing import Any

import numpy as np


def positive_integer(value: object, name: str, *, hint: str = "") -> int:
    """Returns an argument as an int, if it is 1 or more.

    Args:
        value: The argument: an int or an integer of another type, such as NumPy's, but
            not a bool.
        name: Name of the argument, for the message.
        hint: What to type instead, for the end of the message.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> positive_integer(3, "n")
        3
    """
    number = _index(value)
    if number is None or number < 1:
        raise ValueError(
            f"Expected {name}: an int, 1 or more. Received: {name}={value!r}."
            + (f" {hint}" if hint else "")
        )
    return number


def seed_of(value: object) -> int:
    """Returns a seed as an int, if it is one that NumPy takes.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> seed_of(3)
        3
    """
    number = _index(value)
    if number is None or not 0 <= number < 2**32:
        raise ValueError(f"Expected seed: an int from 0. Received: {value!r}.")
    return number


def _index(value: Any) -> int | None:  # Any type: index() checks it.
    if isinstance(value, bool | np.bool_):  # Which NumPy 2.0 still takes for 0 and 1.
        return None
    try:
        return operator.index(value)
    except TypeError:
        return None


def choice(value: object, name: str, choices: tuple[object, ...]) -> None:
    """Rejects an argument that is not one of `choices`.

    Raises:
        ValueError: If it is not one of them.
    """
    known = any(value is c or (type(value) is type(c) and value == c) for c in choices)
    if not known:
        raise ValueError(
            f"Expected {name} to be one of {choices}. Received: {value!r}."
        )
