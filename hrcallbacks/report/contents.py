"""What a page holds of one recording: plain data, ready to be written as JSON."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from hrcallbacks.plot import source
from hrcallbacks.report.about import about
from hrcallbacks.report.blocks import Blocks
from hrcallbacks.report.distributions import distributions
from hrcallbacks.report.encoding import float32, float64, number, uint8
from hrcallbacks.report.links import links
from hrcallbacks.report.tracks import Panel, Track, index_panels, size_panels

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# Of all series together, so that a file stays below 10 MB; a block is two points.
_ALL_BLOCKS = 550_000
_MOST_BLOCKS, _FEWEST_BLOCKS = 1000, 60
# More lines than anyone tells apart, in one chart.
_MOST_SERIES = 500
_MOST_CHARTS = 16


def contents(recording: Recording, *, share: float = 1.0) -> dict[str, Any]:
    """What a page shows of a recording.

    Args:
        recording: Finished or not, empty or not, in memory or on disk.
        share: Which part of the file it may take.

    Returns:
        Data for JSON. Arrays are base64; see `hrcallbacks.report.encoding`.
    """
    data = {"about": about(recording), "records": len(recording)}
    if not len(recording):
        return data | {"panels": [], "missing": [_EMPTY], "findings": None}
    panels, missing = _panels(recording)
    series = sum(len(panel.tracks) for panel in panels)
    each = share * _ALL_BLOCKS / max(series, 1)
    most = int(np.clip(each, _FEWEST_BLOCKS, _MOST_BLOCKS))
    blocks = Blocks.of(len(recording), most)
    times, label = source.time_axis(recording)
    shown = distributions(recording)
    network = _network(recording)
    return data | {
        "axis": label,
        "blockSize": blocks.size,
        "x": float64(blocks.times(times)),
        "panels": [_panel(panel, blocks) for panel in panels],
        "distributions": shown
        | {"times": np.asarray(times)[shown["records"]].tolist()},
        "network": network if isinstance(network, dict) else None,
        "missing": [*missing, *_lacking(shown, network)],
        "findings": _findings(recording),
    }


_EMPTY = (
    "There is no record: none of the selected steps was trained, or none has been "
    "written to the disk yet."
)


def _panels(recording: Recording) -> tuple[list[Panel], list[str]]:
    """The charts there are, and in words those that there are not."""
    metrics, sizes = index_panels(recording), list(size_panels(recording))
    missing = []
    if not any(panel.key == "loss" for panel in metrics):
        missing.append("No loss was recorded: the training step reported none.")
    keys = {panel.key for panel in sizes}
    for quantity in ("gradients", "weights"):
        if quantity not in keys:
            missing.append(
                f"There is no norm of the {quantity}: of them, "
                f"{source.recorded_of(recording, quantity)} was recorded."
            )
    if "update_ratio" not in keys:
        missing.append(
            "There are no update ratios: they need weights='update_ratio', or "
            "weights='raw' of consecutive steps."
        )
    if len(metrics) > _MOST_CHARTS:
        left = ", ".join(panel.key for panel in metrics[_MOST_CHARTS:])
        missing.append(f"These metrics are left out: {left}.")
    return [*metrics[:_MOST_CHARTS], *sizes], missing


def _lacking(shown: Mapping[str, Any], network: dict[str, Any] | str) -> list[str]:
    missing = [] if isinstance(network, dict) else [network]
    if not shown["items"]:
        missing.append(
            "There are no histograms: they need whole tensors or an hr.Histogram."
        )
    return missing


def _network(recording: Recording) -> dict[str, Any] | str:
    """The data of the node-link picture, or why there is none."""
    try:
        return links(recording)
    except ValueError as error:
        # What follows tells which functions of Python draw it in another way.
        why = str(error).partition(" See hr.")[0].partition(" Record Gradient")[0]
        why = why.removeprefix("The picture is of a small chain of dense layers. ")
        return f"The network is not drawn link by link. {why}"


def _panel(panel: Panel, blocks: Blocks) -> dict[str, Any]:
    layers: dict[str, int] = {}
    shown = panel.tracks[:_MOST_SERIES]
    return {
        "key": panel.key,
        "title": panel.title,
        "unit": panel.unit,
        "every": panel.every,
        "left": [track.name for track in panel.tracks[_MOST_SERIES:]],
        "series": [
            _series(track, panel, blocks)
            | {"layer": layers.setdefault(source.layer_of(track.name), len(layers))}
            for track in shown
        ],
    }


def _series(track: Track, panel: Panel, blocks: Blocks) -> dict[str, Any]:
    values = np.asarray(track.read(), np.float64)
    absent = track.absent
    thinned = blocks.thin(values, absent=absent, every=panel.every)
    known = values if absent is None else values[~absent]
    finite = known[np.isfinite(known)]
    return {
        "name": track.name,
        "y": float32(thinned.values),
        "flags": uint8(thinned.flags) if thinned.flags.any() else None,
        "first": number(values[0]),
        "last": number(values[-1]),
        "min": number(finite.min()) if finite.size else None,
        "max": number(finite.max()) if finite.size else None,
        "broken": int((~np.isfinite(known[:: panel.every])).sum()),
    }


def _findings(recording: Recording) -> dict[str, Any]:
    found = recording.diagnose()
    rows: Sequence[Mapping[str, Any]] = found.to_frame().to_dict("records")
    return {
        "rows": [{name: _cell(value) for name, value in row.items()} for row in rows],
        "looked": list(found.looked),
        "notLooked": dict(found.not_looked),
    }


def _cell(value: Any) -> str | int | None:
    if value is None or value != value or str(value) == "<NA>":
        return None
    return int(value) if isinstance(value, int | np.integer) else str(value)
