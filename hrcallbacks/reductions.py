"""What of a tensor is recorded: all of it, or a small tensor made in the step.

The named reductions are written once, over a namespace of array functions: `keras.ops`
inside a compiled step, NumPy on the host, where they are made of recorded arrays.
"""

import inspect
import math
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np

from hrcallbacks.selection import matches

RAW = "raw"


class Reduction:
    """A function of a tensor that is recorded in place of the tensor.

    It runs inside the training step, on the device.

    Args:
        name: What it is called in the recording.
        function: Called with a gradient or weight tensor of the backend; returns a
            tensor whose shape depends on that of its argument alone. Written with
            `keras.ops` it works on each backend.

    Raises:
        ValueError: If the name is that of a built-in reduction, or empty.
        TypeError: If `function` cannot be called with one argument.

    Example:
        >>> import keras
        >>> recorder_argument = Reduction(
        ...     "l1", lambda x: keras.ops.sum(keras.ops.abs(x))
        ... )
        >>> recorder_argument
        <Reduction l1>
    """

    of_update = False  # Whether it takes the weights before the update too.

    def __init__(self, name, function):
        if not callable(function):
            raise TypeError(
                f"Expected function: a callable(tensor). Received: {function!r}."
            )
        self.name = _checked_name(name)
        self._function = function

    def in_step(self, ops, tensor):
        """The reduced tensor.

        Args:
            ops: `keras.ops`.
            tensor: A tensor, of float32 or float64.
        """
        return ops.convert_to_tensor(self._function(tensor))

    def on_host(self, array):
        """The same of a NumPy array."""
        import keras

        ops = keras.ops
        return ops.convert_to_numpy(self.in_step(ops, ops.convert_to_tensor(array)))

    def spec(self, shape, dtype):
        """Shape and NumPy dtype of what it makes of a tensor.

        Raises:
            Exception: Whatever the function raises.
        """
        made = np.asarray(self.on_host(np.zeros(shape, dtype)))
        return made.shape, _stored_dtype(made.dtype)

    def describe(self) -> dict[str, Any]:
        """What a reader of the recording has to know of it, for JSON."""
        return {"kind": type(self).__name__}

    def __repr__(self):
        """Its name."""
        return f"<{type(self).__name__} {self.name}>"


class _Raw(Reduction):
    def __init__(self):
        self.name = RAW

    def in_step(self, ops, tensor):
        return tensor

    def on_host(self, array):
        return array

    def spec(self, shape, dtype):
        return shape, dtype


class _Named(Reduction):
    """A number, made with functions that `keras.ops` and NumPy both have."""

    def __init__(self, name, function):
        self.name = name
        self._function = function

    def in_step(self, ops, tensor):
        return self._function(ops, tensor)

    def describe(self):
        return {"kind": self.name}

    def on_host(self, array):
        # In float64: what is made from recorded arrays need not be quick.
        with np.errstate(all="ignore"):
            return self._function(_NumPy, np.asarray(array, np.float64))

    def spec(self, shape, dtype):
        if math.prod(shape) == 0 and self.name in ("min", "max", "abs_max"):
            raise ValueError(f"a tensor of shape {shape} has no {self.name}")
        return (), "float64"


class _OfUpdate(_Named):
    of_update = True

    def in_step(self, ops, tensor, before=None):
        return self._function(ops, tensor, before)


class _NumPy:
    """NumPy with the one function that is called otherwise in `keras.ops`."""

    abs, square, sqrt, sum, mean = np.abs, np.square, np.sqrt, np.sum, np.mean
    std, min, max = np.std, np.min, np.max
    equal, isfinite, logical_not = np.equal, np.isfinite, np.logical_not
    where, any, isnan = np.where, np.any, np.isnan
    subtract, divide = np.subtract, np.divide

    @staticmethod
    def cast(array, dtype):
        return np.asarray(array).astype(dtype)


