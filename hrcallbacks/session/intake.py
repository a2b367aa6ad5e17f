"""Turns captured steps into records: copied to the host in batches, then stored."""

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from hrcallbacks.capture.probe import Probe
from hrcallbacks.session.audience import Audience
from hrcallbacks.session.record_maker import RecordMaker, TakenStep, alike
from hrcallbacks.session.start import describe_optimizer
from hrcallbacks.session.worker import Background, Inline, Worker
from hrcallbacks.storage.store import Store
from hrcallbacks.types import OptimizerStart

# Steps wait on the device until one of these limits on bytes, steps or seconds is
# reached: copying them one at a time would make each step wait.
_PENDING_BYTES = 32 * 1024**2
_PENDING_RECORDS = 512
_PENDING_SECONDS = 5.0
# The most bytes queued for the writing thread before training waits for it.
_QUEUED_BYTES = 256 * 1024**2


class Intake:
    """Takes captured steps and makes records of them.

    Args:
        store: Where records go.
        background: Whether a separate thread stores them.
        per_epoch: Whether only an epoch's latest step counts, and its record gets the
            epoch's metrics.
        audience: Is told of each stored record, and of each epoch's end.
    """

    def __init__(
        self, store: Store, audience: Audience, *, background: bool, per_epoch: bool
    ) -> None:
        self._store = store
        self._audience = audience
        self._worker: Worker = Background(_QUEUED_BYTES) if background else Inline()
        self._maker = RecordMaker(audience, per_epoch=per_epoch)
        self._per_epoch = per_epoch
        self._pending: list[TakenStep] = []
        self._since = time.monotonic()
        # By id, the state of the optimizers before the fit.
        self._starts: Mapping[int, OptimizerStart] = {}
        # Number of records when the epoch began. Only jobs use it.
        self._first = 0

    def begin_fit(self, starts: Mapping[int, OptimizerStart]) -> None:
        """A fit begins.

        Args:
            starts: What each optimizer starts from, by its id.
        """
        self._starts = starts
        self._first = len(self._store)

    def add(self, taken: TakenStep) -> None:
        """Takes a step."""
        if self._per_epoch:
            # Which step is the last is known only at the epoch's end.
            self._pending = [taken]
            return
        if not self._pending:
            self._since = time.monotonic()
        self._pending.append(taken)
        size = max(taken.record_bytes, _PENDING_BYTES // _PENDING_RECORDS)
        full = len(self._pending) * size >= _PENDING_BYTES
        if full or time.monotonic() - self._since > _PENDING_SECONDS:
            self.flush()

    def flush(self, metrics: Mapping[str, Any] | None = None) -> None:
        """Stores everything taken so far.

        Args:
            metrics: The epoch's metrics, if they are known and belong to the records.

        Raises:
            Exception: What kept this or anything before it from being stored.
        """
        pending, self._pending = self._pending, []
        if pending:
            size = sum(taken.record_bytes for taken in pending)
            self._worker.submit(lambda: self._store_steps(pending, metrics or {}), size)

    def keep_batches(self) -> None:
        """Stores the batches that sinks want to be kept."""
        self._worker.submit(self._keep_batches, 0)

    def _keep_batches(self) -> None:
        for step, batch in self._audience.kept().items():
            self._store.keep_batch(step, batch)

    def end_epoch(self, epoch: int, step: int, logs: Mapping[str, Any]) -> None:
        """Ends an epoch.

        Args:
            epoch: Its number.
            step: The number of its last step.
            logs: Its logs, on the host.
        """
        logs = dict(logs)
        metrics = {n: v for n, v in logs.items() if n != "loss" and self._per_epoch}
        self.flush(metrics)

        def end() -> None:
            if metrics:  # The epoch's record was read before.
                self._store.add_metrics(self._first, metrics)
            self._first = len(self._store)
            self._store.end_epoch(epoch, step)
            self._audience.end_epoch(epoch, logs)

        self._worker.submit(end, 0)

    def wait(self) -> None:
        """Returns once everything handed over is stored.

        Raises:
            Exception: What kept something from being stored.
        """
        self._worker.wait()

    def discard(self) -> None:
        """Forgets the steps that wait."""
        self._pending.clear()
        self._worker.discard()

    def close(self) -> None:
        """Ends the thread, if there is one."""
        self._worker.close()

    def _store_steps(
        self, pending: Sequence[TakenStep], metrics: Mapping[str, Any]
    ) -> None:
        for steps in alike(pending):
            block = None if metrics else self._maker.block(steps)
            if block is not None:
                self._store.extend(block)
            else:
                self._store_one_by_one(steps, metrics)
            self._describe_optimizers(steps[0].probe)
        self._store.flush_if_due()

    def _store_one_by_one(
        self, steps: Sequence[TakenStep], metrics: Mapping[str, Any]
    ) -> None:
        for taken in steps:
            for record in self._maker.records(taken):
                both = {**record.metrics, **metrics} if metrics else record.metrics
                self._store.append(replace(record, metrics=both) if metrics else record)
                self._audience.add(record)
            if self._audience.needs_batch:
                self._keep_batches()

    def _describe_optimizers(self, probe: Probe) -> None:
        fit = self._store.fits[-1]
        found = {
            name: replace(
                self._starts.get(id(o)) or describe_optimizer(o, None), paths=paths
            )
            for name, (o, paths) in probe.optimizers.items()
            if name not in fit.optimizers
        }
        if found or len(fit.sparse) != len(probe.sparse):
            self._store.update_fit(
                sparse=sorted(probe.sparse), optimizers={**fit.optimizers, **found}
            )
