"""Recordings for TensorBoard, laid out as Keras' own callback does.

Whatever Keras' `TensorBoard(histogram_freq=1)` writes has the same tag, subfolder and
step here, so that both show side by side:

- `train`, and `validation` for metrics that begin with `val_`;
- `epoch_<metric>` at the epoch, which counts from 0 there; `batch_<metric>` at the
  step, from 1;
- `<path>/histogram` of a weight.

In addition each variable has `<path>/gradients/histogram`, and for each number that was
recorded, or the norm of what was recorded raw, `<path>/gradients/norm` and
`<path>/weights/norm`. These and the histograms are at the epoch, from 0, if epochs are
recorded (`record_freq="epoch"`), otherwise at the step. `batch_loss` is the loss of
that very batch, where Keras has a running mean. TensorFlow is not needed.
"""

from __future__ import annotations

import contextlib
import os
import time
import warnings
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrcallbacks.export.event_file import (
    EventFile,
    buckets_of,
    import_tensorboard,
    magnitude_buckets,
)
from hrcallbacks.export.records import records_of
from hrcallbacks.reductions.named import NAMED
from hrcallbacks.reductions.reduction import RAW
from hrcallbacks.types import Key, Record

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

_FLUSH_SECONDS = 5.0
_FINITE = "Finite elements. Those that are NaN or infinite are counted in `{}`."
_MAGNITUDES = (
    "Magnitudes |x| of the finite elements; the bucket from 0 has the exact zeros. "
    "Those that are NaN or infinite are counted in `{}`."
)


def to_tensorboard(recording: Recording, logdir: str | os.PathLike[str]) -> None:
    """Writes a recording for TensorBoard.

    Tags and steps are those of Keras' own `TensorBoard` callback: see
    `hrcallbacks.export.tensorboard`. Histograms are made from raw gradients and
    weights. An `hr.Histogram` knows only magnitudes: its counts are at
    `<path>/gradients/histogram_magnitudes`, over |x|, with exact zeros in a bucket
    below its first edge. NaN and infinity are in no bucket: their number is at
    `<path>/gradients/nonfinite`, starting at the first record that has any, and a
    warning says so. Other reductions to more than a number are not written.

    Args:
        recording: A recording, in memory or on disk; it is read record by record.
        logdir: A folder on this machine, for `tensorboard --logdir`. What is there is
            kept: choose a new one for each recording. To see both at once, put it next
            to that of Keras' callback: `logs/gradients` and `logs/keras`.

    Raises:
        ImportError: If TensorBoard is not installed.
        TypeError: If `logdir` is not a path.
        ValueError: If it is a URL, or the recording is empty.
        OSError: If it cannot be written.
    """
    folder = checked_logdir(logdir)
    if not len(recording):
        raise ValueError(
            "The recording is empty: none of the selected steps was run. There "
            "is nothing to show."
        )
    reductions = recording.attributes["reductions"]
    per_epoch = recording.attributes["record_freq"] == "epoch"
    columns = {
        Key(quantity, name, path): rows
        for quantity, names in reductions.items()
        for name in names
        for path, rows in recording.arrays(quantity, name).items()
    }
    with contextlib.closing(RunWriter(folder, reductions, per_epoch=per_epoch)) as run:
        for record in _records(recording, columns):
            run.add_record(record)
            if per_epoch:
                run.add_epoch(record.step.epoch, record.metrics)
    if run.nonfinite:
        (tag, step), *others = run.nonfinite.items()
        warnings.warn(
            f"NaN or infinity, which no histogram shows: counted in {tag!r} from step "
            f"{step} on" + (f", and in {len(others)} other tags." if others else "."),
            UserWarning,
            stacklevel=2,
        )


def _records(recording: Recording, columns: Mapping[Key, Any]) -> Iterator[Record]:
    lacks = {path: recording.without_gradient(path) for path in recording.paths}
    lacks = {path: records for path, records in lacks.items() if records.any()}
    for number, record in enumerate(records_of(recording.index, columns)):
        without = {path for path, records in lacks.items() if records[number]}
        # A recording has NaN for what was not there.
        there = {
            key: value
            for key, value in record.values.items()
            if key.path not in without
            or (key.quantity == "weights" and not np.isnan(value).all())
        }
        yield replace(record, values=there)


def checked_logdir(logdir: str | os.PathLike[str]) -> Path:
    """The folder, if it is one on this machine.

    Raises:
        ImportError: If TensorBoard is not installed.
        TypeError: If it is not a path.
        ValueError: If it is a URL.
    """
    import_tensorboard()
    if not isinstance(logdir, str | os.PathLike) or not os.fspath(logdir):
        raise TypeError(
            "Expected a folder for TensorBoard, such as 'logs/gradients'. "
            f"Received: {logdir!r}."
        )
    if "://" in os.fspath(logdir):
        raise ValueError(
            "TensorBoard's files are written to a folder of this machine, such as "
            f"'logs/gradients'. Received the URL {os.fspath(logdir)!r}."
        )
    return Path(logdir)


