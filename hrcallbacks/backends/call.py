"""One call of an optimizer, in the same words for each backend."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import keras


def _nothing(result: Any) -> None:
    """Where variables hold their values, there is nothing to note."""


@dataclass(frozen=True)
class Call:
    """One call of an optimizer's `apply`.

    Attributes:
        optimizer: The optimizer.
        learning_rate: Its learning rate in this call, a scalar tensor, or None.
        variables: The Keras variables that it is to update.
        grads: Their gradients as handed over: scaled, sparse or None.
        scale: What the loss was multiplied by, or None where it was not.
        value: Called with a variable, gives its value at that moment.
        knows: Called with a variable, says whether `value` can be asked for it.
        run: Performs the call and returns its result.
        note: Called with that result, so that `value` knows what the call has made.
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
    """The `Call` that `optimizer.apply(grads, trainable_variables)` is."""
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
    """What an optimizer has the loss multiplied by, or None."""
    # By identity: 1.0 comes back as it went in where nothing is scaled.
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

    The one private attribute of Keras that this package reads: no public one tells
    which variables an optimizer was built for.
    """
    inner = getattr(optimizer, "inner_optimizer", optimizer)
    return inner._trainable_variables
