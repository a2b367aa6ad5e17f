"""What a recorder knows of its copies."""

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
        """The same one."""
        return self

    def __deepcopy__(self, memo: dict[int, Any]) -> "Kin":
        """The same one."""
        return self

    def __reduce__(self) -> tuple[Any, ...]:
        """Another process has copies of its own."""
        return Kin, ()

    def warn_of_others(self) -> None:
        """Says where records are, if they are not with the recorder that was asked."""
        if self.copies_trained:
            warnings.warn(
                "This recorder has recorded nothing, but copies of it have "
                f"({self.copies_trained} of them): tools that tune models, such as "
                "KerasTuner and scikit-learn, train with copies of their callbacks. "
                "Give it a store, GradientRecorder(store='runs/{n}.zarr'): each copy "
                "then writes to a place of its own, for hr.open_recording.",
                UserWarning,
                stacklevel=3,
            )
