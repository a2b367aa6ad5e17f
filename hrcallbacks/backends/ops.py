"""The array functions that reductions are written with: `keras.ops`, and a few more.

Those few are sums and counts, for which `keras.ops` has no fast way.
"""

import functools
import importlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np


@dataclass(frozen=True)
class FloatLayout:
    """How a float is laid out in memory.

    Attributes:
        integers: Dtype of signed integers of the same size.
        mantissa: Number of mantissa bits.
        bias: What is added to an exponent to store it.
    """

    integers: str
    mantissa: int
    bias: int

    @classmethod
    def of(cls, tensor: Any) -> "FloatLayout":
        """The layout of a float32 or float64 tensor."""
        double = keras.backend.standardize_dtype(tensor.dtype) == "float64"
        return cls("int64", 52, 1023) if double else cls("int32", 23, 127)

    @property
    def top(self) -> int:
        """The stored exponent of infinities and NaN."""
        return 2 * self.bias + 1

    @property
    def infinity(self) -> int:
        """The bits of infinity."""
        return self.top << self.mantissa

    @property
    def magnitude(self) -> int:
        """A mask of all bits but the sign."""
        return self.infinity + (1 << self.mantissa) - 1


@dataclass(frozen=True)
class FloatCounts:
    """Counts of exponents, zeros and infinities (int32).

    Attributes:
        exponents: By stored exponent, shape `(layout.top + 1,)`: zeros and subnormal
            numbers first, infinities and NaN last.
        zeros: Number of zeros, a scalar.
        infinities: Number of infinities, a scalar.
        layout: The `FloatLayout`.
    """

    exponents: Any
    zeros: Any
    infinities: Any
    layout: FloatLayout


class Ops:
    """`keras.ops`, and functions for XLA, which fuses many operations into one loop."""

    def __getattr__(self, name: str) -> Any:
        """The function of `keras.ops` with that name."""
        return getattr(keras.ops, name)

    def joined(self, tensors: list[Any]) -> Any:
        """Tensors of one dtype, joined into a flat one."""
        return self.concatenate([self.reshape(tensor, (-1,)) for tensor in tensors])

    def sum_of_squares(self, tensor: Any) -> Any:
        """The sum of a tensor's squares, a scalar."""
        return self._total(self.square(tensor))

    def count(self, flags: Any) -> Any:
        """How many of a boolean tensor's elements are true, a scalar of int32."""
        return self._total(self.cast(flags, "int32"))  # Float32 counts only up to 2^24.

    def _total(self, tensor: Any) -> Any:
        """The sum of elements of which none is negative, a scalar.

        Two stages lose less in float32 and are faster in XLA, which adds rows of 32
        while it makes what it adds. Of a single stage it makes a dot product, or
        windows over a tensor that it stores first. The maximum changes no number, but
        keeps XLA from merging the stages.
        """
        flat, width = self.reshape(tensor, (-1,)), 32
        size = flat.shape[0]
        if size is None or size < 2 * width:
            return self.sum(flat)
        even = size - size % width
        rows = self.sum(self.reshape(flat[:even], (-1, width)), axis=1)
        return self.sum(self.maximum(rows, 0)) + self.sum(flat[even:])

    def first_rows(self, tensor: Any, rows: int, fill: float = math.nan) -> Any:
        """A tensor's first rows; where it has fewer, `fill` in place of the others."""
        if tensor.shape[0] == rows:
            return tensor
        cut = tensor[:rows]
        lacking = [(0, rows - cut.shape[0])] + [(0, 0)] * (len(tensor.shape) - 1)
        return self.pad(cut, lacking, constant_values=fill)

    def constant(self, make: Callable[..., Any], *args: Any) -> Any:
        """An array that a function makes, as a tensor.

        Args:
            make: Makes the same NumPy array of the same arguments each time.
            *args: Its arguments, numbers and texts.
        """
        return self.convert_to_tensor(_array(make, *args))

    def rows(self, tensor: Any) -> Any:
        """How many rows a tensor has, a scalar of float32."""
        return self.cast(self.shape(tensor)[0], "float32")

    def float_counts(self, tensor: Any) -> FloatCounts:
        """The `FloatCounts` of a float32 or float64 tensor."""
        layout = FloatLayout.of(tensor)
        bits = self.reshape(self._bits(tensor, layout.integers), (-1,))
        bits = self.bitwise_and(bits, layout.magnitude)
        zeros, infinities = (
            self.count(self.equal(bits, value)) for value in (0, layout.infinity)
        )
        exponents = self.right_shift(bits, layout.mantissa)
        counts = self._counts(exponents, layout.top + 1)
        return FloatCounts(counts, zeros, infinities, layout)

    def _bits(self, tensor: Any, dtype: str) -> Any:
        return tensor.view(dtype)

    def _counts(self, places: Any, length: int) -> Any:
        ones = self.ones_like(places, dtype="int32")
        return self.segment_sum(ones, places, num_segments=length)


class JaxOps(Ops):
    """Functions for JAX, of which some versions add well in one stage."""

    def sum_of_squares(self, tensor: Any) -> Any:
        """The sum of a tensor's squares, a scalar."""
        if _jax_adds_exactly():
            return self.sum(self.square(tensor))
        return super().sum_of_squares(tensor)