class RunWriter:
    """Writes records as they come.

    Attributes:
        nonfinite: Tags that count NaN and infinity, each with the first step that had
            any.

    Args:
        logdir: The folder to write to.
        reductions: What was recorded: `Recording.attributes["reductions"]`.
        per_epoch: Whether epochs are recorded.

    Raises:
        OSError: If it cannot be written.
    """

    def __init__(
        self,
        logdir: Path,
        reductions: Mapping[str, Mapping[str, Mapping[str, Any]]],
        *,
        per_epoch: bool,
    ) -> None:
        self.nonfinite: dict[str, int] = {}
        self._logdir = logdir
        self._edges = {
            (quantity, name): np.array(about["edges"])
            for quantity, names in reductions.items()
            for name, about in names.items()
            if about["kind"] == "Histogram"
        }
        self._per_epoch = per_epoch
        self._files = {"train": EventFile(logdir / "train")}
        self._flushed = time.monotonic()

    def add_record(self, record: Record) -> None:
        """Writes a record."""
        step = record.step.epoch - 1 if self._per_epoch else record.step.step
        if record.loss is not None:
            self._scalar("batch_loss", record.loss, record.step.step)
        for name, rate in record.learning_rates.items():
            if self._per_epoch:
                self._scalar(f"epoch_{name}", rate, step)
            else:
                self._scalar(f"batch_{name}", rate, step)
        for name, value in () if self._per_epoch else record.metrics.items():
            if np.ndim(value) == 0:
                self._scalar(f"batch_{name}", value, step)
        for key, value in record.values.items():
            if key.quantity in ("gradients", "weights"):
                self._add_value(key, value, step, record.values)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def _add_value(
        self, key: Key, value: np.ndarray, step: int, others: Mapping[Key, np.ndarray]
    ) -> None:
        quantity, name, path = key.quantity, key.reduction, key.path
        kind = f"{path}/{quantity}"
        if name == RAW:
            self._add_raw(quantity, path, value, step, others)
        elif (quantity, name) in self._edges:
            buckets = magnitude_buckets(value[:-2], self._edges[quantity, name])
            about = _MAGNITUDES.format(f"{kind}/nonfinite")
            self._histogram(f"{kind}/{name}_magnitudes", buckets, step, about)
            if Key(quantity, RAW, path) not in others:
                self._count_nonfinite(
                    quantity, path, int(value[-2:].sum()), step, others
                )
        elif np.ndim(value) == 0:
            self._scalar(f"{kind}/{name}", value, step)

    def _add_raw(
        self,
        quantity: str,
        path: str,
        value: np.ndarray,
        step: int,
        others: Mapping[Key, np.ndarray],
    ) -> None:
        finite = value[np.isfinite(value)]
        kind = f"{path}/{quantity}"
        tag = f"{path if quantity == 'weights' else kind}/histogram"
        about = _FINITE.format(f"{kind}/nonfinite")
        self._histogram(tag, buckets_of(finite), step, about)
        self._count_nonfinite(quantity, path, value.size - finite.size, step, others)
        if Key(quantity, "norm", path) not in others:
            norm = np.asarray(NAMED["norm"].on_host(value))
            self._scalar(f"{kind}/norm", norm, step)

    def _count_nonfinite(
        self,
        quantity: str,
        path: str,
        count: int,
        step: int,
        others: Mapping[Key, np.ndarray],
    ) -> None:
        tag = f"{path}/{quantity}/nonfinite"
        if count:
            self.nonfinite.setdefault(tag, step)
        if tag in self.nonfinite and Key(quantity, "nonfinite", path) not in others:
            self._scalar(tag, count, step)

    def add_epoch(self, epoch: int, logs: Mapping[str, Any]) -> None:
        """Writes an epoch's logs.

        Args:
            epoch: Its number, from 1.
            logs: Numbers by name; anything else is left out.
        """
        for name, value in logs.items():
            if np.ndim(value) == 0:
                folder = "validation" if name.startswith("val_") else "train"
                tag = f"epoch_{name.removeprefix('val_')}"
                self._scalar(tag, value, int(epoch) - 1, folder)

    def flush(self) -> None:
        """Makes what was written visible to TensorBoard."""
        for file in self._files.values():
            file.flush()
        self._flushed = time.monotonic()

    def close(self) -> None:
        """Closes the files."""
        for file in self._files.values():
            file.close()

    def _scalar(
        self, tag: str, value: npt.ArrayLike, step: int, folder: str = "train"
    ) -> None:
        if folder not in self._files:
            self._files[folder] = EventFile(self._logdir / folder)
        self._files[folder].scalar(tag.replace(":", "_"), value, step)

    def _histogram(self, tag: str, buckets: np.ndarray, step: int, about: str) -> None:
        file = self._files["train"]
        file.histogram(tag.replace(":", "_"), buckets, step, about=about)