def _norm(ops, x):
    if ops is _NumPy:
        return np.sqrt(np.sum(np.square(x)))
    from hrcallbacks.numerics import numerics

    return ops.sqrt(numerics.sum_of_squares(x))


def _count(ops, flags):
    # Float32 counts to 2^24 alone.
    return ops.sum(ops.cast(flags, "int32"))


def _zero_fraction(ops, x):
    return ops.cast(_count(ops, ops.equal(x, 0)), "float32") / math.prod(x.shape)


def _extreme(function):
    # Not each backend's minimum says that it has seen a NaN.
    def extreme(ops, x):
        found = getattr(ops, function)(x)
        return ops.where(ops.any(ops.isnan(x)), ops.cast(math.nan, found.dtype), found)

    return extreme


def _update_norm(ops, after, before):
    return _norm(ops, ops.subtract(after, before))


NAMED: Mapping[str, Reduction] = {
    r.name: r
    for r in (
        _Named("norm", _norm),
        _Named("mean", lambda ops, x: ops.mean(x)),
        _Named("std", lambda ops, x: ops.std(x)),
        _Named("min", _extreme("min")),
        _Named("max", _extreme("max")),
        _Named("abs_max", lambda ops, x: _extreme("max")(ops, ops.abs(x))),
        _Named("zero_fraction", _zero_fraction),
        _Named(
            "nonfinite",
            lambda ops, x: _count(ops, ops.logical_not(ops.isfinite(x))),
        ),
        _OfUpdate("update_norm", _update_norm),
        _OfUpdate(
            "update_ratio",
            lambda ops, after, before: ops.divide(
                _update_norm(ops, after, before), _norm(ops, before)
            ),
        ),
    )
}
RAW_REDUCTION = _Raw()


