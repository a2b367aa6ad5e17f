"""Layers seen at work: their outputs, and the gradients with respect to these.

While the capturing step is traced, or runs, a stand-in for each layer's `call` hands
every output through `Backend.tap`, an identity with a backward rule of its own.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import keras

from hrcallbacks.capture.stand_ins import StandIn, replaced
from hrcallbacks.names import PREACTIVATION
from hrcallbacks.selection.layers import FoundLayer, has_fused_activation

_FLOATS = ("float16", "bfloat16", "float32", "float64")


@dataclass
class Tapped:
    """One output of one call of a layer.

    Attributes:
        part: What its name has after the layer's path: `""`, `".0"`, `".tokens"`,
            `"/preactivation"`.
        output: The output, on the level of the step; None where it is out of reach.
        gradient: The gradient with respect to it; None where there was none.
        name: Its name: path, number of the call from the second on, and part.
        layer: Its name without the number of the call and of the output.
    """

    part: str
    output: Any = None
    gradient: Any = None
    name: str = ""
    layer: str = ""

    def saw(self, output: Any, gradient: Any) -> None:
        """Takes what a backend has seen: see `Backend.tap`."""
        self.output = output
        if gradient is not None:  # Of several backward passes the last one counts.
            self.gradient = gradient


Tap = Callable[[Any, Tapped], Any]


@dataclass
class LayerCall:
    """One call of a layer.

    Attributes:
        path: The layer's path.
        taps: Its outputs, and what went into a fused activation.
    """

    path: str
    taps: list[Tapped] = field(default_factory=list)

    def add(self, tap: Tap, tensor: Any, part: str) -> Any:
        """The tensor, which is seen from now on, if it is one of floats."""
        if not keras.ops.is_tensor(tensor):
            return tensor
        if keras.backend.standardize_dtype(tensor.dtype) not in _FLOATS:
            return tensor
        tapped = Tapped(part)
        self.taps.append(tapped)
        return tap(tensor, tapped)

    def add_all(self, tap: Tap, outputs: Any) -> Any:
        """A layer's outputs, which are seen from now on."""
        leaves = keras.tree.flatten_with_path(outputs)
        seen = [
            self.add(tap, leaf, "".join(f".{key}" for key in path))
            for path, leaf in leaves
        ]
        return keras.tree.pack_sequence_as(outputs, seen)


def named(calls: Sequence[LayerCall], counts: dict[str, int]) -> list[Tapped]:
    """What was seen in calls of layers, each with a name, as copies.

    Args:
        calls: The calls, in turn.
        counts: By path, how many calls there were before; they are counted on.
    """
    taps = []
    for call in calls:
        path = call.path
        number = counts[path] = counts.get(path, 0) + 1
        numbered = path if number == 1 else f"{path}#{number}"
        for tapped in call.taps:
            inner = tapped.part if tapped.part.startswith("/") else ""
            name, layer = f"{numbered}{tapped.part}", f"{path}{inner}"
            taps.append(replace(tapped, name=name, layer=layer))
    return taps


def layer_watchers(
    layers: Sequence[FoundLayer], watch: Callable[[FoundLayer], "Watched | None"]
) -> Iterator[StandIn]:
    """What stands in for the layers' `call`.

    Args:
        layers: The layers to watch.
        watch: Called with a layer as it is called; gives what watches that call.
    """
    for found in layers:
        yield found.layer, "call", _watched_call(found, found.layer.call, watch)


Watched = tuple[LayerCall, Tap]


def _watched_call(
    found: FoundLayer,
    call: Callable[..., Any],
    watch: Callable[[FoundLayer], Watched | None],
) -> Callable[..., Any]:
    @functools.wraps(call)
    def watched(*args: Any, **kwargs: Any) -> Any:
        watching = watch(found)
        if watching is None:
            return call(*args, **kwargs)
        seen, tap = watching
        with _tapped_activation(found.layer, seen, tap):
            outputs = call(*args, **kwargs)
        return seen.add_all(tap, outputs)

    return watched


def _tapped_activation(
    layer: Any, seen: LayerCall, tap: Tap
) -> contextlib.AbstractContextManager[Any]:
    if not has_fused_activation(layer):
        return contextlib.nullcontext()
    activation = layer.activation

    @functools.wraps(activation)
    def tapped(x: Any, *args: Any, **kwargs: Any) -> Any:
        return activation(seen.add(tap, x, f"/{PREACTIVATION}"), *args, **kwargs)

    return replaced([(layer, "activation", tapped)])
