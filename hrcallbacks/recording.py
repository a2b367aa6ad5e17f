"""A recording: every weight and gradient of a training run.

Works on NumPy and pandas alone: reading a recording needs no Keras backend.
"""

import html
import math
from collections.abc import Mapping

import numpy as np
import pandas as pd

from hrcallbacks import tables
from hrcallbacks.replay import replay
from hrcallbacks.selection import matches


class Arrays(Mapping):
    """Arrays by path, each made when first asked for.

    The end of a path will do where it fits one alone: `"hidden/kernel"` for
    `"sequential_3/hidden/kernel"`.

    Args:
        make: Called with a path, gives its array, of shape `(records, *shape)`.
        paths: The paths there are.
        quantity: What the arrays hold, for messages.
    """

    def __init__(self, make, paths, quantity):
        self._make = make
        self._paths = list(paths)
        self._quantity = quantity
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


class Recording:
    """What a `GradientRecorder` saw: one record a recorded step.

    Attributes:
        index: DataFrame, one row a record: `step` (from 1, over the whole run),
            `epoch`, `batch` (from 1; `epoch` counts anew in each fit), `loss` (of that
            very batch, before its update, not Keras' running mean), and the metrics
            (as in Keras' logs: means over the epoch's steps so far).
        gradients: Mapping from path to an array of shape `(records, *shape)`, in the
            gradient's dtype: what was handed to the optimizer. That is the gradient
            of the training loss, its regularizers and weights included, unscaled
            under a `LossScaleOptimizer`, before clipping, accumulation and weight
            decay. NaN where a variable got none.
        weights: Mapping from path to an array of shape `(records, *shape)`: the
            weights after the update that the row's gradient made, or before it, as
            `attributes["weights_at"]` says. NaN for what a hand-written loop on JAX
            did not hand to the optimizer in that step.
        has_gradient: DataFrame of bool, records by paths: whether the variable got a
            gradient in that step.
        attributes: What holds for the whole recording: `complete`, whether each fit
            came to its end with its recording intact; `fault`, what stopped the
            recording if something did; `record_freq`; `weights_at`; `variables`, path
            and shape of each trainable variable of the model; `optimizer`, class and
            config of the latest fit's; `backend`; `versions`.
        fits: What a replay of each fit starts from.
    """

    def __init__(self, index, gradients, weights, has_gradient, attributes, fits=()):
        self.index = index
        self.gradients = gradients
        self.weights = weights
        self.has_gradient = has_gradient
        self.attributes = attributes
        self.fits = fits

    def __len__(self):
        """Number of records."""
        return len(self.index)

    @property
    def paths(self):
        """Paths of the recorded variables, in the model's order."""
        return list(dict.fromkeys([*self.gradients, *self.weights]))

    @property
    def has_nonfinite(self):
        """DataFrame of bool, records by paths: whether a gradient has NaN or infinity.

        False where the variable got no gradient: see `has_gradient`.
        """
        flags = {
            path: [not np.isfinite(row).all() for row in self.gradients[path]]
            for path in self.has_gradient
        }
        return pd.DataFrame(flags, dtype=bool) & self.has_gradient

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
        paths = self._select(variables)
        if layout == "tidy":
            if names == "symbol":
                raise ValueError("names='symbol' belongs to layout='wide'.")
            return tables.tidy_table(self, paths)
        if names == "symbol":
            naming = tables.symbol_names(self, paths, biases=biases)
        else:
            naming = tables.path_names(paths)
        return tables.wide_table(self, naming)

    def replay(self):
        """Proof: the gradients, given to the same optimizer again, make the weights.

        See `hrcallbacks.replay.replay`. Needs Keras.

        Returns:
            A `hrcallbacks.replay.Replay`: `max_error`, the largest absolute difference
            between a recorded weight and a replayed one, and `errors`, by record and
            variable.

        Raises:
            ValueError: If the recording does not hold what a replay needs: each step,
                and gradients and weights of all variables.
        """
        return replay(self)

    def _select(self, variables):
        paths = self.paths
        if not len(self):
            raise ValueError(
                "The recording is empty: no step that it was to record was trained. "
                "Pass the recorder to fit, model.fit(..., callbacks=[recorder]), and "
                "look at its record_freq."
            )
        if variables is None:
            return paths
        globs = [variables] if isinstance(variables, str) else list(variables)
        chosen = [p for p in paths if any(matches(p, g) for g in globs)]
        if not chosen:
            raise ValueError(
                f"No recorded variable matches variables={variables!r}. "
                f"There are: {paths}."
            )
        return chosen

    def __repr__(self):
        """What was recorded, in a few lines."""
        lines = [f"<Recording: {self._summary()}>"]
        shapes = self._shapes()
        width = max(map(len, shapes), default=0)
        lines += [f"  {path:<{width}}  {shape}" for path, shape in shapes.items()]
        return "\n".join(lines)

    def _repr_html_(self):
        """The same for a notebook, with the first rows of the index."""
        rows = "".join(
            f"<tr><td><code>{html.escape(path)}</code></td><td>{shape}</td></tr>"
            for path, shape in self._shapes().items()
        )
        return (
            f"<p><b>Recording</b>: {html.escape(self._summary())}</p>"
            f"<table><thead><tr><th>path</th><th>shape</th></tr></thead>"
            f"<tbody>{rows}</tbody></table>"
            f"{self.index.head()._repr_html_()}"
        )

    def _shapes(self):
        shapes = dict(self.attributes.get("variables", ()))
        return {path: tuple(shapes[path]) for path in self.paths}

    def _summary(self):
        if not len(self):
            complete = self.attributes.get("complete", True)
            return "empty" if complete else f"empty; {self._completeness()}"
        size = sum(math.prod(shape) for shape in self._shapes().values())
        steps = self.index["step"]
        what = [q for q in ("gradients", "weights") if len(getattr(self, q))]
        when = f" ({self.attributes['weights_at']} the update)"
        return (
            f"{_count(len(self), 'record')} of {_count(len(self.paths), 'variable')}, "
            f"{_count(size, 'element')}; {_range(steps)}; {' and '.join(what)}"
            f"{when if 'weights' in what else ''}; "
            f"{self._completeness()}"
        )

    def _completeness(self):
        if self.attributes["complete"]:
            return "complete"
        fault = self.attributes.get("fault")
        return f"INCOMPLETE: {fault or 'the fit has not ended'}"


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
