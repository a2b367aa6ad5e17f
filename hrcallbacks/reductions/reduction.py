"""What a reduction is, and those of users."""

import math
from collections.abc import Callable
from typing import Any

import numpy as np

from hrcallbacks.reductions.functions import FUNCTIONS, NonfiniteIn
from hrcallbacks.types import Spec

RAW = "raw"
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
    # Whether what it makes has a place for each row, or for some of them.
    of_rows = False
    # If so, what takes the place of the rows that a smaller batch lacks.
    fill: float = math.nan
    # What NaN or infinity in its value says of the tensor. "elements": the value has
    # all elements of the tensor, or of its first rows; "sample": some of them.
    # "numbers": an element is not finite, and of a finite value all are. "hints": an
    # element is not finite; others may go unseen. "counts": the value counts such
    # elements; "tail": its last two numbers do. None: nothing.
    nonfinite: NonfiniteIn | None = None

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

    def on_rows(self, arrays: np.ndarray) -> np.ndarray:
        """`on_host` of each array along the first axis."""
        return np.array([self.on_host(array) for array in arrays])

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
    of_rows = True
    nonfinite = "elements"

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
    if name in FUNCTIONS or name == RAW:
        raise ValueError(
            f"{name!r} is a built-in reduction. Choose another name for yours."
        )
    return name
