"""Pictures of a recording, made with Matplotlib (extra: `plot`).

Each function takes a recording, in memory or opened from a store, and is also a method:
`hr.plot.loss(recording)` is `recording.plot.loss()`. Text and background have the
colours that Matplotlib is set to; the colours of the data can be told apart by the
colour-blind, and read on light and on dark.
"""

from hrcallbacks.plot.accessor import Plots
from hrcallbacks.plot.animation import network_animation, save_animation
from hrcallbacks.plot.backward import backward_flow
from hrcallbacks.plot.curves import gradient_flow, loss, update_ratio
from hrcallbacks.plot.distributions import activations
from hrcallbacks.plot.heatmap import heatmap
from hrcallbacks.plot.histograms import histograms
from hrcallbacks.plot.network import network
from hrcallbacks.plot.style import theme
from hrcallbacks.plot.trajectories import trajectories
from hrcallbacks.plot.unit_map import units

__all__ = [
    "Plots",
    "activations",
    "backward_flow",
    "gradient_flow",
    "heatmap",
    "histograms",
    "loss",
    "network",
    "network_animation",
    "save_animation",
    "theme",
    "trajectories",
    "units",
    "update_ratio",
]
