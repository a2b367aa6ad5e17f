"""From captured steps to records: copied to the host in batches, and stored in turn."""

import time
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from hrcallbacks.session.epoch_mean import EpochMean
from hrcallbacks.session.worker import Background, Inline, Worker
from hrcallbacks.snapshot import describe_replay, to_host
from hrcallbacks.storage import HAS_GRADIENT, Columns
from hrcallbacks.train_step import NORM, Probe

# Steps wait on the device until so many bytes, or so many of them, have come together,
# or so many seconds have passed: one copy at a time would make each step wait for it.
_PENDING_BYTES = 32 * 1024**2
_PENDING_RECORDS = 512
_PENDING_SECONDS = 5.0
# What may wait for the thread that writes, before training waits for that thread.
_QUEUED_BYTES = 256 * 1024**2


class Taken(NamedTuple):
    """A captured step.

    Attributes:
        probe: The `Probe` that saw it.
        step: Dict of step, epoch and batch.
        logs: Its logs, tensors.
        packed: What the probe's packer packed.
        mean: An `EpochMean` to take the gradients from in place of the step's.
    """

    probe: Probe
    step: dict[str, int]
    logs: Mapping[str, Any]
    packed: dict
    mean: EpochMean | None = None


class Intake:
    """Takes captured steps, and makes records of them.

    Args:
        store: Where records go.
        background: Whether a thread of its own is to store them.
        per_epoch: Whether an epoch's latest step alone counts, and its record is to
            have the epoch's metrics.
        followers: Who is told of each record that was stored, and of each epoch's end.
    """

    def __init__(
        self,
        store: Columns,
        *,
        background: bool,
        per_epoch: bool,
        followers: Sequence[Any] = (),
    ) -> None:
        self._store: Any = store
        self._followers = followers
        self._worker: Worker = Background(_QUEUED_BYTES) if background else Inline()
        self._per_epoch = per_epoch
        self._pending: list[Taken] = []
        self._since = time.monotonic()
        # The epoch's, without its metrics. Jobs alone touch it.
        self._open_rows: list[dict] = []

    def add(self, taken: Taken) -> None:
        """Takes a step."""
        if self._per_epoch:
            # Which step is an epoch's last is certain at its end alone.
            self._pending = [taken]
            return
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append(taken)
        size = max(taken.probe.record_bytes, _PENDING_BYTES // _PENDING_RECORDS)
        full = len(self._pending) * size >= _PENDING_BYTES
        if full or time.monotonic() - self._since > _PENDING_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Has all that was taken stored.

        Raises:
            Exception: What kept it, or what came before it, from being stored.
        """
        pending, self._pending = self._pending, []
        if pending:
            size = sum(taken.probe.record_bytes for taken in pending)
            self._worker.submit(lambda: self._store_steps(pending), size)

    def end_epoch(self, epoch: int, step: int, logs: Mapping[str, Any]) -> None:
        """Ends an epoch.

        Args:
            epoch: Its number.
            step: The number of its last step.
            logs: Its logs, on the host.
        """
        self.flush()
        logs = dict(logs)
        metrics = {name: value for name, value in logs.items() if name != "loss"}

        def end() -> None:
            for row in self._open_rows:
                row.update(metrics)
            self._open_rows = []
            self._store.end_epoch(epoch, step)
            for follower in self._followers:
                follower.end_epoch(epoch, logs)

        self._worker.submit(end, 0)

    def wait(self) -> None:
        """Returns once all that was handed over is stored.

        Raises:
            Exception: What kept something from being stored.
        """
        self._worker.wait()

    def discard(self) -> None:
        """Forgets what waits."""
        self._pending.clear()
        self._worker.discard()

    def close(self) -> None:
        """Ends the thread, if there is one."""
        self._worker.close()

    def _store_steps(self, pending: Sequence[Taken]) -> None:
        for probe, step, logs, packed, mean in pending:
            arrays = probe.packer.unpack(packed)
            if mean is not None:
                arrays = mean.replaced(arrays)
            arrays.pop(NORM, None)  # It is in the logs.
            records = _by_record(arrays)
            for number, record in records.items():
                # Only where a step updates a variable several times it says which.
                call = {"call": number + 1} if len(records) > 1 else {}
                has_loss = ("loss", "", "") in record or "loss" in logs
                row, values = self._record(probe, step | call, record, logs)
                self._store.append(row, values)
                self._tell(row if has_loss else {**row, "loss": None}, values)
            if not self._per_epoch:
                self._open_rows = []
            self._describe_optimizers(probe)
        self._store.flush_if_due()

    def _tell(self, row: dict, values: dict) -> None:
        known = {name: value for name, value in row.items() if value is not None}
        for follower in self._followers:
            follower.add_record(known, values)

    def _record(
        self, probe: Probe, step: dict, record: dict, logs: Mapping[str, Any]
    ) -> tuple[dict, dict]:
        loss = record.pop(("loss", "", ""), logs.get("loss", np.nan))
        values, rates = {}, {}
        for (quantity, reduction, path), array in record.items():
            if quantity == "learning_rates":
                rates[path] = float(array)
            else:
                values[quantity, reduction, path] = array
        got = {path for quantity, _, path in values if quantity == "gradients"}
        for path in probe.gradients_of:
            values[*HAS_GRADIENT, path] = float(path in got)
        row = {**step, "loss": _scalar(loss)} | _rates(rates)
        if not self._per_epoch:
            row |= {k: _scalar(v) for k, v in logs.items() if k != "loss"}
        self._open_rows.append(row)
        return row, values

    def _describe_optimizers(self, probe: Probe) -> None:
        fit = self._store.fits[-1]
        found = {
            name: (fit["described"].get(id(o)) or describe_replay(o, None))
            | {"paths": paths}
            for name, (o, paths) in probe.optimizers.items()
            if name not in fit["optimizers"]
        }
        if found or len(fit["sparse"]) != len(probe.sparse):
            self._store.update_fit(
                sparse=sorted(probe.sparse), optimizers=fit["optimizers"] | found
            )


def _by_record(arrays: dict[tuple, Any]) -> dict[int, dict[tuple, Any]]:
    """Arrays by record and key, from those by (record, *key)."""
    records: dict[int, dict[tuple, Any]] = {}
    for (number, *key), array in arrays.items():
        records.setdefault(number, {})[tuple(key)] = array
    return dict(sorted(records.items()))


def _rates(rates: dict[str, float]) -> dict[str, float]:
    """Columns of the index: `learning_rate`, and `learning_rate_2` of a second one."""
    names = {n: f"_{int(n) + 1}" if int(n) else "" for n in rates}
    return {f"learning_rate{names[n]}": rate for n, rate in rates.items()}


def _scalar(value: Any) -> Any:
    array = to_host(value)
    return array.item() if array.ndim == 0 else array
