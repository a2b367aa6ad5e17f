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
                saw(tensor, found)
        return asked

    return asking


def computed_again(tf: Any, tensor: Any) -> Any:
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
    made = _like(tf, product, [-x, weights])
    return -made if total is product else _like(tf, total, [-made, total.inputs[1]])


def _like(tf: Any, op: Any, inputs: Sequence[Any]) -> Any:
    """The output of another operation of the same kind."""
    graph = tf.compat.v1.get_default_graph()
    attributes = dict(op.node_def.attr)
    made = graph.create_op(
        op.type, list(inputs), [o.dtype for o in op.outputs], attrs=attributes
    )
    return made.outputs[0]
