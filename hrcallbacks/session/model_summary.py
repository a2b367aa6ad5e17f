"""What a model is like: its layers, its loss, its metrics; JSON, and no code.

Rules of a diagnosis compare it with what the training did.
"""

from __future__ import annotations

import contextlib
import functools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import keras

from hrcallbacks.backends.current import backend
from hrcallbacks.selection.variables import unique_paths

_SIZES = ("units", "filters", "output_dim", "num_heads", "rate")
_SCALARS = (str, int, float, bool, type(None))
_PARTS = ("kernel", "bias", "recurrent", "depthwise", "pointwise", "embeddings")


def summarize_model(model: Any) -> dict[str, Any] | None:
    """What `Recording.model` holds.

    Args:
        model: A Keras model, built or not.

    Returns:
        A dict that JSON can hold; None if the model tells nothing of itself.

        - `class`, `name`.
        - `layers`: in the model's order, those of nested models after one another;
          each with `path`, `class`, `units` (None where it has none), `activation`,
          `initializers` and `regularizers` by part, `trainable`, `parameters` (how
          many), `variables` (the trainable ones' paths as in the recording),
          `untouched` (of a frozen layer: whether its bias is all 0, as if new),
          `shape` (of its output, if known), `options` (scalars such as a rate) and
          `operation`: whether it is no layer but an operation between layers, such as
          `keras.ops.reshape` or `x[:, 0]`.
        - `connections`: pairs of layer paths, from and to; None of a subclassed model.
        - `inputs`, `outputs`: paths of the layers where the graph begins and ends.
        - `loss`: `name`, `options` and `own` (whether it is not Keras' own); a list or
          dict of these for several outputs; None if there is none.
        - `metrics`, `optimizer`: names.
    """
    with contextlib.suppress(Exception):  # No model is refused for its description.
        return _summary(model)
    return None


def _summary(model: Any) -> dict[str, Any]:
    variables = model.trainable_variables
    paths = {id(v): p for v, p in zip(variables, unique_paths(variables), strict=True)}
    names = _Names()
    flat = [*_flat(model, names)]
    connections = _connections(model, names)
    ends = {a for a, _ in connections or ()}, {b for _, b in connections or ()}
    known = [names.of(layer) for layer in flat]
    return {
        "class": type(model).__name__,
        "name": model.name,
        "layers": [_layer(layer, names.of(layer), paths) for layer in flat],
        "connections": connections,
        "inputs": [p for p in known if p not in ends[1]] if connections else None,
        "outputs": [p for p in known if p not in ends[0]] if connections else None,
        "loss": _loss(getattr(model, "loss", None)),
        "metrics": _metrics(model),
        "optimizer": type(model.optimizer).__name__ if model.optimizer else None,
    }


class _Names:
    """A path for each layer, unique in the model."""

    def __init__(self) -> None:
        self._by_id: dict[int, str] = {}
        self._taken: set[str] = set()

    def of(self, layer: Any) -> str:
        """The layer's path; a number is added to one that is taken."""
        if id(layer) not in self._by_id:
            path = plain = getattr(layer, "path", None) or layer.name
            number = 2
            while path in self._taken:
                path, number = f"{plain}#{number}", number + 1
            self._taken.add(path)
            self._by_id[id(layer)] = path
        return self._by_id[id(layer)]


def _parts(model: Any) -> Sequence[Any]:
    """The layers of a model; of a functional one also the operations between them."""
    return getattr(model, "operations", None) or model.layers


def _flat(model: Any, names: _Names) -> Iterator[Any]:
    """The parts of a model, those of nested models in the place of these."""
    for layer in _parts(model):
        if isinstance(layer, keras.Model) and layer.layers:
            yield from _flat(layer, names)
        elif not isinstance(layer, keras.layers.InputLayer):
            names.of(layer)
            yield layer


def _layer(layer: Any, path: str, paths: Mapping[int, str]) -> dict[str, Any]:
    inner = getattr(layer, "layer", None)  # Of a wrapper, such as TimeDistributed.
    core = inner if isinstance(inner, keras.layers.Layer) else layer
    sizes = {name: _scalar(getattr(core, name, None)) for name in _SIZES}
    units = next((v for v in (*[*sizes.values()][:3],) if v), None)
    trains = bool(getattr(layer, "trainable", True))
    return {
        "path": path,
        "class": type(core).__name__,
        "units": units,
        "activation": _activation(core),
        "initializers": _described(core, "initializer"),
        "regularizers": _described(core, "regularizer"),
        "trainable": trains,
        "untouched": not trains and _is_untouched(core),
        "parameters": sum(_size(v) for v in getattr(layer, "weights", ())),
        "variables": [paths[id(v)] for v in getattr(layer, "trainable_variables", ())],
        "shape": _output_shape(layer),
        "options": {n: v for n, v in sizes.items() if v is not None},
        "operation": not isinstance(layer, keras.layers.Layer),
    }


def _is_untouched(layer: Any) -> bool:
    """Whether a layer's bias is all 0, as before any training."""
    bias = getattr(layer, "bias", None)
    if bias is None or bias.shape[0] < 2:
        return False
    return not backend.to_host(bias).any()


def _size(variable: Any) -> int:
    return functools.reduce(lambda a, b: a * int(b), variable.shape, 1)


def _scalar(value: Any) -> Any:
    return value if isinstance(value, _SCALARS) else None