class Histogram(Reduction):
    """Counts of magnitudes in bins that are the same for each tensor and step.

    Bin k counts the elements with `edges[k] <= |x| < edges[k + 1]`. The edges are
    powers of `2**octaves`, around 1e-3 in the middle; the first bin takes all that is
    smaller but not zero, the last all that is larger but finite. So each element is
    counted once, whatever its scale: the record of a tensor is its `bins` counts, then
    those of exact zeros, of NaN and of infinities.

    Args:
        bins: How many bins.
        octaves: Width of a bin in factors of two. Under the defaults the bins run from
            `2**-42`, 2e-13, to `2**22`, 4e6.
        name: What it is called in the recording.

    Raises:
        ValueError: If `bins` or `octaves` is below 1.

    Example:
        >>> import numpy as np
        >>> histogram = Histogram(bins=4, octaves=2)
        >>> histogram.edges.tolist()
        [6.103515625e-05, 0.000244140625, 0.0009765625, 0.00390625, 0.015625]
        >>> histogram.on_host(np.array([0, 1e-3, -2e-3, 5, np.nan])).tolist()
        [0.0, 0.0, 2.0, 1.0, 1.0, 1.0, 0.0]
    """

    def __init__(self, bins=64, *, octaves=1, name="histogram"):
        for what, value in (("bins", bins), ("octaves", octaves)):
            if isinstance(value, bool) or not isinstance(value, int) or value < 1:
                raise ValueError(
                    f"Expected {what}: an int, 1 or more. Received: {value!r}."
                )
        self.name = _checked_name(name)
        self.bins = bins
        self._octaves = octaves
        self._low = -10 - octaves * (bins // 2)
        exponents = self._low + octaves * np.arange(bins + 1)
        if exponents[0] < -126 or exponents[-1] > 127:
            raise ValueError(
                f"{bins} bins of {octaves} octaves reach over the range of float32, "
                "2**-126 to 2**127. Use fewer or narrower ones."
            )
        self.edges = 2.0**exponents

    def in_step(self, ops, tensor):
        """The counts, int32, shape `(bins + 3,)`."""
        from hrcallbacks.numerics import numerics

        # The edges are powers of two: the exponent's bits alone tell the bin, exactly,
        # and several times faster than a search among the edges.
        counted = numerics.float_counts(tensor)
        exponents, top = counted.exponents, counted.layout.top
        first = counted.layout.bias + self._low + self._octaves  # Where it ends.
        last = first + self._octaves * (self.bins - 2)  # Where it begins.
        if self.bins == 1:
            first = last = top
        inner = ops.reshape(exponents[first:last], (-1, self._octaves))
        outer = ops.stack(
            [
                ops.sum(exponents[:first]) - counted.zeros,
                ops.sum(exponents[last:top]),
                counted.zeros,
                exponents[top] - counted.infinities,
                counted.infinities,
            ]
        )
        rest = outer[2:] if self.bins == 1 else outer[1:]
        return ops.concatenate([outer[:1], ops.sum(inner, axis=1), rest])

    def on_host(self, array):
        """The counts, float64."""
        x = np.abs(np.ravel(array))
        place = np.searchsorted(self.edges[1:-1].astype(x.dtype), x, side="right")
        place = np.where(x == 0, self.bins, place)
        place = np.where(np.isnan(x), self.bins + 1, place)
        place = np.where(np.isinf(x), self.bins + 2, place)
        return np.bincount(place, minlength=self.bins + 3).astype(np.float64)

    def spec(self, shape, dtype):
        """Shape and dtype of the counts."""
        return (self.bins + 3,), "float64"

    def describe(self):
        """The edges."""
        return {"kind": "Histogram", "edges": self.edges.tolist()}


class Sample(Reduction):
    """The same n elements at each step.

    Args:
        n: How many; a smaller tensor is taken whole.
        seed: Which ones. `indices` gives them.
        name: What it is called in the recording.

    Raises:
        ValueError: If `n` is below 1.

    Example:
        >>> Sample(3, seed=1).indices(1000).tolist()
        [0, 417, 720]
    """

    def __init__(self, n, seed=0, *, name="sample"):
        if isinstance(n, bool) or not isinstance(n, int) or n < 1:
            raise ValueError(f"Expected n: an int, 1 or more. Received: {n!r}.")
        if isinstance(seed, bool) or not isinstance(seed, int) or not 0 <= seed < 2**32:
            raise ValueError(f"Expected seed: an int from 0. Received: {seed!r}.")
        self.name = _checked_name(name)
        self.n = n
        self.seed = seed

    def indices(self, size):
        """Which elements of a flattened tensor are taken.

        Args:
            size: The tensor's number of elements.

        Returns:
            Increasing int array of shape `(min(n, size),)`.
        """
        if self.n >= size:
            return np.arange(size)
        # The legacy generator's stream is the same in each version of NumPy.
        random = np.random.RandomState(self.seed)
        found: dict[int, None] = {}
        while len(found) < self.n:
            drawn = (random.random_sample(self.n) * size).astype(np.int64)
            found.update(dict.fromkeys(drawn.tolist()))
        return np.sort(list(found)[: self.n])

    def in_step(self, ops, tensor):
        """The elements, shape `(min(n, size),)`."""
        indices = self.indices(math.prod(tensor.shape))
        return ops.take(ops.reshape(tensor, (-1,)), indices.astype("int32"))

    def on_host(self, array):
        """The elements."""
        return np.ravel(array)[self.indices(np.size(array))]

    def spec(self, shape, dtype):
        """Shape and dtype of the elements."""
        return (min(self.n, math.prod(shape)),), dtype

    def describe(self):
        """What `indices` needs."""
        return {"kind": "Sample", "n": self.n, "seed": self.seed}


def _checked_name(name):
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"Expected name: a word. Received: {name!r}.")
    if name in NAMED or name == RAW:
        raise ValueError(
            f"{name!r} is a reduction of ours; choose another name for your own."
        )
    return name


def names_for(quantity):
    """Names of the reductions that there are of gradients or weights."""
    return [n for n, r in NAMED.items() if quantity == "weights" or not r.of_update]


def _stored_dtype(dtype):
    # A record that lacks a number has NaN there, which no int can hold.
    return str(dtype) if dtype in ("float16", "float32", "float64") else "float64"


