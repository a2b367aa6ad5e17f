"""What TensorFlow's gradient tapes are asked for, and more.

A tape can be asked for gradients with respect to tensors between variables and loss
too. While a step is traced, or runs, each tape that is asked by the train step is asked
for those of the layers' outputs in the same backward pass. It is the one way that adds
nothing to the forward pass.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Sequence
from typing import Any

from hrcallbacks.backends.backend import Saw

_lock = threading.Lock()
_thread = threading.local()  # `.steps`: those that are watched in this thread.
_users: list[object] = []  # Of the stand-in: steps in several threads share it.
_PRODUCTS = ("MatMul", "Conv2D", "Conv3D", "DepthwiseConv2dNative", "_FusedMatMul")
_SUMS = ("BiasAdd", "AddV2", "Add")
_EXACT = ("Relu", "Relu6")  # Rounded alike, joined or not.


class _Step:
    def __init__(
        self, tapped: Sequence[tuple[Any, Saw]], is_level: Callable[[], bool]
    ) -> None:
        self.tapped = tapped
        self.is_level = is_level


@contextlib.contextmanager
def watched_tapes(
    tape: Any, tapped: Sequence[tuple[Any, Saw]], is_level: Callable[[], bool]
) -> Generator[None]:
    """Has tapes that are used in this thread tell of gradients.

    Args:
        tape: The class `tf.GradientTape`.
        tapped: Tensors, and who is told of their gradients; it may grow.
        is_level: Whether what is computed now belongs to the step itself.
    """
    step = _Step(tapped, is_level)
    before = getattr(_thread, "step", None)
    _install(tape, step)
    _thread.step = step
    try:
        yield
    finally:
        _thread.step = before
        _uninstall(tape, step)


def _install(tape: Any, user: object) -> None:
    with _lock:
        if not _users:
            tape.gradient = _asking_for_more(tape.gradient)
        _users.append(user)


def _uninstall(tape: Any, user: object) -> None:
    with _lock:
        _users.remove(user)
        if not _users:
            tape.gradient = tape.gradient.__wrapped__


def _asking_for_more(gradient: Callable[..., Any]) -> Callable[..., Any]:
    @functools.wraps(gradient)
    def asking(self: Any, target: Any, sources: Any, *args: Any, **kwargs: Any) -> Any:
        step = getattr(_thread, "step", None)
        if step is None or not step.tapped or not step.is_level():
            return gradient(self, target, sources, *args, **kwargs)
        tapped = list(step.tapped)
        tensors = [tensor for tensor, _ in tapped]
        asked, seen = gradient(self, target, [sources, tensors], *args, **kwargs)
        for (tensor, saw), found in zip(tapped, seen, strict=True):
            if found is not None:
                in_graph = hasattr(found, "op")
                saw(tensor, multiplied_apart(found) if in_graph else found)
        return asked

    return asking


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
        return tensor if inner is op.inputs[0] else _like(op, [inner, op.inputs[1]])
    if op.type == "Reshape" and _sums_nothing(op.inputs[0].op, tensor.shape):
        total = op.inputs[0].op
        inner = multiplied_apart(total.inputs[0])
        if inner is not total.inputs[0]:
            return _like(op, [_like(total, [inner, total.inputs[1]]), op.inputs[1]])
    return tensor


def _sums_nothing(op: Any, shape: Any = None) -> bool:
    """Whether it undoes a broadcast, where as far as is known there was none.

    Args:
        op: An operation of a graph.
        shape: That of its result, where it is not known by itself.
    """
    if op.type != "Sum" or op.inputs[1].op.type != "BroadcastGradientArgs":
        return False
    before, after = op.inputs[0].shape, shape or op.outputs[0].shape
    known = None not in (before.rank, after.rank)
    return known and before.as_list() == after.as_list()


def computed_again(tensor: Any) -> Any:
    """The same numbers as a product plus bias that an activation alone needs.

    Any other tensor comes back as it is.
    """
    readers = {op.type for op in tensor.consumers()}
    total = tensor.op
    product = total.inputs[0].op if total.type in _SUMS else total
    joined = len(tensor.consumers()) == 1 and not readers & set(_EXACT)
    if not joined or product.type not in _PRODUCTS:
        return tensor
    x, weights = product.inputs
    made = _like(product, [-x, weights])
    return -made if total is product else _like(total, [-made, total.inputs[1]])


def _like(op: Any, inputs: Sequence[Any]) -> Any:
    """The output of another operation of the same kind."""
    attributes = dict(op.node_def.attr)
    made = op.graph.create_op(
        op.type, list(inputs), [o.dtype for o in op.outputs], attrs=attributes
    )
    return made.outputs[0]
