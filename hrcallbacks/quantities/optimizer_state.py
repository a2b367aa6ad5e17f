"""The optimizers' own variables: momentums, velocities, counters."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import keras

from hrcallbacks.quantities.dtypes import host_dtype
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.quantities.wanted import Reductions, Wanted
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.selection.optimizers import find_optimizers
from hrcallbacks.selection.variables import few_of, unique_paths
from hrcallbacks.types import Key, Spec

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call

_FLOATS = ("float16", "float32", "float64")


class OptimizerState(Quantity):
    """Variables of optimizers, after the update.

    A record of an update that another optimizer made has NaN.

    Args:
        what: As `GradientRecorder(optimizer=)`.
    """

    name: ClassVar[str] = "optimizer"
    is_apart = True  # As weights, for the same reason.

    def __init__(self, what: Reductions) -> None:
        example = "an optimizer variable's path, such as '*momentum*'"
        self.wanted: Wanted = Wanted(self.name, what, of=example)
        self._recorded: dict[str, tuple[Reduction, ...]] = {}

    def check_model(self, model: Any) -> None:
        """See `Quantity.check_model`."""
        optimizers = find_optimizers(model)
        if optimizers and all(optimizer.built for optimizer in optimizers):
            self._check_globs(state_of(optimizers))

    def _check_globs(self, paths: Iterable[str]) -> None:
        paths = list(paths)
        glob = self.wanted.unmatched(paths)
        if glob is not None:
            raise ValueError(
                f"No variable of an optimizer matches optimizer={glob!r}. There "
                f"are: {few_of(paths)}."
            )

    def find(self, scene: Scene) -> Mapping[Key, Spec]:
        """See `Quantity.find`."""
        if not self.wanted:
            return {}
        specs: dict[Key, Spec] = {}
        if all(optimizer.built for optimizer in scene.optimizers):
            self._check_globs(state_of(scene.optimizers))
        for path, variable in state_of(scene.optimizers).items():
            if path not in self._recorded:
                glob = self.wanted.glob_of(path)
                chosen = self._recorded[path] = self.wanted.of_glob(glob)
                spec = Spec(tuple(variable.shape), _dtype(variable))
                for reduction in chosen:
                    key = Key(self.name, reduction.name, path)
                    specs[key] = self.wanted.spec(reduction, path, spec)
        return specs

    def take(self, scene: Scene, call: "Call") -> None:
        """Takes the variables of the optimizer that was called."""
        own = {id(variable) for variable in call.optimizer.variables}
        for path, variable in state_of(scene.optimizers).items():
            reductions = self._recorded.get(path, ())
            if not reductions or id(variable) not in own:
                continue
            value = call.value(variable)
            for reduction in reductions:
                counts = not (reduction.is_raw or _is_float(variable))
                seen = keras.ops.cast(value, "float32") if counts else value
                scene.reduce(self.name, (reduction,), path, seen)

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(self, scene)

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Quantity.describe`."""
        return self.wanted.describe()


class _Observer(Observer):
    def __init__(self, state: OptimizerState, scene: Scene) -> None:
        super().__init__(scene)
        self._state = state

    def after(self, call: "Call") -> None:
        if self._state.wanted:
            self._state.take(self.scene, call)


def state_of(optimizers: Iterable[Any]) -> dict[str, Any]:
    """The variables of those optimizers that are built, by path, each once."""
    found = {id(v): v for o in optimizers if o.built for v in o.variables}
    variables = list(found.values())
    return dict(zip(unique_paths(variables), variables, strict=True))


def _is_float(variable: Any) -> bool:
    return host_dtype(variable) in _FLOATS


def _dtype(variable: Any) -> str:
    """In which dtype it is recorded: a counter that a record lacks is NaN."""
    return host_dtype(variable) if _is_float(variable) else "float64"
