"""Which layers a model has, and what Keras says of them.

The private attributes of Keras that finding layers takes are read here alone.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import keras

_FUSED = tuple(
    getattr(keras.layers, name)
    for name in (
        "Dense",
        "EinsumDense",
        *(f"{kind}Conv{n}D" for kind in ("Depthwise", "Separable") for n in (1, 2)),
        *(f"Conv{n}D{kind}" for kind in ("", "Transpose") for n in (1, 2, 3)),
    )
)


@dataclass(frozen=True)
class FoundLayer:
    """A layer of a model.

    Attributes:
        layer: The layer.
        is_rematerialized: Whether it, or a layer around it, runs a second time in the
            backward pass, as under `keras.RematScope`.
        within: The layer that it is inside of; None for the model's own.
    """

    layer: Any
    is_rematerialized: bool
    within: "FoundLayer | None" = None

    @property
    def path(self) -> str:
        """Its path; while it has none, its name below the path of what it is in."""
        if self.layer.path or self.within is None:
            return self.layer.path or self.layer.name
        return f"{self.within.path}/{self.layer.name}"


def layers_of(model: Any) -> list[FoundLayer]:
    """All layers inside a model, also those inside of others, each once."""
    found = {id(each.layer): each for each in _inside(model)}
    return list(found.values())


def _inside(layer: Any, within: FoundLayer | None = None) -> Iterator[FoundLayer]:
    for inner in layer._flatten_layers(include_self=False, recursive=False):
        mode = getattr(inner, "_remat_mode", None)
        inherited = within is not None and within.is_rematerialized
        found = FoundLayer(inner, inherited or mode is not None, within)
        yield found
        yield from _inside(inner, found)


def has_fused_activation(layer: Any) -> bool:
    """Whether a layer applies an activation that is not linear to its output."""
    if not isinstance(layer, _FUSED):
        return False
    activation: Any = getattr(layer, "activation", None)
    return activation not in (None, keras.activations.linear)


def keras_mask(tensor: Any) -> Any:
    """The mask that Keras has attached to a tensor, or None."""
    from keras.src.backend.common import masking

    return masking.get_keras_mask(tensor)


def attach_mask(tensor: Any, mask: Any) -> None:
    """Attaches a mask to a tensor as Keras does."""
    from keras.src.backend.common import masking

    if mask is not None:
        masking.set_keras_mask(tensor, mask)
