"""Names of columns on disk: a path keeps its slashes, as groups."""

from collections.abc import Iterable
from typing import TYPE_CHECKING

from hrcallbacks.storage.names import distinct, on_disk
from hrcallbacks.types import (
    BATCH_ROWS,
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
    "batches",
    "gradients",
    "weights",
    "outputs",
    "output_gradients",
    "optimizer",
    "batch_data",
    BATCH_ROWS,
    HAS_GRADIENT,
    HAS_OUTPUT,
    HAS_OUTPUT_GRADIENT,
    OUTPUT_ROWS,
)
# The index has a column of that name.
_QUANTITY_GROUPS = {"batch": "batch_data"}
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
        self._arrays: set[str] = {*INDEX_NAMES}
        # Names of groups, by what they were made of.
        self._groups: dict[tuple[str, ...], str] = {}
        self._folded: set[str] = set()
        for column in columns:
            *groups, _ = column.name.split("/")
            if column.is_shared:
                self._take(column.name)
                self._take_statistic("/".join(groups))
                continue
            made_of = _parts(column.keys[0])
            for depth in range(1, len(groups) + 1):
                self._add_group(tuple(made_of[:depth]), "/".join(groups[:depth]))
            self._take(column.name)

    def of_array(self, key: Key) -> str:
        """`gradients/raw/hidden/kernel`: the array of one key."""
        *groups, last = parts = _parts(key)
        at = ""
        for depth, group in enumerate(groups, start=1):
            at = self._group(tuple(parts[:depth]), at, group)
        # Beside the coordinate that each array shares.
        taken = self._arrays | self._folded | {f"{at}/step".casefold()}
        return self._take(distinct(f"{at}/{on_disk(last)}", taken))

    def of_statistic(self, key: Key) -> str:
        """`gradients/norm/norm`: an array that several keys share, in its own group."""
        quantity, last = key.quantity, on_disk(key.reduction or key.quantity)
        group = last
        if key.reduction:
            at = _QUANTITY_GROUPS.get(quantity, quantity)
            group = f"{self._group((at,), '', at)}/{last}"
        group = distinct(group, self._arrays | self._folded)
        self._take_statistic(group)
        return self._take(f"{group}/{last}")

    def _group(self, made_of: tuple[str, ...], at: str, name: str) -> str:
        """A group's name: the same for the same parts, else one of its own."""
        if made_of not in self._groups:
            name = f"{at}/{on_disk(name)}".removeprefix("/")
            name = distinct(name, self._arrays | self._folded)
            self._add_group(made_of, name)
        return self._groups[made_of]

    def _add_group(self, made_of: tuple[str, ...], name: str) -> None:
        self._groups.setdefault(made_of, name)
        self._folded.add(name.casefold())

    def _take_statistic(self, group: str) -> None:
        self._folded.add(group.casefold())
        self._arrays |= {f"{group}/{name}".casefold() for name in _COORDINATES}

    def _take(self, name: str) -> str:
        self._arrays.add(name.casefold())
        return name


def _parts(key: Key) -> list[str]:
    path = key.path.split("/") if key.path else []
    at = _QUANTITY_GROUPS.get(key.quantity, key.quantity)
    return [at, key.reduction, *path]
