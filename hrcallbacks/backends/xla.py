"""Reading tensors of a TensorFlow graph in XLA without a change to how it rounds.

As `jaxprs` does on JAX: what is recorded is made a second time, from tensors that XLA
stores anyway.
"""

from typing import Any

from hrcallbacks.backends.again import CALLS, IDENTITIES, Again, inside, may_run_again
from hrcallbacks.backends.grappler import PRODUCTS

_STORED = (
    *(*PRODUCTS, "AvgPool", "AvgPool3D", "AvgPool3DGrad", "AvgPoolGrad"),
    *("Case", "Cholesky", "Conv2DBackpropFilter", "Conv2DBackpropFilterV2"),
    *("Conv2DBackpropInput", "Conv2DBackpropInputV2", "Conv3DBackpropFilterV2"),
    *("Conv3DBackpropInputV2", "DepthwiseConv2dNativeBackpropFilter"),
    *("DepthwiseConv2dNativeBackpropInput", "Einsum", "FFT", "FFT2D", "FFT3D"),
    *("GatherNd", "GatherV2", "If", "MatrixInverse", "MaxPool", "MaxPool3D"),
    *("MaxPool3DGrad", "MaxPoolGrad", "MaxPoolV2", "Placeholder", "ScatterNd"),
    *("StatelessCase", "StatelessIf", "StatelessWhile", "TensorScatterUpdate"),
    *("TopKV2", "UnsortedSegmentSum", "While"),
)


class Copies(Again):
    """Makes of tensors of a step in XLA others with the same numbers, to be read.

    XLA computes in one loop what it need not store, and rounds there in its own way.
    One more reader could have it stored: see `jaxprs`.

    Args:
        hidden: Makes an equal tensor, of which XLA does not know that it is equal.
    """

    def __call__(self, tensor: Any) -> Any:
        """Another tensor with the same numbers."""
        return self.again(tensor)

    def _sources(self, tensor: Any) -> list[Any]:
        op = tensor.op
        if op.type in CALLS:
            inner = inside(tensor)
            is_stored = inner is None or inner.op.type in _STORED
            if is_stored or not may_run_again(op):
                return []
        elif op.op_def.is_stateful or op.type in _STORED:
            return []
        if op.type in IDENTITIES:
            return [op.inputs[tensor.value_index]]
        # Not shapes and axes, which XLA has to know; keys to random numbers are data.
        kinds = [x.dtype.is_floating or x.dtype.name == "uint64" for x in op.inputs]
        inputs = zip(op.inputs, kinds, strict=True)
        return [x for x, is_data in inputs if is_data and x.op.type != "Const"]
