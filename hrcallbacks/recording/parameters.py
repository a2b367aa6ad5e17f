"""What tells runs apart: their metadata, optimizers and versions."""

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

RATE = "learning_rate"


def parameters_of(runs: "Mapping[str, Recording]") -> pd.DataFrame:
    """A row for each run; see `Runs.parameters`."""
    told = {name: dict(_flat(_metadata(run))) for name, run in runs.items()}
    known = {name: _known(run) for name, run in runs.items()}
    # The user's own words come first; ours of the same name is kept beside them.
    taken = {column for row in told.values() for column in row}
    rows = {
        name: told[name]
        | {_beside(column, taken): value for column, value in known[name].items()}
        for name in runs
    }
    columns = dict.fromkeys(column for row in rows.values() for column in row)
    index = pd.Index(list(rows), name="run")
    return pd.DataFrame(
        {c: [row.get(c, np.nan) for row in rows.values()] for c in columns}, index=index
    )


def _beside(column: str, taken: set[str]) -> str:
    return f"recorded.{column}" if column in taken else column


def _metadata(recording: "Recording") -> Mapping[str, Any]:
    return recording.attributes.get("metadata") or {}


def _flat(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Numbers and text of nested dicts, as `outer.inner`; a list as a tuple."""
    for name, value in values.items():
        if isinstance(value, Mapping):
            yield from _flat(value, f"{prefix}{name}.")
        else:
            # A group of runs is named by its value, which has to be hashable.
            yield f"{prefix}{name}", _hashable(value)


def _hashable(value: Any) -> Any:
    if isinstance(value, Mapping):
        return tuple((name, _hashable(one)) for name, one in value.items())
    return tuple(map(_hashable, value)) if isinstance(value, list) else value


def _known(recording: "Recording") -> dict[str, Any]:
    attributes = recording.attributes
    index = recording.index
    versions: Mapping[str, str] = attributes.get("versions", {})
    return {
        **_optimizer(recording),
        "backend": attributes.get("backend"),
        **{f"version.{name}": text for name, text in versions.items()},
        "record_freq": _hashable(attributes.get("record_freq")),
        "records": len(index),
        "last_step": int(index["step"].iloc[-1]) if len(index) else 0,
        "complete": attributes["complete"],
    }


def _optimizer(recording: "Recording") -> dict[str, Any]:
    """Class and numbers of the optimizer, within a `LossScaleOptimizer` too."""
    described: Mapping[str, Any] = recording.attributes.get("optimizer") or {}
    config: Mapping[str, Any] = described.get("config") or {}
    inner: Any = config.get("inner_optimizer")
    if isinstance(inner, Mapping):
        described, config = inner, inner.get("config") or {}
    numbers = {n: _short(v) for n, v in config.items() if isinstance(v, int | float)}
    rates = recording.index.get(RATE)
    if RATE not in numbers and rates is not None and len(rates):
        numbers = {RATE: _short(float(rates.iloc[0]))} | numbers
    return {"optimizer": described.get("class_name")} | numbers


def _short(value: float) -> float:
    """A float32 as it was written: 0.1, where its value is 0.10000000149011612."""
    if not isinstance(value, float) or float(np.float32(value)) != value:
        return value
    return float(str(np.float32(value)))
