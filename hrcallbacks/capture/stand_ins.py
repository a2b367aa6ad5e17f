"""What replaces attributes of Keras objects while a step is captured."""

from collections.abc import Iterable
from typing import Any

_MISSING: Any = object()
StandIn = tuple[Any, str, Any]  # An object, an attribute's name, and its value.


class replaced:
    """Sets attributes of instances, and puts back what was there.

    A class, not a generator: each captured step goes through it.

    Args:
        stand_ins: What replaces which attributes.
    """

    __slots__ = ("_before", "_stand_ins")

    def __init__(self, stand_ins: Iterable[StandIn]) -> None:
        self._stand_ins = stand_ins
        self._before: list[StandIn] = []

    def __enter__(self) -> None:
        """Sets them."""
        try:
            for owner, name, value in self._stand_ins:
                own = attributes(owner)
                self._before.append((own, name, own.get(name, _MISSING)))
                own[name] = value
        except BaseException:
            self._put_back()
            raise

    def __exit__(self, *_: object) -> None:
        """Puts back what was there."""
        self._put_back()

    def _put_back(self) -> None:
        while self._before:
            own, name, value = self._before.pop()
            if value is _MISSING:
                own.pop(name, None)
            else:
                own[name] = value


def attributes(owner: Any) -> dict[str, Any]:
    """An object's attributes, which may be written to.

    This bypasses `__setattr__`, with which Keras tracks what it is given.
    """
    return owner.__dict__
