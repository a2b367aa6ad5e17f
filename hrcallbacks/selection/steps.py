"""Which steps are recorded."""

from __future__ import annotations

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import SupportsIndex

from hrcallbacks.checks import positive_integer


@dataclass(frozen=True)
class every:  # Read as a function: record_freq=hr.every(10).
    """Every n-th step, from `start` to `stop`.

    A `record_freq` for `GradientRecorder`.

    Args:
        n: Number of steps from one record to the next.
        start: The first recorded step; steps count from 1.
        stop: The last step that may be recorded; None for no end.

    Raises:
        ValueError: If `n` or `start` is below 1, or `stop` below `start`.

    Example:
        >>> freq = every(10, start=5, stop=30)
        >>> [step for step in range(1, 50) if freq(step)]
        [5, 15, 25]
    """

    n: int
    start: int = 1
    stop: int | None = None

    def __post_init__(self) -> None:
        """Rejects arguments that would never record."""
        _settle(self, "n")
        _settle(self, "start")
        if self.stop is not None and self.stop < self.start:
            raise ValueError(
                f"Expected stop to be start={self.start} or more, or None. "
                f"Received: stop={self.stop!r}."
            )

    def __call__(self, step: int) -> bool:
        """Whether this step is recorded."""
        inside = self.start <= step and (self.stop is None or step <= self.stop)
        return inside and (step - self.start) % self.n == 0

    def count(self, first: int, last: int) -> int:
        """How many steps from `first` to `last` are recorded, both included."""
        end = last if self.stop is None else min(last, self.stop)
        return self._up_to(end) - self._up_to(min(first - 1, end))

    def _up_to(self, step: int) -> int:
        return max(0, (step - self.start) // self.n + 1)


@dataclass(frozen=True)
class log_spaced:
    """Steps evenly spaced on a logarithmic axis: many early ones, few later.

    A `record_freq` for `GradientRecorder`. It works without knowing how long the run
    will be.

    Args:
        per_decade: How many steps to record between 1 and 10, 10 and 100, and so on;
            fewer where there are not that many.

    Raises:
        ValueError: If `per_decade` is below 1.

    Example:
        >>> freq = log_spaced(per_decade=3)
        >>> [step for step in range(1, 1001) if freq(step)]
        [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]
    """

    per_decade: int = 10

    def __post_init__(self) -> None:
        """Rejects arguments that would never record."""
        _settle(self, "per_decade")

    def __call__(self, step: int) -> bool:
        """Whether this step is recorded."""
        # The exponent whose power rounds to this step, if any.
        near = round(math.log10(step) * self.per_decade)
        return any(
            round(10 ** (k / self.per_decade)) == step
            for k in (near - 1, near, near + 1)
        )

    def count(self, first: int, last: int) -> int:
        """How many steps from `first` to `last` are recorded, both included."""
        powers = range(math.ceil(math.log10(last + 1) * self.per_decade) + 1)
        if len(powers) > last - first:  # Fewer steps than powers to look through.
            return sum(map(self, range(first, last + 1)))
        steps = {round(10 ** (k / self.per_decade)) for k in powers}
        return sum(first <= step <= last for step in steps)


class at:
    """Only these steps.

    A `record_freq` for `GradientRecorder`.

    Args:
        steps: Numbers of steps, from 1.

    Raises:
        TypeError: If `steps` is not a list.
        ValueError: If it is empty, or a step is not an int of 1 or more.

    Example:
        >>> freq = at([1, 2, 5, 100])
        >>> [step for step in range(1, 200) if freq(step)]
        [1, 2, 5, 100]
    """

    def __init__(self, steps: Iterable[SupportsIndex]) -> None:
        if not isinstance(steps, Iterable):
            raise TypeError(f"Expected steps: a list of ints. Received: {steps!r}.")
        checked = [positive_integer(step, "each of the steps") for step in steps]
        self.steps: frozenset[int] = frozenset(checked)
        if not self.steps:
            raise ValueError("Expected steps: at least one. Received: none.")

    def __call__(self, step: int) -> bool:
        """Whether this step is recorded."""
        return step in self.steps

    def count(self, first: int, last: int) -> int:
        """How many steps from `first` to `last` are recorded, both included."""
        return sum(first <= step <= last for step in self.steps)

    def __repr__(self) -> str:
        """The expression that makes it."""
        return f"at({sorted(self.steps)})"


@dataclass(frozen=True)
class Cadence:
    """Which steps are recorded.

    Attributes:
        record_freq: `"epoch"` for the last step of each epoch, an int n for every
            n-th step of the run, or a `callable(step) -> bool`; steps count from 1.
    """

    record_freq: SupportsIndex | str | Callable[[int], bool] = "epoch"

    def __post_init__(self) -> None:
        """Rejects what is not a cadence when the recorder is made."""
        freq = self.record_freq
        if isinstance(freq, str) and freq == "epoch":
            return
        if isinstance(freq, type) or not callable(freq):
            object.__setattr__(self, "record_freq", _interval(freq))  # Frozen.
        elif not _takes_one_argument(freq):
            raise TypeError(
                "Expected record_freq to be callable with a step's number, as in "
                "lambda step: step < 10. Received a callable that does not take one "
                f"argument: {self.describe()}."
            )

    @property
    def per_epoch(self) -> bool:
        """Whether only the last step of each epoch is recorded."""
        return self.record_freq == "epoch"

    def wants(self, step: int, batch: int, batches: int | None) -> bool:
        """Whether to record a step.

        Args:
            step: Number of the step in the run, from 1.
            batch: Number of the step in its epoch, from 1.
            batches: How many steps the epoch has, or None if unknown. Then each step
                may be the epoch's last, and is wanted.
        """
        freq = self.record_freq
        if isinstance(freq, int):
            return step % freq == 0
        if callable(freq):
            return bool(freq(step))
        return batches is None or batch == batches

    def count(self, first: int, epochs: int, batches: int | None) -> int | None:
        """How many records a fit will make, or None if unknown.

        Args:
            first: Number of the fit's first step.
            epochs: How many epochs it has.
            batches: How many steps an epoch has, or None if unknown.
        """
        if self.per_epoch:
            return epochs
        if batches is None:
            return None
        last = first + epochs * batches - 1
        freq = self.record_freq
        if isinstance(freq, int):
            return last // freq - (first - 1) // freq
        # A user's function may keep count, so it is never called twice for a step.
        if isinstance(freq, every | log_spaced | at):
            return freq.count(first, last)
        return None

    def describe(self) -> int | str:
        """The cadence, for the recording's attributes."""
        freq = self.record_freq
        if isinstance(freq, int):
            return freq
        known = isinstance(freq, str | every | log_spaced | at)
        return str(freq) if known else getattr(freq, "__qualname__", repr(freq))


def _takes_one_argument(function: Callable[..., object]) -> bool:
    try:
        inspect.signature(function).bind(1)
    except TypeError:
        return False
    except ValueError:  # Some built-in functions have no signature.
        return True
    return True


def _interval(freq: object) -> int:
    if isinstance(freq, bool) or not isinstance(freq, Integral):
        raise _no_cadence(freq)
    return positive_integer(
        freq,
        "record_freq",
        hint="Use record_freq=1 for every step, record_freq='epoch' for the last step "
        "of each epoch.",
    )


def _no_cadence(freq: object) -> TypeError:
    return TypeError(
        "Expected record_freq='epoch', an int n (every n-th step, 1 for each), a "
        "callable(step) -> bool, or hr.every(n, start, stop), hr.log_spaced(n), "
        f"hr.at(steps). Received: record_freq={freq!r}."
    )


def _settle(schedule: every | log_spaced, name: str) -> None:
    """Makes a field of a schedule an int of 1 or more."""
    value = positive_integer(getattr(schedule, name), name)
    object.__setattr__(schedule, name, value)  # Frozen.
