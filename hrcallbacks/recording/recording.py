"""A recording: every weight and gradient of a training run.

Uses only NumPy and pandas: reading a recording needs no Keras backend.
"""

import os
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal

import pandas as pd

from hrcallbacks.diagnose import Findings, diagnose
from hrcallbacks.export import tables
from hrcallbacks.export.files import to_parquet, to_xarray
from hrcallbacks.recording.description import as_html, as_text
from hrcallbacks.recording.records import Records
from hrcallbacks.recording.replay import Replay, replay
from hrcallbacks.recording.restore import Restored, restore
from hrcallbacks.storage.saving import save
from hrcallbacks.storage.zarr_reader import Stored
from hrcallbacks.types import Key

if TYPE_CHECKING:
    import xarray
    from anywidget import AnyWidget

    from hrcallbacks.plot import Plots


class Recording(Records):
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
                `gradients:norm:hidden/kernel`; tidy: one row per record and number,
                with columns `step`, `epoch`, `quantity`, `reduction`, `path`, `value`.
                `"histograms"`, always tidy: one row per record and bin of each
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

    def restore(
        self,
        model: Any,
        step: int | None = None,
        *,
        optimizer: bool = True,
        partial: bool = False,
    ) -> Restored:
        """Sets a model's weights to those of a record, and its optimizer's variables.

        They are those after the update of that step or, with `weights_at="before"`,
        those before it. The optimizer's variables are restored if they were recorded
        raw (`GradientRecorder(optimizer="raw")`) and the model is compiled; training
        then continues as it did. Needs Keras.

        Args:
            model: The model that was trained, or one that is built like it.
            step: The step; None for the last record. If a step updated a variable
                several times, its last update counts.
            optimizer: False leaves the optimizer's variables as they are.
            partial: Whether variables may stay as they are of which there are no raw
                values, such as the averages of a `BatchNormalization`.

        Returns:
            A `hrcallbacks.recording.restore.Restored`: the step, and the paths of what
            was set, `weights` and `optimizer`.

        Raises:
            ValueError: If the step or raw weights were not recorded, or the model or
                its optimizer has other variables; the message says what there is.
                Nothing is set then.
        """
        return restore(self, model, step, optimizer=optimizer, partial=partial)

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
            A widget, which a notebook shows if it is a cell's last expression.

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
