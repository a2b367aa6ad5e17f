"""Steps of the PyTorch backend, which updates in place."""

import importlib
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hrcallbacks.backends.backend import (
    Args,
    Function,
    Receive,
    Saw,
    StatefulBackend,
    StepRunner,
    Trace,
    before_the_step,
    parted,
)
from hrcallbacks.backends.ops import TorchOps


class Torch(StatefulBackend):
    """See `Backend`."""

    def __init__(self) -> None:
        self._torch = importlib.import_module("torch")
        self._ops = TorchOps()

    def trace(self, model: Any) -> Trace:
        """See `Backend.trace`."""
        return Trace(self._ops)

    def runs_ahead(self) -> bool:
        """See `Backend.runs_ahead`: on a CPU, PyTorch computes line by line."""
        zeros: Any = keras.ops.zeros(())
        return zeros.device.type != "cpu"

    def is_symbolic(self, grads: Sequence[Any]) -> bool:
        """False: PyTorch's compiler traces plain Python."""
        return False

    def is_chief(self, model: Any) -> bool:
        """See `Backend.is_chief`."""
        distributed = importlib.import_module("torch.distributed")
        ready = distributed.is_available() and distributed.is_initialized()
        return not ready or distributed.get_rank() == 0

    def run_steps(
        self,
        step: StepRunner,
        model: Any,
        args: Args,
        split: Any,
        receive: Receive,
    ) -> Mapping[str, Any]:
        """See `Backend.run_steps`."""
        (batches,) = args
        logs: dict[str, Any] = {}
        for number, batch in enumerate(batches):

            def call(function: Function, batch: Any = batch) -> Any:
                return function([batch])

            logs, taken = parted(step(call, before_the_step))
            receive(number, logs, taken)
        return logs

    def value(self, variable: Any) -> Any:
        """A variable's value, which updates change in place: see `put_aside`."""
        return variable.value.detach()

    def is_sparse(self, gradient: Any) -> bool:
        """See `Backend.is_sparse`."""
        return gradient.is_sparse

    def gradient(
        self, trace: Trace, gradient: Any, shape: tuple[int, ...], scale: Any
    ) -> Any:
        """See `Backend.gradient`; it may change: see `put_aside`."""
        gradient = gradient.to_dense() if gradient.is_sparse else gradient
        return (gradient if scale is None else gradient / scale).detach()

    def tap(self, trace: Trace, tensor: Any, saw: Saw) -> Any:
        """See `Backend.tap`: a hook of the tensor's own.

        A layer may hand on what it was given: of a view, each has its own gradient. A
        block that keeps no activations runs again in the backward pass; what it made
        first is what counts.
        """
        if self._torch._C._current_graph_task_id() != -1:  # In a backward pass.
            return tensor
        saw(tensor.detach(), None)
        if not tensor.requires_grad:
            return tensor
        seen = tensor.view_as(tensor)
        seen.register_hook(lambda gradient: saw(tensor.detach(), gradient.detach()))
        return seen

    def to_host(self, value: Any) -> np.ndarray:
        """See `Backend.to_host`."""
        tensor = getattr(value, "value", value)  # If it is a variable.
        if not isinstance(tensor, self._torch.Tensor):
            return np.asarray(tensor)
        wide = tensor.float() if tensor.dtype == self._torch.bfloat16 else tensor
        return wide.detach().cpu().numpy()

    def of_batch(self, leaf: Any) -> Any:
        """See `Backend.of_batch`; the user may write to its memory: see `put_aside`."""
        if not isinstance(leaf, self._torch.Tensor | np.ndarray | np.generic):
            return None
        tensor = self._torch.as_tensor(leaf)
        return tensor.detach() if tensor.layout == self._torch.strided else None

    def kept(self, tensor: Any) -> Any:
        """A copy of the tensor, safe from in-place operations."""
        return tensor.detach().clone()

    def put_aside(self, made: Any, sources: Sequence[Any]) -> Any:
        """The tensor; a copy of it if it shares memory with a source."""
        made = made.detach()
        if self._torch.compiler.is_compiling():  # It drops needless copies.
            return made.clone()
        places = {source.untyped_storage().data_ptr() for source in sources}
        return made.clone() if made.untyped_storage().data_ptr() in places else made
