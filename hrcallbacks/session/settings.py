"""What a recorder was asked for: its arguments, checked."""

import os
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from hrcallbacks.alert import checked_alert
from hrcallbacks.cadence import Cadence
from hrcallbacks.contents import Contents
from hrcallbacks.live import LiveTensorBoard
from hrcallbacks.memory_limit import checked_limit
from hrcallbacks.reductions import Reduction
from hrcallbacks.storage import Columns, MemoryStore
from hrcallbacks.zarr_store import NUMBER, ZarrStore

Variables = str | Iterable[str] | Callable[[Any], bool] | None
OneReduction = str | Reduction | Callable[[Any], Any] | None
Reductions = OneReduction | list[OneReduction]
What = Reductions | Mapping[str, Reductions]


@dataclass(frozen=True)
class Settings:
    """The arguments of a `GradientRecorder`; see there.

    Raises:
        TypeError: If an argument has the wrong type.
        ValueError: If an argument has no such value, or two do not go together.
    """

    variables: Variables
    gradients: What
    weights: What
    record_freq: Any
    weights_at: Literal["after", "before"]
    epoch_gradient: Literal["last", "mean"]
    store: str | os.PathLike[str] | None
    max_bytes: int
    resume: bool
    log_norm: bool
    tensorboard: str | os.PathLike[str] | None
    alert: Any
    on_alert: Literal["warn", "stop"]

    def __post_init__(self) -> None:
        """Refuses what cannot be recorded, when the recorder is made."""
        _check_choice("weights_at", self.weights_at, ("after", "before"))
        _check_choice("epoch_gradient", self.epoch_gradient, ("last", "mean"))
        _check_choice("log_norm", self.log_norm, (False, True))
        _check_choice("on_alert", self.on_alert, ("warn", "stop"))
        checked_limit(self.max_bytes)
        contents, cadence = self.contents(), self.cadence
        if not (contents.gradients or contents.weights):
            raise ValueError(
                "gradients=None and weights=None leave nothing to record. "
                "Use 'raw' for one of them."
            )
        if self.mean and not cadence.per_epoch:
            raise ValueError(
                "epoch_gradient='mean' is one record an epoch: it belongs to "
                f"record_freq='epoch'. Received: record_freq={self.record_freq!r}."
            )
        self._check_store()
        checked_alert(self.alert)
        if self.stops and self.alert is None:
            raise ValueError(
                "on_alert='stop' stops training at what alert= looks for: give that, "
                "such as alert='nan'."
            )
        self.new_store()
        self.new_tensorboard()

    def _check_store(self) -> None:
        if self.resume and self.store is None:
            raise ValueError("resume=True goes on with a store. Give its path: store=.")
        if self.resume and NUMBER in os.fspath(self.store or ""):
            raise ValueError(
                f"resume=True goes on with one store, and store={self.store!r} names "
                "a new one each time. Give the path of the one to go on with."
            )

    @property
    def cadence(self) -> Cadence:
        """Which steps are recorded."""
        return Cadence(self.record_freq)

    @property
    def mean(self) -> bool:
        """Whether a record's gradient is the mean of its epoch's."""
        return self.epoch_gradient == "mean"

    @property
    def stops(self) -> bool:
        """Whether an alert stops training."""
        return self.on_alert == "stop"

    def contents(self) -> Contents:
        """What a recording holds; a new one for each session."""
        return Contents(
            self.variables,
            gradients=self.gradients,
            weights=self.weights,
            weights_at=self.weights_at,
            cadence=self.cadence,
            mean=self.mean,
        )

    def new_store(self) -> Columns:
        """A store that holds nothing yet."""
        if self.store is None:
            return MemoryStore(self.max_bytes)
        return ZarrStore(self.store, resume=self.resume)

    def new_tensorboard(self) -> LiveTensorBoard | None:
        """What writes for TensorBoard, if that was asked for."""
        if self.tensorboard is None:
            return None
        return LiveTensorBoard(self.tensorboard, per_epoch=self.cadence.per_epoch)


def _check_choice(name: str, value: object, choices: tuple) -> None:
    if value not in choices:
        raise ValueError(
            f"Expected {name} to be one of {choices}. Received: {value!r}."
        )
