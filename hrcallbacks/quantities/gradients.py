"""The gradients that are passed to the optimizers."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hrcallbacks.quantities.dtypes import host_dtype
from hrcallbacks.quantities.flags import Flags
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.quantities.wanted import Reductions, Wanted
from hrcallbacks.reductions.reduction import WHOLE, Reduction
from hrcallbacks.types import HAS_GRADIENT, Key, Spec

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call


class Gradients(Quantity):
    """Gradients, and whether each variable got one.

    Args:
        what: See `GradientRecorder(gradients=)`.
        mean: Whether a record has the mean gradient of an epoch's steps. If so, steps
            give whole gradients, and the mean is reduced.
    """

    name: ClassVar[str] = "gradients"

    def __init__(self, what: Reductions, *, mean: bool = False) -> None:
        self.wanted: Wanted = Wanted(self.name, what)
        self.is_apart = mean
        self._mean = mean
        self._recorded: dict[str, tuple[Reduction, ...]] = {}
        self._dtypes: dict[str, str] = {}
        self._flags = Flags(HAS_GRADIENT)

    def choose(self, variables: Mapping[str, Any]) -> Mapping[Key, Spec]:
        """See `Quantity.choose`."""
        self._recorded = self.wanted.of(variables)
        self._dtypes = {path: self._dtype(v) for path, v in variables.items()}
        specs = self.wanted.specs(self._recorded, variables, self._dtypes)
        self._flags = Flags(HAS_GRADIENT)
        for path, reductions in self._recorded.items():
            if reductions:
                specs |= self._flags.declare(path)
        return specs

    def _dtype(self, variable: Any) -> str:
        dtype = host_dtype(variable)
        # A sum over many steps overflows float16.
        return "float32" if self._mean and dtype == "float16" else dtype

    def in_step(self, path: str) -> tuple[Reduction, ...]:
        """The reductions that a step makes of a variable's gradient."""
        recorded = self._recorded[path]
        return (WHOLE,) if self._mean and recorded else recorded

    def of_mean(self, path: str, mean: np.ndarray) -> dict[Key, np.ndarray]:
        """What a record holds of an epoch's mean gradient."""
        mean = mean.astype(self._dtypes[path])
        return {
            Key(self.name, reduction.name, path): reduction.on_host(mean)
            for reduction in self._recorded[path]
        }

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(self, scene)

    def complete(self, values: dict[Key, np.ndarray]) -> None:
        """Adds whether each variable got a gradient: 1.0 or 0.0."""
        self._flags.add_to(values, self.name)

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Quantity.describe`."""
        return self.wanted.describe()


class _Observer(Observer):
    def __init__(self, gradients: Gradients, scene: Scene) -> None:
        super().__init__(scene)
        self._gradients = gradients

    def before(self, call: "Call") -> None:
        for path in self.scene.places:
            reductions = self._gradients.in_step(path)
            gradient = self.scene.gradient(call, path) if reductions else None
            if gradient is not None:
                self.scene.reduce(Gradients.name, reductions, path, gradient)
