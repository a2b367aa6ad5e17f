"""The backend that Keras runs on in this process."""

import importlib

import keras

from hrcallbacks.backends.backend import Backend

_OLDEST_KERAS = (3, 10)
# Module and class, by Keras' name.
_BACKENDS = {
    "tensorflow": ("tensorflow", "TensorFlow"),
    "jax": ("jax", "JAX"),
    "torch": ("torch", "Torch"),
}


def check_versions(version: str, backend_name: str) -> None:
    """Rejects a version or backend of Keras that is not supported.

    Raises:
        ImportError: If Keras is too old or its backend unknown; says what to install.
    """
    if tuple(map(int, version.split(".")[:2])) < _OLDEST_KERAS:
        oldest = ".".join(map(str, _OLDEST_KERAS))
        raise ImportError(
            f"hrcallbacks needs Keras {oldest} or newer. Found: Keras {version}. "
            f'Try: pip install "keras>={oldest}"'
        )
    if backend_name not in _BACKENDS:
        raise ImportError(
            f"hrcallbacks supports the Keras backends {list(_BACKENDS)}. Found: "
            f"{backend_name!r}. Set KERAS_BACKEND before importing keras."
        )


def _current() -> Backend:
    name = keras.config.backend()
    check_versions(keras.__version__, name)
    module, kind = _BACKENDS[name]
    made = getattr(importlib.import_module(f"hrcallbacks.backends.{module}"), kind)
    return made()


backend: Backend = _current()
