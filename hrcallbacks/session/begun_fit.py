"""The fit that a recorder records, once it has begun."""

from typing import Any

from hrcallbacks.session.arming import Arming
from hrcallbacks.session.caller import Caller, Stack
from hrcallbacks.session.model_fit import ModelFit, Waiting


class BegunFit:
    """A fit that has begun, and whether it still runs: no hook reports an interruption.

    Args:
        waiting: The fit as it was admitted.

    Attributes:
        fit: The fit.
        arming: Decides when its steps are armed.
        iterations: How many updates the optimizer made before it; None if unknown.
        attached: Whether it is a loop outside `fit` whose `with` block is open.
    """

    def __init__(self, waiting: Waiting) -> None:
        self.fit: ModelFit = waiting.fit
        self.arming: Arming = waiting.arming
        self.arming.begin()
        here = Stack.here()
        # None once the fit has ended, or is known to be interrupted.
        self._caller: Caller | None = Caller.of(waiting.stack, here) or Caller(
            here.thread, here.frames[-1]
        )
        self.iterations: int | None = self.fit.iterations
        self.attached: bool = False

    @property
    def model(self) -> Any:
        """Its model."""
        return self.fit.model

    @property
    def is_running(self) -> bool:
        """Whether it is still running."""
        return self.attached or (self._caller is not None and self._caller.is_running)

    @property
    def has_ended(self) -> bool:
        """Whether `end` was called."""
        return self._caller is None

    def end(self) -> None:
        """Notes that it ended or was interrupted."""
        self._caller = None
        self.arming.clear()