class Plan:
    """Which reductions are recorded of which variables.

    Args:
        quantity: `"gradients"` or `"weights"`.
        what: None, `"raw"`, the name of a reduction, a `Reduction`, a callable, a list
            of these, or a dict from glob to any of them, the first glob that matches
            a path deciding.

    Raises:
        TypeError: If it is of no such kind.
        ValueError: If there is no reduction of such a name, or two of the same name.
    """

    def __init__(self, quantity, what):
        self._quantity = quantity
        rules = what if isinstance(what, Mapping) else {"*": what}
        self._rules = {self._glob(g): self._reductions(w) for g, w in rules.items()}
        self.reductions: dict[str, Reduction] = {}
        for reduction in [r for chosen in self._rules.values() for r in chosen]:
            known = self.reductions.setdefault(reduction.name, reduction)
            if known is not reduction and known.describe() != reduction.describe():
                raise ValueError(
                    f"Two different reductions in {quantity}= are called "
                    f"{reduction.name!r}. Give one of them another name."
                )

    def __bool__(self):
        """Whether anything is recorded."""
        return bool(self.reductions)

    @property
    def is_raw(self):
        """Whether all of every variable is recorded."""
        return all(RAW_REDUCTION in chosen for chosen in self._rules.values())

    def of(self, paths):
        """The reductions of each variable.

        Args:
            paths: Paths of the recorded variables.

        Returns:
            Dict from path to a tuple of reductions.

        Raises:
            ValueError: If a glob matches none of the paths, or none that an earlier
                glob has left.
        """
        chosen = {}
        for path in paths:
            found = next((g for g in self._rules if matches(path, g)), None)
            chosen[path] = found
        for glob in self._rules:
            if glob in chosen.values() or glob == "*":
                continue
            taken = [p for p in paths if matches(p, glob)]
            raise ValueError(
                f"{self._quantity}= has the glob {glob!r}, which "
                + (
                    f"matches {taken[:5]}, but an earlier glob has taken those. Put it "
                    "first."
                    if taken
                    else f"matches none of the recorded variables: {list(paths)[:20]}."
                )
            )
        return {p: self._rules.get(g, ()) for p, g in chosen.items()}

    def _glob(self, glob):
        if not isinstance(glob, str):
            raise TypeError(
                f"Expected the keys of {self._quantity}= to be globs on Variable.path, "
                f"such as '*/kernel'. Received: {glob!r}."
            )
        return glob

    def _reductions(self, what) -> tuple[Reduction, ...]:
        if what is None:
            return ()
        items = what if isinstance(what, list | tuple) else [what]
        return tuple(dict.fromkeys(self._reduction(item) for item in items))

    def _reduction(self, item: Any) -> Reduction:
        found = NAMED.get(item, item) if isinstance(item, str) else item
        if isinstance(found, str) and found == RAW:
            return RAW_REDUCTION
        if inspect.isclass(found):
            name = found.__name__
            raise TypeError(
                f"Received the class {name} in {self._quantity}=. Make one of it, such "
                f"as hr.{name}(...)."
            )
        if isinstance(found, Callable) and not isinstance(found, Reduction):
            found = self._own(found)
        if not isinstance(found, Reduction):
            kind = ValueError if isinstance(item, str) else TypeError
            raise kind(
                f"Expected {self._quantity} to be None, 'raw', one of "
                f"{names_for(self._quantity)}, "
                "hr.Histogram(), hr.Sample(n), hr.Reduction(name, function), a list of "
                f"these, or a dict from glob to these. Received: {item!r}."
            )
        if found.of_update and self._quantity != "weights":
            raise ValueError(
                f"{found.name!r} tells of the weights: use weights={found.name!r}."
            )
        return found

    def _own(self, function):
        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise TypeError(
                f"Received {function!r} in {self._quantity}=. Give it a name: "
                "hr.Reduction('my_name', function)."
            )
        return Reduction(name, function)
