"""A model's structure and loss, as rules ask for it: `Recording.model`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

# Layers that pass each number on as it is, or a mean of some.
_SHAPES = (
    *("Flatten", "Reshape", "Permute", "Dropout", "SpatialDropout1D", "Identity"),
    *("SpatialDropout2D", "GaussianNoise", "GaussianDropout", "ActivityRegularization"),
    *("ZeroPadding1D", "ZeroPadding2D", "Cropping1D", "Cropping2D", "RepeatVector"),
    *("AveragePooling1D", "AveragePooling2D", "UpSampling1D", "UpSampling2D"),
    *("GlobalAveragePooling1D", "GlobalAveragePooling2D", "AlphaDropout"),
    # Operations of keras.ops.
    *("GetItem", "Squeeze", "ExpandDims", "Transpose", "Swapaxes", "Moveaxis", "Cast"),
    *("Ravel", "Mean"),
)
_POOLS = ("MaxPooling1D", "MaxPooling2D", "GlobalMaxPooling1D", "GlobalMaxPooling2D")
_WEIGHTED = (
    *("Dense", "EinsumDense", "Conv1D", "Conv2D", "Conv3D", "SeparableConv1D"),
    *("SeparableConv2D", "DepthwiseConv1D", "DepthwiseConv2D", "Conv1DTranspose"),
    *("Conv2DTranspose", "Conv3DTranspose"),
)
LINEAR = (None, "linear")


@dataclass(frozen=True)
class Node:
    """A layer, or an operation between layers.

    Attributes:
        path: Its path.
        kind: Its class.
        units: How many units it has, or None.
        activation: Name of its activation; None if it has none.
        trainable: Whether it trains.
        parameters: How many parameters it has.
        untouched: Of a frozen layer: whether its weights look as if just initialized.
        variables: Paths of its trainable variables.
        initializers: Class and options of its initializers, by part.
        regularizers: The same of its regularizers.
        is_operation: Whether it is no layer, but an operation between layers.
    """

    path: str
    kind: str
    units: int | None
    activation: str | None
    trainable: bool
    parameters: int
    untouched: bool
    variables: tuple[str, ...]
    initializers: Mapping[str, Mapping[str, Any]]
    regularizers: Mapping[str, Mapping[str, Any]]
    is_operation: bool = False

    @property
    def acts(self) -> bool:
        """Whether it is an operation that changes numbers in a way of its own."""
        return self.is_operation and not (self.passes or self.only_activates)

    @property
    def is_weighted(self) -> bool:
        """Whether it is a dense or convolutional layer."""
        return self.kind in _WEIGHTED

    @property
    def is_normalization(self) -> bool:
        """Whether it sets the scale of what goes through."""
        return self.kind.endswith("Normalization")

    @property
    def passes(self) -> bool:
        """Whether it passes numbers on as they are, but for places and means."""
        return self.kind in _SHAPES

    @property
    def pools(self) -> bool:
        """Whether it passes on the largest of some numbers."""
        return self.kind in _POOLS

    @property
    def only_activates(self) -> bool:
        """Whether it is nothing but an activation."""
        return self.activation is not None and not self.parameters and not self.units

    def variable(self, part: str) -> str | None:
        """Path of its variable of this name, such as `"kernel"`."""
        names = {p.partition("#")[0].rpartition("/")[2]: p for p in self.variables}
        return names.get(part)


@dataclass(frozen=True)
class Loss:
    """A loss: its name, its options, and whether it is not one of Keras' own."""

    name: str
    options: Mapping[str, Any]
    own: bool

    @property
    def from_logits(self) -> bool:
        """Whether it takes logits."""
        return bool(self.options.get("from_logits"))


