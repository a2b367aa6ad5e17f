"""What TensorFlow's gradient tapes are asked for, and more.

A tape can be asked for gradients with respect to tensors between variables and loss
too. While a step is traced, or runs, each tape that is asked by the train step is asked
for those of the layers' outputs in the same backward pass. It is the one way that adds
nothing to the forward pass.
"""

import contextlib
import functools
import threading
from collections.abc import Callable, Generator, Iterable, Sequence
from typing import Any

import keras

from hrcallbacks.backends.backend import Saw

_lock = threading.Lock()
_thread = threading.local()  # `.steps`: those that are watched in this thread.
_users: list[object] = []  # Of the stand-in: steps in several threads share it.


class _Step:
    def __init__(
        self,
        tapped: Sequence[tuple[Any, Saw]],
        is_level: Callable[[], bool],
        apart: Callable[[Any, Sequence[Any]], Any],
    ) -> None:
        self.tapped = tapped
        self.is_level = is_level
        self.apart = apart


@contextlib.contextmanager
def watched_tapes(
    tape: Any,
    tapped: Sequence[tuple[Any, Saw]],
    is_level: Callable[[], bool],
    apart: Callable[[Any, Sequence[Any]], Any],
) -> Generator[None]:
    """Has tapes that are used in this thread tell of gradients.

    Args:
        tape: The class `tf.GradientTape`.
        tapped: Tensors, and who is told of their gradients; it may grow.
        is_level: Whether what is computed now belongs to the step itself.
        apart: Makes of a gradient, and those that the tape was asked for, one that may
            be read.
    """
    step = _Step(tapped, is_level, apart)
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
        is_reached = _reached_from(sources)
        tapped = [(tensor, saw) for tensor, saw in step.tapped if is_reached(tensor)]
        tensors = [tensor for tensor, _ in tapped]
        asked, seen = gradient(self, target, [sources, tensors], *args, **kwargs)
        given = keras.tree.flatten(asked)
        for (tensor, saw), found in zip(tapped, seen, strict=True):
            if found is not None:
                saw(tensor, step.apart(found, given))
        return asked

    return asking


def _reached_from(sources: Any) -> Callable[[Any], bool]:
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
