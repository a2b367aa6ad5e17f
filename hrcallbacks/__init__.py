"""Records the true training gradients of a Keras 3 `model.fit`."""

import importlib
import importlib.metadata
from typing import TYPE_CHECKING

from hrcallbacks import plot
from hrcallbacks.cadence import at, every, log_spaced
from hrcallbacks.recording import Recording, open_recording
from hrcallbacks.reductions import Histogram, Reduction, Sample
from hrcallbacks.stars import load_catalog, load_published_table, training_data
from hrcallbacks.vizier import download_catalog

if TYPE_CHECKING:
    from hrcallbacks.metrics import MeanOutput
    from hrcallbacks.recorder import GradientRecorder

__version__ = importlib.metadata.version("hrcallbacks")

__all__ = [
    "GradientRecorder",
    "Histogram",
    "MeanOutput",
    "Recording",
    "Reduction",
    "Sample",
    "at",
    "download_catalog",
    "every",
    "load_catalog",
    "load_published_table",
    "log_spaced",
    "open_recording",
    "plot",
    "training_data",
]

# Imported when first used: reading a recording, or the stars, needs no Keras backend.
_NEEDS_KERAS = {
    "GradientRecorder": "hrcallbacks.recorder",
    "MeanOutput": "hrcallbacks.metrics",
}


def __getattr__(name):
    if name not in _NEEDS_KERAS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(_NEEDS_KERAS[name]), name)


def __dir__():
    return sorted(["__version__", *__all__])
