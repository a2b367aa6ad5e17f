"""What a sink is: an object that receives records during training."""

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
    """A message from a sink.

    Attributes:
        text: A sentence or two.
        stop: Whether training is to stop.
    """

    text: str
    stop: bool = False


class Sink:
    """Receives records during training: `GradientRecorder(sinks=[...])`.

    A subclass overrides the methods it needs. `begin` and `look` are called in the
    training thread; `add`, `end_epoch` and `end` in the thread that stores records,
    which is a separate one if the recorder has a `store`. An exception in `begin`
    rejects the fit. An exception in any other method becomes one warning, and the sink
    is not called again in that fit. Training and recording go on.

    A sink belongs to one recorder. A copy of the recorder has copies of its sinks.

    Example:
        >>> class Norms(Sink):
        ...     def add(self, record):
        ...         for key, value in record.values.items():
        ...             if (key.quantity, key.reduction) == ("gradients", "norm"):
        ...                 print(record.step.step, key.path, float(value))
    """

    # Whether an epoch's end waits until its records are handed over.
    waits: bool = False
    # Whether records have the data of their step, as `Record.batch`.
    needs_batch: bool = False

    def begin(self, run: RunInfo) -> None:
        """A fit begins.

        Args:
            run: What describes it.

        Raises:
            ValueError: If the sink can do nothing with it.
            OSError: If a file cannot be written.
        """

    def add(self, record: Record) -> None:
        """A record was stored."""

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch has ended, and its records have been handed over.

        Args:
            epoch: Its number, from 1.
            logs: Its logs from Keras.
        """

    def end(self) -> None:
        """The fit ended or was interrupted, or the recording stopped."""

    def look(self, recording: "Recording") -> None:
        """An epoch has ended: called with the recording so far.

        If a subclass overrides it, each epoch's end waits until its records are stored.
        """

    def say(self, text: str, *, stop: bool = False) -> None:
        """Makes the training thread warn, and stop training if `stop` is True.

        Args:
            text: A sentence or two, with a full stop.
            stop: Whether training stops, at the end of the step or the epoch.
        """
        self._messages.append(Message(text, stop))

    def keep(self, step: int, batch: Mapping[str, np.ndarray]) -> None:
        """Keeps the data of a step in the recording, as `Recording.batches[step]`.

        Args:
            step: The step.
            batch: Its data: `Record.batch`, which is there if `needs_batch` is True.
        """
        # Those of a record may be views of memory that is used again.
        arrays = {name: np.array(array) for name, array in batch.items()}
        self._kept.append((step, arrays))

    def kept(self) -> Iterator[tuple[int, dict[str, np.ndarray]]]:
        """What was to be kept since the last call."""
        while self._kept:
            yield self._kept.popleft()

    @property
    def _kept(self) -> "collections.deque[tuple[int, dict[str, np.ndarray]]]":
        return vars(self).setdefault("_kept_so_far", collections.deque())

    def messages(self) -> Iterator[Message]:
        """The messages since the last call."""
        while self._messages:
            yield self._messages.popleft()

    @property
    def _messages(self) -> "collections.deque[Message]":
        # Also for a subclass whose __init__ does not call ours.
        return vars(self).setdefault("_said_so_far", collections.deque())

    def check_loop(self) -> None:
        """Rejects the user's own loop, if the sink is useless there.

        Raises:
            ValueError: If it is useless there.
        """

    # For Keras' logs: see `hrcallbacks.sinks.logs`.

    def takes(self) -> "Sequence[Quantity]":
        """The quantities that it needs from each step, recorded or not."""
        return ()

    def see_step(self, batch: int, values: Mapping[str, Any]) -> None:
        """A step has run.

        Args:
            batch: Its number in the epoch, from 1.
            values: The tensor of each quantity that it takes, on the device.
        """

    def metrics(self, values: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """Numbers for a record's metrics.

        Args:
            values: What it takes from the record's step, on the host.
        """
        return {}

    def log_batch(self, logs: Any, batches: range) -> None:
        """Keras asks for the logs of an execution of steps."""

    def log_epoch(self, logs: Any) -> None:
        """Keras asks for an epoch's logs."""
