"""The sinks of one recorder: called in turn, and never able to break training."""

import itertools
import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hrcallbacks.quantities.quantity import Quantity
from hrcallbacks.quantities.whole_batch import WholeBatch
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.types import Key, Record, RunInfo

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording


class Audience:
    """Calls the sinks; one that fails is not called again in that fit.

    Args:
        sinks: The sinks.

    Attributes:
        takes: The quantities that sinks need from each step.
        needs_batch: Whether a sink needs the data of the steps that are recorded.
        needs_records: Whether a sink has to be given records, one by one.
    """

    def __init__(self, sinks: Sequence[Sink]) -> None:
        self._sinks = sinks
        self._listening: list[Sink] = []
        self._failures: list[str] = []
        self.takes: list[Quantity] = [q for sink in sinks for q in sink.takes()]
        self.needs_batch: bool = any(sink.needs_batch for sink in sinks)
        hears = any(type(sink).add is not Sink.add for sink in sinks)
        self.needs_records: bool = hears or self.needs_batch or bool(self.takes)

    @property
    def takes_of_records(self) -> list[Quantity]:
        """What sinks need from the steps that are recorded."""
        return [WholeBatch()] if self.needs_batch else []

    def kept(self) -> dict[int, dict[str, np.ndarray]]:
        """The batches that sinks want to be kept, by step."""
        return {step: batch for sink in self._sinks for step, batch in sink.kept()}

    @property
    def waits(self) -> bool:
        """Whether an epoch's end must wait until its records are stored."""
        return any(sink.waits or _looks(sink) for sink in self._listening)

    def begin(self, run: RunInfo) -> None:
        """A fit begins.

        Raises:
            Exception: If a sink rejects the fit.
        """
        self.end()  # Ends a fit that was interrupted.
        self._failures = []
        try:
            for sink in self._sinks:
                # Drops what came late in the previous fit.
                for _ in itertools.chain(sink.messages(), sink.kept()):
                    pass
                sink.begin(run)
                self._listening.append(sink)
        except BaseException:
            self.end()
            raise

    def end(self) -> None:
        """A fit ends, or was interrupted."""
        self._tell(lambda sink: sink.end())
        self._listening = []

    def add(self, record: Record) -> None:
        """A record was stored."""
        self._tell(lambda sink: sink.add(record))

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """An epoch has ended."""
        self._tell(lambda sink: sink.end_epoch(epoch, logs))

    def look(self, recording: "Callable[[], Recording]") -> None:
        """An epoch has ended, and its records are stored."""
        if any(map(_looks, self._listening)):
            made = recording()
            self._tell(lambda sink: sink.look(made))

    def see_step(self, batch: int, values: Mapping[str, Any]) -> None:
        """A step has run: tensors by quantity."""
        self._tell(lambda sink: sink.see_step(batch, values))

    def metrics(self, unpacked: Mapping[int, dict[Key, np.ndarray]]) -> dict[str, Any]:
        """What sinks add to a record's metrics; removes their values from it."""
        if not self.takes:
            return {}
        names = {quantity.name for quantity in self.takes}
        values = {
            key.quantity: record.pop(key)
            for record in unpacked.values()
            for key in [key for key in record if key.quantity in names]
        }
        found: dict[str, Any] = {}
        if values:
            self._tell(lambda sink: found.update(sink.metrics(values)))
        return found

    def log_batch(self, logs: Any, batches: range) -> None:
        """Keras asks for the logs of an execution of steps."""
        self._tell(lambda sink: sink.log_batch(logs, batches))

    def log_epoch(self, logs: Any) -> None:
        """Keras asks for an epoch's logs."""
        self._tell(lambda sink: sink.log_epoch(logs))

    def _tell(self, tell: Callable[[Sink], Any]) -> None:
        for sink in list(self._listening):
            try:
                tell(sink)
            except Exception as error:
                self._listening = [s for s in self._listening if s is not sink]
                self._failures.append(
                    f"{sink!r} failed, and is not called again in this fit: {error!r}. "
                    "Training and recording go on."
                )

    def speak(self, model: Any) -> None:
        """Warns with the sinks' messages, and stops training if one asks for it."""
        failures, self._failures = self._failures, []
        for text in failures:
            warnings.warn(text, RuntimeWarning, stacklevel=6)
        for sink in self._sinks:
            for message in sink.messages():
                # Before the warning, which may raise.
                if message.stop:
                    model.stop_training = True
                warnings.warn(message.text, RuntimeWarning, stacklevel=6)


def _looks(sink: Sink) -> bool:
    return type(sink).look is not Sink.look
