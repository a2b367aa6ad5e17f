"""A file of TensorBoard's events, written without TensorFlow."""

from __future__ import annotations

import os
import socket
import struct
import time
import weakref
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.optional import optional

# TensorFlow's numbers of dtypes.
_FLOAT, _DOUBLE = 1, 2


class TensorBoard(NamedTuple):
    """The parts of TensorBoard that write; `Any`, because it has no annotations.

    Attributes:
        event: Class of an event.
        summary: Class of a summary.
        tensor: Class of a tensor.
        histograms: Module that makes metadata of histograms.
        scalars: Module that makes metadata of scalars.
        crc32c: Function that makes a checksum of bytes.
    """

    event: Any
    summary: Any
    tensor: Any
    histograms: Any
    scalars: Any
    crc32c: Any


def import_tensorboard() -> TensorBoard:
    """The parts of TensorBoard that write.

    Raises:
        ImportError: If it is not installed.
    """
    with optional("TensorBoard", extra="tensorboard"):
        import google_crc32c  # TensorBoard's own checksum is pure Python, and slow.
        from tensorboard.compat.proto import event_pb2, summary_pb2, tensor_pb2
        from tensorboard.plugins.histogram import metadata as histograms
        from tensorboard.plugins.scalar import metadata as scalars
    messages: Any = (event_pb2, summary_pb2, tensor_pb2)
    events, summaries, tensors = messages
    return TensorBoard(
        events.Event,
        summaries.Summary,
        tensors.TensorProto,
        histograms,
        scalars,
        google_crc32c.value,
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
        # By description.
        self._metadata: dict[str | None, Any] = {}
        self._write(self._board.event(file_version="brain.Event:2"))
        self.flush()

    def scalar(self, tag: str, value: npt.ArrayLike, step: int) -> None:
        """Writes a number."""
        if None not in self._metadata:
            made = self._board.scalars.create_summary_metadata(None, None)
            self._metadata[None] = made
        tensor = self._board.tensor(dtype=_FLOAT)
        tensor.float_val.append(np.asarray(value, np.float32).item())
        self._add(tag, tensor, self._metadata[None], step)

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
        if about not in self._metadata:
            made = self._board.histograms.create_summary_metadata(None, about)
            self._metadata[about] = made
        content = np.ascontiguousarray(buckets, "<f8").tobytes()
        tensor = self._board.tensor(dtype=_DOUBLE, tensor_content=content)
        for size in buckets.shape:
            tensor.tensor_shape.dim.add(size=size)
        self._add(tag, tensor, self._metadata[about], step)

    def _add(self, tag: str, tensor: Any, metadata: Any, step: int) -> None:
        event = self._board.event(step=step)
        event.summary.value.add(tag=tag, tensor=tensor, metadata=metadata)
        self._write(event)

    def _write(self, event: Any) -> None:
        """Writes an event as TFRecord does: lengths and checksums around it."""
        event.wall_time = time.time()
        data = event.SerializeToString()
        length = struct.pack("<Q", len(data))
        self._file.write(length + self._sum(length) + data + self._sum(data))

    def _sum(self, data: bytes) -> bytes:
        """A checksum as TFRecord has it, masked: see `tensorboard.summary.writer`."""
        crc = self._board.crc32c(data)
        return struct.pack("<I", ((crc >> 15 | crc << 17) + 0xA282EAD8) & 0xFFFFFFFF)

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
    # Halved, so that the range of two large values stays finite.
    halves, start, width = values / 2, low / 2, high / 2 - low / 2
    if not width:
        return np.array([[low, high, 0]] * (count - 1) + [[low, high, values.size]])
    edges = start + width * (np.arange(count + 1) / count)
    edges[-1] = high / 2
    # As `np.histogram` does, in a third of its time for a few values: their places,
    # then one further where that was rounded to the wrong side of an edge.
    place = ((halves - start) / width * count).astype(np.intp)
    np.minimum(place, count - 1, out=place)
    place -= halves < edges[place]
    place += (halves >= edges[place + 1]) & (place < count - 1)
    made = np.empty((count, 3))
    made[:, 0], made[:, 1] = 2 * edges[:-1], 2 * edges[1:]
    made[:, 2] = np.bincount(place, minlength=count)
    return made


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
