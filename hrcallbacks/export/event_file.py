"""A file of TensorBoard's events, written without TensorFlow."""

from __future__ import annotations

import os
import socket
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.optional import optional


class TensorBoard(NamedTuple):
    """The parts of TensorBoard that write; `Any`, because it has no annotations.

    Attributes:
        events: Module of the protocol of events.
        summaries: Module of the protocol of summaries.
        histograms: Module that makes metadata of histograms.
        scalars: Module that makes metadata of scalars.
        records: Class that writes records to a file.
        tensor: Function that makes a tensor of an array.
    """

    events: Any
    summaries: Any
    histograms: Any
    scalars: Any
    records: Any
    tensor: Any


def import_tensorboard() -> TensorBoard:
    """The parts of TensorBoard that write.

    Raises:
        ImportError: If it is not installed.
    """
    with optional("TensorBoard", extra="tensorboard"):
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.histogram import metadata as histograms
        from tensorboard.plugins.scalar import metadata as scalars
        from tensorboard.summary.writer.record_writer import RecordWriter
        from tensorboard.util.tensor_util import make_tensor_proto
    return TensorBoard(
        event_pb2, summary_pb2, histograms, scalars, RecordWriter, make_tensor_proto
    )


class EventFile:
    """A new file of events in a folder.

    TensorBoard's own writer has a thread, which reports a full disk late and on
    standard error. This one writes when it is called, so that the caller gets the
    error.

    Args:
        folder: The folder, which TensorBoard calls a run. It is created if missing.

    Raises:
        ImportError: If TensorBoard is not installed.
        OSError: If it cannot be written.
    """

    _made = 0

    def __init__(self, folder: str | os.PathLike[str]) -> None:
        self._board = import_tensorboard()
        EventFile._made += 1
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
        path = folder / f"events.out.tfevents.{name}.{EventFile._made}.hrcallbacks"
        self._file = path.open("wb")
        weakref.finalize(self, self._file.close)  # Also after a fit that broke off.
        self._records = self._board.records(self._file)
        self._write(file_version="brain.Event:2")
        self.flush()

    def scalar(self, tag: str, value: npt.ArrayLike, step: int) -> None:
        """Writes a number."""
        metadata = self._board.scalars.create_summary_metadata(None, None)
        tensor = self._board.tensor(np.asarray(value, np.float32))
        self._add(tag, tensor, metadata, step)

    def histogram(
        self, tag: str, buckets: np.ndarray, step: int, *, about: str
    ) -> None:
        """Writes a histogram.

        Args:
            tag: Its tag.
            buckets: Shape `(n, 3)`: left edge, right edge and count.
            step: Its step.
            about: A description, in Markdown.
        """
        metadata = self._board.histograms.create_summary_metadata(None, about)
        tensor = self._board.tensor(buckets, dtype=np.float64)
        self._add(tag, tensor, metadata, step)

    def _add(self, tag: str, tensor: Any, metadata: Any, step: int) -> None:
        summary = self._board.summaries.Summary()
        summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        self._write(summary=summary, step=step)

    def _write(self, **event: Any) -> None:
        made = self._board.events.Event(wall_time=time.time(), **event)
        self._records.write(made.SerializeToString())

    def flush(self) -> None:
        """Makes what was written visible to TensorBoard."""
        self._file.flush()

    def close(self) -> None:
        """Closes the file."""
        self._file.close()


def buckets_of(values: npt.ArrayLike, count: int = 30) -> npt.NDArray[np.float64]:
    """Equal buckets over the range of finite values, as TensorFlow's histograms have.

    Args:
        values: Finite numbers, of any shape.
        count: How many buckets.

    Returns:
        Shape `(count, 3)`: left edge, right edge and count. All zero if there is no
        value; if all values are the same, the last bucket has them, without width.

    Example:
        >>> buckets_of([0.0, 1.0, 4.0], count=2).tolist()
        [[0.0, 2.0, 2.0], [2.0, 4.0, 1.0]]
    """
    values = np.asarray(values, np.float64).ravel()
    if not values.size:
        return np.zeros((count, 3))
    low, high = values.min(), values.max()
    if low == high:
        return np.array([[low, high, 0]] * (count - 1) + [[low, high, values.size]])
    # Halved, so that the range of two large values stays finite.
    counts, _ = np.histogram(values / 2, count, (low / 2, high / 2))
    edges = 2 * np.linspace(low / 2, high / 2, count + 1)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def magnitude_buckets(
    counts: npt.ArrayLike, edges: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Buckets of an `hr.Histogram`, from the first that is not empty to the last.

    Args:
        counts: Its counts of magnitudes, then that of exact zeros, shape `(n + 1,)`.
        edges: Edges of the magnitudes, shape `(n + 1,)`.

    Returns:
        Shape `(n, 3)`: left edge, right edge and count.

    Example:
        >>> magnitude_buckets([0, 3, 0, 2], [1, 2, 4, 8]).tolist()
        [[0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [2.0, 4.0, 3.0]]
    """
    edges = np.concatenate([[0.0], np.asarray(edges)])
    counts = np.roll(np.asarray(counts), 1)
    (filled,) = np.nonzero(counts)
    if not len(filled):
        return np.zeros((1, 3))
    kept = slice(filled[0], filled[-1] + 1)
    return np.stack([edges[:-1][kept], edges[1:][kept], counts[kept]], axis=1)
