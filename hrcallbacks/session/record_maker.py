"""Makes records of what was captured: of each step, or of many alike at once."""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.capture.packing import Packed
from hrcallbacks.capture.probe import Probe
from hrcallbacks.quantities.step_values import StepValues
from hrcallbacks.quantities.whole_batch import WholeBatch
from hrcallbacks.session.audience import Audience
from hrcallbacks.session.epoch_mean import EpochMean
from hrcallbacks.types import Block, Key, Record, Step, row_of

# Larger records are stored one by one: a copy would cost more than it saves.
_SMALL = 16 * 1024  # bytes


@dataclass(frozen=True)
class TakenStep:
    """A captured step.

    Attributes:
        probe: The `Probe` that saw it.
        step: Which step it is.
        logs: Its logs, tensors.
        packed: What the probe's packer packed.
        record_bytes: Size of a record.
        mean: An `EpochMean` that replaces the step's gradients, or None.
    """

    probe: Probe
    step: Step
    logs: Mapping[str, Any]
    packed: Packed
    record_bytes: int
    mean: EpochMean | None = None


def alike(taken: Iterable[TakenStep]) -> Iterator[Sequence[TakenStep]]:
    """Runs of steps of which the same was taken, in the same layout."""
    for _, run in itertools.groupby(taken, lambda t: (id(t.probe), *t.packed)):
        yield list(run)


class RecordMaker:
    """Makes records of captured steps, on the host.

    Args:
        audience: Adds to a record's metrics.
        per_epoch: Whether a record gets its epoch's metrics later, not its step's.
    """

    def __init__(self, audience: Audience, *, per_epoch: bool) -> None:
        self._audience = audience
        self._per_epoch = per_epoch

    def block(self, steps: Sequence[TakenStep]) -> Block | None:
        """The records of steps that are alike, made together.

        Args:
            steps: What `alike` gave.

        Returns:
            The records; None if they have to be made one by one.
        """
        first = steps[0]
        if len(steps) == 1 or first.record_bytes > _SMALL:
            return None
        if self._audience.needs_records or first.mean is not None:
            return None
        try:
            values = first.probe.packer.unpack_alike([taken.packed for taken in steps])
            if not values:  # Also a step of which nothing was taken makes no record.
                return None
            rows = self._rows(steps, values)
            whole = _complete(first.probe, values, len(rows))
            return Block(rows, values) if whole else None
        except Exception:  # One by one, those before the one that fails are kept.
            return None

    def _rows(
        self, steps: Sequence[TakenStep], values: dict[Key, np.ndarray]
    ) -> list[dict[str, Any]]:
        """Rows of the index; takes what belongs there out of the values."""
        losses = values.pop(StepValues.LOSS, None)
        known = itertools.repeat(None) if losses is None else losses.tolist()
        rates = {
            _rate_name(key.path): values.pop(key).tolist()
            for key in [key for key in values if key.quantity == StepValues.name]
        }
        rows = []
        for number, (taken, loss) in enumerate(zip(steps, known, strict=False)):
            loss = _loss(taken) if loss is None else loss
            own = {name: of_steps[number] for name, of_steps in rates.items()}
            rows.append(row_of(taken.step, loss, own, self._metrics(taken, {})))
        return rows

    def records(self, taken: TakenStep) -> list[Record]:
        """The records of a step; several, if it updates a variable several times."""
        unpacked = taken.probe.packer.unpack(taken.packed)
        needs_batch = self._audience.needs_batch
        batch = WholeBatch.pop_from(unpacked.values()) if needs_batch else None
        extra = self._audience.metrics(unpacked)
        unpacked = {number: values for number, values in unpacked.items() if values}
        if taken.mean is not None:
            unpacked = taken.mean.replaced(unpacked)
        # `call` is set only if a step updates a variable several times.
        several = len(unpacked) > 1
        records = [
            self._record(taken, values, number + 1 if several else None, extra)
            for number, values in unpacked.items()
        ]
        return (
            [replace(record, batch=batch) for record in records] if batch else records
        )

    def _record(
        self,
        taken: TakenStep,
        values: dict[Key, np.ndarray],
        call: int | None,
        extra: Mapping[str, float],
    ) -> Record:
        loss = values.pop(StepValues.LOSS, None)
        rates = {}
        for key in [key for key in values if key.quantity == StepValues.name]:
            rates[_rate_name(key.path)] = float(values.pop(key))
        for quantity in taken.probe.quantities:
            quantity.complete(values)
        return Record(
            step=replace(taken.step, call=call) if call else taken.step,
            loss=_loss(taken) if loss is None else _number(loss),
            values=values,
            learning_rates=rates,
            metrics=self._metrics(taken, extra),
        )

    def _metrics(
        self, taken: TakenStep, extra: Mapping[str, float]
    ) -> Mapping[str, Any]:
        logs = {} if self._per_epoch else {**extra, **taken.logs}
        return {name: _number(v) for name, v in logs.items() if name != "loss"}


def _complete(probe: Probe, values: dict[Key, np.ndarray], count: int) -> bool:
    """Adds what follows from the values taken; False if they too have to change."""
    taken = {key: array[0] for key, array in values.items()}
    whole = dict(taken)
    for quantity in probe.quantities:
        quantity.complete(whole)
    if any(whole[key] is not array for key, array in taken.items()):
        return False
    for key in whole.keys() - taken.keys():
        values[key] = np.broadcast_to(whole[key], (count, *np.shape(whole[key])))
    return True


def _loss(taken: TakenStep) -> float | None:
    loss = taken.logs.get("loss")
    return None if loss is None else _number(loss)


def _rate_name(optimizer: str) -> str:
    """A column of the index: `learning_rate`, or `learning_rate_2` for a second one."""
    return f"learning_rate_{int(optimizer) + 1}" if int(optimizer) else "learning_rate"


def _number(value: Any) -> Any:
    array = backend.to_host(value)
    return array.item() if array.ndim == 0 else array
