"""The gradients of the loss with respect to what layers give."""

from typing import TYPE_CHECKING, Any, ClassVar

import keras

from hrcallbacks.quantities.of_layers import OfLayers
from hrcallbacks.quantities.quantity import Scene
from hrcallbacks.types import HAS_OUTPUT_GRADIENT

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call
    from hrcallbacks.capture.taps import Tapped


class OutputGradients(OfLayers):
    """Gradients with respect to outputs of layers, from the step's own backward pass.

    Unscaled where an optimizer has the loss scaled.

    Args:
        what: As `GradientRecorder(output_gradients=)`.
    """

    name: ClassVar[str] = "output_gradients"
    has: ClassVar[str] = HAS_OUTPUT_GRADIENT

    def tensor(self, scene: Scene, tapped: "Tapped", call: "Call") -> Any:
        """The gradient; float32 if it had to be unscaled, which float16 cannot hold."""
        gradient = tapped.gradient
        if gradient is None or call.scale is None:
            return gradient
        dtype = keras.backend.standardize_dtype(gradient.dtype)
        wide = "float64" if dtype == "float64" else "float32"
        scale: Any = keras.ops.cast(call.scale, wide)
        return keras.ops.divide(keras.ops.cast(gradient, wide), scale)

    def dtype(self, tapped: "Tapped", scaled: bool) -> str:
        """In which dtype it is recorded."""
        dtype = super().dtype(tapped, scaled)
        return "float32" if scaled and dtype == "float16" else dtype
