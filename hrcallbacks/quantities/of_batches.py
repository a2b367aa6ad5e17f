"""What the quantities whose tensors are as long as a batch have in common."""

from collections.abc import Sequence
from typing import Any

from hrcallbacks.quantities.quantity import Scene
from hrcallbacks.quantities.wanted import Wanted
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.types import Spec


def shape_of(
    tensor: Any, scene: Scene, reductions: Sequence[Reduction], what: str
) -> tuple[int, ...]:
    """Shape of a tensor of the batch, with the number of rows of the first batch.

    Args:
        tensor: The tensor; its rows may be unknown while a step is traced.
        scene: The step.
        reductions: What is recorded of it.
        what: What asks for it, for messages: `"outputs= of 'hidden'"`.

    Returns:
        The shape; 1 where a size is unknown and makes no difference.

    Raises:
        ValueError: If a size is unknown on which a reduction depends.
    """
    by_rows = [r.name for r in reductions if r.of_rows]
    try:
        shape = tuple(tensor.shape)
    except ValueError as error:  # Not even the number of axes is known.
        raise ValueError(
            f"{what} cannot be recorded: how many axes it has is not known."
        ) from error
    if shape and shape[0] is None:
        shape = (scene.rows, *shape[1:])
    if by_rows and None in shape:
        raise ValueError(
            f"{what} cannot be recorded as {by_rows}: its shape {shape} is not known "
            "before the data are. That takes reductions, such as 'norm' or "
            "hr.PerUnit('mean')."
        )
    return tuple(1 if size is None else size for size in shape)


def spec_of(wanted: Wanted, reduction: Reduction, name: str, spec: Spec) -> Spec:
    """What a reduction makes of a tensor of the batch.

    Raises:
        ValueError: If it fails, or makes something that is as long as the batch.
    """
    made = wanted.spec(reduction, name, spec)
    if spec.shape and not reduction.of_rows:
        longer = Spec((spec.shape[0] + 1, *spec.shape[1:]), spec.dtype)
        if wanted.spec(reduction, name, longer).shape != made.shape:
            raise ValueError(
                f"The reduction {reduction.name!r} in {wanted.quantity}= makes "
                f"something of {name!r} that is as long as the batch, and batches "
                "differ. hr.Rows(n) records the first n rows."
            )
    return made
