"""Numbers that were made of whole tensors, kept: reading those again is slow."""

from collections.abc import Mapping

import numpy as np


class Numbers:
    """Numbers by quantity, reduction and path: float64 arrays, `(records,)`."""

    def __init__(self) -> None:
        self._made: dict[tuple[str, str], dict[str, np.ndarray]] = {}

    def keep(
        self, quantity: str, reduction: str, path: str, numbers: np.ndarray
    ) -> None:
        """Keeps the numbers of one path."""
        self._made.setdefault((quantity, reduction), {})[path] = numbers

    def made(self, quantity: str, reduction: str) -> Mapping[str, np.ndarray]:
        """The numbers that are kept, by path."""
        return self._made.get((quantity, reduction), {})
