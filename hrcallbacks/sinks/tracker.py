"""Sends records to an experiment tracker during training."""

from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hrcallbacks.export.event_file import buckets_of, magnitude_buckets
from hrcallbacks.reductions.reduction import RAW
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.types import Key, Record, RunInfo

_BUCKETS = 64


class Tracker(Sink):
    """Sends numbers and histograms of each record to W&B, Trackio or another tracker.

    A record becomes a dict: `"recorded_step"` and `"recorded_epoch"`, both from 1; each
    number, such as `"gradients/norm/hidden/kernel"`; and a histogram of each tensor
    that was recorded raw, `"gradients/raw/hidden/kernel"`, and of each `hr.Histogram`,
    `"gradients/histogram/hidden/kernel"`, whose bins are of magnitudes. NaN and
    infinity are in no histogram. Other arrays are left out.

    Args:
        log: Called with the dict of each record, in the order of the steps; with a
            `store` it is called in another thread. A run's own method, such as
            `wandb.init().log`.
        histogram: Called with `np_histogram=(counts, edges)`, as from
            `numpy.histogram`; returns what the tracker shows: `wandb.Histogram` or
            `trackio.Histogram`. None sends numbers alone.

    Raises:
        TypeError: If an argument is not callable.

    Example:
        >>> Tracker(print)
        <Tracker of numbers>
    """

    def __init__(
        self,
        log: Callable[[dict[str, Any]], Any],
        *,
        histogram: Callable[..., Any] | None = None,
    ) -> None:
        if not callable(log):
            raise TypeError(
                "Expected log: a callable(dict), such as wandb.init().log. "
                f"Received: {log!r}."
            )
        if histogram is not None and not callable(histogram):
            raise TypeError(
                "Expected histogram: None, or a callable such as wandb.Histogram. "
                f"Received: {histogram!r}."
            )
        self._log = log
        self._histogram = histogram
        self._sends = False
        self._edges: Mapping[tuple[str, str], np.ndarray] = {}

    def __deepcopy__(self, memo: dict[int, Any]) -> "Tracker":
        """A copy of the recorder sends to the same run."""
        return Tracker(self._log, histogram=self._histogram)

    def __repr__(self) -> str:
        """What it sends."""
        return f"<Tracker of numbers{' and histograms' if self._histogram else ''}>"

    def begin(self, run: RunInfo) -> None:
        """See `Sink.begin`. Of several workers, only the chief sends."""
        self._sends = run.chief
        self._edges = {
            (quantity, name): np.array(about["edges"])
            for quantity, names in run.reductions.items()
            for name, about in names.items()
            if about["kind"] == "Histogram"
        }

    def add(self, record: Record) -> None:
        """See `Sink.add`."""
        if not self._sends:
            return
        sent: dict[str, Any] = {
            "recorded_step": record.step.step,
            "recorded_epoch": record.step.epoch,
        }
        for key, value in record.values.items():
            shown = self._shown(key, np.asarray(value)) if key.reduction else None
            if shown is not None:
                sent[f"{key.quantity}/{key.reduction}/{key.path}"] = shown
        self._log(sent)

    def _shown(self, key: Key, value: np.ndarray) -> Any:
        """A number or a histogram; None for what is neither."""
        edges = self._edges.get((key.quantity, key.reduction))
        if key.reduction == RAW:
            finite = value[np.isfinite(value)]
            return self._of(buckets_of(finite, _BUCKETS)) if finite.size else None
        if edges is not None:
            return self._of(magnitude_buckets(value[:-2], edges))
        return float(value) if value.ndim == 0 else None

    def _of(self, buckets: np.ndarray) -> Any:
        if self._histogram is None:
            return None
        edges = np.append(buckets[:, 0], buckets[-1, 1])
        return self._histogram(np_histogram=(buckets[:, 2].astype(int), edges))
