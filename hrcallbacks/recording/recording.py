"""A recording: every weight and gradient of a training run.

Uses only NumPy and pandas: reading a recording needs no Keras backend.
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
    from anywidget import AnyWidget

    from hrcallbacks.plot import Plots

_QUANTITIES = ("gradients", "weights", "outputs", "output_gradients", "optimizer")


class Recording:
    """What a `GradientRecorder` recorded: one record per recorded step.

    `gradients` and `weights` map paths to arrays. A gradient is what the optimizer
    received: that of the training loss, including regularizers and sample and class
    weights, unscaled under a `LossScaleOptimizer`, before clipping, accumulation and
    weight decay. Where a variable got none it is NaN, and False in `has_gradient`.
    Weights are those after the update made with the record's gradient, or before it;
    see `attributes["weights_at"]`. They are NaN for variables that a hand-written loop
    on JAX did not pass to the optimizer in that step.

    Attributes:
        index: DataFrame, one row per record: `step` (from 1, over the whole run),
            `epoch` and `batch` (from 1; `epoch` restarts in each fit), `loss` (of this
            batch alone, before its update, not Keras' running mean; NaN if the training
            step has none, as in a hand-written loop), `learning_rate`, with suffix `_2`
            for a second optimizer, and the metrics (as in Keras' logs: means over the
            epoch's steps so far).
        attributes: What describes the whole recording: `complete`, whether each fit
            finished with its recording intact; `fault`, what stopped the recording, if
            anything did; `record_freq`; `weights_at`; `variables`, path and shape of
            each trainable variable of the model; `optimizer`, class and config of the
            latest fit's; `model`; `backend`; `versions`.
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
            is that of the variable, or of its reduction. Empty if that was not
            recorded. Do not write to the arrays; copy them.
        """
        choice(quantity, "quantity", tuple(self.quantities))
        if (quantity, reduction) in self._arrays:
            return self._arrays[quantity, reduction]
        return none_of(said(quantity, reduction), self.recorded)

    @property
    def model(self) -> dict[str, Any] | None:
        """What the model was like, as JSON: its layers, its loss, its metrics.

        None in recordings of earlier versions. `layers` is a list of dicts with `path`,
        `class`, `units`, `activation`, `initializers`, `regularizers`, `trainable`,
        `parameters` and the paths of its `variables`; `connections` has pairs of layer
        paths, or is None of a subclassed model; `loss` has `name`, `options` and `own`.
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

        It was recorded in the step, or is computed from the whole tensors if those were
        recorded.

        Args:
            quantity: `"gradients"` or `"weights"`.
            reduction: The name of a reduction that makes a number: `"norm"`, `"mean"`,
                `"std"`, `"min"`, `"max"`, `"abs_max"`, `"zero_fraction"`,
                `"nonfinite"`; of the weights also `"update_norm"`, `"update_ratio"`;
                or one of your own that was recorded. Also `"global_norm"`, that of
                all recorded variables together, from raw values or from each one's
                `"norm"`.

        Returns:
            DataFrame, records (index: the step) by paths, or with one column,
            `global_norm`; NaN where a variable got no gradient, or of a variable of
            which it was not recorded.

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

    def to_frame(
        self,
        *,
        layout: Literal["wide", "tidy"] = "wide",
        names: Literal["path", "symbol"] = "path",
        variables: str | Sequence[str] | None = None,
        biases: bool = False,
        of: tables.Of | None = None,
    ) -> pd.DataFrame:
        """The recording as one table.

        Args:
            layout: `"wide"`: one row per record; the columns of `index`, then for each
                element its weight and its gradient. `"tidy"`: one row per record and
                element, with columns `step`, `epoch`, `path`, `element` (index into
                the flattened variable, from 0), `weight`, `gradient`.
            names: The columns of a wide table. `"path"`: `weight:hidden/kernel[0,2]`
                and `gradient:hidden/kernel[0,2]`, with NumPy indices. `"symbol"`:
                `w^1_3` and `g^1_3` as in the published tables, for kernels only. The
                superscript counts the model's kernels, the subscript a kernel's
                elements, both from 1.
            variables: A glob or list of globs on the paths; None for all.
            biases: With `names="symbol"`, whether to add the kernels' biases, as
                `b^1_3` and their gradients, `gb^1_3`.
            of: `"elements"`: the table described above. `"statistics"`: the numbers
                that were recorded, such as norms; wide: a column for each, called
                `gradients:norm:hidden/kernel`; tidy: one row a record and number, with
                columns `step`, `epoch`, `quantity`, `reduction`, `path`, `value`.
                `"histograms"`, always tidy: one row a record and bin of each
                `hr.Histogram`, with columns `step` to `path` as above, `bin` (from
                `"0"`; then `"zero"`, `"nan"`, `"inf"`), its edges `low` and `high`,
                and `count`; the first and last bins have what lies beyond their edges
                too. None for elements where any were recorded, statistics elsewhere.

        Returns:
            A `pandas.DataFrame`.

        Raises:
            ValueError: If an argument has an invalid value, nothing of the kind was
                recorded, nothing matches `variables`, or a wide table would have more
                than 20,000 columns.
        """
        return tables.frame_of(
            self,
            layout=layout,
            names=names,
            variables=variables,
            biases=biases,
            of=of,
        )

    def replay(self, *, custom_objects: Mapping[str, Any] | None = None) -> Replay:
        """Proof: the same optimizer, given the gradients again, makes the weights.

        See `hrcallbacks.recording.replay.replay`. Needs Keras. Your own optimizers,
        schedules and constraints are found if their classes are loaded.

        Args:
            custom_objects: Classes and functions by name, for those that are not found:
                `{"Lion2": Lion2}`.

        Returns:
            A `hrcallbacks.recording.replay.Replay`: `max_error`, the largest absolute
            difference between a recorded weight and a replayed one, and `errors`, by
            record and variable.

        Raises:
            ValueError: If the recording lacks what a replay needs: every step, and
                gradients and weights of all variables; or if one of your classes or
                functions is not found.
        """
        return replay(self, custom_objects=custom_objects)

    def diagnose(self, rules: Any = None) -> Findings:
        """What is wrong with this run, in words: see `hrcallbacks.diagnose.diagnose`.

        Args:
            rules: None for all of `hr.diagnose.RULES`, or names of rules, or rules.

        Returns:
            `hrcallbacks.diagnose.Findings`, a DataFrame that prints as text.
        """
        return diagnose(self, rules)

    @property
    def plot(self) -> "Plots":
        """The functions of `hrcallbacks.plot` as methods: `recording.plot.loss()`."""
        from hrcallbacks.plot import Plots

        return Plots(self)

    def explore(self) -> "AnyWidget":
        """The page of `hr.report`, in a notebook.

        Returns:
            A widget, which a notebook shows where it is a cell's last expression.

        Raises:
            ImportError: If anywidget is not installed.
        """
        from hrcallbacks.report.widget import explore

        return explore(self)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the recording to a new Zarr store.

        Args:
            path: A path or an fsspec URL where nothing exists yet.

        Raises:
            ImportError: If Zarr is not installed.
            FileExistsError: If something exists there.
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
        `gradients:hidden/kernel:norm` for a reduction. Their dimensions are `step`
        and the axes of what they hold. The columns of `index` are coordinates, and
        `step` is what the dimension is indexed by: `dataset.sel(step=100)`. A
        recording on disk is read on demand.

        Raises:
            ImportError: If xarray is not installed.
        """
        return to_xarray(self, self._arrays)

    def to_parquet(
        self,
        path: str | os.PathLike[str],
        *,
        variables: str | Sequence[str] | None = None,
        of: tables.Of | None = None,
    ) -> None:
        """Writes the tidy table to a Parquet file, block by block.

        Its columns are those of `to_frame(layout="tidy")`.

        Args:
            path: The file to write.
            variables: A glob or list of globs on the paths; None for all.
            of: `"elements"`, `"statistics"` or `"histograms"`, as for `to_frame`.

        Raises:
            ImportError: If PyArrow is not installed.
            ValueError: For the same reasons as `to_frame`.
        """
        to_parquet(self, path, tables.tidy_rows(self, variables, of))

    def __repr__(self) -> str:
        """What was recorded, in a few lines."""
        return as_text(self)

    def _repr_html_(self) -> str:
        """The same for a notebook, with the first rows of the index."""
        return as_html(self)


def open_recording(path: str | os.PathLike[str]) -> Recording:
    """Opens a recording that `GradientRecorder(store=...)` or `Recording.save` wrote.

    Arrays are read when they are indexed, so a recording may be larger than memory. It
    can be opened while its run is still going: it then has the records up to the last
    flush. Open it again for more.

    Args:
        path: A path or an fsspec URL.

    Returns:
        A `Recording`. Its arrays are `StoredArray`s: index them like NumPy arrays, or
        read them whole with `np.asarray`.

    Raises:
        ImportError: If Zarr is not installed.
        FileNotFoundError: If nothing is there.
        ValueError: If it is not a recording, or has an unknown format.
    """
    return Recording.of(Stored(path).snapshot())
