"""What the quantities that are taken of layers have in common."""

import difflib
import math
from abc import abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.names import PREACTIVATION, layer_of
from hrcallbacks.quantities.dtypes import host_dtype
from hrcallbacks.quantities.flags import Flags
from hrcallbacks.quantities.of_batches import shape_of, spec_of
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.quantities.wanted import Reductions, Wanted
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.reductions.rows import Rows
from hrcallbacks.selection.layers import (
    FoundLayer,
    has_fused_activation,
    layers_of,
)
from hrcallbacks.selection.variables import few_of, pattern_of
from hrcallbacks.types import OUTPUT_ROWS, Key, Spec

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call
    from hrcallbacks.capture.taps import Tapped


class OfLayers(Quantity):
    """Something that is recorded of the calls of layers.

    Which outputs there are is known once a step is traced: see `find`.

    Args:
        what: As `GradientRecorder(outputs=)`.
    """

    has: ClassVar[str]  # The quantity that says whether it was there: 1 or 0.
    is_apart = True
    watches_layers = True
    of_whole_step = True

    def __init__(self, what: Reductions) -> None:
        self.wanted: Wanted = Wanted(self.name, what, of="Layer.path, such as 'hidden'")
        self._patterns = {
            glob: [pattern_of(each) for each in _without_details(glob)]
            for glob in self.wanted.globs
        }
        self._recorded: dict[str, tuple[Reduction, ...]] = {}  # By an output's name.
        self._flags = Flags(self.has)
        self._shapes: dict[str, tuple[int, ...]] = {}
        self._row_bytes: dict[str, int] = {}  # Of whole outputs.
        self._reached: set[str] = set()  # Globs.
        self._hidden: dict[str, str] = {}  # From layer to glob.
        self._layers: list[FoundLayer] = []  # Of the model.

    @abstractmethod
    def tensor(self, scene: Scene, tapped: "Tapped", call: "Call") -> Any:
        """What is recorded of an output; None if there is none."""

    @property
    def of_record(self) -> Collection[str]:
        """See `Quantity.of_record`."""
        return (self.name, self.has, OUTPUT_ROWS)

    # Before training.

    def check_model(self, model: Any) -> None:
        """See `Quantity.check_model`."""
        if not self.wanted:
            return
        if backend.replicas(model) > 1:
            raise ValueError(
                f"{self.name}= records whole batches, and under tf.distribute each of "
                f"{backend.replicas(model)} replicas has a part of it. Record "
                "gradients and weights, or train on one device."
            )
        layers = self._layers = layers_of(model)
        if not layers:
            raise ValueError(
                f"{self.name}= records what layers give, and the model {model.name!r} "
                "has none: its call computes by itself. Put what you want to see into "
                "a keras.layers.Layer, and hold it as an attribute of the model."
            )
        self._check_globs([each.path for each in layers])
        again = [e.path for e in layers if e.is_rematerialized and self._takes(e)]
        if again:
            raise ValueError(
                f"{self.name}= cannot see into layers that are rematerialised "
                f"(keras.RematScope): {few_of(again)}. Leave them out, as in "
                f"{self.name}={{{again[0]!r}: None, '*': 'norm'}}."
            )

    def _check_globs(self, paths: Sequence[str]) -> None:
        names = [*paths, *(f"{path}/{PREACTIVATION}" for path in paths)]
        for glob, patterns in self._patterns.items():
            if not any(p.match(name) for p in patterns for name in names):
                close = difflib.get_close_matches(glob.strip("*/"), paths, n=1)
                raise ValueError(
                    f"No layer matches {self.name}={glob!r}. The model has the layers "
                    f"{few_of(paths)}. "
                    f"Try {self.name}={{{(close or paths[-1:])[0]!r}: 'norm'}}."
                )

    def _takes(self, found: FoundLayer) -> bool:
        globs = map(self.wanted.glob_of, _names_of(found))
        return any(self.wanted.of_glob(glob) for glob in globs)

    def watches(self, path: str) -> bool:
        """See `Quantity.watches`."""
        names = path, f"{path}/{PREACTIVATION}"
        return any(
            pattern.match(name)
            for glob, patterns in self._patterns.items()
            if self.wanted.of_glob(glob)
            for pattern in patterns
            for name in names
        )

    # While a step is traced.

    def find(self, scene: Scene) -> Mapping[Key, Spec]:
        """See `Quantity.find`."""
        specs: dict[Key, Spec] = {}
        # Keras tries a recurrent cell once before it runs it in a loop.
        hidden = {tapped.layer for tapped in scene.outputs if tapped.output is None}
        for tapped in scene.outputs:
            if tapped.name not in self._recorded:
                specs |= self._found(tapped, scene, hidden)
        self._check_reach()
        return specs

    def _found(
        self, tapped: "Tapped", scene: Scene, hidden: Collection[str]
    ) -> dict[Key, Spec]:
        glob = self.wanted.glob_of(tapped.name, tapped.layer)
        reductions = self.wanted.of_glob(glob)
        if glob is None or not reductions:
            self._recorded[tapped.name] = ()
            return {}
        if tapped.layer in hidden:
            self._hidden[tapped.layer] = glob
            return {}
        self._reached.add(glob)
        what = f"{self.name}= of {tapped.name!r}"
        shape = shape_of(tapped.output, scene, reductions, what)
        spec = Spec(shape, self.dtype(tapped, scene.scaled))
        made = {
            Key(self.name, r.name, tapped.name): spec_of(
                self.wanted, r, tapped.name, spec
            )
            for r in reductions
        }
        self._recorded[tapped.name], self._shapes[tapped.name] = reductions, shape
        made |= self._flags.declare(tapped.name)
        if any(r.is_raw for r in reductions) and shape:
            self._row_bytes[tapped.name] = (
                math.prod(shape[1:]) * np.dtype(spec.dtype).itemsize
            )
        if self._by_rows(tapped.name):
            made[Key(OUTPUT_ROWS, "", tapped.name)] = Spec((), "float64")
        return made

    def dtype(self, tapped: "Tapped", scaled: bool) -> str:
        """In which dtype it is recorded."""
        return host_dtype(tapped.output)

    def _check_reach(self) -> None:
        for layer, glob in self._hidden.items():
            if glob not in self._reached:
                raise ValueError(
                    f"{self.name}={glob!r} asks for {layer!r}, which runs in a "
                    "function of its own inside the training step (a loop, a scan, a "
                    "block that is compiled or run again): what it makes cannot be "
                    "taken out of there. Record the layer around it."
                )

    @property
    def unseen(self) -> Mapping[str, Sequence[str]]:
        """See `Quantity.unseen`."""
        asked: dict[str, list[str]] = {}
        for found in self._layers:
            for glob in {self.wanted.glob_of(name) for name in _names_of(found)}:
                if self.wanted.of_glob(glob) and glob is not None:
                    asked.setdefault(glob, []).append(found.path)
        done = self._reached | set(self._hidden.values())
        if any(self._recorded.values()):
            done.add("*")  # Whatever there is.
        return {glob: paths for glob, paths in asked.items() if glob not in done}

    @property
    def out_of_reach(self) -> Collection[str]:
        """See `Quantity.out_of_reach`."""
        return list(self._hidden)

    @property
    def row_bytes(self) -> int:
        """See `Quantity.row_bytes`."""
        return sum(self._row_bytes.values())

    # In a step.

    def _by_rows(self, name: str) -> bool:
        return any(reduction.of_rows for reduction in self._recorded[name])

    def take(self, scene: Scene, tapped: "Tapped", call: "Call") -> None:
        """Takes what is recorded of one output."""
        reductions = self._recorded.get(tapped.name)
        tensor = self.tensor(scene, tapped, call) if reductions else None
        if tensor is None or not reductions:
            return
        shape = self._shapes[tapped.name]
        for reduction in reductions:
            seen = tensor
            if reduction.of_rows and shape and not isinstance(reduction, Rows):
                seen = scene.ops.first_rows(tensor, shape[0], reduction.fill)
            scene.reduce(self.name, (reduction,), tapped.name, seen)
        if self._by_rows(tapped.name) and shape:
            key = Key(OUTPUT_ROWS, "", tapped.name)
            scene.put(key, scene.ops.rows(tensor))

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(self, scene)

    # On the host.

    def complete(self, values: dict[Key, np.ndarray]) -> None:
        """Adds whether each was there: 1.0 or 0.0."""
        self._flags.add_to(values, self.name)

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Quantity.describe`."""
        return self.wanted.describe()


class _Observer(Observer):
    def __init__(self, quantity: OfLayers, scene: Scene) -> None:
        super().__init__(scene)
        self._quantity = quantity

    def before(self, call: "Call") -> None:
        for tapped in self.scene.outputs:
            self._quantity.take(self.scene, tapped, call)


def _names_of(found: FoundLayer) -> Iterator[str]:
    """What a layer gives, apart from further calls and outputs."""
    yield found.path
    if has_fused_activation(found.layer):
        yield f"{found.path}/{PREACTIVATION}"


def _without_details(glob: str) -> Iterator[str]:
    """A glob, and the one on the layer itself."""
    yield glob
    yield layer_of(glob)
