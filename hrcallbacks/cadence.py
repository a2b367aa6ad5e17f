"""Which steps are recorded."""

import inspect
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from numbers import Integral
from typing import Any


@dataclass(frozen=True)
class every:  # Read as a function: record_freq=hr.every(10).
    """Every n-th step, from `start` to `stop`.

    A `record_freq` for `GradientRecorder`.

    Args:
        n: How many steps apart.
        start: The first step that is recorded; steps count from 1.
        stop: The last step that may be; None for no end.

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

    def __post_init__(self):
        """Refuses what would never record."""
        _check_count("n", self.n)
        _check_count("start", self.start)
        if self.stop is not None and self.stop < self.start:
            raise ValueError(
                f"Expected stop to be start={self.start} or more, or None. "
                f"Received: stop={self.stop!r}."
            )

    def __call__(self, step):
        """Whether this step is recorded."""
        inside = self.start <= step and (self.stop is None or step <= self.stop)
        return inside and (step - self.start) % self.n == 0


@dataclass(frozen=True)
class log_spaced:
    """Steps at even distances on a logarithmic axis: many early ones, few later.

    A `record_freq` for `GradientRecorder`. It has no end: it needs not know how long
    the run will be.

    Args:
        per_decade: How many steps between 1 and 10, 10 and 100, and so on; less where
            there are no more.

    Raises:
        ValueError: If `per_decade` is below 1.

    Example:
        >>> freq = log_spaced(per_decade=3)
        >>> [step for step in range(1, 1001) if freq(step)]
        [1, 2, 5, 10, 22, 46, 100, 215, 464, 1000]
    """

    per_decade: int = 10

    def __post_init__(self):
        """Refuses what would never record."""
        _check_count("per_decade", self.per_decade)

    def __call__(self, step):
        """Whether this step is recorded."""
        # The exponent whose power rounds to this step, if there is one.
        near = round(math.log10(step) * self.per_decade)
        return any(
            round(10 ** (k / self.per_decade)) == step
            for k in (near - 1, near, near + 1)
        )


class at:
    """These steps and no others.

    A `record_freq` for `GradientRecorder`.

    Args:
        steps: Numbers of steps, from 1.

    Raises:
        ValueError: If there are none, or one is below 1.

    Example:
        >>> freq = at([1, 2, 5, 100])
        >>> [step for step in range(1, 200) if freq(step)]
        [1, 2, 5, 100]
    """

    def __init__(self, steps):
        if not isinstance(steps, Iterable):
            raise TypeError(f"Expected steps: a list of ints. Received: {steps!r}.")
        self.steps = frozenset(steps)
        if not self.steps:
            raise ValueError("Expected steps: at least one. Received: none.")
        for step in self.steps:
            _check_count("each of the steps", step)

    def __call__(self, step):
        """Whether this step is recorded."""
        return step in self.steps

    def __repr__(self):
        """As it is typed."""
        return f"at({sorted(map(int, self.steps))})"


@dataclass(frozen=True)
class Cadence:
    """Which steps are recorded.

    Attributes:
        record_freq: `"epoch"` for the last step of each epoch, an int n for every
            n-th step of the run, or a `callable(step) -> bool`; steps count from 1.
    """

    record_freq: Integral | int | str | Callable[[int], bool] = "epoch"

    def __post_init__(self):
        """Refuses what is no cadence, when the recorder is made."""
        freq: Any = self.record_freq
        if isinstance(freq, str) and freq == "epoch":
            return
        if isinstance(freq, type) or not callable(freq):
            _check_int(freq)
        elif not _takes_one_argument(freq):
            raise TypeError(
                "Expected record_freq to be callable with a step's number, as in "
                "lambda step: step < 10. Received a callable that takes no such one "
                f"argument: {self.describe()}."
            )

    @property
    def per_epoch(self):
        """Whether one record an epoch is made, of its last step."""
        return self.record_freq == "epoch"

    def wants(self, step, batch, batches):
        """Whether a step is to be recorded.

        Args:
            step: Number of the step in the run, from 1.
            batch: Number of the step in its epoch, from 1.
            batches: How many steps the epoch has, or None where that is not known.
                Each step may then be the epoch's last, and is wanted.
        """
        if self.per_epoch:
            return batches is None or batch == batches
        if callable(self.record_freq):
            return bool(self.record_freq(step))
        return step % self.record_freq == 0

    def count(self, first, epochs, batches):
        """How many records a fit will make, or None where that cannot be told.

        Args:
            first: Number of the fit's first step.
            epochs: How many epochs it has.
            batches: How many steps an epoch has, or None where that is not known.
        """
        if self.per_epoch:
            return epochs
        if batches is None:
            return None
        last = first + epochs * batches - 1
        if isinstance(self.record_freq, Integral):
            n = int(self.record_freq)
            return last // n - (first - 1) // n
        # A function of the user's own may not like to be asked twice.
        if isinstance(self.record_freq, every | log_spaced | at):
            return sum(map(self.record_freq, range(first, last + 1)))
        return None

    def describe(self):
        """An int or a str that says which it is."""
        freq: Any = self.record_freq
        if isinstance(freq, Integral):
            return int(freq)
        known = isinstance(freq, str | every | log_spaced | at)
        return str(freq) if known else getattr(freq, "__qualname__", repr(freq))


def _takes_one_argument(function):
    try:
        inspect.signature(function).bind(1)
    except TypeError:
        return False
    except ValueError:  # Some built-in functions do not tell.
        return True
    return True


def _check_int(freq):
    if isinstance(freq, bool) or not isinstance(freq, Integral):
        raise _no_cadence(freq)
    if freq < 1:
        raise ValueError(
            f"record_freq must be at least 1. Received: record_freq={freq!r}. Use "
            "record_freq=1 for every step, record_freq='epoch' for the last step "
            "of each epoch."
        )


def _no_cadence(freq):
    return TypeError(
        "Expected record_freq='epoch', an int n (every n-th step, 1 for each), a "
        "callable(step) -> bool, or hr.every(n, start, stop), hr.log_spaced(n), "
        f"hr.at(steps). Received: record_freq={freq!r}."
    )


def _check_count(name, value):
    if isinstance(value, bool) or not isinstance(value, Integral) or value < 1:
        raise ValueError(
            f"Expected {name} to be an int, 1 or more. Received: {value!r}."
        )
