"""What a sink is: somebody who hears of a recording while training goes on."""

import collections
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from hrcallbacks.types import Record, RunInfo

if TYPE_CHECKING:
    from hrcallbacks.quantities.quantity import Quantity
    from hrcallbacks.recording.recording import Recording


@dataclass(frozen=True)
class Message:
    """What a sink has to say.

    Attributes:
        text: A sentence or two.
        stop: Whether training is to stop.
    """

    text: str
    stop: bool = False


class Sink:
    """Hears of records while training goes on: `GradientRecorder(sinks=[...])`.

    A subclass overrides what it wants to hear of. `begin` and `look` are called in the
    thread that trains, `add`, `end_epoch` and `end` in the one that stores records,
    which is another one where the recorder has a `store`. What `begin` raises refuses
    the fit; what any other method raises is said once, as a warning, and this sink
    hears no more of that fit. Training and recording go on.

    A sink belongs to one recorder. A copy of the recorder has copies of its sinks.

    Example:
        >>> class Norms(Sink):
        ...     def add(self, record):
        ...         for key, value in record.values.items():
        ...             if (key.quantity, key.reduction) == ("gradients", "norm"):
        ...                 print(record.step.step, key.path, float(value))
    """

    # Whether an epoch's end waits until its records were handed over.
    waits: bool = False

    def begin(self, run: RunInfo) -> None:
        """A fit begins.

        Args:
            run: What holds for it.

        Raises:
            ValueError: If there is nothing to hear in it.
            OSError: If a file cannot be written.
        """

    def add(self, record: Record) -> None:
        """A record was stored."""

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch has ended, and its records were handed over.

        Args:
            epoch: Its number, from 1.
            logs: Its logs, as Keras gives them.
        """

    def end(self) -> None:
        """The fit has ended, or broke off, or the recording stopped."""

    def look(self, recording: "Recording") -> None:
        """An epoch has ended: here is the recording so far.

        Overriding it has each epoch's end wait until its records are stored.
        """

    def say(self, text: str, *, stop: bool = False) -> None:
        """Has the thread that trains warn, and stop training if that is asked for.

        Args:
            text: A sentence or two, with a full stop.
            stop: Whether training stops, at the end of the step or the epoch.
        """
        self._messages.append(Message(text, stop))

    def messages(self) -> Iterator[Message]:
        """What was said since it was last asked."""
        while self._messages:
            yield self._messages.popleft()

    @property
    def _messages(self) -> "collections.deque[Message]":
        # Also for a subclass whose __init__ does not call ours.
        return vars(self).setdefault("_said_so_far", collections.deque())

    def check_loop(self) -> None:
        """Refuses a loop of the user's own, if it is of no use there.

        Raises:
            ValueError: If it is.
        """

    # For Keras' logs: see `hrcallbacks.sinks.logs`.

    def takes(self) -> "Sequence[Quantity]":
        """Quantities that it wants of each step, recorded or not."""
        return ()

    def see_step(self, batch: int, values: Mapping[str, Any]) -> None:
        """A step has run.

        Args:
            batch: Its number in the epoch, from 1.
            values: The tensor of each quantity that it takes; on the device.
        """

    def metrics(self, values: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Numbers for a record's metrics.

        Args:
            values: What it takes of the record's step, on the host.
        """
        return {}

    def log_batch(self, logs: Any, batches: range) -> None:
        """Keras asks for the logs of an execution of steps."""

    def log_epoch(self, logs: Any) -> None:
        """Keras asks for an epoch's logs."""
