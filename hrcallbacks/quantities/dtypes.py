"""The dtypes in which numbers are recorded."""

from typing import Any

import keras


def host_dtype(variable: Any) -> str:
    """The NumPy dtype of a variable's values.

    NumPy has no bfloat16, so float32 stands in: it holds each of its values.
    """
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float32" if dtype == "bfloat16" else dtype
