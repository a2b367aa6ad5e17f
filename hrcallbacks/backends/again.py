"""Making tensors of a TensorFlow graph a second time, to be read.

A call of a `tf.function` is part of the graph too: TensorFlow puts the function's
operations in its place before it optimizes the graph.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from typing import Any

IDENTITIES = ("Identity", "IdentityN")
CALLS = ("PartitionedCall", "StatefulPartitionedCall")


class Again(ABC):
    """Makes tensors of a graph a second time.

    Args:
        hidden: Makes an equal tensor that is not known to be equal.
    """

    def __init__(self, hidden: Callable[[Any], Any]) -> None:
        self._hidden = hidden
        self._made: dict[str, Any] = {}  # By name.

    def again(self, tensor: Any) -> Any:
        """The same numbers, in a tensor that is not known to be the same."""
        todo = [tensor]  # A deep model has more in a row than Python may call.
        while todo:
            sources = self._sources(todo[-1])
            lacking = [x for x in sources if x.name not in self._made]
            if not lacking:
                made = todo.pop()
                if made.name not in self._made:
                    self._make(made, sources)
            todo += lacking
        return self._made[tensor.name]

    def _make(self, tensor: Any, sources: Sequence[Any]) -> None:
        op, names = tensor.op, {source.name for source in sources}
        if not names:
            self._made[tensor.name] = self._hidden(tensor)
        elif op.type in IDENTITIES:
            self._made[tensor.name] = self._made[sources[0].name]
        else:
            inputs = [self._made[x.name] if x.name in names else x for x in op.inputs]
            for output, made in zip(op.outputs, _repeated(op, inputs), strict=True):
                self._made[output.name] = made

    @abstractmethod
    def _sources(self, tensor: Any) -> list[Any]:
        """From which tensors, made again too, it is made; of none it is hidden."""


def like(tensor: Any, inputs: Iterable[Any]) -> Any:
    """The output of another operation of the same kind."""
    return _repeated(tensor.op, inputs)[tensor.value_index]


def _repeated(op: Any, inputs: Iterable[Any]) -> Sequence[Any]:
    attributes = dict(op.node_def.attr)
    dtypes = [output.dtype for output in op.outputs]
    made = op.graph.create_op(op.type, list(inputs), dtypes, attrs=attributes)
    for output, of_made in zip(op.outputs, made.outputs, strict=True):
        of_made.set_shape(output.shape)
    return made.outputs


def inside(tensor: Any) -> Any:
    """The tensor that a call returns, in the graph of the function that is called.

    Returns:
        None of what is no call, or of a function of which nothing is known.
    """
    op = tensor.op
    function = _called(op) if op.type in CALLS else None
    if function is None or len(function.outputs) != len(op.outputs):
        return None
    inner = function.outputs[tensor.value_index]
    while inner.op.type in IDENTITIES:
        inner = inner.op.inputs[inner.value_index]
    return inside(inner) if inner.op.type in CALLS else inner


def may_run_again(op: Any) -> bool:
    """Whether a call changes nothing, and gives the same if it is made once more.

    A function that draws random numbers does not. One that reads variables does, unless
    something in the graph may have changed them by now.
    """
    handles = [x for x in op.inputs if x.dtype.name == "resource"]
    return _changes_nothing(op) and all(map(_is_only_read, handles))


def _changes_nothing(op: Any) -> bool:
    function = _called(op)
    return function is not None and all(
        _changes_nothing(inner)
        if inner.type in CALLS
        else inner.type == "ReadVariableOp" or not inner.op_def.is_stateful
        for inner in function.get_operations()
    )


def _is_only_read(handle: Any) -> bool:
    """Whether the operations that there are by now only read a variable."""
    for op in handle.consumers():
        places = [at for at, x in enumerate(op.inputs) if x.name == handle.name]
        if op.type in CALLS:
            only_read = op.get_attr("_read_only_resource_inputs")
        else:
            only_read = places if op.type == "ReadVariableOp" else []
        if not set(places) <= set(only_read):
            return False
    return True


def _called(op: Any) -> Any:
    """The graph of a function; TensorFlow has no public way from a call to it."""
    find = getattr(op.graph, "_get_function", lambda name: None)
    return getattr(find(op.get_attr("f").name), "graph", None)
