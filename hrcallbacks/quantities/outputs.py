"""What layers give in a training step."""

from typing import TYPE_CHECKING, Any, ClassVar

from hrcallbacks.quantities.of_layers import OfLayers
from hrcallbacks.quantities.quantity import Scene
from hrcallbacks.types import HAS_OUTPUT

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call
    from hrcallbacks.capture.taps import Tapped


class Outputs(OfLayers):
    """Outputs of layers, of the batch and the weights that a record's gradient is of.

    Args:
        what: As `GradientRecorder(outputs=)`.
    """

    name: ClassVar[str] = "outputs"
    has: ClassVar[str] = HAS_OUTPUT

    def tensor(self, scene: Scene, tapped: "Tapped", call: "Call") -> Any:
        """The output."""
        return None if tapped.output is None else scene.untouched(tapped.output)
