"""What passes from part to part: frozen, and with names."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, SupportsIndex

import numpy as np

# Arguments of `GradientRecorder`.
Variables = str | Sequence[str] | Callable[[Any], bool] | None
RecordFreq = Literal["epoch"] | SupportsIndex | Callable[[int], bool]
# What whole arrays are recorded of.
QuantityName = Literal["gradients", "weights"]

# The quantity that says whether a variable got a gradient: 1 or 0.
HAS_GRADIENT = "has_gradient"
# Likewise whether a layer gave an output, and whether there was a gradient of it.
HAS_OUTPUT = "has_output"
HAS_OUTPUT_GRADIENT = "has_output_gradient"
# How many rows an output had: those of the batch.
OUTPUT_ROWS = "output_rows"


class Key(NamedTuple):
    """Names one thing of a record.

    It is a named tuple, as are others that are made inside a step: of those alone
    PyTorch's compiler can make new ones.

    Attributes:
        quantity: What it is, such as `"gradients"`.
        reduction: What was made of it: `"raw"`, the name of a reduction, or `""` of
            what is never reduced.
        path: Of which variable, or `""`.
    """

    quantity: str
    reduction: str = ""
    path: str = ""


@dataclass(frozen=True)
class Spec:
    """What an array of a record is like.

    Attributes:
        shape: Its shape.
        dtype: Its NumPy dtype.
    """

    shape: tuple[int, ...]
    dtype: str


@dataclass(frozen=True)
class Step:
    """Which training step; all are counted from 1.

    Attributes:
        step: Its number in the run, over all fits.
        epoch: The epoch's number.
        batch: Its number in the epoch.
        call: Which of several updates that the step made of a variable; None where it
            made one.
    """

    step: int
    epoch: int
    batch: int
    call: int | None = None


@dataclass(frozen=True)
class Record:
    """What was recorded of a step.

    Attributes:
        step: The step.
        loss: The loss of its batch, before the update; None where the training step
            names none.
        values: The arrays of gradients and weights, NumPy. A variable that got no
            gradient has none.
        learning_rates: Of each optimizer in turn.
        metrics: Numbers from Keras' logs, by name: means over the epoch so far. Where
            epochs are recorded they are known later.
    """

    step: Step
    loss: float | None
    values: Mapping[Key, np.ndarray]
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """Its row of `Recording.index`."""
        call = {} if self.step.call is None else {"call": self.step.call}
        loss = np.nan if self.loss is None else self.loss
        place = {"step": self.step.step, "epoch": self.step.epoch}
        place |= {"batch": self.step.batch} | call | {"loss": loss}
        return place | dict(self.learning_rates) | dict(self.metrics)


@dataclass(frozen=True)
class VariableStart:
    """A variable that a fit trained.

    Attributes:
        dtype: Its dtype.
        constraint: Class and config of its constraint, or None.
    """

    dtype: str
    constraint: Mapping[str, Any] | None = None


@dataclass(frozen=True)
class OptimizerStart:
    """An optimizer, before a fit's first step.

    Attributes:
        class_name: Its class.
        config: As of `keras.saving.serialize_keras_object`; None if it has none.
        scheduled: Whether a schedule sets its learning rate.
        skips_nonfinite: Whether it skips steps whose gradients are not finite.
        paths: Those of the variables that it updates; None for one that is not
            recorded.
        state: Its variables' values; None of a fresh one.
    """

    class_name: str
    config: Mapping[str, Any] | None
    scheduled: bool
    skips_nonfinite: bool
    paths: Sequence[str | None] = ()
    state: Sequence[np.ndarray] | None = None


@dataclass(frozen=True)
class Fit:
    """One fit of a recording: what a replay starts from, and how it ended.

    Attributes:
        first: Number of its first record, from 0.
        ended: Whether it came to its end.
        fault: What its recording lacks, in words; None if nothing.
        run_eagerly: Whether its model ran eagerly.
        weights: By path, the weights before the first step; None if they were not
            kept.
        variables: By path, the variables that it trained.
        optimizers: The optimizers that updated them, by their number as text.
        sparse: Paths of the variables whose gradients came sparse.
    """

    first: int = 0
    ended: bool = False
    fault: str | None = None
    run_eagerly: bool = False
    weights: Mapping[str, np.ndarray] | None = None
    variables: Mapping[str, VariableStart] = field(default_factory=dict)
    optimizers: Mapping[str, OptimizerStart] = field(default_factory=dict)
    sparse: Sequence[str] = ()


@dataclass(frozen=True)
class RunInfo:
    """What a sink is told of a fit that begins.

    Attributes:
        reductions: By quantity and name, what a reader has to know of the reductions
            that are recorded: `Recording.attributes["reductions"]`.
        per_epoch: Whether epochs are recorded rather than steps.
        skips_nonfinite: Whether an optimizer skips steps whose gradients are not
            finite, as a `LossScaleOptimizer` does.
        chief: Whether this process is the one that writes for all workers.
        records: How many records the recording has already.
    """

    reductions: Mapping[str, Mapping[str, Mapping[str, Any]]]
    per_epoch: bool
    skips_nonfinite: bool = False
    chief: bool = True
    records: int = 0
