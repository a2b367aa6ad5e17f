"""What replaces attributes of Keras objects while a step is captured."""

import contextlib
from collections.abc import Generator, Iterable
from typing import Any

import keras

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


def find_optimizers(model: Any) -> list[Any]:
    """Each optimizer that the model holds, directly or in a list or dict."""
    held: list[Any] = []
    for value in vars(model).values():
        if isinstance(value, dict):
            held.extend(value.values())
        elif isinstance(value, (list, tuple)):
            held.extend(value)
        else:
            held.append(value)
    optimizers = (o for o in held if isinstance(o, keras.optimizers.Optimizer))
    return list({id(o): o for o in optimizers}.values())
