"""Records the true training gradients of a Keras 3 `model.fit`."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from hrcallbacks import diagnose, plot
    from hrcallbacks.cadence import at, every, log_spaced
    from hrcallbacks.metrics import MeanOutput
    from hrcallbacks.recorder import GradientRecorder
    from hrcallbacks.recording import Recording, open_recording
    from hrcallbacks.reductions import Histogram, Reduction, Sample
    from hrcallbacks.stars import (
        load_catalog,
        load_initial_weights,
        load_published_table,
        training_data,
    )
    from hrcallbacks.tensorboard import to_tensorboard
    from hrcallbacks.vizier import download_catalog

__version__ = importlib.metadata.version("hrcallbacks")

__all__ = [
    "GradientRecorder",
    "Histogram",
    "MeanOutput",
    "Recording",
    "Reduction",
    "Sample",
    "at",
    "diagnose",
    "download_catalog",
    "every",
    "load_catalog",
    "load_initial_weights",
    "load_published_table",
    "log_spaced",
    "open_recording",
    "plot",
    "to_tensorboard",
    "training_data",
]

# Imported when first used: reading a recording, or the stars, needs no Keras backend,
# and the shell's --help not even pandas.
_MODULES = {
    "GradientRecorder": "recorder",
    "Histogram": "reductions",
    "MeanOutput": "metrics",
    "Recording": "recording",
    "Reduction": "reductions",
    "Sample": "reductions",
    "at": "cadence",
    "diagnose": "diagnose",
    "download_catalog": "vizier",
    "every": "cadence",
    "load_catalog": "stars",
    "load_initial_weights": "stars",
    "load_published_table": "stars",
    "log_spaced": "cadence",
    "open_recording": "recording",
    "plot": "plot",
    "to_tensorboard": "tensorboard",
    "training_data": "stars",
}


def __getattr__(name):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"hrcallbacks.{_MODULES[name]}")
    return module if name == _MODULES[name] else getattr(module, name)


def __dir__():
    return sorted(["__version__", *__all__])
