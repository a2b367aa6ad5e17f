"""`recording.plot.loss()` for `hr.plot.loss(recording)`."""

import functools

from hrcallbacks.plot.animation import network_animation
from hrcallbacks.plot.curves import gradient_flow, loss, update_ratio
from hrcallbacks.plot.heatmap import heatmap
from hrcallbacks.plot.histograms import histograms
from hrcallbacks.plot.network import network
from hrcallbacks.plot.trajectories import trajectories


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

    loss = _method(loss)
    trajectories = _method(trajectories)
    gradient_flow = _method(gradient_flow)
    update_ratio = _method(update_ratio)
    heatmap = _method(heatmap)
    histograms = _method(histograms)
    network = _method(network)
    network_animation = _method(network_animation)