def _output_shape(layer: Any) -> list[int | None] | None:
    with contextlib.suppress(Exception):
        return [None if n is None else int(n) for n in layer.output.shape]
    return None


def _activation(layer: Any) -> str | None:
    """Name of a layer's activation; of a layer that is one, its own."""
    if not isinstance(layer, keras.layers.Layer):
        name = _snake(type(layer).__name__)
        return name if hasattr(keras.activations, name) else None
    activation = getattr(layer, "activation", None)
    if activation is None:
        module = type(layer).__module__
        is_activation = ".layers.activations" in module
        return (
            _snake(type(layer).__name__).replace("re_lu", "relu")
            if is_activation
            else None
        )
    if isinstance(activation, keras.layers.Layer):
        return _activation(activation) or _snake(type(activation).__name__)
    return getattr(activation, "__name__", type(activation).__name__)


def _described(layer: Any, kind: str) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for part in _PARTS:
        value = getattr(layer, f"{part}_{kind}", None)
        if value is not None:
            found[part] = {"class": type(value).__name__, "options": _options(value)}
    return found


def _options(part: Any) -> dict[str, Any]:
    """The scalars of a config; nothing of a part without one."""
    with contextlib.suppress(Exception):
        config = {k: _number(v) for k, v in part.get_config().items()}
        return {k: v for k, v in config.items() if isinstance(v, _SCALARS)}
    return {}


def _number(value: Any) -> Any:
    # NumPy's numbers and those of a backend.
    if isinstance(value, _SCALARS):
        return value
    with contextlib.suppress(Exception):
        return float(value)
    return value


def _loss(loss: Any) -> Any:
    if loss is None:
        return None
    if isinstance(loss, Mapping):
        return {str(name): _loss(one) for name, one in loss.items()}
    if isinstance(loss, list | tuple):
        return [_loss(one) for one in loss]
    options: dict[str, Any] = {}
    if isinstance(loss, str):
        loss = keras.losses.get(loss)
    if isinstance(loss, keras.losses.Loss):
        options = _options(loss)
        kind = type(loss)
        own = not kind.__module__.startswith("keras.")
        return {"name": _snake(kind.__name__), "options": options, "own": own}
    name = getattr(loss, "__name__", type(loss).__name__)
    module = getattr(loss, "__module__", None) or ""
    return {"name": name, "options": {}, "own": not module.startswith("keras.")}


def _metrics(model: Any) -> list[str]:
    with contextlib.suppress(Exception):
        asked = model.get_compile_config()["metrics"]
        return sorted(set(_names(asked)))
    return []


def _names(asked: Any) -> Iterator[str]:
    if isinstance(asked, str):
        yield asked
    elif isinstance(asked, Mapping):
        name = asked.get("config", {}) if "class_name" in asked else None
        if isinstance(name, Mapping) and "name" in name:
            yield str(name["name"])
        elif "class_name" in asked:
            yield str(asked["class_name"])
        else:
            yield from _names([*asked.values()])
    elif isinstance(asked, Iterable):
        for one in asked:
            yield from _names(one)


def _snake(name: str) -> str:
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _connections(model: Any, names: _Names) -> list[list[str]] | None:
    """Pairs of paths; None of a model whose graph is not known."""
    if isinstance(model, keras.Sequential):
        return _chain(model, names)
    if type(model).__name__ != "Functional" and not hasattr(model, "operations"):
        return None
    with contextlib.suppress(Exception):
        return _graph(model, names)
    return None


def _chain(model: keras.Sequential, names: _Names) -> list[list[str]] | None:
    pairs: list[list[str]] = []
    tails: list[str] = []
    for layer in model.layers:
        ends = _ends(layer, names)
        if ends is None:
            return None
        heads, new_tails, inner = ends
        pairs += [[a, b] for a in tails for b in heads] + inner
        tails = new_tails
    return pairs


def _ends(
    layer: Any, names: _Names
) -> tuple[Sequence[str], list[str], list[list[str]]] | None:
    """Where a layer is entered and left, and what lies between."""
    if not (isinstance(layer, keras.Model) and layer.layers):
        return [names.of(layer)], [names.of(layer)], []
    inner = _connections(layer, names)
    if inner is None:
        return None
    members = [names.of(one) for one in _flat(layer, names)]
    into, out = {b for _, b in inner}, {a for a, _ in inner}
    heads = [m for m in members if m not in into]
    return heads, [m for m in members if m not in out], inner


def _graph(model: Any, names: _Names) -> list[list[str]] | None:
    """The pairs of a functional model, from its config."""
    config = model.get_config()["layers"]
    layers = {part.name: part for part in _parts(model)}
    pairs: list[list[str]] = []
    inner: dict[str, Any] = {}
    for name, layer in layers.items():
        if not isinstance(layer, keras.layers.InputLayer):
            inner[name] = _ends(layer, names)
            if inner[name] is None:
                return None
            pairs += inner[name][2]
    for described in config:
        into = inner.get(described["name"])
        if into is None:
            continue
        for source in dict.fromkeys(_sources(described["inbound_nodes"])):
            if source in inner:
                pairs += [[a, b] for a in inner[source][1] for b in into[0]]
    return pairs


def _sources(nodes: Any) -> Iterator[str]:
    """Names of the layers in what a config says of where a layer is called."""
    if isinstance(nodes, Mapping):
        history = nodes.get("keras_history")
        if history:
            yield str(history[0])
        nodes = [*nodes.values()]
    if isinstance(nodes, list | tuple):
        for node in nodes:
            yield from _sources(node)
