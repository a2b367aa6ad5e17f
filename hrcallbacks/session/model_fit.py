"""A fit, as Keras asks for it."""

import contextlib
from dataclasses import dataclass
from typing import Any

import keras

from hrcallbacks.backends.current import backend
from hrcallbacks.capture.stand_ins import find_optimizers
from hrcallbacks.session.arming import Arming
from hrcallbacks.session.caller import Stack


@dataclass(frozen=True)
class ModelFit:
    """A fit of a model.

    Attributes:
        model: The model.
        batches: Steps in each epoch, or None where that is not known.
        epochs: Number of its last epoch, or None.
        loose: Optimizers that train the model, and that it does not hold.
    """

    model: Any
    batches: int | None = None
    epochs: int | None = None
    loose: tuple[Any, ...] = ()

    @property
    def optimizers(self) -> list[Any]:
        """All optimizers that may be seen at work."""
        return [*find_optimizers(self.model), *self.loose]

    @property
    def skips_nonfinite(self) -> bool:
        """Whether an optimizer skips steps whose gradients are not finite."""
        loss_scale = keras.optimizers.LossScaleOptimizer
        return any(isinstance(o, loss_scale) for o in self.optimizers)

    @property
    def iterations(self) -> int | None:
        """How many updates the model's optimizer has made; None if it can't be told."""
        optimizer: Any = getattr(self.model, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if getattr(optimizer, "gradient_accumulation_steps", None):
            return None
        # Under JAX an optimizer has no values while a fit runs, nor once it broke off.
        sync = getattr(self.model, "jax_state_sync", None)
        with contextlib.suppress(Exception):
            if sync:
                sync()
            return int(backend.to_host(optimizer.iterations))
        return None


@dataclass(frozen=True)
class Waiting:
    """A fit that was let in, and has not begun its first epoch.

    Attributes:
        fit: The fit.
        stack: What has called it.
        arming: When its steps are armed.
    """

    fit: ModelFit
    stack: Stack
    arming: Arming
