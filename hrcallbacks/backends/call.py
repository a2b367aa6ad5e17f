"""One call of an optimizer, described alike for every backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras


def _nothing(result: Any) -> None:
    """No-op: these variables hold their own values."""


@dataclass(frozen=True)
class Call:
    """One call of an optimizer's `apply`.

    Attributes:
        optimizer: The optimizer.
        learning_rate: Its learning rate in this call, a scalar tensor, or None.
        variables: The Keras variables that it updates.
        grads: Their gradients as passed: possibly scaled, sparse or None.
        scale: The factor by which the loss was scaled, or None.
        value: Called with a variable, returns its current value.
        knows: Called with a variable, says whether `value` can return its value.
        run: Performs the call and returns its result.
        note: Called with that result, so that `value` returns the updated values.
    """

    optimizer: Any
    learning_rate: Any
    variables: Sequence[Any]
    grads: Sequence[Any]
    scale: Any
    value: Callable[[Any], Any]
    knows: Callable[[Any], bool]
    run: Callable[[], Any]
    note: Callable[[Any], None] = _nothing


def stateful_call(
    value: Callable[[Any], Any],
    optimizer: Any,
    apply: Callable[..., Any],
    grads: Sequence[Any],
    trainable_variables: Sequence[Any] | None = None,
) -> Call:
    """Describes `optimizer.apply(grads, trainable_variables)` as a `Call`."""
    variables, grads = list(trainable_variables or built_for(optimizer)), [*grads]
    return Call(
        optimizer,
        learning_rate(optimizer),
        variables,
        grads,
        scale(optimizer),
        value,
        lambda variable: True,
        lambda: apply(grads, variables),
    )


def scale(optimizer: Any) -> Any:
    """The factor by which an optimizer scales the loss, or None."""
    # By identity: an optimizer that does not scale returns the same object.
    one = 1.0
    scaled = optimizer.scale_loss(one)
    return None if scaled is one else scaled


def learning_rate(optimizer: Any) -> Any:
    """Its learning rate now, a scalar tensor, or None."""
    try:
        rate = optimizer.learning_rate
    except AttributeError:  # A MultiOptimizer has none of its own.
        return None
    return keras.ops.convert_to_tensor(rate, "float32")


def built_for(optimizer: Any) -> list[Any]:
    """The variables that it updates.

    This is the only private attribute of Keras that this package reads: no public one
    says which variables an optimizer was built for.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner._trainable_variables
