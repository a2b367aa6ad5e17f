"""A recording: every weight and gradient of a training run.

Works on NumPy and pandas alone: reading a recording needs no Keras backend.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import pandas as pd

from hrcallbacks.checks import choice
from hrcallbacks.diagnose import Findings, diagnose
from hrcallbacks.export import tables
from hrcallbacks.export.files import to_parquet, to_xarray
from hrcallbacks.recording.arrays import Arrays, none_of, said
from hrcallbacks.recording.description import as_html, as_text
from hrcallbacks.recording.replay import Replay, replay
from hrcallbacks.recording.statistics import statistic
from hrcallbacks.storage.saving import save
from hrcallbacks.storage.store import Snapshot
from hrcallbacks.storage.zarr_reader import Stored
from hrcallbacks.types import (
    HAS_GRADIENT,
    HAS_OUTPUT,
    HAS_OUTPUT_GRADIENT,
    OUTPUT_ROWS,
    Fit,
    Key,
)

if TYPE_CHECKING:
    import xarray

    from hrcallbacks.plot import Plots

_QUANTITIES = ("gradients", "weights", "outputs", "output_gradients", "optimizer")


class Recording:
    """What a `GradientRecorder` saw: one record a recorded step.

    `gradients` and `weights` map paths to arrays. A gradient is what was handed to the
    optimizer: that of the training loss, its regularizers and weights included,
    unscaled under a `LossScaleOptimizer`, before clipping, accumulation and weight
    decay; NaN where a variable got none, and `has_gradient` says so. Weights are those
    after the update that the record's gradient made, or before it, as
    `attributes["weights_at"]` says; NaN for what a hand-written loop on JAX did not
    hand to the optimizer in that step.

    Attributes:
        index: DataFrame, one row a record: `step` (from 1, over the whole run),
            `epoch`, `batch` (from 1; `epoch` counts anew in each fit), `loss` (of that
            very batch, before its update, not Keras' running mean; NaN where the
            training step names none, as in a hand-written loop), `learning_rate`,
            with `_2` of a second optimizer, and the metrics (as in Keras' logs: means
            over the epoch's steps so far).
        attributes: What holds for the whole recording: `complete`, whether each fit
            came to its end with its recording intact; `fault`, what stopped the
            recording if something did; `record_freq`; `weights_at`; `variables`, path
            and shape of each trainable variable of the model; `optimizer`, class and
            config of the latest fit's; `backend`; `versions`.
        fits: What a replay of each fit starts from.
    """

    def __init__(
        self,
        index: pd.DataFrame,
        arrays: Mapping[tuple[str, str], Arrays],
        attributes: dict[str, Any],
        fits: Sequence[Fit] = (),
    ) -> None:
        self.index = index
        self.attributes = attributes
        self.fits: list[Fit] = list(fits)
        self._arrays = arrays  # By quantity and reduction.

    @classmethod
    def of(cls, snapshot: Snapshot) -> "Recording":
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

    def arrays(self, quantity: str, reduction: str = "raw") -> Arrays:
        """What was recorded of gradients or weights.

        Args:
            quantity: `"gradients"` or `"weights"`.
            reduction: `"raw"`, or the name of a reduction that was recorded.

        Returns:
            Mapping from path to an array of shape `(records, *shape)`, where `shape`
            is that of the variable or of what the reduction makes of it. Empty if no
            such thing was recorded. Arrays are not to be written to; copy them.
        """
        choice(quantity, "quantity", tuple(self.quantities))
        if (quantity, reduction) in self._arrays:
            return self._arrays[quantity, reduction]
        return none_of(said(quantity, reduction), self.recorded)

    @property
    def recorded(self) -> str:
        """What was recorded of gradients and weights, in words."""
        kinds = [kind for kind in self._arrays if kind[0] in self.quantities]
        return ", ".join(said(*kind) for kind in kinds)

    @property
    def quantities(self) -> list[str]:
        """What there may be arrays of: gradients, weights, and others recorded."""
        return list(
            dict.fromkeys([*_QUANTITIES, *self.attributes.get("reductions", ())])
        )

    def reductions_of(self, quantity: str) -> list[str]:
        """Names of the reductions that were recorded of gradients or weights."""
        return [name for of, name in self._arrays if of == quantity]

    @property
    def has_gradient(self) -> pd.DataFrame:
        """DataFrame of bool, records by paths: whether there was a gradient."""
        return self._flags(HAS_GRADIENT)

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

        An array of raw outputs has as many rows as those of the first batch. Of a
        larger batch it has the first ones; of a smaller one the rest is NaN.
        """
        return pd.DataFrame(self._numbers(OUTPUT_ROWS), index=self.index.index)

    def _flags(self, quantity: str) -> pd.DataFrame:
        columns = {path: n == 1 for path, n in self._numbers(quantity).items()}
        return pd.DataFrame(columns, index=self.index.index, dtype=bool)

    def _numbers(self, quantity: str) -> dict[str, np.ndarray]:
        arrays: Mapping[str, Any] = self._arrays.get((quantity, ""), {})
        return {path: np.asarray(arrays[path]) for path in arrays}

    def statistic(self, quantity: str, reduction: str) -> pd.DataFrame:
        """A number for each record and variable.

        It is what was recorded in the step, or made of the whole tensors where those
        were recorded.

        Args:
            quantity: `"gradients"` or `"weights"`.
            reduction: The name of a reduction that makes a number: `"norm"`, `"mean"`,
                `"std"`, `"min"`, `"max"`, `"abs_max"`, `"zero_fraction"`,
                `"nonfinite"`; of the weights also `"update_norm"`, `"update_ratio"`;
                or one of your own that was recorded.

        Returns:
            DataFrame, records (index: the step) by paths; NaN where a variable got no
            gradient, or of a variable of which it was not recorded.

        Raises:
            ValueError: If it was not recorded and cannot be made, or is no number.
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
                "Whether gradients were finite is known if they were recorded 'raw' or "
                "with 'nonfinite'."
            ) from error
        return (counts > 0).set_axis(self.index.index)

    def to_frame(
        self,
        *,
        layout: Literal["wide", "tidy"] = "wide",
        names: Literal["path", "symbol"] = "path",
        variables: str | Sequence[str] | None = None,
        biases: bool = False,
    ) -> pd.DataFrame:
        """The recording as one table.

        Args:
            layout: `"wide"`: one row a record; the columns of `index`, then for each
                element its weight and its gradient. `"tidy"`: one row a record and
                element, with columns `step`, `epoch`, `path`, `element` (index into
                the flattened variable, from 0), `weight`, `gradient`.
            names: The columns of a wide table. `"path"`: `weight:hidden/kernel[0,2]`
                and `gradient:hidden/kernel[0,2]`, with NumPy's indices. `"symbol"`:
                `w^1_3` and `g^1_3` as in the published tables: kernels alone; the
                superscript counts the model's kernels, the subscript a kernel's
                elements, both from 1.
            variables: A glob or list of globs on the paths; None for all.
            biases: With `names="symbol"`, whether to add the kernels' biases, as
                `b^1_3` and their gradients, `gb^1_3`.

        Returns:
            A `pandas.DataFrame`.

        Raises:
            ValueError: If an argument is none of the above, nothing was recorded,
                nothing matches `variables`, or a wide table would have more than
                20,000 columns.
        """
        return tables.frame_of(
            self, layout=layout, names=names, variables=variables, biases=biases
        )

    def replay(self, *, custom_objects: Mapping[str, Any] | None = None) -> Replay:
        """Proof: the gradients, given to the same optimizer again, make the weights.

        See `hrcallbacks.replay.replay`. Needs Keras. Optimizers, schedules and
        constraints of your own are found if the classes are loaded.

        Args:
            custom_objects: Classes and functions by name, for those that are not found:
                `{"Lion2": Lion2}`.

        Returns:
            A `hrcallbacks.recording.replay.Replay`: `max_error`, the largest absolute
            difference between a recorded weight and a replayed one, and `errors`, by
            record and variable.

        Raises:
            ValueError: If the recording does not hold what a replay needs: each step,
                and gradients and weights of all variables; or if a class or function
                of your own is not found.
        """
        return replay(self, custom_objects=custom_objects)

    def diagnose(self, rules: Any = None) -> Findings:
        """What is wrong with this run, in words: see `hrcallbacks.diagnose.diagnose`.

        Args:
            rules: None for all of `hr.diagnose.RULES`, or those to ask: names or rules.

        Returns:
            `hrcallbacks.diagnose.Findings`, a DataFrame that prints as text.
        """
        return diagnose(self, rules)

    @property
    def plot(self) -> "Plots":
        """The functions of `hrcallbacks.plot` as methods: `recording.plot.loss()`."""
        from hrcallbacks.plot import Plots

        return Plots(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the recording to a new Zarr store.

        Args:
            path: A path, or an fsspec URL, where nothing is yet.

        Raises:
            ImportError: If Zarr is not installed.
            FileExistsError: If something is there.
            OSError: If it cannot be written.
        """
        arrays = {
            Key(*kind, path): array
            for kind, by_path in self._arrays.items()
            for path, array in by_path.items()
        }
        save(self, arrays, path)

    def to_xarray(self) -> "xarray.Dataset":
        """The recording as an `xarray.Dataset`.

        Variables are called `gradients:hidden/kernel`, or
        `gradients:hidden/kernel:norm` for a reduction. Their dimensions are `record`
        and the axes of what they hold; the columns of `index` are coordinates. A
        recording on disk is read as it is asked for.

        Raises:
            ImportError: If xarray is not installed.
        """
        return to_xarray(self, self._arrays)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        variables: str | Sequence[str] | None = None,
    ) -> None:
        """Writes the tidy table of raw values to a Parquet file, block by block.

        Its columns are those of `to_frame(layout="tidy")`.

        Args:
            path: The file to write.
            variables: A glob or list of globs on the paths; None for all.

        Raises:
            ImportError: If PyArrow is not installed.
            ValueError: As of `to_frame`.
        """
        to_parquet(self, path, tables.raw_paths(self, variables))

    def __repr__(self) -> str:
        """What was recorded, in a few lines."""
        return as_text(self)

    def _repr_html_(self) -> str:
        """The same for a notebook, with the first rows of the index."""
        return as_html(self)


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Opens a recording that `GradientRecorder(store=...)` or `Recording.save` wrote.

    Arrays are read when they are indexed, so that a recording may be larger than
    memory. It may be opened while the run that writes it goes on: it then has the
    records up to the last flush; open it again for more.

    Args:
        path: A path, or an fsspec URL.

    Returns:
        A `Recording`. Its arrays are `StoredArray`s: index them as NumPy arrays, or
        `np.asarray` them.

    Raises:
        ImportError: If Zarr is not installed.
        FileNotFoundError: If nothing is there.
        ValueError: If what is there is no recording, or of an unknown format.
    """
    return Recording.of(Stored(path).snapshot())
