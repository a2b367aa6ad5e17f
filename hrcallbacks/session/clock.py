"""Which step it is: of the run, of the epoch, of the execution."""

import collections

from hrcallbacks.selection.steps import Cadence
from hrcallbacks.types import Step


class Clock:
    """Counts steps, from Keras' hooks and from the steps that were captured.

    Args:
        cadence: Which steps to record.

    Attributes:
        steps: Steps run before the current epoch.
        before_fit: Steps run before the current fit.
        epoch: The current epoch, from 1.
        batches: Steps in each epoch, or None if unknown.
        captured: Steps of this epoch that were captured.
        hit: Whether any step of this fit was selected.
    """

    def __init__(self, cadence: Cadence) -> None:
        self._cadence = cadence
        self.steps: int = 0
        self.before_fit: int = 0
        self.batches: int | None = None
        self.hit: bool = False
        self._size = 1
        self._begin(0)

    def begin_fit(self, batches: int | None, steps_per_execution: int) -> None:
        """A fit begins; the counts of the last one are kept."""
        self.end_epoch()
        self.batches = batches
        self.hit = False
        self.before_fit = self.steps
        self._size = steps_per_execution
        self._begin(0)

    def begin_epoch(self, epoch: int) -> None:
        """An epoch begins; epochs count from 1."""
        self.end_epoch()
        self._begin(epoch)

    def _begin(self, epoch: int) -> None:
        self.epoch = epoch
        self.captured: int = 0
        self._batch = 0  # Steps before the current execution, in this epoch.
        self._begun = 0  # Steps once the current execution has ended.
        # Numbers of the latest steps that ended in this epoch, unordered if Keras runs
        # the hook in other threads.
        self._ended = collections.deque([0], maxlen=1024)
        self.wanted: set[int] = set()
        self._due: set[int] = set()  # Wanted so far, not captured.

    def end_epoch(self) -> None:
        """Counts the epoch's steps, once."""
        self.steps += self.steps_in_epoch
        self._begin(self.epoch)

    def begin_execution(self, batch: int, steps_per_execution: int) -> None:
        """One call of the train function begins, on a batch counted from 0."""
        self._size = steps_per_execution
        end = batch + steps_per_execution
        self._batch = batch
        self._begun = end if self.batches is None else min(end, self.batches)
        numbers = range(batch + 1, self._begun + 1)
        self.wanted = {n for n in numbers if self._wants(n)}
        self._due |= self.wanted

    def _wants(self, batch: int) -> bool:
        return self._cadence.wants(self.steps + batch, batch, self.batches)

    def end_execution(self, batch: int, steps_per_execution: int) -> range:
        """One call of the train function has ended.

        Args:
            batch: The batch that Keras names, counted from 0: the last of several, or
                the first in older versions.
            steps_per_execution: The most steps it can have had.

        Returns:
            The steps that it may have had, numbered from 1.
        """
        first = batch - batch % steps_per_execution
        self._ended.append(first + steps_per_execution)
        return range(first + 1, first + steps_per_execution + 1)

    def take(self, number: int) -> int:
        """One step of the execution was captured; returns its number in the epoch.

        Args:
            number: Its place in the execution, from 0.
        """
        self.captured += 1
        batch = self._batch + number + 1
        self._due.discard(batch)
        self._ended.append(batch)  # Even if another callback interrupts the fit.
        return batch

    def step(self, batch: int) -> Step:
        """The step of this epoch with that number."""
        return Step(step=self.steps + batch, epoch=self.epoch, batch=batch)

    @property
    def missed(self) -> list[int]:
        """Steps of this epoch that ended and were wanted, but were not captured.

        They are numbered over the run. If the epoch's last execution has several steps,
        their number is unknown unless steps are counted as they are captured.
        """
        seen_all = self._size == 1 or (self.counts_itself and self.captured)
        ended = self.steps_in_epoch if seen_all else self._batch
        return sorted(self.steps + n for n in self._due if n <= ended)

    @property
    def counts_itself(self) -> bool:
        """Whether steps are counted only as they are captured.

        Keras does not say how many steps the last execution of an epoch had.
        """
        return self.batches is None and self._size > 1

    @property
    def steps_in_epoch(self) -> int:
        """Steps of this epoch that have ended."""
        if self.counts_itself:
            return self.captured
        ended = max(self._ended)
        return ended if self.batches is None else min(ended, self.batches)

    @property
    def total(self) -> int:
        """Steps of the whole run that have ended."""
        return self.steps + self.steps_in_epoch

    @property
    def in_flight(self) -> range:
        """Steps of the run that have begun, but have not been seen to end."""
        return range(self.total + 1, self.steps + self._begun + 1)

    @property
    def wanted_steps(self) -> list[int]:
        """The wanted steps in flight, numbered over the run."""
        return [n for n in self.in_flight if n - self.steps in self.wanted]

    def skip(self, steps: int) -> None:
        """Counts steps whose end was not seen."""
        self._ended.append(self.steps_in_epoch + steps)
