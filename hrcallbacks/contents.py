"""What a recording holds: of which variables, in which columns; what describes it."""

import importlib.metadata

import keras
import numpy as np

from hrcallbacks.reductions import RAW_REDUCTION, Plan
from hrcallbacks.selection import check_pattern, select_variables, unique_paths
from hrcallbacks.snapshot import describe, host_dtype
from hrcallbacks.storage import HAS_GRADIENT

_VERSIONS = {
    "hrcallbacks": importlib.metadata.version("hrcallbacks"),
    "keras": keras.__version__,
    "numpy": np.__version__,
}


class Contents:
    """What a recorder records, and how it is declared to a store.

    Attributes:
        gradients: The `Plan` of the gradients.
        weights: The `Plan` of the weights.

    Args:
        variables: See `GradientRecorder`, as all others.
        gradients: What to record of the gradients.
        weights: What to record of the weights.
        weights_at: `"before"` or `"after"` the update.
        cadence: The `Cadence`.
        mean: Whether a record's gradients are the mean of an epoch's.
    """

    def __init__(self, variables, *, gradients, weights, weights_at, cadence, mean):
        check_pattern(variables)
        self._variables = variables
        self.gradients = Plan("gradients", gradients)
        self.weights = Plan("weights", weights)
        self._weights_at = weights_at
        self._cadence = cadence
        self._mean = mean
        self._trainable = ()  # The model's, of which was selected.
        self._specs = {}

    @property
    def is_raw(self):
        """Whether every element of gradients and weights is recorded."""
        return self.gradients.is_raw and self.weights.is_raw

    @property
    def reductions(self):
        """What a reader has to know of the reductions, by quantity and name."""
        plans = {"gradients": self.gradients, "weights": self.weights}
        return {
            quantity: {n: r.describe() for n, r in plan.reductions.items()}
            for quantity, plan in plans.items()
        }

    def select(self, trainable):
        """Selects what is to be recorded of a model.

        Args:
            trainable: The model's trainable variables.

        Returns:
            Three dicts from path: to the variables, to the reductions of their
            gradients that a step has to make, and to those of their weights.

        Raises:
            ValueError: If nothing matches, or a reduction fails.
        """
        chosen = select_variables(self._variables, trainable)
        gradients, weights = self.gradients.of(chosen), self.weights.of(chosen)
        specs = {}
        for quantity, reductions in (("gradients", gradients), ("weights", weights)):
            for path, variable in chosen.items():
                shape, dtype = tuple(variable.shape), self.dtype(quantity, variable)
                for reduction in reductions[path]:
                    spec = _spec(quantity, reduction, path, shape, dtype)
                    specs[quantity, reduction.name, path] = spec
        recorded = {path: chosen for path, chosen in gradients.items() if chosen}
        specs |= {(*HAS_GRADIENT, path): ((), "float64") for path in recorded}
        self._trainable, self._specs = trainable, specs
        if self._mean:
            gradients = {
                path: (RAW_REDUCTION,) if r else () for path, r in gradients.items()
            }
        return chosen, gradients, weights

    def dtype(self, quantity, variable):
        """In which NumPy dtype a variable's gradients or weights are recorded."""
        dtype = host_dtype(variable)
        mean = self._mean and quantity == "gradients"
        return "float32" if mean and dtype == "float16" else dtype

    def check(self, store):
        """Refuses what was selected if the store holds something else.

        Raises:
            ValueError: If it does.
        """
        store.check(self._specs)

    def record_bytes(self, store):
        """Size of a record, with what the store holds already."""
        return store.record_bytes_with(self._specs)

    def declare(self, store, optimizer):
        """Declares what was selected to a store, and describes it there.

        Args:
            store: The store.
            optimizer: The model's optimizer, or None.

        Raises:
            ValueError: If the store holds something else.
        """
        store.check(self._specs)
        # What describes the columns first: a store writes both at once.
        earlier = dict(store.attributes.get("variables", ()))
        store.attributes.update(self._describe(earlier, optimizer))
        store.declare(self._specs)

    def _describe(self, earlier, optimizer):
        paths = unique_paths(self._trainable)
        pairs = zip(paths, self._trainable, strict=True)
        return {
            # With those that an earlier fit has recorded.
            "variables": _merged(earlier, {p: tuple(v.shape) for p, v in pairs}),
            "reductions": self.reductions,
            "record_freq": self._cadence.describe(),
            "epoch_gradient": "mean" if self._mean else "last",
            "weights_at": self._weights_at,
            "optimizer": describe(optimizer),
            "backend": keras.config.backend(),
            "versions": _VERSIONS,
        }


def _merged(earlier, now):
    """Paths and shapes of two fits, in the order of the one that has more."""
    first, second = sorted((earlier, now), key=len, reverse=True)
    return [*(first | second).items()]


def _spec(quantity, reduction, path, shape, dtype):
    # A function of the user's own is tried before training.
    try:
        return reduction.spec(shape, dtype)
    except Exception as error:
        raise ValueError(
            f"The reduction {reduction.name!r} in {quantity}= fails on {path!r}, a "
            f"tensor of shape {shape} and dtype {dtype}: {error!r}."
        ) from error
