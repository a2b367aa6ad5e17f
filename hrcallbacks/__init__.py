"""Records the true training gradients of a Keras 3 `model.fit`."""

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from hrcallbacks import diagnose, plot
    from hrcallbacks.export.tensorboard import to_tensorboard
    from hrcallbacks.recorder import GradientRecorder
    from hrcallbacks.recording.recording import Recording, open_recording
    from hrcallbacks.recording.runs import Runs, open_recordings
    from hrcallbacks.reductions.histogram import Histogram
    from hrcallbacks.reductions.per_unit import PerUnit
    from hrcallbacks.reductions.projection import Projection
    from hrcallbacks.reductions.reduction import Reduction
    from hrcallbacks.reductions.rows import Rows
    from hrcallbacks.reductions.sample import Sample
    from hrcallbacks.report.write import report
    from hrcallbacks.selection.steps import at, every, log_spaced
    from hrcallbacks.sinks.alert import Alert
    from hrcallbacks.sinks.logs import Logs
    from hrcallbacks.sinks.sink import Sink
    from hrcallbacks.sinks.tensorboard import TensorBoard
    from hrcallbacks.sinks.tracker import Tracker
    from hrcallbacks.worked_example import backprop
    from hrcallbacks.worked_example.mean_output import MeanOutput
    from hrcallbacks.worked_example.stars import (
        load_catalog,
        load_initial_weights,
        load_published_table,
        training_data,
    )
    from hrcallbacks.worked_example.vizier import download_catalog

__version__: str  # Looked up when first used, which takes as long as the rest.

__all__ = [
    "Alert",
    "GradientRecorder",
    "Histogram",
    "Logs",
    "MeanOutput",
    "PerUnit",
    "Projection",
    "Recording",
    "Reduction",
    "Rows",
    "Runs",
    "Sample",
    "Sink",
    "TensorBoard",
    "Tracker",
    "at",
    "backprop",
    "diagnose",
    "download_catalog",
    "every",
    "load_catalog",
    "load_initial_weights",
    "load_published_table",
    "log_spaced",
    "open_recording",
    "open_recordings",
    "plot",
    "report",
    "to_tensorboard",
    "training_data",
]

# Imported when first used: reading a recording, or the stars, needs no Keras backend,
# and the shell's --help not even pandas.
_MODULES = {
    "Alert": "sinks.alert",
    "GradientRecorder": "recorder",
    "Histogram": "reductions.histogram",
    "Logs": "sinks.logs",
    "MeanOutput": "worked_example.mean_output",
    "PerUnit": "reductions.per_unit",
    "Projection": "reductions.projection",
    "Recording": "recording.recording",
    "Reduction": "reductions.reduction",
    "Rows": "reductions.rows",
    "Runs": "recording.runs",
    "Sample": "reductions.sample",
    "Sink": "sinks.sink",
    "TensorBoard": "sinks.tensorboard",
    "Tracker": "sinks.tracker",
    "at": "selection.steps",
    "backprop": "worked_example.backprop",
    "diagnose": "diagnose",
    "download_catalog": "worked_example.vizier",
    "every": "selection.steps",
    "load_catalog": "worked_example.stars",
    "load_initial_weights": "worked_example.stars",
    "load_published_table": "worked_example.stars",
    "log_spaced": "selection.steps",
    "open_recording": "recording.recording",
    "open_recordings": "recording.runs",
    "plot": "plot",
    "report": "report",
    "to_tensorboard": "export.tensorboard",
    "training_data": "worked_example.stars",
}
# `report` is a module that can be called.
_AS_MODULES = ("backprop", "diagnose", "plot", "report")


def __getattr__(name: str) -> Any:
    if name == "__version__":
        from importlib.metadata import version

        return version("hrcallbacks")
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    module = importlib.import_module(f"hrcallbacks.{_MODULES[name]}")
    return module if name in _AS_MODULES else getattr(module, name)


def __dir__() -> list[str]:
    return sorted(["__version__", *__all__])
