"""Histograms over time, where they were recorded or can be made of whole tensors."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot import source
from hrcallbacks.plot.histograms import Ridges
from hrcallbacks.report.encoding import uint8

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# Records, evenly spaced, that a page shows the histograms of.
MOST_RECORDS = 48
_FEWEST_RECORDS = 6
_MOST_VARIABLES = 300
# Elements of whole tensors that are read for them.
_MOST_ELEMENTS = 40_000_000


def distributions(recording: Recording) -> dict[str, Any]:
    """Histograms of each variable in some of the records.

    Returns:
        `records`, their numbers from 0; and `items`: of each variable the quantity,
        its path, the edges of the bins, a byte for each record and bin (its share of
        the record's fullest bin), and in words what no bin holds.
    """
    if not len(recording):
        return {"records": [], "items": []}
    records = _chosen(recording)
    items = list(_items(recording, records))[:_MOST_VARIABLES]
    return {"records": records.tolist(), "items": items}


def _chosen(recording: Recording) -> npt.NDArray[np.integer]:
    elements = sum(
        math.prod(array.shape[1:])
        for quantity in ("gradients", "weights")
        for array in recording.arrays(quantity).values()
    )
    most = max(_FEWEST_RECORDS, _MOST_ELEMENTS // max(elements, 1))
    count = min(MOST_RECORDS, most, len(recording))
    return np.unique(np.linspace(0, len(recording) - 1, count).round().astype(int))


def _items(
    recording: Recording, records: npt.NDArray[np.integer]
) -> Iterator[dict[str, Any]]:
    for quantity in ("gradients", "weights"):
        flags = recording.has_gradient if quantity == "gradients" else {}
        kept = source.recorded_kind(recording, quantity, "Histogram")
        raw = recording.arrays(quantity)
        for path in recording.paths:
            for name, how in kept.items():
                arrays = recording.arrays(quantity, name)
                if path in arrays:
                    ridges = Ridges.of_counts(
                        _rows(arrays[path], records), how["edges"]
                    )
                    break
            else:
                # A single element has a line in the other charts.
                if path not in raw or math.prod(raw[path].shape[1:]) < 2:
                    continue
                ridges = Ridges.of_values(_rows(raw[path], records))
            if path in flags:
                there = np.asarray(flags[path], bool)[records]
                ridges.others["no gradient"] = ~there
            yield _item(quantity, path, ridges)


def _rows(array: Any, records: npt.NDArray[np.integer]) -> np.ndarray:
    return np.stack([np.ravel(array[int(n)]) for n in records]).astype(np.float64)


def _item(quantity: str, path: str, ridges: Ridges) -> dict[str, Any]:
    fullest = np.maximum(ridges.counts.max(axis=1, keepdims=True), 1)
    shares = np.ceil(ridges.counts / fullest * 255)
    others = {
        name: [round(float(share), 4) for share in shares]
        for name, shares in ridges.others.items()
        if np.any(shares)
    }
    return {
        "quantity": quantity,
        "path": path,
        "edges": [float(f"{edge:.6g}") for edge in ridges.edges],
        "isMagnitude": ridges.is_magnitude,
        "shares": uint8(shares),
        "others": others,
    }