class Structure:
    """The layers and the loss of a model.

    Args:
        model: As of `Recording.model`.

    Attributes:
        nodes: Its layers, by path.
        known: Whether it is known what follows what.
        losses: Its losses, with the place of the output that each is for.
    """

    def __init__(self, model: Mapping[str, Any]) -> None:
        self.nodes: dict[str, Node] = {n["path"]: _node(n) for n in model["layers"]}
        pairs = model.get("connections")
        self.known: bool = pairs is not None
        self._after: dict[str, list[str]] = {path: [] for path in self.nodes}
        self._before: dict[str, list[str]] = {path: [] for path in self.nodes}
        for source, target in pairs or ():
            self._after[source].append(target)
            self._before[target].append(source)
        self.losses: list[Loss] = [*_losses(model.get("loss"))]
        self.metrics: Sequence[str] = model.get("metrics") or ()

    def after(self, node: Node) -> list[Node]:
        """The layers that follow one at once."""
        return [self.nodes[path] for path in self._after[node.path]]

    def before(self, node: Node) -> list[Node]:
        """The layers that lead into one at once."""
        return [self.nodes[path] for path in self._before[node.path]]

    @property
    def outputs(self) -> list[Node]:
        """The layers that nothing follows; none if what follows what is not known."""
        if not self.known:
            return []
        return [node for node in self.nodes.values() if not self._after[node.path]]

    @property
    def is_chain(self) -> bool:
        """Whether each layer follows one other."""
        links = [*self._after.values(), *self._before.values()]
        return self.known and all(len(paths) <= 1 for paths in links)

    @property
    def keeps_scale(self) -> bool:
        """Whether it is a chain without normalization: scales multiply."""
        nodes = self.nodes.values()
        return self.is_chain and not any(n.is_normalization or n.acts for n in nodes)

    def head(self, output: Node) -> tuple[Node, list[str]]:
        """The last layer with weights before an output, and the activations after it.

        Args:
            output: One of `outputs`.
        """
        said: list[str] = []
        node = output
        while True:
            if node.activation not in LINEAR:
                said.insert(0, str(node.activation))
            before = self.before(node)
            if node.parameters or len(before) != 1:
                return node, said
            if not (node.passes or node.only_activates):
                return node, said
            node = before[0]

    def effective(self, node: Node) -> str | None:
        """A layer's activation, or that of a layer just for this behind it."""
        while node.activation in LINEAR:
            after = self.after(node)
            if len(after) != 1:
                return None
            node = after[0]
            if not (node.is_normalization or node.passes or node.only_activates):
                return None
        return node.activation

    def next_weighted(self, node: Node) -> Node | None:
        """The dense or convolutional layer that follows; nothing that acts between.

        Normalization, pooling and what only moves numbers may lie between.
        """
        while len(after := self.after(node)) == 1:
            node = after[0]
            if node.is_weighted:
                return node
            if not (node.passes or node.pools or node.is_normalization):
                return None
        return None

    def reaches_normalization(self, node: Node) -> bool:
        """Whether a layer's output is normalized before an activation sees it."""
        while node.activation in LINEAR and len(after := self.after(node)) == 1:
            node = after[0]
            if node.is_normalization:
                return True
            if not node.passes:
                return False
        return False

    @property
    def first(self) -> list[Node]:
        """The layers with weights that see the model's inputs as they are."""
        found: list[Node] = []
        waiting = [n for n in self.nodes.values() if not self._before[n.path]]
        while self.known and waiting:
            node = waiting.pop()
            if node.parameters and not node.is_normalization:
                found.append(node)
            elif node.passes or node.pools or node.kind == "Masking":
                waiting += self.after(node)
        return found


def _node(layer: Mapping[str, Any]) -> Node:
    activation = layer.get("activation")
    return Node(
        path=layer["path"],
        kind=layer["class"],
        units=layer.get("units"),
        activation=activation,
        trainable=bool(layer.get("trainable", True)),
        parameters=int(layer.get("parameters") or 0),
        untouched=bool(layer.get("untouched")),
        variables=tuple(layer.get("variables") or ()),
        initializers=layer.get("initializers") or {},
        regularizers=layer.get("regularizers") or {},
        is_operation=bool(layer.get("operation")),
    )


def _losses(loss: Any) -> list[Loss]:
    if isinstance(loss, Mapping) and "name" in loss:
        return [Loss(loss["name"], loss.get("options") or {}, bool(loss.get("own")))]
    # For several outputs, it is not known which loss is whose.
    return []
