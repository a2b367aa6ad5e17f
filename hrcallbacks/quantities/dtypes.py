"""In which dtypes numbers are recorded."""

from typing import Any

import keras


def host_dtype(variable: Any) -> str:
    """The dtype of a variable's values in NumPy.

    NumPy has no bfloat16; float32 holds each of its values.
    """
    dtype = keras.backend.standardize_dtype(variable.dtype)
    return "float32" if dtype == "bfloat16" else dtype
