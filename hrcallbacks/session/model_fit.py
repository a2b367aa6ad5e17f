"""A fit, as Keras describes it."""

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
        batches: Steps in each epoch, or None if unknown.
        epochs: Number of its last epoch, or None.
        loose: Optimizers that train the model but are not attributes of it.
    """

    model: Any
    batches: int | None = None
    epochs: int | None = None
    loose: tuple[Any, ...] = ()

    @property
    def optimizers(self) -> list[Any]:
        """All optimizers that may update the model."""
        return [*find_optimizers(self.model), *self.loose]

    @property
    def skips_nonfinite(self) -> bool:
        """Whether an optimizer skips steps whose gradients are not finite."""
        loss_scale = keras.optimizers.LossScaleOptimizer
        return any(isinstance(o, loss_scale) for o in self.optimizers)

    @property
    def iterations(self) -> int | None:
        """How many updates the model's optimizer has made; None if unknown."""
        optimizer: Any = getattr(self.model, "optimizer", None)
        optimizer = getattr(optimizer, "inner_optimizer", optimizer)
        if getattr(optimizer, "gradient_accumulation_steps", None):
            return None
        # On JAX an optimizer has no values during a fit, or after an interrupted one.
        sync = getattr(self.model, "jax_state_sync", None)
        with contextlib.suppress(Exception):
            if sync:
                sync()
            return int(backend.to_host(optimizer.iterations))
        return None


@dataclass(frozen=True)
class Waiting:
    """A fit that was admitted and has not begun its first epoch.

    Attributes:
        fit: The fit.
        stack: The functions that called it.
        arming: Decides when its steps are armed.
    """

    fit: ModelFit
    stack: Stack
    arming: Arming
