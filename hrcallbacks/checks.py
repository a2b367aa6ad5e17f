"""Checks of arguments that several modules share."""

import operator
from typing import Any


def positive_integer(value: object, name: str, *, hint: str = "") -> int:
    """An argument as an int, if it is one of 1 or more.

    Args:
        value: What was passed: an int, or what stands for one, such as NumPy's. A bool
            does not.
        name: Name of the argument, for the message.
        hint: What to type instead: the end of the message.

    Raises:
        ValueError: If it is anything else.

    Example:
        >>> positive_integer(3, "n")
        3
    """
    number = None if isinstance(value, bool) else _index(value)
    if number is None or number < 1:
        raise ValueError(
            f"Expected {name}: an int, 1 or more. Received: {name}={value!r}."
            + (f" {hint}" if hint else "")
        )
    return number


def _index(value: Any) -> int | None:  # Of whatever type; index() finds out.
    try:
        return operator.index(value)
    except TypeError:
        return None


def choice(value: object, name: str, choices: tuple[object, ...]) -> None:
    """Refuses an argument that is none of a few.

    Raises:
        ValueError: If it is none of them.
    """
    known = any(value is c or (type(value) is type(c) and value == c) for c in choices)
    if not known:
        raise ValueError(
            f"Expected {name} to be one of {choices}. Received: {value!r}."
        )
