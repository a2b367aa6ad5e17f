"""What a recorder knows about its copies."""

import warnings
from typing import Any


class Kin:
    """Shared by a recorder and its copies in one process.

    Attributes:
        copies_trained: How many copies have recorded a fit.
    """

    def __init__(self) -> None:
        self.copies_trained = 0

    def __copy__(self) -> "Kin":
        """Itself."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Kin":
        """Itself."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Makes a new one: another process has its own copies."""
        return Kin, ()

    def warn_of_others(self) -> None:
        """Warns if the records are with copies of the recorder."""
        if self.copies_trained:
            warnings.warn(
                "This recorder has recorded nothing, but copies of it have "
                f"({self.copies_trained} of them): tuning tools, such as KerasTuner "
                "and scikit-learn, train with copies of their callbacks. Give it a "
                "store, GradientRecorder(store='runs/{n}.zarr'): each copy then writes "
                "its own, which hr.open_recording opens.",
                UserWarning,
                stacklevel=3,
            )
