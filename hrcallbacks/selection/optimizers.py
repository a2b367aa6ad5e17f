"""Which optimizers train a model."""

from typing import Any

import keras


def find_optimizers(model: Any) -> list[Any]:
    """Each optimizer that the model holds, directly or in a list or dict."""
    held: list[Any] = []
    for value in vars(model).values():
        if isinstance(value, dict):
            held.extend(value.values())
        elif isinstance(value, (list, tuple)):
            held.extend(value)
        else:
            held.append(value)
    optimizers = (o for o in held if isinstance(o, keras.optimizers.Optimizer))
    return list({id(o): o for o in optimizers}.values())
