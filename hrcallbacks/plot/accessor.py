"""`recording.plot.loss()` for `hr.plot.loss(recording)`."""

import functools

from hrcallbacks.plot import (
    animation,
    curves,
    heatmap,
    histograms,
    network,
    trajectories,
)


def _method(function):
    @functools.wraps(function)
    def method(self, **options):
        return function(self._recording, **options)

    return method


class Plots:
    """The functions of `hr.plot`, of one recording.

    Args:
        recording: A `Recording`.
    """

    def __init__(self, recording):
        self._recording = recording

    def __repr__(self):
        """Names them."""
        names = [n for n in vars(type(self)) if not n.startswith("_")]
        return f"<Plots: {', '.join(names)}>"

    loss = _method(curves.loss)
    trajectories = _method(trajectories.trajectories)
    gradient_flow = _method(curves.gradient_flow)
    update_ratio = _method(curves.update_ratio)
    heatmap = _method(heatmap.heatmap)
    histograms = _method(histograms.histograms)
    network = _method(network.network)
    network_animation = _method(animation.network_animation)
