"""Data of single steps, which a sink had kept."""

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

Batch = Mapping[str, np.ndarray]


class Batches(Mapping[int, Batch]):
    """The data of single steps, by step; each read when it is asked for.

    Args:
        steps: The steps.
        read: Called with one of them, returns its arrays by name: `"x"`, `"y"`.
    """

    def __init__(self, steps: Iterable[int], read: Callable[[int], Batch]) -> None:
        self._steps = sorted(steps)
        self._read = read

    def __getitem__(self, step: int) -> Batch:
        """The data of a step."""
        if step not in self._steps:
            raise KeyError(
                f"The batch of step {step!r} was not kept. Kept are those of the "
                f"steps {self._steps}. hr.Alert('nan', keep_batch=True) keeps them."
            )
        return self._read(step)

    def __iter__(self) -> Iterator[int]:
        """The steps."""
        return iter(self._steps)

    def __len__(self) -> int:
        """Number of steps."""
        return len(self._steps)

    def __contains__(self, step: object) -> bool:
        """Whether it is there; reads nothing."""
        return step in self._steps

    def __repr__(self) -> str:
        """Lists the steps."""
        return f"<batches of the steps {self._steps}>"

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickles the arrays themselves."""
        return _loaded, ({step: dict(self[step]) for step in self},)


def _loaded(batches: Mapping[int, Batch]) -> Batches:
    return Batches(batches, batches.__getitem__)
