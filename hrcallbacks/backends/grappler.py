"""Reading tensors of a TensorFlow graph without a change to how others are rounded.

TensorFlow's graph optimizer, Grappler, joins an operation with the one that reads it,
if no other does: additions become one sum in another order, `rate * (a * b)` becomes
`(rate * a) * b`, a product with its bias and activation becomes one kernel. And a sum
of three and more begins with a term that nobody else is going to read. Each rounds in
its own way. So a tensor of that kind must not get a reader more: what is recorded is
made a second time, from tensors of which it does not matter.
"""

import importlib
from collections.abc import Iterable, Iterator
from typing import Any

from hrcallbacks.backends.again import (
    CALLS,
    IDENTITIES,
    Again,
    inside,
    like,
    may_run_again,
)

_ADDITIONS = ("Add", "AddN", "AddV2")
_ARITHMETIC = (
    *(*_ADDITIONS, "Div", "Inv", "Mul", "Neg", "Pow", "RealDiv", "Reciprocal"),
    *("Rsqrt", "Sqrt", "Square", "SquaredDifference", "Sub"),
)
_ELEMENTWISE = (
    *(*_ARITHMETIC, "Elu", "Erf", "Exp", "LeakyRelu", "Log", "Maximum", "Minimum"),
    *("Selu", "Sigmoid", "Softplus", "Softsign", "Tanh"),
)
PRODUCTS = (
    *("BatchMatMul", "BatchMatMulV2", "BatchMatMulV3", "Conv2D", "Conv3D"),
    *("DepthwiseConv2dNative", "MatMul", "_FusedMatMul"),
)
_EXACT = ("Relu", "Relu6")  # Rounded alike, joined to a product or not.
_MOVES = (*IDENTITIES, "ExpandDims", "Reshape", "Squeeze")
_OF_SHAPES = ("BroadcastGradientArgs", "Rank", "Shape", "ShapeN", "Size")


class Apart(Again):
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
            if made is inner or op.type in IDENTITIES:
                return tensor if made is inner else made
            return like(tensor, [made, *op.inputs[1:]])
        matters = self._is_joined(tensor) or self._is_in_long_sum(tensor)
        return self.again(tensor) if matters else tensor

    def of_update(self, gradient: Any) -> Any:
        """A gradient that a call returns; what reads it, an update, is yet to come."""
        inner = inside(gradient)
        is_apart = inner is None or not _ends_in_product(inner)
        may_read = is_apart or not may_run_again(gradient.op)
        return gradient if may_read else self.again(gradient)

    def _sources(self, tensor: Any) -> list[Any]:
        op = tensor.op
        if op.type in CALLS:
            can_be_made = inside(tensor) is not None and may_run_again(op)
            return list(op.inputs) if can_be_made else []
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
        op, reader = _maker(tensor), self._only_reader(tensor)
        if reader is None:
            return False
        if op.type in PRODUCTS or _adds_bias(op):
            return reader.type not in _EXACT
        return op.type in _ELEMENTWISE and reader.type in _ELEMENTWISE + CALLS

    def _is_in_long_sum(self, tensor: Any) -> bool:
        """Whether it may become one of three and more terms of a sum."""
        for reader in self._readers(tensor):
            if reader.type in CALLS:  # Where it may be one.
                return True
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
            maker = _maker(term)
            is_sum = maker.type in _ADDITIONS
            if not is_sum or self._only_reader(term) is None:
                yield term
            elif maker is term.op:
                todo += maker.inputs
            else:  # Two of them, or more.
                yield from [term] * len(maker.inputs)

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


def _maker(tensor: Any) -> Any:
    """The operation that makes a tensor, in the function where that is called."""
    inner = inside(tensor)
    return tensor.op if inner is None else inner.op


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
        return tensor if inner is op.inputs[0] else like(tensor, [inner, op.inputs[1]])
    if op.type == "Reshape" and _sums_nothing(op.inputs[0].op, tensor.shape):
        total = op.inputs[0].op
        inner = multiplied_apart(total.inputs[0])
        if inner is not total.inputs[0]:
            made = like(total.outputs[0], [inner, total.inputs[1]])
            return like(tensor, [made, op.inputs[1]])
    return tensor


def _ends_in_product(tensor: Any) -> bool:
    """Whether `multiplied_apart` would find a product to take apart."""
    op = tensor.op
    if op.type in ("Mul", "RealDiv"):
        return True
    is_moved = op.type in (*_MOVES, "Sum") and bool(op.inputs)
    return is_moved and _ends_in_product(op.inputs[0])


def _adds_bias(op: Any) -> bool:
    adds = op.type in (*_ADDITIONS, "BiasAdd")
    return adds and op.inputs[0].op.type in PRODUCTS


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
