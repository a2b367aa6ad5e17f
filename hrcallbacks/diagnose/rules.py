"""What a rule of a diagnosis is."""

import abc
import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import ClassVar

from hrcallbacks.diagnose.findings import Finding
from hrcallbacks.diagnose.survey import CannotLook, Survey

__all__ = ["CannotLook", "Finding", "Rule", "Survey"]


@dataclass(frozen=True)
class Rule(abc.ABC):
    """Looks for one thing in a recording. Its fields are its thresholds.

    One of your own is a subclass, a frozen dataclass with a `name` and a method
    `look(survey)`, which yields what `found` makes, or raises `CannotLook`.

    Raises:
        ValueError: If a threshold is no positive number of its type, or a share is
            above 1.

    Example:
        >>> @dataclass(frozen=True)
        ... class HighLoss(Rule):
        ...     name: ClassVar[str] = "high_loss"
        ...     limit: float = 10.0
        ...
        ...     def look(self, survey):
        ...         last = survey.recording.index["loss"].iloc[-1]
        ...         if last > self.limit:
        ...             yield self.found(
        ...                 "warning", f"the loss ends at {last:.3g}", "more epochs"
        ...             )
        >>> HighLoss(limit=5.0)
        HighLoss(limit=5.0)
    """

    name: ClassVar[str] = ""

    def __post_init__(self):
        """Checks the thresholds."""
        for field in dataclasses.fields(self):
            self._check(field, getattr(self, field.name))

    def _check(self, field, value):
        whole = field.type in (int, "int")
        number = isinstance(value, int if whole else int | float)
        number = number and not isinstance(value, bool)
        highest = 1 if field.name.endswith("share") else math.inf
        if not number or not 0 < value <= highest or value == math.inf:
            limits = "above 0" + (", at most 1" if highest == 1 else "")
            kind = "an int" if whole else "a number"
            raise ValueError(
                f"Expected {field.name} of {type(self).__name__}: {kind} {limits}. "
                f"Received: {value!r}. The default is {field.default!r}."
            )

    @abc.abstractmethod
    def look(self, survey: Survey) -> Iterable[Finding]:
        """What it finds.

        Args:
            survey: A `Survey` of the recording.

        Returns:
            `Finding`s, in any order.

        Raises:
            CannotLook: If the recording lacks what the rule needs.
        """

    def found(self, severity, evidence, advice, *, path=None, unit=None, step=None):
        """A `Finding` of this rule."""
        step = None if step is None else int(step)
        return Finding(self.name, severity, evidence, advice, path, unit, step)
