"""Arrays that do not change, read when somebody asks for them.

So damage to it leaves the rest of a recording readable.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import cached_property
from typing import Any

import numpy as np

from hrcallbacks.storage.layout import Start

# Called when the first array is asked for.
_Find = Callable[[], Sequence[Start]]


class StoredArrays(Mapping[str, np.ndarray]):
    """Arrays by name, each read when it is asked for.

    Args:
        find: Finds their arrays.
    """

    def __init__(self, find: _Find) -> None:
        self._find = find

    @cached_property
    def _starts(self) -> dict[str, Start]:
        return {start.name: start for start in self._find()}

    def __getitem__(self, path: str) -> np.ndarray:
        """An array."""
        return self._starts[path].read()

    def __iter__(self) -> Iterator[str]:
        """The names."""
        return iter(self._starts)

    def __len__(self) -> int:
        """Number of arrays."""
        return len(self._starts)


class StoredState(Sequence[Any]):
    """An optimizer's variables, each read when it is asked for.

    Args:
        find: Finds their arrays.
    """

    def __init__(self, find: _Find) -> None:
        self._find = find

    @cached_property
    def _starts(self) -> Sequence[Start]:
        return self._find()

    def __getitem__(self, index: Any) -> Any:
        """A variable's value, or a list of them."""
        if isinstance(index, slice):
            return [start.read() for start in self._starts[index]]
        return self._starts[index].read()

    def __len__(self) -> int:
        """Number of variables."""
        return len(self._starts)
