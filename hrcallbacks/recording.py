"""A recording: every weight and gradient of a training run.

Works on NumPy and pandas alone: reading a recording needs no Keras backend.
"""

import html
import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks import tables
from hrcallbacks.diagnose import diagnose
from hrcallbacks.export import to_parquet, to_xarray
from hrcallbacks.progress import progress
from hrcallbacks.reductions import NAMED, names_for
from hrcallbacks.replay import Replay, replay
from hrcallbacks.selection import choose_paths
from hrcallbacks.terminal import visible
from hrcallbacks.zarr_reader import Stored
from hrcallbacks.zarr_store import save


class Arrays(Mapping):
    """Arrays by path, each made when first asked for.

    The end of a path will do where it fits one alone: `"hidden/kernel"` for
    `"sequential_3/hidden/kernel"`.

    Args:
        make: Called with a path, gives its array, of shape `(records, *shape)`.
        paths: The paths there are.
        quantity: What the arrays hold, for messages.
        others: What there is in place of it, for messages, if there are no paths.
    """

    def __init__(self, make, paths, quantity, others=""):
        self._make = make
        self._paths = list(paths)
        self._quantity = quantity
        self._others = others
        self._made = {}

    def __getitem__(self, path):
        """The array of one path, or of one variable of the model."""
        path = self._find(path)
        if path not in self._made:
            self._made[path] = self._make(path)
        return self._made[path]

    def _find(self, path):
        path = getattr(path, "path", path)
        if path in self._paths:
            return path
        if not self._paths:
            raise KeyError(
                f"No {self._quantity} were recorded. There are: "
                f"{self._others or 'none at all'}."
            )
        found = [p for p in self._paths if p.endswith(f"/{path}")]
        if len(found) != 1:
            raise KeyError(
                f"{path!r} names {'several' if found else 'none'} of the recorded "
                f"{self._quantity}. There are: {found or self._paths}."
            )
        return found[0]

    def __iter__(self):
        """The paths, in the model's order."""
        return iter(self._paths)

    def __len__(self):
        """Number of paths."""
        return len(self._paths)

    def __contains__(self, path):
        """Whether a path is there; makes no array."""
        try:
            self._find(path)
        except KeyError:
            return False
        return True

    def __repr__(self):
        """Names the paths."""
        return f"<{self._quantity} of {self._paths}>"

    def __reduce__(self):
        """Pickles the arrays themselves."""
        return _loaded, (dict(self), self._quantity)


