"""From captured steps to records: copied to the host in batches, and stored in turn."""

import collections
import concurrent.futures
import threading
import time
from typing import Any

import keras
import numpy as np

from hrcallbacks.snapshot import describe_replay, to_host
from hrcallbacks.storage import HAS_GRADIENT
from hrcallbacks.train_step import NORM

# Steps wait on the device until so many bytes, or so many of them, have come together,
# or so many seconds have passed: one copy at a time would make each step wait for it.
_PENDING_BYTES = 32 * 1024**2
_PENDING_RECORDS = 512
_PENDING_SECONDS = 5.0
# What may wait for the thread that writes, before training waits for that thread.
_QUEUED_BYTES = 256 * 1024**2


class Intake:
    """Takes captured steps, and makes records of them.

    Args:
        store: Where records go.
        background: Whether a thread of its own is to store them.
        per_epoch: Whether an epoch's latest step alone counts, and its record is to
            have the epoch's metrics.
        followers: Who is told of each record that was stored, and of each epoch's end.
    """

    def __init__(self, store, *, background, per_epoch, followers=()):
        self._store = store
        self._followers = followers
        self._runner = Background(_QUEUED_BYTES) if background else Inline()
        self._per_epoch = per_epoch
        self._pending = []
        self._since = time.monotonic()
        self._open_rows = []  # The epoch's, without its metrics. Jobs alone touch it.

    def add(self, probe, step, logs, packed, mean=None):
        """Takes a step.

        Args:
            probe: The `Probe` that saw it.
            step: Dict of step, epoch and batch.
            logs: Its logs, tensors.
            packed: What the probe's packer packed.
            mean: A `RunningMean` to take the gradients from in place of the step's.
        """
        if self._per_epoch:
            # Which step is an epoch's last is certain at its end alone.
            self._pending = [(probe, step, logs, packed, mean)]
            return
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append((probe, step, logs, packed, mean))
        size = max(probe.record_bytes, _PENDING_BYTES // _PENDING_RECORDS)
        full = len(self._pending) * size >= _PENDING_BYTES
        if full or time.monotonic() - self._since > _PENDING_SECONDS:
            self.flush()

    def flush(self):
        """Has all that was taken stored."""
        pending, self._pending = self._pending, []
        if pending:
            size = sum(probe.record_bytes for probe, *_ in pending)
            self._runner.submit(lambda: self._store_steps(pending), size)

    def end_epoch(self, epoch, step, logs):
        """Ends an epoch.

        Args:
            epoch: Its number.
            step: The number of its last step.
            logs: Its logs, on the host.
        """
        self.flush()
        logs = dict(logs)
        metrics = {name: value for name, value in logs.items() if name != "loss"}

        def end():
            for row in self._open_rows:
                row.update(metrics)
            self._open_rows = []
            self._store.end_epoch(epoch, step)
            for follower in self._followers:
                follower.end_epoch(epoch, logs)

        self._runner.submit(end, 0)

    def wait(self):
        """Returns once all that was handed over is stored.

        Raises:
            Exception: What kept it from being stored.
        """
        self._runner.wait()

    def discard(self):
        """Forgets what waits."""
        self._pending.clear()
        self._runner.discard()

    def close(self):
        """Ends the thread, if there is one."""
        self._runner.close()

    def _store_steps(self, pending):
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

    def _tell(self, row, values):
        known = {name: value for name, value in row.items() if value is not None}
        for follower in self._followers:
            follower.add_record(known, values)

    def _record(self, probe, step, record, logs):
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

    def _describe_optimizers(self, probe):
        if not self._store.fits:
            return
        fit = self._store.fits[-1]
        fit["sparse"] = sorted(probe.sparse)
        for name, (optimizer, paths) in probe.optimizers.items():
            if name not in fit["optimizers"]:
                known = fit["described"].get(id(optimizer))
                described = known or describe_replay(optimizer, None)
                fit["optimizers"][name] = described | {"paths": paths}


class RunningMean:
    """Mean of the gradients of several steps, summed on the device.

    Args:
        finish: Called with a path and the mean, a NumPy array; yields the reductions'
            names and what they make of it.
    """

    def __init__(self, finish):
        self._finish = finish
        self._sums = {}
        self._latest = None

    def add_latest(self, packer, packed):
        """Adds a step that may be the last one: `replaced` is given its arrays."""
        if self._latest is not None:
            self.add(*self._latest)
        self._latest = packer, packed

    def add(self, packer, packed):
        """Adds a step."""
        for name, tensors in packed.items():
            _, count, sums = self._sums.get((id(packer), name), (packer, 0, None))
            if sums is not None:
                tensors = [*map(keras.ops.add, sums, tensors)]
            self._sums[id(packer), name] = packer, count + 1, tensors

    def replaced(self, arrays):
        """The last step's arrays, with the mean's gradients in place of its own."""
        totals: dict[tuple, Any] = collections.defaultdict(float)
        counts = collections.defaultdict(int)
        parts = [(1, arrays)]
        for (_, name), (packer, count, sums) in self._sums.items():
            parts.append((count, packer.unpack({name: sums})))
        for count, part in parts:
            for key, array in part.items():
                if key[1] == "gradients":
                    totals[key] = totals[key] + array.astype(np.float64)
                    counts[key] += count
        kept = {k: a for k, a in arrays.items() if k[1] != "gradients"}
        for key, total in totals.items():
            record, quantity, _, path = key
            dtype = arrays[key].dtype if key in arrays else np.float32
            mean = (total / counts[key]).astype(dtype)
            for reduction, made in self._finish(path, mean):
                kept[record, quantity, reduction, path] = made
        return kept


class Inline:
    """Runs jobs at once."""

    def submit(self, job, size):
        """Runs a job."""
        job()

    def wait(self):
        """Nothing waits."""

    def discard(self):
        """Nothing waits."""

    def close(self):
        """Nothing is open."""


class Background:
    """Runs jobs one after another, in a thread.

    Args:
        limit: Bytes that may wait; `submit` waits while there are more.
    """

    def __init__(self, limit):
        self._limit = limit
        self._waiting = 0
        self._room = threading.Condition()
        self._failure = None
        self._executor = None

    def submit(self, job, size):
        """Has a job run, once those before it have.

        Args:
            job: A function.
            size: Bytes that it holds until it has run.

        Raises:
            Exception: What an earlier job raised; no job is run after it.
        """
        with self._room:
            self._room.wait_for(
                lambda: not self._waiting or self._waiting + size <= self._limit
            )
            self._raise()
            self._waiting += size
        if self._executor is None:
            self._executor = concurrent.futures.ThreadPoolExecutor(1, "hrcallbacks")
        self._executor.submit(self._run, job, size)

    def _run(self, job, size):
        try:
            if self._failure is None:
                job()
        except Exception as error:
            self._failure = error
        finally:
            with self._room:
                self._waiting -= size
                self._room.notify()

    def _raise(self):
        if self._failure is not None:
            raise self._failure

    def wait(self):
        """Returns once all jobs have run."""
        if self._executor is not None:
            self._executor.submit(lambda: None).result()
        self._raise()

    def discard(self):
        """Runs no job any more that has not begun."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True, cancel_futures=True)
        self._failure = None
        self._waiting = 0

    def close(self):
        """Ends the thread once all jobs have run."""
        executor, self._executor = self._executor, None
        if executor is not None:
            executor.shutdown(wait=True)


def _by_record(arrays):
    """Arrays by record and key, from those by (record, *key)."""
    records = {}
    for (number, *key), array in arrays.items():
        records.setdefault(number, {})[tuple(key)] = array
    return dict(sorted(records.items()))


def _rates(rates):
    """Columns of the index: `learning_rate`, and `learning_rate_2` of a second one."""
    names = {n: f"_{int(n) + 1}" if int(n) else "" for n in rates}
    return {f"learning_rate{names[n]}": rate for n, rate in rates.items()}


def _scalar(value):
    array = to_host(value)
    return array.item() if array.ndim == 0 else array
