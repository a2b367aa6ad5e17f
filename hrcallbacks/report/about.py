"""The head of a page: what was recorded, with what, and whether all of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

_MOST_VARIABLES = 500
_MOST_TEXT = 300


def about(recording: Recording) -> dict[str, Any]:
    """What a page says of a recording before it draws anything.

    Returns:
        `summary`, a line; `complete`, and `fault`, why not; `facts`, pairs of a label
        and a text; `variables`, triples of path, shape and number of elements.
    """
    attributes = recording.attributes
    first = repr(recording).partition("\n")[0]
    shapes = [(str(path), shape) for path, shape in attributes.get("variables", ())]
    return {
        "summary": first.removeprefix("<Recording: ").removesuffix(">"),
        "complete": bool(attributes.get("complete", True)),
        "fault": _fault(attributes),
        "facts": [[label, _short(text)] for label, text in _facts(attributes)],
        "variables": [
            [path, str(tuple(map(int, shape))), int(np.prod(shape, dtype=int))]
            for path, shape in shapes[:_MOST_VARIABLES]
        ],
        "allVariables": len(shapes),
    }


def _fault(attributes: Mapping[str, Any]) -> str:
    if attributes.get("complete", True):
        return ""
    if attributes.get("fault"):
        return str(attributes["fault"])
    return (
        "The run is still going on, or it broke off: this is what was written so far."
    )


def _facts(attributes: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    optimizer = attributes.get("optimizer")
    if optimizer:
        yield "Optimizer", _optimizer(optimizer)
    labels = {"record_freq": "Recorded", "weights_at": "Weights"}
    words = {"epoch": "the last step of each epoch"}
    if "record_freq" in attributes:
        freq = attributes["record_freq"]
        each = "every step" if freq == 1 else f"every {freq} steps"
        text = words.get(freq) if isinstance(freq, str) else each
        yield labels["record_freq"], text if text else str(freq)
    if "weights_at" in attributes:
        yield labels["weights_at"], f"{attributes['weights_at']} each update"
    if "backend" in attributes:
        yield "Backend", str(attributes["backend"])
    versions = attributes.get("versions")
    if isinstance(versions, Mapping):
        yield "Versions", ", ".join(f"{name} {v}" for name, v in versions.items())
    if attributes.get("metadata"):
        yield "Metadata", _settings(attributes["metadata"])


def _optimizer(optimizer: Any) -> str:
    if not isinstance(optimizer, Mapping):
        return str(optimizer)
    name = str(optimizer.get("class_name", ""))
    config = optimizer.get("config")
    if isinstance(config, Mapping):
        config = config.get("config", config)
    return f"{name}({_settings(config)})" if config else name


def _settings(config: Any) -> str:
    if not isinstance(config, Mapping):
        return str(config)
    # Those that are switched off say nothing.
    told = {k: v for k, v in config.items() if v is not None and v is not False}
    told.pop("name", None)
    return ", ".join(f"{name}={_value(value)}" for name, value in told.items())


def _value(value: Any) -> str:
    # What float32 makes of 0.1 is 0.10000000149011612.
    return f"{value:.6g}" if isinstance(value, float) else str(value)


def _short(text: str) -> str:
    return text if len(text) <= _MOST_TEXT else f"{text[:_MOST_TEXT]} ..."
