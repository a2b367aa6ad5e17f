"""Names of columns on disk: a path keeps its slashes, as groups."""

from collections.abc import Iterable, Sequence
from typing import TYPE_CHECKING

from hrcallbacks.storage.names import distinct, on_disk
from hrcallbacks.types import (
    HAS_GRADIENT,
    HAS_OUTPUT,
    HAS_OUTPUT_GRADIENT,
    OUTPUT_ROWS,
    Key,
)

if TYPE_CHECKING:
    from hrcallbacks.storage.columns import Column

# At the top of a store: arrays, and groups, with what quantities there may be later.
INDEX_NAMES = ("step", "epoch", "batch", "call", "loss")
GROUPS = (
    "index",
    "fits",
    "gradients",
    "weights",
    "outputs",
    "output_gradients",
    "optimizer",
    HAS_GRADIENT,
    HAS_OUTPUT,
    HAS_OUTPUT_GRADIENT,
    OUTPUT_ROWS,
)
# Coordinates beside a statistic.
PATH, BIN, LOW, HIGH = "path", "bin", "low", "high"
_COORDINATES = (PATH, BIN, LOW, HIGH)


class ColumnNames:
    """Names for columns that differ from those taken, also where case is ignored.

    A name never is an array's and a group's at once.

    Args:
        columns: The columns that have a name.
    """

    def __init__(self, columns: Iterable["Column"]) -> None:
        self._arrays = set(INDEX_NAMES)
        self._groups: set[str] = set()
        for column in columns:
            self._take(column.name.split("/"), is_statistic=column.is_shared)

    def of_array(self, key: Key) -> str:
        """`gradients/raw/hidden/kernel`: the array of one key."""
        parts = [
            key.quantity,
            key.reduction,
            *(key.path.split("/") if key.path else ()),
        ]
        *groups, last = [on_disk(part) for part in parts]
        found: list[str] = []
        for group in groups:
            found.append(self._last(found, group, self._arrays))
        # Beside the coordinate that each array shares.
        taken = self._arrays | self._groups | {"/".join([*found, "step"]).casefold()}
        found.append(self._last(found, last, taken))
        return self._take(found, is_statistic=False)

    def of_statistic(self, key: Key) -> str:
        """`gradients/norm/norm`: an array that several keys share, in its own group."""
        parts = [part for part in (key.quantity, key.reduction) if part]
        *groups, last = [on_disk(part) for part in parts]
        found: list[str] = []
        for group in groups:
            found.append(self._last(found, group, self._arrays))
        found.append(self._last(found, last, self._arrays | self._groups))
        return self._take([*found, last], is_statistic=True)

    def _last(self, before: Sequence[str], name: str, taken: set[str]) -> str:
        start = "/".join([*before, ""])
        return distinct(start + name, taken).removeprefix(start)

    def _take(self, parts: list[str], *, is_statistic: bool) -> str:
        folded = [part.casefold() for part in parts]
        self._arrays.add("/".join(folded))
        for depth in range(1, len(folded)):
            self._groups.add("/".join(folded[:depth]))
        if is_statistic:
            group = "/".join(folded[:-1])
            self._arrays |= {f"{group}/{name}" for name in _COORDINATES}
        return "/".join(parts)
