"""Arrays of a recording, by path."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any


class Arrays(Mapping[str, Any]):
    """Arrays by path, each made on first use.

    The end of a path is enough if it is unique: `"hidden/kernel"` for
    `"sequential_3/hidden/kernel"`.

    Args:
        make: Called with a path, returns its array, of shape `(records, *shape)`.
        paths: The recorded paths.
        quantity: What the arrays hold, for messages.
        others: What was recorded instead, for messages, if there are no paths.
    """

    def __init__(
        self,
        make: Callable[[str], Any],
        paths: Iterable[str],
        quantity: str,
        others: str = "",
    ) -> None:
        self._make = make
        self._paths = list(paths)
        self._quantity = quantity
        self._others = others
        self._made: dict[str, Any] = {}

    def __getitem__(self, path: Any) -> Any:
        """The array of one path, or of one variable of the model."""
        path = self._find(path)
        if path not in self._made:
            self._made[path] = self._make(path)
        return self._made[path]

    def _find(self, path: Any) -> str:
        path = getattr(path, "path", path)
        if path in self._paths:
            return path
        if not self._paths:
            raise KeyError(
                f"No {self._quantity} were recorded. There are: "
                f"{self._others or 'none at all'}. Numbers are read with "
                "recording.statistic, other reductions with recording.arrays."
            )
        found = [p for p in self._paths if p.endswith(f"/{path}")]
        if len(found) != 1:
            raise KeyError(
                f"{path!r} names {'several' if found else 'none'} of the recorded "
                f"{self._quantity}. There are: {found or self._paths}."
            )
        return found[0]

    def __iter__(self) -> Iterator[str]:
        """The paths, in the model's order."""
        return iter(self._paths)

    def __len__(self) -> int:
        """Number of paths."""
        return len(self._paths)

    def __contains__(self, path: object) -> bool:
        """Whether a path is there; makes no array."""
        try:
            self._find(path)
        except KeyError:
            return False
        return True

    def renamed(self, names: Mapping[str, str]) -> "Arrays":
        """The same arrays under other paths.

        Args:
            names: From path to its new name; what is not in it keeps its own.
        """
        paths = {names.get(path, path): path for path in self._paths}
        return Arrays(
            lambda name: self[paths[name]], paths, self._quantity, self._others
        )

    def __repr__(self) -> str:
        """Lists the paths."""
        return f"<{self._quantity} of {self._paths}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the arrays themselves."""
        return _loaded, (dict(self), self._quantity)


def _loaded(arrays: Mapping[str, Any], quantity: str) -> Arrays:
    return Arrays(arrays.__getitem__, arrays, quantity)


def none_of(quantity: str, others: str) -> Arrays:
    """An empty mapping for what was not recorded; its error says what was.

    Args:
        quantity: What was asked for.
        others: What was recorded instead.
    """
    return Arrays({}.__getitem__, [], quantity, others)


def said(quantity: str, reduction: str) -> str:
    """What was recorded, in words."""
    return quantity if reduction in ("raw", "") else f"{quantity} {reduction!r}"
