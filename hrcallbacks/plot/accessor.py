"""`recording.plot.loss()` for `hr.plot.loss(recording)`.

The methods are written out, so that editors and type checkers know their arguments.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Literal, SupportsIndex

import numpy as np

from hrcallbacks.plot.animation import network_animation
from hrcallbacks.plot.backward import backward_flow
from hrcallbacks.plot.curves import gradient_flow, loss, update_ratio
from hrcallbacks.plot.distributions import activations
from hrcallbacks.plot.heatmap import heatmap
from hrcallbacks.plot.histograms import histograms
from hrcallbacks.plot.network import network
from hrcallbacks.plot.style import Panels
from hrcallbacks.plot.trajectories import trajectories
from hrcallbacks.plot.unit_map import units

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording


class Plots:
    """The functions of `hr.plot`, of one recording.

    Args:
        recording: A `Recording`.
    """

    def __init__(self, recording: Recording) -> None:
        self._recording = recording

    def __repr__(self) -> str:
        """Names them."""
        names = [n for n in vars(type(self)) if not n.startswith("_")]
        return f"<Plots: {', '.join(names)}>"

    def loss(
        self,
        *,
        smooth: SupportsIndex = 1,
        log: bool = False,
        ax: Axes | None = None,
    ) -> Axes:
        """The loss of each recorded step's batch: see `hr.plot.loss`."""
        return loss(self._recording, smooth=smooth, log=log, ax=ax)

    def trajectories(
        self,
        *,
        variables: str | Sequence[str] | None = None,
        axes: np.ndarray | Sequence[Axes] | Sequence[Sequence[Axes]] | None = None,
    ) -> Panels:
        """Weights over time, and their gradients: see `hr.plot.trajectories`."""
        return trajectories(self._recording, variables=variables, axes=axes)

    def gradient_flow(
        self,
        *,
        variables: str | Sequence[str] | None = None,
        smooth: SupportsIndex | None = None,
        by: Literal["layer", "variable"] = "layer",
        ax: Axes | None = None,
    ) -> Axes:
        """Norms of the gradients over time: see `hr.plot.gradient_flow`."""
        return gradient_flow(
            self._recording, variables=variables, smooth=smooth, by=by, ax=ax
        )

    def update_ratio(
        self,
        *,
        variables: str | Sequence[str] | None = None,
        smooth: SupportsIndex | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """The relative size of each update: see `hr.plot.update_ratio`."""
        return update_ratio(self._recording, variables=variables, smooth=smooth, ax=ax)

    def activations(
        self,
        *,
        layers: str | Sequence[str] | None = None,
        axes: np.ndarray | Sequence[Axes] | None = None,
    ) -> Panels:
        """The distribution of layers' outputs over time: see `hr.plot.activations`."""
        return activations(self._recording, layers=layers, axes=axes)

    def units(
        self,
        *,
        layers: str | Sequence[str] | None = None,
        axes: np.ndarray | Sequence[Axes] | None = None,
    ) -> Panels:
        """Dead and saturated units: see `hr.plot.units`."""
        return units(self._recording, layers=layers, axes=axes)

    def backward_flow(
        self,
        *,
        layers: str | Sequence[str] | None = None,
        smooth: SupportsIndex | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Norms of the gradients of layers' outputs: see `hr.plot.backward_flow`."""
        return backward_flow(self._recording, layers=layers, smooth=smooth, ax=ax)

    def heatmap(
        self,
        *,
        quantity: Literal["gradients", "weights"] = "gradients",
        variables: str | Sequence[str] | None = None,
        scale: Literal["record", "robust", "linear", "log"] | None = None,
        limit: float | None = None,
        decades: float | None = None,
        ax: Axes | None = None,
    ) -> Axes:
        """Each element by record, as colour: see `hr.plot.heatmap`."""
        return heatmap(
            self._recording,
            quantity=quantity,
            variables=variables,
            scale=scale,
            limit=limit,
            decades=decades,
            ax=ax,
        )

    def histograms(
        self,
        *,
        quantity: Literal["gradients", "weights"] = "gradients",
        variables: str | Sequence[str] | None = None,
        ridges: SupportsIndex = 12,
        magnitude: bool | None = None,
        axes: np.ndarray | Sequence[Axes] | None = None,
    ) -> Panels:
        """How values are distributed over time: see `hr.plot.histograms`."""
        return histograms(
            self._recording,
            quantity=quantity,
            variables=variables,
            ridges=ridges,
            magnitude=magnitude,
            axes=axes,
        )

    def network(
        self,
        *,
        record: SupportsIndex = -1,
        values: bool = False,
        ax: Axes | None = None,
    ) -> Axes:
        """The nodes and links of a small network: see `hr.plot.network`."""
        return network(self._recording, record=record, values=values, ax=ax)

    def network_animation(
        self,
        *,
        values: bool = False,
        interval: float = 600,
        ax: Axes | None = None,
    ) -> FuncAnimation:
        """The network, record by record: see `hr.plot.network_animation`."""
        return network_animation(
            self._recording, values=values, interval=interval, ax=ax
        )
