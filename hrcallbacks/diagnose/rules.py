"""What a rule of a diagnosis is."""

from __future__ import annotations

import abc
import dataclasses
import math
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, ClassVar, SupportsInt

from hrcallbacks.diagnose.findings import Finding, Severity
from hrcallbacks.diagnose.survey import CannotLook, Survey

__all__ = ["CannotLook", "Finding", "Rule", "Survey"]


@dataclass(frozen=True)
class Rule(abc.ABC):
    """Looks for one thing in a recording. Its fields are its thresholds.

    To write your own, subclass it: a frozen dataclass with a `name` and a method
    `look(survey)`, which yields what `found` makes, or raises `CannotLook`.

    Raises:
        ValueError: If a threshold is not a positive number of its type, or a share is
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
    # Names of the rules whose findings may follow from what this one finds.
    explains: ClassVar[tuple[str, ...]] = ()
    # Whether even a note of it is a likely cause, once such a consequence is there.
    suspect: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Checks the thresholds."""
        for field in dataclasses.fields(self):
            self._check(field, getattr(self, field.name))

    def _check(self, field: dataclasses.Field[Any], value: Any) -> None:
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
            survey: What can be asked of the recording.

        Returns:
            Findings, in any order.

        Raises:
            CannotLook: If the recording lacks what the rule needs.
        """

    def found(
        self,
        severity: Severity,
        evidence: str,
        advice: str,
        *,
        path: str | None = None,
        unit: int | None = None,
        step: SupportsInt | None = None,
    ) -> Finding:
        """A finding of this rule; arguments as for `Finding`."""
        step = None if step is None else int(step)
        return Finding(self.name, severity, evidence, advice, path, unit, step)
