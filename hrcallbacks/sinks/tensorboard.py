"""Writes records for TensorBoard during training."""

import os
from collections.abc import Mapping
from typing import Any

from hrcallbacks.export.tensorboard import RunWriter, checked_logdir
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.types import Record, RunInfo


class TensorBoard(Sink):
    """Writes records for TensorBoard as they are stored, and each epoch's logs.

    Norms and other numbers become scalars. Raw gradients and weights become histograms,
    as do `hr.Histogram`s. Tags and steps are those of Keras' `TensorBoard` callback;
    see `hr.to_tensorboard`.

    Args:
        logdir: The folder. Give each callback its own.

    Raises:
        ImportError: If TensorBoard is not installed.
        TypeError: If `logdir` is not a path.
        ValueError: If it is a URL.
    """

    def __init__(self, logdir: str | os.PathLike[str]) -> None:
        self._logdir = checked_logdir(logdir)
        self._run: RunWriter | None = None

    def __getstate__(self) -> dict[str, Any]:
        """What a copy keeps: no open files."""
        return {"_logdir": self._logdir, "_run": None}

    def __repr__(self) -> str:
        """Where it writes."""
        return f"<TensorBoard in {str(self._logdir)!r}>"

    def begin(self, run: RunInfo) -> None:
        """See `Sink.begin`. Of several workers, only the chief writes.

        Raises:
            OSError: If the folder cannot be written.
        """
        self.end()
        if run.chief:
            self._run = RunWriter(self._logdir, run.reductions, per_epoch=run.per_epoch)

    def add(self, record: Record) -> None:
        """See `Sink.add`."""
        if self._run is not None:
            self._run.add_record(record)

    def end_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """See `Sink.end_epoch`."""
        if self._run is not None:
            self._run.add_epoch(epoch, logs)
            self._run.flush()

    def end(self) -> None:
        """See `Sink.end`."""
        run, self._run = self._run, None
        if run is not None:
            run.close()
