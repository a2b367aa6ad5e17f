"""What replaces attributes of Keras objects while a step is captured."""

import contextlib
from collections.abc import Generator, Iterable
from typing import Any

_MISSING: Any = object()
StandIn = tuple[Any, str, Any]  # An object, an attribute's name, and its value.


@contextlib.contextmanager
def replaced(stand_ins: Iterable[StandIn]) -> Generator[None, None, None]:
    """Sets attributes of instances, and puts back what was there."""
    before = []
    try:
        for owner, name, value in stand_ins:
            own = attributes(owner)
            before.append((own, name, own.get(name, _MISSING)))
            own[name] = value
        yield
    finally:
        for own, name, value in reversed(before):
            if value is _MISSING:
                own.pop(name, None)
            else:
                own[name] = value


def attributes(owner: Any) -> dict[str, Any]:
    """An object's attributes, which may be written to.

    This bypasses `__setattr__`, with which Keras tracks what it is given.
    """
    return owner.__dict__
