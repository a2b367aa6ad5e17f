"""Numbers that say whether a record has something: 1.0 or 0.0."""

import numpy as np

from hrcallbacks.types import Key, Spec

_THERE, _MISSING = np.asarray(1.0), np.asarray(0.0)
for _flag in (_THERE, _MISSING):  # Each record has the same two.
    _flag.flags.writeable = False


class Flags:
    """The flags of a quantity.

    Args:
        name: What they are called: the quantity of their keys.
    """

    def __init__(self, name: str) -> None:
        self._name = name
        self._keys: dict[str, Key] = {}

    def declare(self, path: str) -> dict[Key, Spec]:
        """A flag more, as a part of what a record holds."""
        key = self._keys[path] = Key(self._name, "", path)
        return {key: Spec((), "float64")}

    def add_to(self, values: dict[Key, np.ndarray], quantity: str) -> None:
        """Adds them to a record: of which paths there are values of a quantity."""
        got = {key.path for key in values if key.quantity == quantity}
        for path, key in self._keys.items():
            values[key] = _THERE if path in got else _MISSING
