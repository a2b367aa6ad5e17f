"""What happens to each step and each epoch of a fit."""

from collections.abc import Mapping
from typing import Any

import keras

from hrcallbacks.capture.packing import Packed
from hrcallbacks.capture.probe import Probe
from hrcallbacks.quantities.whole_batch import WholeBatch
from hrcallbacks.session import notices
from hrcallbacks.session.audience import Audience
from hrcallbacks.session.clock import Clock
from hrcallbacks.session.epoch_mean import EpochMean
from hrcallbacks.session.intake import Intake
from hrcallbacks.session.probes import Probes
from hrcallbacks.session.record_maker import TakenStep
from hrcallbacks.session.settings import Settings


class Steps:
    """Counts steps, and passes on those that were captured.

    Args:
        settings: The recorder's arguments.
        clock: Counts steps.
        probes: What is taken from each step.
        intake: Makes records of captured steps.
        audience: The sinks.
    """

    def __init__(
        self,
        settings: Settings,
        clock: Clock,
        probes: Probes,
        intake: Intake,
        audience: Audience,
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._probes = probes
        self._intake = intake
        self._audience = audience
        self._mean: EpochMean | None = None
        self._has_warned = False
        self._has_looked = False  # Whether layers are called at all.

    def begin_fit(self) -> None:
        """A fit begins."""
        self._has_warned = False
        self._has_looked = False

    def begin_epoch(self) -> None:
        """A recorded epoch begins."""
        if self._settings.mean:
            self._mean = EpochMean(self._probes.plan.gradients)

    def begin_execution(self, batch: int, model: Any) -> Probe | None:
        """Returns what to take from the next execution."""
        # With steps_per_execution, one call of the train function runs several steps.
        self._clock.begin_execution(batch, model.steps_per_execution)
        wanted = bool(self._clock.wanted) or self._clock.counts_itself
        return self._probes.of_step(recorded=wanted)

    def take(
        self, probe: Probe, number: int, logs: Mapping[str, Any], packed: Packed
    ) -> None:
        """Takes one captured step: see `capture.armed_step.Receive`."""
        if probe.failure is not None:
            raise probe.failure
        clock = self._clock
        batch = clock.take(number)
        if self._audience.takes:
            self._audience.see_step(batch, probe.sole_tensors(packed))
        if batch not in clock.wanted:
            if self._mean:
                self._mean.add(probe.packer, packed)
            return
        if self._mean:
            self._mean.add_latest(probe.packer, packed)
        clock.hit = True
        size = self._probes.record_bytes
        size += probe.packer.most_bytes_of(packed, WholeBatch.name)
        step = clock.step(batch)
        self._intake.add(TakenStep(probe, step, logs, packed, size, self._mean))

    def end_epoch(self, logs: Any, model: Any) -> None:
        """Passes the epoch's records on, with the epoch's metrics.

        Raises:
            Exception: What kept a step from being recorded.
        """
        if self._probes.failure is not None:
            raise self._probes.failure
        if missed := self._clock.missed:
            raise RuntimeError(
                f"{len(missed)} of the steps to record were not seen, the first of "
                f"them step {missed[0]}: Keras {keras.__version__} ran them in a way "
                "that this version of hrcallbacks does not know"
            )
        self._audience.log_epoch(logs)
        self._intake.end_epoch(self._clock.epoch, self._clock.total, logs or {})
        # Before another callback marks this epoch as done.
        if self._settings.resume or self._audience.waits:
            self._intake.wait()
        seen = self._probes.has_seen_optimizer or self._has_warned
        if self._clock.captured and not seen:
            self._has_warned = True
            notices.no_optimizer(self._clock.epoch, model)
        if self._probes.plan.has_found and not self._has_looked:
            self._has_looked = True
            notices.never_called(self._probes.plan.unseen)
