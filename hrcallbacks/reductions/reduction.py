"""What a reduction is, and those of users."""

from collections.abc import Callable
from typing import Any

import numpy as np

from hrcallbacks.types import Spec

RAW = "raw"
# The names of the reductions in `named`.
BUILT_IN = (
    "norm",
    "mean",
    "std",
    "min",
    "max",
    "abs_max",
    "zero_fraction",
    "nonfinite",
    "update_norm",
    "update_ratio",
)
_FLOATS = ("float16", "float32", "float64")


class Reduction:
    """A function of a tensor whose result is recorded instead of the tensor.

    It runs inside the training step, on the device.

    Args:
        name: Its name in the recording.
        function: Called with a gradient or weight tensor of the backend; returns a
            tensor whose shape depends only on that of its argument. Written with
            `keras.ops` it works on every backend.

    Raises:
        ValueError: If the name is empty, or belongs to a built-in reduction.
        TypeError: If `function` cannot be called with one argument.

    Example:
        >>> import keras
        >>> recorder_argument = Reduction(
        ...     "l1", lambda x: keras.ops.sum(keras.ops.abs(x))
        ... )
        >>> recorder_argument
        <Reduction l1>
    """

    # Whether it also takes the weights from before the update.
    of_update = False

    def __init__(self, name: str, function: Callable[[Any], Any]) -> None:
        if not callable(function):
            raise TypeError(
                f"Expected function: a callable(tensor). Received: {function!r}."
            )
        self.name: str = checked_name(name)
        self._function = function

    @property
    def is_raw(self) -> bool:
        """Whether it leaves the tensor as it is."""
        return False

    def in_step(self, ops: Any, tensor: Any) -> Any:
        """The reduced tensor.

        Args:
            ops: `keras.ops`, plus what a backend's `Ops` add.
            tensor: A float32 or float64 tensor.
        """
        return ops.convert_to_tensor(self._function(tensor))

    def on_host(self, array: np.ndarray) -> np.ndarray:
        """The same for a NumPy array."""
        import keras

        ops = keras.ops
        made = self.in_step(ops, ops.convert_to_tensor(array))
        return np.asarray(ops.convert_to_numpy(made))

    def spec(self, spec: Spec) -> Spec:
        """Shape and dtype of the result for a tensor like that.

        Raises:
            Exception: Whatever the function raises.
        """
        made = np.asarray(self.on_host(np.zeros(spec.shape, spec.dtype)))
        # A missing number is recorded as NaN, which no int can hold.
        dtype = str(made.dtype) if made.dtype in _FLOATS else "float64"
        return Spec(made.shape, dtype)

    def describe(self) -> dict[str, Any]:
        """What a reader of the recording needs to know about it, for JSON."""
        return {"kind": type(self).__name__}

    def __repr__(self) -> str:
        """Its name."""
        return f"<{type(self).__name__} {self.name}>"


class _Raw(Reduction):
    def __init__(self) -> None:
        self.name = RAW

    @property
    def is_raw(self) -> bool:
        return True

    def in_step(self, ops: Any, tensor: Any) -> Any:
        return tensor

    def on_host(self, array: np.ndarray) -> np.ndarray:
        return array

    def spec(self, spec: Spec) -> Spec:
        return spec


# Every element.
WHOLE = _Raw()


def checked_name(name: object) -> str:
    """A name for a reduction that is not built in.

    Raises:
        ValueError: If it is not a word, or names a built-in reduction.
    """
    if not isinstance(name, str) or not name or "/" in name:
        raise ValueError(f"Expected name: a word. Received: {name!r}.")
    if name in BUILT_IN or name == RAW:
        raise ValueError(
            f"{name!r} is a built-in reduction. Choose another name for yours."
        )
    return name
