"""Reading tensors of a TensorFlow graph without a change to how others are rounded.

TensorFlow's graph optimizer, Grappler, joins an operation with the one that reads it,
if no other does: additions become one sum in another order, `rate * (a * b)` becomes
`(rate * a) * b`, a product with its bias and activation becomes one kernel. And a sum
of three and more begins with a term that nobody else is going to read. Each rounds in
its own way. So a tensor of that kind must not get a reader more: what is recorded is
made a second time, from tensors of which it does not matter.
"""

import importlib
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any

import keras

_ADDITIONS = ("Add", "AddN", "AddV2")
_ARITHMETIC = (
    *(*_ADDITIONS, "Div", "Inv", "Mul", "Neg", "Pow", "RealDiv", "Reciprocal"),
    *("Rsqrt", "Sqrt", "Square", "SquaredDifference", "Sub"),
)
_ELEMENTWISE = (
    *(*_ARITHMETIC, "Elu", "Erf", "Exp", "LeakyRelu", "Log", "Maximum", "Minimum"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"),
)
_PRODUCTS = (
    *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv3D"),
    *("DepthwiseConv2dNative", "MatMul", "_FusedMatMul"),
)
_EXACT = ("Relu", "Relu6")  # Rounded alike, joined to a product or not.
_CALLS = ("PartitionedCall", "StatefulPartitionedCall")  # Grappler looks inside.
_IDENTITIES = ("Identity", "IdentityN")
_MOVES = (*_IDENTITIES, "ExpandDims", "Reshape", "Squeeze")
_OF_SHAPES = ("BroadcastGradientArgs", "Rank", "Shape", "ShapeN", "Size")
_STORED = (  # By XLA.
    *(*_PRODUCTS, *_CALLS, "AvgPool", "AvgPool3D", "AvgPool3DGrad", "AvgPoolGrad"),
    *("Case", "Cholesky", "Conv2DBackpropFilter", "Conv2DBackpropFilterV2"),
    *("Conv2DBackpropInput", "Conv2DBackpropInputV2", "Conv3DBackpropFilterV2"),
    *("Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropFilter"),
    *("DepthwiseConv2dNativeBackpropInput", "Einsum", "FFT", "FFT2D", "FFT3D"),
    *("GatherNd", "GatherV2", "If", "MatrixInverse", "MaxPool", "MaxPool3D"),
    *("MaxPool3DGrad", "MaxPoolGrad", "MaxPoolV2", "Placeholder", "ScatterNd"),
    *("StatelessCase", "StatelessIf", "StatelessWhile", "TensorScatterUpdate"),
    *("TopKV2", "UnsortedSegmentSum", "While"),
)


class _Again(ABC):
    """Makes tensors of a graph a second time.

    Args:
        hidden: Makes an equal tensor that is not known to be equal.
    """

    def __init__(self, hidden: Callable[[Any], Any]) -> None:
        self._hidden = hidden
        self._made: dict[str, Any] = {}  # By name.

    def _again(self, tensor: Any) -> Any:
        """The same numbers, in a tensor that is not known to be the same."""
        todo = [tensor]  # A deep model has more in a row than Python may call.
        while todo:
            sources = self._sources(todo[-1])
            lacking = [x for x in sources if x.name not in self._made]
            if not lacking:
                made = todo.pop()
                if made.name not in self._made:
                    self._made[made.name] = self._made_from(made, sources)
            todo += lacking
        return self._made[tensor.name]

    def _made_from(self, tensor: Any, sources: Sequence[Any]) -> Any:
        op, names = tensor.op, {source.name for source in sources}
        if not names:
            return self._hidden(tensor)
        if op.type in _IDENTITIES:
            return self._made[sources[0].name]
        inputs = [self._made[x.name] if x.name in names else x for x in op.inputs]
        return _like(tensor, inputs)

    @abstractmethod
    def _sources(self, tensor: Any) -> list[Any]:
        """From which tensors, made again too, it is made; of none it is hidden."""


class Copies(_Again):
    """Makes of tensors of a step in XLA others with the same numbers, to be read.

    XLA computes in one loop what it need not store, and rounds there in its own way.
    One more reader could have it stored: see `jaxprs`.

    Args:
        hidden: Makes an equal tensor, of which XLA does not know that it is equal.
    """

    def __call__(self, tensor: Any) -> Any:
        """Another tensor with the same numbers."""
        return self._again(tensor)

    def _sources(self, tensor: Any) -> list[Any]:
        op = tensor.op
        if op.op_def.is_stateful or op.type in _STORED:
            return []
        if op.type in _IDENTITIES:
            return [op.inputs[tensor.value_index]]
        # Not shapes and axes, which XLA has to know; keys to random numbers are data.
        kinds = [x.dtype.is_floating or x.dtype.name == "uint64" for x in op.inputs]
        inputs = zip(op.inputs, kinds, strict=True)
        return [x for x, is_data in inputs if is_data and x.op.type != "Const"]


class Apart(_Again):
    """Makes of tensors of a step others with the same numbers, to be read.

    Args:
        graph: The graph of the step.
        gradients: Those that the optimizer is given, some maybe None.
    """

    def __init__(self, graph: Any, gradients: Iterable[Any]) -> None:
        super().__init__(_hidden)
        self._live = _live(graph, gradients)

    def __call__(self, tensor: Any) -> Any:
        """The tensor, if one reader more changes no rounding; else one made again."""
        op = tensor.op
        if op.type in _MOVES:
            inner = op.inputs[tensor.value_index]
            made = self(inner)
            if made is inner or op.type in _IDENTITIES:
                return tensor if made is inner else made
            return _like(tensor, [made, *op.inputs[1:]])
        matters = self._is_joined(tensor) or self._is_in_long_sum(tensor)
        return self._again(tensor) if matters else tensor

    def _sources(self, tensor: Any) -> list[Any]:
        op = tensor.op
        if op.type in _MOVES or _undoes_broadcast(op):
            return [op.inputs[tensor.value_index]]
        # Of arithmetic all is made again: there Grappler looks at too much.
        is_arithmetic = op.type in _ARITHMETIC and not _adds_bias(op)
        matters = (
            is_arithmetic or self._is_joined(tensor) or self._is_in_long_sum(tensor)
        )
        return list(op.inputs) if matters and not op.op_def.is_stateful else []

    def _is_joined(self, tensor: Any) -> bool:
        """Whether it may be joined to the one operation that reads it."""
        op, reader = tensor.op, self._only_reader(tensor)
        if reader is None:
            return False
        if op.type in _PRODUCTS or _adds_bias(op):
            return reader.type not in _EXACT
        return op.type in _ELEMENTWISE and reader.type in _ELEMENTWISE + _CALLS

    def _is_in_long_sum(self, tensor: Any) -> bool:
        """Whether it may become one of three and more terms of a sum."""
        for reader in self._readers(tensor):
            if reader.type in _ADDITIONS:
                total = self._whole_sum(reader).outputs[0]
                shape = str(total.shape)
                terms = [
                    term for term in self._terms(total) if str(term.shape) == shape
                ]
                if len(terms) > 2:
                    return True
        return False

    def _whole_sum(self, op: Any) -> Any:
        """The last one of additions that may become one."""
        reader = op
        while reader is not None and reader.type in _ADDITIONS:
            op, reader = reader, self._only_reader(reader.outputs[0])
        return op

    def _terms(self, total: Any) -> Iterator[Any]:
        """What additions that may become one add up."""
        todo = list(total.op.inputs)
        while todo:
            term = todo.pop()
            is_sum = term.op.type in _ADDITIONS
            if is_sum and self._only_reader(term) is not None:
                todo += term.op.inputs
            else:
                yield term

    def _only_reader(self, tensor: Any) -> Any:
        readers = list(self._readers(tensor))
        return readers[0] if len(readers) == 1 else None

    def _readers(self, tensor: Any) -> Iterator[Any]:
        """The operations that need a tensor's numbers, however they are moved."""
        for op in tensor.consumers():
            if op.type in _MOVES or _undoes_broadcast(op):
                for moved, output in zip(op.inputs, op.outputs, strict=False):
                    if moved is tensor:
                        yield from self._readers(output)
            elif op.name in self._live and op.type not in _OF_SHAPES:
                yield op


def _hidden(tensor: Any) -> Any:
    """An equal tensor, of which Grappler does not know that it is equal."""
    if not tensor.dtype.is_floating:
        return tensor
    return importlib.import_module("tensorflow").ensure_shape(tensor, tensor.shape)


def _live(graph: Any, gradients: Iterable[Any]) -> set[str]:
    """The names of a step's operations, without those of which nothing comes.

    A tape also makes gradients that nobody asked for, which Grappler takes out.
    """
    todo = [op for op in graph.get_operations() if op.op_def.is_stateful]
    for gradient in gradients:
        if gradient is not None:
            todo.append(getattr(gradient, "values", gradient).op)  # Of a sparse one.
    live = {op.name for op in todo}
    while todo:
        op = todo.pop()
        for source in (*(x.op for x in op.inputs), *op.control_inputs):
            if source.name not in live:
                live.add(source.name)
                todo.append(source)
    return live


def reached_from(sources: Any) -> Callable[[Any], bool]:
    """Tells of tensors of a graph whether they depend on one of the sources.

    Without that, no gradient passes through them in the training. To ask for one would
    add to the backward pass, which XLA then rounds differently. All others, such as
    those that are no part of a graph, count as dependent.

    Args:
        sources: Variables, whose gradients are asked for, nested.
    """
    handles = {id(getattr(s, "handle", s)) for s in keras.tree.flatten(sources)}
    reached: dict[Any, set[str]] = {}

    def is_reached(tensor: Any) -> bool:
        graph = getattr(tensor, "graph", None)
        captures = getattr(graph, "captures", ())
        if not any(id(outside) in handles for outside, _ in captures):
            return True
        if graph not in reached:
            inside = [own for outside, own in captures if id(outside) in handles]
            reached[graph] = _descendants(inside)
        return tensor.op.name in reached[graph]

    return is_reached


def _descendants(tensors: Iterable[Any]) -> set[str]:
    """The names of all operations that depend on one of the tensors."""
    todo, found = list(tensors), set[str]()
    while todo:
        for op in todo.pop().consumers():
            if op.name not in found:
                found.add(op.name)
                todo += op.outputs
    return found


def multiplied_apart(tensor: Any) -> Any:
    """The same numbers, computed from a product's factors, not from the product.

    TensorFlow's graph optimizer reorders `rate * (a * b)`, and quotients likewise, if
    nothing else uses `a * b`. Recording must not stop it: that would change how what
    follows is rounded. Negating twice is exact, and keeps the graph optimizer from
    merging the two products. It sees through what keeps the numbers as they are.

    Args:
        tensor: Of a graph.
    """
    op = tensor.op
    if op.type in ("Mul", "RealDiv"):
        a, b = map(multiplied_apart, op.inputs)
        return -(-a * b) if op.type == "Mul" else -(-a / b)
    if _sums_nothing(op):
        inner = multiplied_apart(op.inputs[0])
        return tensor if inner is op.inputs[0] else _like(tensor, [inner, op.inputs[1]])
    if op.type == "Reshape" and _sums_nothing(op.inputs[0].op, tensor.shape):
        total = op.inputs[0].op
        inner = multiplied_apart(total.inputs[0])
        if inner is not total.inputs[0]:
            made = _like(total.outputs[0], [inner, total.inputs[1]])
            return _like(tensor, [made, op.inputs[1]])
    return tensor


def _adds_bias(op: Any) -> bool:
    adds = op.type in (*_ADDITIONS, "BiasAdd")
    return adds and op.inputs[0].op.type in _PRODUCTS


def _undoes_broadcast(op: Any) -> bool:
    return op.type == "Sum" and op.inputs[1].op.type == "BroadcastGradientArgs"


def _sums_nothing(op: Any, shape: Any = None) -> bool:
    """Whether it undoes a broadcast, where as far as is known there was none.

    Args:
        op: An operation of a graph.
        shape: That of its result, where it is not known by itself.
    """
    if not _undoes_broadcast(op):
        return False
    before, after = op.inputs[0].shape, shape or op.outputs[0].shape
    known = None not in (before.rank, after.rank)
    return known and before.as_list() == after.as_list()


def _like(tensor: Any, inputs: Iterable[Any]) -> Any:
    """The output of another operation of the same kind."""
    op = tensor.op
    attributes = dict(op.node_def.attr)
    made = op.graph.create_op(
        op.type, list(inputs), [o.dtype for o in op.outputs], attrs=attributes
    )
    output = made.outputs[tensor.value_index]
    output.set_shape(tensor.shape)
    return output
