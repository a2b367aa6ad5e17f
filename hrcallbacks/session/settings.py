"""What a recorder was asked for: its arguments, checked."""

import json
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from hrcallbacks.checks import choice, positive_integer
from hrcallbacks.quantities.batch import Batch
from hrcallbacks.quantities.gradients import Gradients
from hrcallbacks.quantities.optimizer_state import OptimizerState
from hrcallbacks.quantities.output_gradients import OutputGradients
from hrcallbacks.quantities.outputs import Outputs
from hrcallbacks.quantities.plan import Plan
from hrcallbacks.quantities.wanted import Reductions
from hrcallbacks.quantities.weights import Weights
from hrcallbacks.selection.steps import Cadence
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.storage.place import NUMBER
from hrcallbacks.storage.store import Store
from hrcallbacks.storage.zarr_store import ZarrStore
from hrcallbacks.types import RecordFreq, Variables


@dataclass(frozen=True)
class Settings:
    """The arguments of a `GradientRecorder`; see there.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has an invalid value, or two are incompatible.
    """

    variables: Variables
    gradients: Reductions
    weights: Reductions
    outputs: Reductions
    output_gradients: Reductions
    optimizer: Reductions
    batch: Reductions
    record_freq: RecordFreq
    epoch_gradient: Literal["last", "mean"]
    weights_at: Literal["after", "before"]
    store: str | os.PathLike[str] | None
    max_bytes: int
    resume: bool
    metadata: Mapping[str, Any] | None
    sinks: Sequence[Sink]

    def __post_init__(self) -> None:
        """Rejects what cannot be recorded when the recorder is made."""
        choice(self.weights_at, "weights_at", ("after", "before"))
        choice(self.epoch_gradient, "epoch_gradient", ("last", "mean"))
        hint = "Such as 2 * 1024**3 for 2 GiB."
        positive_integer(self.max_bytes, "max_bytes", hint=hint)
        plan, cadence = self.plan(), self.cadence
        if not (plan.gradients.wanted or plan.weights.wanted or plan.late):
            raise ValueError(
                "gradients=None and weights=None leave nothing to record. "
                "Use 'raw' for one of them."
            )
        if self.mean and not cadence.per_epoch:
            raise ValueError(
                "epoch_gradient='mean' makes one record per epoch: it needs "
                f"record_freq='epoch'. Received: record_freq={self.record_freq!r}."
            )
        self._check_store()
        self._check_metadata()
        self._check_sinks()
        self.new_store()

    def _check_store(self) -> None:
        if self.resume and self.store is None:
            raise ValueError("resume=True continues a store. Give its path: store=.")
        if self.resume and NUMBER in os.fspath(self.store or ""):
            raise ValueError(
                f"resume=True continues one store, but store={self.store!r} names a "
                "new one each time. Give the path of the one to continue."
            )

    def _check_metadata(self) -> None:
        if self.metadata is None:
            return
        try:
            text = json.dumps(self.metadata, allow_nan=False)
        except (TypeError, ValueError) as error:
            raise TypeError(
                "Expected metadata: a dict that JSON can hold, such as {'seed': 3}. "
                f"Received: {self.metadata!r:.200} ({error})."
            ) from error
        if not isinstance(self.metadata, Mapping):
            raise TypeError(
                "Expected metadata: a dict, such as {'seed': 3}. "
                f"Received: {self.metadata!r:.200}."
            )
        # A copy: later changes to the dict do not matter.
        object.__setattr__(self, "metadata", json.loads(text))

    def _check_sinks(self) -> None:
        given: Any = self.sinks
        several = isinstance(given, Sequence) and not isinstance(given, str)
        sinks: list[Any] = list(given) if several else [given]
        for sink in sinks:
            if not isinstance(sink, Sink):
                kind = f"the class {sink.__name__}" if isinstance(sink, type) else sink
                raise TypeError(
                    "Expected sinks: a list of hr.Alert(...), hr.TensorBoard(...), "
                    "hr.Logs(...) or objects of a subclass of hr.Sink. "
                    f"Received in it: {kind!r}."
                )
        if len({id(sink) for sink in sinks}) < len(sinks):
            raise ValueError("A sink appears twice in sinks=. Pass it once.")
        taken = [quantity.name for sink in sinks for quantity in sink.takes()]
        if len(set(taken)) < len(taken):
            raise ValueError(
                f"Two of sinks= take {taken[0]!r} from each step: {sinks!r}. Keep one; "
                "hr.Logs(by='variable') has the norm of all gradients too."
            )
        object.__setattr__(self, "sinks", tuple(sinks))

    @property
    def cadence(self) -> Cadence:
        """Which steps are recorded."""
        return Cadence(self.record_freq)

    @property
    def mean(self) -> bool:
        """Whether a record's gradient is the mean of its epoch's."""
        return self.epoch_gradient == "mean"

    def plan(self) -> Plan:
        """What a recording holds; a new one for each session."""
        return Plan(
            self.variables,
            Gradients(self.gradients, mean=self.mean),
            Weights(self.weights, at=self.weights_at),
            [quantity for quantity in self._late() if quantity.wanted],
        )

    def _late(self) -> list[Outputs | OutputGradients | OptimizerState | Batch]:
        return [
            Outputs(self.outputs),
            OutputGradients(self.output_gradients),
            OptimizerState(self.optimizer),
            Batch(self.batch),
        ]

    def describe(self) -> dict[str, Any]:
        """What describes the whole recording, for `Recording.attributes`."""
        metadata = {} if self.metadata is None else {"metadata": self.metadata}
        return {
            "record_freq": self.cadence.describe(),
            "epoch_gradient": self.epoch_gradient,
        } | metadata

    def new_store(self) -> Store:
        """A store that holds nothing yet."""
        if self.store is None:
            return MemoryStore(self.max_bytes)
        return ZarrStore(self.store, resume=self.resume)
