"""A file of TensorBoard's events, written without TensorFlow."""

import os
import socket
import time
import weakref
from pathlib import Path
from typing import Any

import numpy as np


def import_tensorboard() -> Any:
    """What of TensorBoard writes: protocols, metadata, and the format of its files.

    Raises:
        ImportError: If it is not installed; says what to install.
    """
    try:
        from tensorboard.compat.proto import event_pb2, summary_pb2
        from tensorboard.plugins.histogram import metadata as histograms
        from tensorboard.plugins.scalar import metadata as scalars
        from tensorboard.summary.writer.record_writer import RecordWriter
        from tensorboard.util.tensor_util import make_tensor_proto
    except ImportError as error:
        raise ImportError(
            f"This needs TensorBoard ({error}). Install it with: "
            'pip install "hrcallbacks[tensorboard]".'
        ) from error
    return event_pb2, summary_pb2, histograms, scalars, RecordWriter, make_tensor_proto


class EventFile:
    """A new file of events in a folder.

    TensorBoard's own writer has a thread that reports a full disk late and on standard
    error; this one writes where it is called, so that the caller gets the error.

    Args:
        folder: The folder, made if it is not there. TensorBoard calls it a run.

    Raises:
        ImportError: If TensorBoard is not installed.
        OSError: If it cannot be written.
    """

    _made = 0

    def __init__(self, folder):
        parts = import_tensorboard()
        self._events, self._summaries, self._histograms, self._scalars = parts[:4]
        self._tensor = parts[5]
        EventFile._made += 1
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        name = f"{int(time.time()):010}.{socket.gethostname()}.{os.getpid()}"
        path = folder / f"events.out.tfevents.{name}.{EventFile._made}.hrcallbacks"
        self._file = path.open("wb")
        weakref.finalize(self, self._file.close)  # Also after a fit that broke off.
        self._records = parts[4](self._file)
        self._write(file_version="brain.Event:2")
        self.flush()

    def scalar(self, tag, value, step):
        """Writes a number."""
        metadata = self._scalars.create_summary_metadata(None, None)
        tensor = self._tensor(np.float32(value))
        self._add(tag, tensor, metadata, step)

    def histogram(self, tag, buckets, step, *, about):
        """Writes a histogram.

        Args:
            tag: Its tag.
            buckets: Array of rows `(left edge, right edge, count)`.
            step: Its step.
            about: A description, Markdown.
        """
        metadata = self._histograms.create_summary_metadata(None, about)
        tensor = self._tensor(buckets, dtype=np.float64)
        self._add(tag, tensor, metadata, step)

    def _add(self, tag, tensor, metadata, step):
        summary = self._summaries.Summary()
        summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        self._write(summary=summary, step=step)

    def _write(self, **event):
        event = self._events.Event(wall_time=time.time(), **event)
        self._records.write(event.SerializeToString())

    def flush(self):
        """Lets TensorBoard see what was written."""
        self._file.flush()

    def close(self):
        """Ends the file."""
        self._file.close()


def buckets_of(values, count=30):
    """Equal buckets over the range of finite values, as TensorFlow's histograms have.

    Args:
        values: An array.
        count: How many buckets.

    Returns:
        Array `(count, 3)` of left edge, right edge and count. All zero where there is
        no value; where all are the same, the last bucket has them, without width.

    Example:
        >>> buckets_of([0.0, 1.0, 4.0], count=2).tolist()
        [[0.0, 2.0, 2.0], [2.0, 4.0, 1.0]]
    """
    values = np.ravel(values).astype(np.float64)
    if not values.size:
        return np.zeros((count, 3))
    low, high = values.min(), values.max()
    if low == high:
        return np.array([[low, high, 0]] * (count - 1) + [[low, high, values.size]])
    # Halved, so that the range of two large values is finite too.
    counts, _ = np.histogram(values / 2, count, (low / 2, high / 2))
    edges = 2 * np.linspace(low / 2, high / 2, count + 1)
    return np.stack([edges[:-1], edges[1:], counts], axis=1)


def magnitude_buckets(counts, edges):
    """Buckets of an `hr.Histogram`, from the first that holds something to the last.

    Args:
        counts: Its counts of magnitudes, then that of exact zeros.
        edges: Edges of the magnitudes.

    Returns:
        Array `(n, 3)` of left edge, right edge and count.

    Example:
        >>> magnitude_buckets([0, 3, 0, 2], [1, 2, 4, 8]).tolist()
        [[0.0, 1.0, 2.0], [1.0, 2.0, 0.0], [2.0, 4.0, 3.0]]
    """
    edges = np.concatenate([[0.0], edges])
    counts = np.concatenate([counts[-1:], counts[:-1]])
    (filled,) = np.nonzero(counts)
    if not len(filled):
        return np.zeros((1, 3))
    kept = slice(filled[0], filled[-1] + 1)
    return np.stack([edges[:-1][kept], edges[1:][kept], counts[kept]], axis=1)
