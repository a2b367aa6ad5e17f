"""The weights and gradients of a small dense network, record by record."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot.chain import Chain, read_biases, read_links
from hrcallbacks.plot.network import dense_chain
from hrcallbacks.report.encoding import float32, number

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# Places of the slider.
_MOST_RECORDS = 400


def links(recording: Recording, *, most: int = _MOST_RECORDS) -> dict[str, Any]:
    """What the node-link picture is drawn from.

    Args:
        recording: A recording that is not empty.
        most: Of how many records, evenly spaced.

    Returns:
        Units in each layer, paths, and for each record shown its step, epoch and loss,
        and base64 arrays of the links' weights and gradients and the units' biases and
        their gradients; None for what was not recorded.

    Raises:
        ValueError: If the model is no small chain of dense layers, or its weights were
            not recorded.
    """
    chain = dense_chain(recording)
    count = min(most, len(recording))
    shown = np.linspace(0, len(recording) - 1, count).round().astype(int)
    index = recording.index
    has_gradients = all(path in recording.gradients for path in chain.kernels)
    gradients = recording.gradients if has_gradients else None
    return {
        "sizes": chain.sizes,
        "kernels": chain.kernels,
        "records": shown.tolist(),
        "step": np.asarray(index["step"])[shown].tolist(),
        "epoch": np.asarray(index["epoch"])[shown].tolist(),
        "loss": [number(loss) for loss in np.asarray(index["loss"], float)[shown]],
        "weights": float32(read_links(recording.weights, chain)[shown]),
        "biases": _biases(recording.weights, chain, shown),
        "gradients": gradients and float32(read_links(gradients, chain)[shown]),
        "biasGradients": gradients and _biases(gradients, chain, shown),
    }


def _biases(
    arrays: Mapping[str, Any], chain: Chain, shown: npt.NDArray[np.integer]
) -> Sequence[str | None]:
    """Of each kernel's biases: their numbers, or None."""
    found = read_biases(arrays, chain)
    return [None if b is None else float32(b[shown]) for b in found]
