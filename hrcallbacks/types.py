"""Types that pass between modules: frozen, with named fields."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple, SupportsIndex

import numpy as np

# Arguments of `GradientRecorder`.
Variables = str | Sequence[str] | Callable[[Any], bool] | None
RecordFreq = Literal["epoch"] | SupportsIndex | Callable[[int], bool]
# Quantities of which whole arrays are recorded.
QuantityName = Literal["gradients", "weights"]

# The quantity that says whether a variable got a gradient: 1 or 0.
HAS_GRADIENT = "has_gradient"
# Likewise whether a layer gave an output, and whether there was a gradient of it.
HAS_OUTPUT = "has_output"
HAS_OUTPUT_GRADIENT = "has_output_gradient"
# How many rows an output had: those of the batch.
OUTPUT_ROWS = "output_rows"
# Likewise those of what a step was given.
BATCH_ROWS = "batch_rows"
# Whose rows they are.
ROWS_OF = {
    "outputs": OUTPUT_ROWS,
    "output_gradients": OUTPUT_ROWS,
    "batch": BATCH_ROWS,
}


class Key(NamedTuple):
    """Names one item of a record.

    It is a named tuple, like others made inside a step: PyTorch's compiler can create
    no other kind of record.

    Attributes:
        quantity: What it is, such as `"gradients"`.
        reduction: How it was reduced: `"raw"`, the name of a reduction, or `""` for
            what is never reduced.
        path: The variable's path, or `""`.
    """

    quantity: str
    reduction: str = ""
    path: str = ""


@dataclass(frozen=True)
class Spec:
    """Shape and dtype of an array in a record.

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
        call: Which update of a variable, if the step made several; None if it made
            only one.
    """

    step: int
    epoch: int
    batch: int
    call: int | None = None


@dataclass(frozen=True)
class Record:
    """What was recorded in a step.

    Attributes:
        step: The step.
        loss: The loss of its batch, before the update; None if the training step has
            none.
        values: The gradients and weights as NumPy arrays. A variable without a gradient
            is left out of the gradients.
        learning_rates: The learning rate of each optimizer.
        metrics: Numbers from Keras' logs, by name: means over the epoch so far. If
            epochs are recorded, they are added later.
        batch: The data of the step, if a sink needs them: `"x"`, `"x/image"`, `"y"`.
    """

    step: Step
    loss: float | None
    values: Mapping[Key, np.ndarray]
    learning_rates: Mapping[str, float] = field(default_factory=dict)
    metrics: Mapping[str, Any] = field(default_factory=dict)
    batch: Mapping[str, np.ndarray] = field(default_factory=dict)

    @property
    def row(self) -> dict[str, Any]:
        """Its row of `Recording.index`."""
        return row_of(self.step, self.loss, self.learning_rates, self.metrics)


def row_of(
    step: Step,
    loss: float | None,
    learning_rates: Mapping[str, float],
    metrics: Mapping[str, Any],
) -> dict[str, Any]:
    """A row of `Recording.index`; see `Record`."""
    row: dict[str, Any] = {
        "step": step.step,
        "epoch": step.epoch,
        "batch": step.batch,
    }
    if step.call is not None:
        row["call"] = step.call
    row["loss"] = np.nan if loss is None else loss
    row.update(learning_rates)
    row.update(metrics)
    return row


@dataclass(frozen=True)
class Block:
    """The records of several steps, all of the same keys.

    Attributes:
        rows: Their rows of `Recording.index`.
        values: Their arrays by key, `(records, *shape)`.
    """

    rows: Sequence[dict[str, Any]]
    values: Mapping[Key, np.ndarray]


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
        config: As from `keras.saving.serialize_keras_object`; None if it has none.
        scheduled: Whether a schedule sets its learning rate.
        skips_nonfinite: Whether it skips steps whose gradients are not finite.
        paths: Paths of the variables that it updates; None for one that is not
            recorded.
        state: Its variables' values; None if it is not built.
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
        ended: Whether it finished.
        fault: What its recording lacks, in words, or None.
        run_eagerly: Whether its model ran eagerly.
        weights: The weights before the first step, by path; None if they were not
            kept.
        variables: The variables that it trained, by path.
        optimizers: The optimizers that updated them, by number (as a string).
        sparse: Paths of the variables with sparse gradients.
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
    """What a sink is told about a fit that begins.

    Attributes:
        reductions: By quantity and name, what a reader needs to know of the reductions
            that are recorded: `Recording.attributes["reductions"]`.
        per_epoch: Whether there is one record per epoch.
        skips_nonfinite: Whether an optimizer skips steps whose gradients are not
            finite, as a `LossScaleOptimizer` does.
        chief: Whether this process writes for all workers.
        records: How many records the recording already has.
    """

    reductions: Mapping[str, Mapping[str, Mapping[str, Any]]]
    per_epoch: bool
    skips_nonfinite: bool = False
    chief: bool = True
    records: int = 0