def _loaded(arrays, quantity):
    return Arrays(arrays.__getitem__, arrays, quantity)


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

    def __init__(self, index, arrays, attributes, fits=()):
        self.index = index
        self.attributes = attributes
        self.fits = fits
        self._arrays = arrays

    @classmethod
    def of(cls, snapshot):
        """The recording of a store's `Snapshot`."""
        places = {key: column for column in snapshot.columns for key in column.keys}

        def arrays_of(kind):
            def make(path):
                key = (*kind, path)
                return places[key].of(snapshot.rows(places[key]), key)

            paths = [key[2] for key in places if key[:2] == kind]
            return Arrays(make, paths, _said(*kind))

        kinds = dict.fromkeys(key[:2] for key in places)
        faults = [f["fault"] for f in snapshot.fits if f["fault"]]
        ended = all(f["ended"] for f in snapshot.fits)
        return cls(
            index=snapshot.index,
            arrays={kind: arrays_of(kind) for kind in kinds},
            attributes=snapshot.attributes
            | {"complete": ended and not faults, "fault": next(iter(faults), None)},
            fits=snapshot.fits,
        )

    @property
    def gradients(self):
        """Mapping from path to an array of gradients, `(records, *shape)`."""
        return self.arrays("gradients")

    @property
    def weights(self):
        """Mapping from path to an array of weights, `(records, *shape)`."""
        return self.arrays("weights")

    def arrays(self, quantity, reduction="raw"):
        """What was recorded of gradients or weights.

        Args:
            quantity: `"gradients"` or `"weights"`.
            reduction: `"raw"`, or the name of a reduction that was recorded.

        Returns:
            Mapping from path to an array of shape `(records, *shape)`, where `shape`
            is that of the variable or of what the reduction makes of it. Empty if no
            such thing was recorded. Arrays are not to be written to; copy them.
        """
        _check_choice("quantity", quantity, ("gradients", "weights"))
        if (quantity, reduction) in self._arrays:
            return self._arrays[quantity, reduction]
        there = ", ".join(_said(*kind) for kind in self._arrays if kind[1])
        return Arrays(None, [], _said(quantity, reduction), there)

    @property
    def has_gradient(self):
        """DataFrame of bool, records by paths: whether there was a gradient."""
        flags = self._arrays.get(("has_gradient", ""), {})
        columns = {path: np.asarray(flags[path]) == 1 for path in flags}
        return pd.DataFrame(columns, index=self.index.index, dtype=bool)

    def statistic(self, quantity, reduction):
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
        recorded = self.arrays(quantity, reduction)
        raw = self.arrays(quantity)
        named = NAMED.get(reduction)
        columns = {}
        for path in progress(self.paths, of=f"Reading {quantity}", unit="variable"):
            if path in recorded:
                columns[path] = np.asarray(recorded[path])
            elif named is not None and not named.of_update and path in raw:
                columns[path] = self._reduced(quantity, named, path)
        if not columns:
            there = sorted({r for q, r in self._arrays if q == quantity})
            raise ValueError(
                f"No {reduction!r} of {quantity} was recorded, and it cannot be made "
                f"of what was: {there}. GradientRecorder({quantity}=...) takes "
                f"{names_for(quantity)}."
            )
        for path, array in columns.items():
            if array.ndim != 1:
                raise ValueError(
                    f"{reduction!r} is no single number: of {path!r} it has shape "
                    f"{array.shape[1:]}. Its arrays: recording.arrays({quantity!r}, "
                    f"{reduction!r})."
                )
        return pd.DataFrame(columns, index=pd.Index(self.index["step"], name="step"))

    def _reduced(self, quantity, reduction, path):
        rows = self.arrays(quantity)[path]
        made = np.array([reduction.on_host(rows[n]) for n in range(len(self))])
        if quantity == "gradients":
            made = np.where(self.has_gradient[path], made, np.nan)
        return made.astype(np.float64)

    def __len__(self):
        """Number of records."""
        return len(self.index)

    @property
    def paths(self):
        """Paths of the recorded variables, in the model's order."""
        recorded = {path for arrays in self._arrays.values() for path in arrays}
        known = [path for path, _ in self.attributes.get("variables", ())]
        return [p for p in known if p in recorded]

    @property
    def has_nonfinite(self):
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

    def to_frame(self, *, layout="wide", names="path", variables=None, biases=False):
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
        _check_choice("layout", layout, ("wide", "tidy"))
        _check_choice("names", names, ("path", "symbol"))
        if biases and names != "symbol":
            raise ValueError(
                "biases=True belongs to names='symbol'. With names='path' each "
                "recorded variable has its columns; variables='*/bias' chooses."
            )
        paths = self._raw(self._select(variables))
        if layout == "tidy":
            if names == "symbol":
                raise ValueError("names='symbol' belongs to layout='wide'.")
            return tables.tidy_table(self, paths)
        if names == "symbol":
            naming = tables.symbol_names(self, paths, biases=biases)
        else:
            naming = tables.path_names(paths)
        return tables.wide_table(self, naming)

    def replay(self, *, custom_objects: Mapping[str, Any] | None = None) -> Replay:
        """Proof: the gradients, given to the same optimizer again, make the weights.

        See `hrcallbacks.replay.replay`. Needs Keras. Optimizers, schedules and
        constraints of your own are found if the classes are loaded.

        Args:
            custom_objects: Classes and functions by name, for those that are not found:
                `{"Lion2": Lion2}`.

        Returns:
            A `hrcallbacks.replay.Replay`: `max_error`, the largest absolute difference
            between a recorded weight and a replayed one, and `errors`, by record and
            variable.

        Raises:
            ValueError: If the recording does not hold what a replay needs: each step,
                and gradients and weights of all variables; or if a class or function
                of your own is not found.
        """
        return replay(self, custom_objects=custom_objects)

    def diagnose(self, rules=None):
        """What is wrong with this run, in words: see `hrcallbacks.diagnose.diagnose`.

        Args:
            rules: None for all of `hr.diagnose.RULES`, or those to ask: names or rules.

        Returns:
            `hrcallbacks.diagnose.Findings`, a DataFrame that prints as text.
        """
        return diagnose(self, rules)

    @property
    def plot(self):
        """The functions of `hrcallbacks.plot` as methods: `recording.plot.loss()`."""
        from hrcallbacks.plot import Plots

        return Plots(self)

    def save(self, path):
        """Writes the recording to a new Zarr store.

        Args:
            path: A path, or an fsspec URL, where nothing is yet.

        Raises:
            ImportError: If Zarr is not installed.
            FileExistsError: If something is there.
            OSError: If it cannot be written.
        """
        save(self, self._arrays, path)

    def to_xarray(self):
        """The recording as an `xarray.Dataset`.

        Variables are called `gradients:hidden/kernel`, or
        `gradients:hidden/kernel:norm` for a reduction. Their dimensions are `record`
        and the axes of what they hold; the columns of `index` are coordinates. A
        recording on disk is read as it is asked for.

        Raises:
            ImportError: If xarray is not installed.
        """
        return to_xarray(self, self._arrays)

    def to_parquet(self, path, *, variables=None):
        """Writes the tidy table of raw values to a Parquet file, block by block.

        Its columns are those of `to_frame(layout="tidy")`.

        Args:
            path: The file to write.
            variables: A glob or list of globs on the paths; None for all.

        Raises:
            ImportError: If PyArrow is not installed.
            ValueError: As of `to_frame`.
        """
        to_parquet(self, path, self._raw(self._select(variables)))

    def _raw(self, paths):
        """Those of the paths of which every element was recorded."""
        raw = [p for p in paths if p in self.gradients or p in self.weights]
        if not raw:
            there = ", ".join(_said(*kind) for kind in self._arrays if kind[1])
            raise ValueError(
                "A table has every element of what it shows, and none was recorded "
                f"'raw' of {list(paths)[:5]}. There are: {there}. See "
                "recording.statistic(quantity, reduction)."
            )
        return raw

    def _select(self, variables):
        if not len(self):
            raise ValueError(
                "The recording is empty: no step that it was to record was trained. "
                "Pass the recorder to fit, model.fit(..., callbacks=[recorder]), and "
                "look at its record_freq."
            )
        return choose_paths(self.paths, variables)

    def __repr__(self):
        """What was recorded, in a few lines."""
        lines = [f"<Recording: {self._summary()}>"]
        shapes = {visible(path): shape for path, shape in self._shapes().items()}
        width = max(map(len, shapes), default=0)
        lines += [f"  {path:<{width}}  {shape}" for path, shape in shapes.items()]
        return "\n".join(lines)

    def _repr_html_(self):
        """The same for a notebook, with the first rows of the index."""
        rows = "".join(
            f"<tr><td><code>{html.escape(visible(path))}</code></td>"
            f"<td>{html.escape(str(shape))}</td></tr>"
            for path, shape in self._shapes().items()
        )
        return (
            f"<p><b>Recording</b>: {html.escape(self._summary())}</p>"
            f"<table><thead><tr><th>path</th><th>shape</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
            f"{self._head_html()}"
        )

    def _head_html(self):
        head = self.index.head().rename(columns=lambda name: visible(str(name)))
        most = pd.get_option("display.max_columns")
        # What `_repr_html_` makes, where pandas is not told to make none.
        return head.to_html(max_cols=most, notebook=True, escape=True)

    def _shapes(self):
        shapes = dict(self.attributes.get("variables", ()))
        return {path: tuple(shapes[path]) for path in self.paths}

    def _recorded(self, quantity):
        asked = self.attributes.get("reductions", {}).get(quantity, ())
        names = [r for q, r in self._arrays if q == quantity]
        names.sort(key=lambda name: [*asked, name].index(name))
        return quantity + ("" if names == ["raw"] else f" ({', '.join(names)})")

    def _summary(self):
        if not len(self):
            complete = self.attributes.get("complete", True)
            return visible("empty" if complete else f"empty; {self._completeness()}")
        size = sum(math.prod(shape) for shape in self._shapes().values())
        steps = self.index["step"]
        quantities = [q for q in ("gradients", "weights") if self._has(q)]
        what = [self._recorded(q) for q in quantities]
        when = f" {self.attributes['weights_at']} the update"
        return visible(
            f"{_count(len(self), 'record')} of {_count(len(self.paths), 'variable')}, "
            f"{_count(size, 'element')}; {_range(steps)}; {' and '.join(what)}"
            f"{when if 'weights' in quantities else ''}; "
            f"{self._completeness()}"
        )

    def _has(self, quantity):
        return any(q == quantity for q, _ in self._arrays)

    def _completeness(self):
        if self.attributes["complete"]:
            return "complete"
        fault = self.attributes.get("fault")
        if fault is None:
            number = next(n for n, f in enumerate(self.fits, 1) if not f["ended"])
            which = f" {number} of {len(self.fits)}" if len(self.fits) > 1 else ""
            fault = f"fit{which} has not come to its end"
        return f"INCOMPLETE: {fault}"


def _said(quantity, reduction):
    return quantity if reduction in ("raw", "") else f"{quantity} {reduction!r}"


def _range(steps):
    first, last = steps.iloc[0], steps.iloc[-1]
    return f"step {first:,}" if first == last else f"steps {first:,} to {last:,}"


def _count(number, noun):
    return f"{number:,} {noun}{'' if number == 1 else 's'}"


def _check_choice(name, value, choices):
    if value not in choices:
        raise ValueError(
            f"Expected {name} to be one of {choices}. Received: {value!r}."
        )


def open_recording(path):
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