@functools.cache
def _jax_adds_exactly() -> bool:
    """Whether XLA adds the squares of a tensor in one stage as exactly as in two.

    On CPUs for which it has a library, since JAX 0.10.2, it does, and is twice as fast.
    Before, such a sum along four axes was wrong by 5e-4.
    """
    jax = importlib.import_module("jax")
    shape, value = (64, 26, 26, 16), np.float32(0.1)
    with jax.ensure_compile_time_eval():
        tensor = jax.numpy.full(shape, value)
        found = float(jax.jit(lambda x: jax.numpy.sum(jax.numpy.square(x)))(tensor))
    return abs(found / (math.prod(shape) * float(value) ** 2) - 1) < 1e-6


class TensorFlowOps(Ops):
    """Functions for TensorFlow, whose graphs run one operation after another.

    Args:
        in_xla: Whether XLA compiles the step.
    """

    def __init__(self, *, in_xla: bool) -> None:
        self._tf = importlib.import_module("tensorflow")
        self.in_xla: bool = in_xla

    def sum_of_squares(self, tensor: Any) -> Any:
        """The sum of a tensor's squares, a scalar."""
        if self.in_xla:
            return super().sum_of_squares(tensor)
        return 2 * self._tf.nn.l2_loss(tensor)  # One pass, no buffer of squares.

    def count(self, flags: Any) -> Any:
        """How many of a boolean tensor's elements are true, a scalar of int32."""
        if self.in_xla:
            return super().count(flags)
        return self.sum(self.cast(flags, "int32"))

    def first_rows(self, tensor: Any, rows: int, fill: float = math.nan) -> Any:
        """See `Ops.first_rows`; also of a tensor whose rows are not known yet."""
        if tensor.shape[0] == rows:
            return tensor
        tf = self._tf
        cut = tensor[:rows]
        lacking = [[0, rows - tf.shape(cut)[0]]] + [[0, 0]] * (tensor.shape.rank - 1)
        value = tf.constant(fill, tensor.dtype)
        padded = tf.pad(cut, lacking, constant_values=value)
        return tf.ensure_shape(padded, (rows, *tensor.shape[1:]))

    def _bits(self, tensor: Any, dtype: str) -> Any:
        return self._tf.bitcast(tensor, dtype)

    def _counts(self, places: Any, length: int) -> Any:
        # The Python wrapper would first search for the largest value.
        return self._tf.raw_ops.DenseBincount(
            input=places, size=length, weights=self._tf.constant([], "int32")
        )


class TorchOps(Ops):
    """Functions for PyTorch, which runs line by line: those of Keras are slower."""

    def __init__(self) -> None:
        self._torch = importlib.import_module("torch")
        # Its compiler cannot look into the making of an array.
        self._constant = self._torch.compiler.disable(_torch_constant)

    def constant(self, make: Callable[..., Any], *args: Any) -> Any:
        """See `Ops.constant`; kept on the device from step to step."""
        return self._constant(make, *args)

    def joined(self, tensors: list[Any]) -> Any:
        """Tensors of one dtype, joined into a flat one."""
        return self._torch.cat([tensor.reshape(-1) for tensor in tensors])

    def sum_of_squares(self, tensor: Any) -> Any:
        """The sum of a tensor's squares, a scalar."""
        torch = self._torch
        flat, width = tensor.reshape(-1), 1024
        if len(flat) < 2 * width or torch.compiler.is_compiling():
            return flat.square().sum()
        # One pass, no buffer of squares. Row by row, since a longer norm loses more
        # precision.
        even = len(flat) - len(flat) % width
        rows = torch.linalg.vector_norm(flat[:even].view(-1, width), dim=1)
        return rows.square().sum() + flat[even:].square().sum()

    def count(self, flags: Any) -> Any:
        """How many of a boolean tensor's elements are true, a scalar of int32."""
        return self._torch.count_nonzero(flags).int()

    def float_counts(self, tensor: Any) -> FloatCounts:
        """The `FloatCounts` of a float32 or float64 tensor."""
        torch, layout = self._torch, FloatLayout.of(tensor)
        bits = tensor.reshape(-1).view(getattr(torch, layout.integers))
        bits = bits & layout.magnitude
        zeros = self.count(bits == 0)
        infinities = self.count(bits == layout.infinity)
        bits >>= layout.mantissa
        length = layout.top + 1
        if bits.device.type == "cpu" and not torch.compiler.is_compiling():
            counts = torch.bincount(bits, minlength=length).int()
        else:
            # bincount waits for the device to learn the length of its result.
            ones = torch.ones_like(bits, dtype=torch.int32)
            counts = ones.new_zeros(length).scatter_add_(0, bits.long(), ones)
        return FloatCounts(counts, zeros, infinities, layout)


@functools.lru_cache(maxsize=64)
def _array(make: Callable[..., Any], *args: Any) -> Any:
    return make(*args)


@functools.lru_cache(maxsize=256)
def _torch_constant(make: Callable[..., Any], *args: Any) -> Any:
    return keras.ops.convert_to_tensor(make(*args))
