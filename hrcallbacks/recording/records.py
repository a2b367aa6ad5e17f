"""What a recording holds, and how it is read.

Uses only NumPy and pandas: reading a recording needs no Keras backend.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import pandas as pd

from hrcallbacks.checks import choice
from hrcallbacks.recording.arrays import Arrays, none_of, said
from hrcallbacks.recording.batches import Batches
from hrcallbacks.recording.numbers import Numbers
from hrcallbacks.recording.statistics import statistic
from hrcallbacks.reductions.reduction import RAW
from hrcallbacks.storage.store import Snapshot
from hrcallbacks.types import (
    BATCH_ROWS,
    HAS_GRADIENT,
    HAS_OUTPUT,
    HAS_OUTPUT_GRADIENT,
    OUTPUT_ROWS,
    ROWS_OF,
    Fit,
    Key,
)

_QUANTITIES = (
    *("gradients", "weights", "outputs", "output_gradients", "optimizer", "batch"),
)


class Records:
    """The records of a run, by quantity, reduction and path.

    See `hrcallbacks.Recording`, which adds what is done with them.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        arrays: Mapping[tuple[str, str], Arrays],
        attributes: dict[str, Any],
        fits: Sequence[Fit] = (),
        batches: Batches | None = None,
    ) -> None:
        self.index = index
        self.attributes = attributes
        self.fits: list[Fit] = list(fits)
        self._batches = batches or Batches([], {}.__getitem__)
        self._arrays = arrays  # By quantity and reduction.
        self.cache: Numbers = Numbers()

    @classmethod
    def of(cls, snapshot: Snapshot) -> Self:
        """The recording of a store's `Snapshot`."""
        places = {key: column for column in snapshot.columns for key in column.keys}

        def arrays_of(quantity: str, reduction: str) -> Arrays:
            def make(path: str) -> Any:
                key = Key(quantity, reduction, path)
                return places[key].of(snapshot.rows(places[key]), key)

            kind = quantity, reduction
            paths = [k.path for k in places if (k.quantity, k.reduction) == kind]
            return Arrays(make, paths, said(*kind))

        kinds = dict.fromkeys((key.quantity, key.reduction) for key in places)
        faults = [fit.fault for fit in snapshot.fits if fit.fault]
        ended = all(fit.ended for fit in snapshot.fits)
        return cls(
            index=snapshot.index,
            arrays={kind: arrays_of(*kind) for kind in kinds},
            attributes=snapshot.attributes
            | {"complete": ended and not faults, "fault": next(iter(faults), None)},
            fits=snapshot.fits,
            batches=Batches(snapshot.batch_steps, snapshot.batch),
        )

    @property
    def gradients(self) -> Arrays:
        """Mapping from path to an array of gradients, `(records, *shape)`."""
        return self.arrays("gradients")

    @property
    def weights(self) -> Arrays:
        """Mapping from path to an array of weights, `(records, *shape)`."""
        return self.arrays("weights")

    @property
    def outputs(self) -> Arrays:
        """Mapping from name to an array of outputs of a layer, `(records, *shape)`.

        The name is the layer's path; `tower#2` of its second call in a step; `lstm.0`
        and `encoder.tokens` of several outputs; `hidden/preactivation` of what goes
        into a layer's own activation.
        """
        return self.arrays("outputs")

    @property
    def output_gradients(self) -> Arrays:
        """Mapping from name to an array of gradients with respect to outputs."""
        return self.arrays("output_gradients")

    @property
    def optimizer(self) -> Arrays:
        """Mapping from path to an array of an optimizer's variable."""
        return self.arrays("optimizer")

    @property
    def batch(self) -> Arrays:
        """Mapping from name to an array of the steps' data, `(records, *shape)`.

        Names are `"x"`, `"y"` and `"sample_weight"`; `"x/image"` or `"y/0"` of one part
        of several. Whole numbers are there as floats.
        """
        return self.arrays("batch")

    @property
    def batch_rows(self) -> pd.DataFrame:
        """DataFrame, records by names in `batch`: how many rows a step was given."""
        return pd.DataFrame(self._numbers(BATCH_ROWS), index=self.index.index)

    @property
    def batches(self) -> Batches:
        """Mapping from step to its data, of the steps that a sink had kept.

        `hr.Alert("nan", keep_batch=True)` keeps those of the steps that it warns of.
        `recording.batches[step]["x"]` is an array as the step was given it, whatever
        else was recorded; its names are those of `batch`.
        """
        return self._batches

    def arrays(self, quantity: str, reduction: str = "raw") -> Arrays:
        """What was recorded of a quantity, as it was or reduced.

        Args:
            quantity: Such as `"gradients"` or `"outputs"`; see `quantities`.
            reduction: `"raw"`, or the name of a reduction that was recorded.

        Returns:
            Mapping from path to an array of shape `(records, *shape)`, where `shape` is
            that of the variable or output, or of its reduction. Empty if that was not
            recorded. Do not write to the arrays; copy them.
        """
        choice(quantity, "quantity", tuple(self.quantities))
        if (quantity, reduction) in self._arrays:
            return self._arrays[quantity, reduction]
        raw = f"raw {quantity}" if reduction == RAW else said(quantity, reduction)
        return none_of(raw, self.recorded)

    @property
    def model(self) -> dict[str, Any] | None:
        """What the model is like, as JSON: its layers, its loss, its metrics.

        None in recordings of earlier versions. `layers` is a list of dicts with `path`,
        `class`, `units`, `activation`, `initializers`, `regularizers`, `trainable`,
        `parameters` and the paths of its `variables`. In a functional model the
        operations between layers, such as `keras.ops.reshape`, are among them
        (`operation` is True). `connections` has pairs of paths; None for a subclassed
        model. `loss` has `name`, `options` and `own`.
        """
        return self.attributes.get("model")

    @property
    def arrays_by_kind(self) -> Mapping[tuple[str, str], Arrays]:
        """All arrays, by quantity and reduction."""
        return self._arrays

    @property
    def recorded(self) -> str:
        """What was recorded of gradients and weights, in words."""
        kinds = [kind for kind in self._arrays if kind[0] in self.quantities]
        return ", ".join(said(*kind) for kind in kinds)

    @property
    def quantities(self) -> list[str]:
        """Quantities that may have arrays: gradients, weights, and others recorded."""
        return list(
            dict.fromkeys([*_QUANTITIES, *self.attributes.get("reductions", ())])
        )

    def reductions_of(self, quantity: str) -> list[str]:
        """Names of the reductions that were recorded of a quantity."""
        return [name for of, name in self._arrays if of == quantity]

    @property
    def has_gradient(self) -> pd.DataFrame:
        """DataFrame of bool, records by paths: whether there was a gradient."""
        return self._flags(HAS_GRADIENT)

    def without_gradient(self, path: str) -> npt.NDArray[np.bool_]:
        """In which records a variable got no gradient, shape `(records,)`."""
        arrays: Mapping[str, Any] = self._arrays.get((HAS_GRADIENT, ""), {})
        if path not in list(arrays):
            return np.zeros(len(self), bool)
        return np.asarray(arrays[path]) != 1

    @property
    def has_output(self) -> pd.DataFrame:
        """DataFrame of bool, records by names: whether a layer gave that output."""
        return self._flags(HAS_OUTPUT)

    @property
    def has_output_gradient(self) -> pd.DataFrame:
        """DataFrame of bool, records by names: whether an output had a gradient."""
        return self._flags(HAS_OUTPUT_GRADIENT)

    @property
    def output_rows(self) -> pd.DataFrame:
        """DataFrame, records by names: how many rows an output had in that step.

        They are counted of outputs that are recorded raw or as `hr.Rows`.

        An array of raw outputs has as many rows as those of the first batch. Of a
        larger batch it has the first ones; of a smaller one the rest is NaN.
        """
        return pd.DataFrame(self._numbers(OUTPUT_ROWS), index=self.index.index)

    def rows_of(self, quantity: str, path: str) -> np.ndarray | None:
        """How many rows a tensor of the batch had in each record; None for others."""
        counts = self._arrays.get((ROWS_OF.get(quantity, ""), ""), {})
        return np.asarray(counts[path]) if path in counts else None

    def _flags(self, quantity: str) -> pd.DataFrame:
        columns = {path: n == 1 for path, n in self._numbers(quantity).items()}
        return pd.DataFrame(columns, index=self.index.index, dtype=bool)

    def _numbers(self, quantity: str) -> dict[str, np.ndarray]:
        arrays: Mapping[str, Any] = self._arrays.get((quantity, ""), {})
        return {path: np.asarray(arrays[path]) for path in arrays}

    def statistic(self, quantity: str, reduction: str) -> pd.DataFrame:
        """A number for each record and variable.

        It was recorded in the step, or is computed from the whole tensors if those were
        recorded.

        Some compare a record with the one before it. They need raw values, or an
        `hr.Projection`, whose docstring states its error, about `1 / sqrt(n)`:

        - of gradients, `"cosine"`: of the angle between a gradient and the one before;
        - of weights, `"update_cosine"`: of that between the change of the weights since
          the record before, and the change before that. Where every step is recorded,
          these are the updates;
        - of weights, `"distance"`: the norm of their difference from the first
          record's weights, which with `weights_at="before"` are those that training
          began with;
        - of gradients, `"curvature"`: `(g2 - g1) . d / d . d` of all recorded variables
          together, where `g1` and `g2` are gradients of successive records, and `d`
          leads from the weights that `g1` is of to those of `g2`. It is the mean
          curvature of the loss along `d` if both gradients are of the same loss: on
          full batches, and with all the variables that change recorded. Otherwise it
          also has what differs between the batches. With `weights_at="after"` it needs
          consecutive steps, with `"before"` it does not.

        Args:
            quantity: `"gradients"` or `"weights"`.
            reduction: The name of a reduction that makes a number: `"norm"`, `"mean"`,
                `"std"`, `"min"`, `"max"`, `"abs_max"`, `"zero_fraction"`,
                `"nonfinite"`; of the weights also `"update_norm"`, `"update_ratio"`;
                or one of your own that was recorded. Or one of those above. Also
                `"global_norm"`, `"global_cosine"`, `"global_update_cosine"` and
                `"global_distance"`: of all recorded variables together, as of one long
                vector.

        Returns:
            DataFrame, records (index: the step) by paths, or with one column of the
            statistic's name if it is of all variables. NaN where a variable got no
            gradient, and of a variable of which it was not recorded; of a cosine, also
            in the first record (of an update, the first two) and where one of the two
            has no length; of the curvature, also in the first record, where the weights
            did not move, where a gradient's weights are not known, and in a step with
            several updates of the same variable.

        Raises:
            ValueError: If it was not recorded and cannot be computed, or is no number.
        """
        return statistic(self, quantity, reduction)

    def __len__(self) -> int:
        """Number of records."""
        return len(self.index)

    @property
    def paths(self) -> list[str]:
        """Paths of the recorded variables, in the model's order."""
        recorded = {path for arrays in self._arrays.values() for path in arrays}
        known = [path for path, _ in self.attributes.get("variables", ())]
        return [p for p in known if p in recorded]

    @property
    def has_nonfinite(self) -> pd.DataFrame:
        """DataFrame of bool, records by paths: whether a gradient has NaN or infinity.

        False where the variable got no gradient: see `has_gradient`.
        """
        try:
            counts = self.statistic("gradients", "nonfinite")
        except ValueError as error:
            raise ValueError(
                "Whether gradients were finite is known only if they were recorded as "
                "'raw' or 'nonfinite'."
            ) from error
        return (counts > 0).set_axis(self.index.index)
