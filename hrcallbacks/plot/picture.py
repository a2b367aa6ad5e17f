"""Nodes and links, drawn once, then shown as they were at any record."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, SupportsIndex

import numpy as np
import numpy.typing as npt

from hrcallbacks.plot import captions, source, style
from hrcallbacks.plot.chain import (
    RADIUS,
    known_units,
    read_biases,
    read_links,
    read_means,
    units_of,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.collections import PathCollection
    from matplotlib.typing import ColorType

    from hrcallbacks.plot.chain import Chain
    from hrcallbacks.recording.recording import Recording

# Inches, the height at the most. Numbers beside the links need more width.
_WIDTH, _WIDTH_OF_NUMBERS, _HEIGHT = style.WIDTH, 7.0, 6.0
_SPACING = 0.62  # Inches between the nodes of a layer, if there is room.
_NARROWEST, _WIDEST = 0.7, 6.0  # Points.
_SMALLEST, _LARGEST = 10.0, 150.0  # Square points.
_LARGEST_OF_UNITS = 70.0
_ASIDE = 0.17  # In the units of the axes.
# More units of a layer have no room for a number in each.
_MOST_NUMBERED = 12


class Picture:
    """The picture of a network.

    Args:
        recording: What to show.
        chain: The layers of its model.
        values: Whether numbers are written.
        ax: Axes to draw on; None for a new figure.

    Attributes:
        ax: The axes.
        links: A `LineCollection`, a line for each of `Chain.links`.
        rising: Triangles for positive gradients, one a link, of size 0 where it has no
            such gradient.
        falling: Triangles for negative ones.
        broken: Crosses for those that are NaN or infinite.
        nodes: A `PatchCollection`, a circle for each unit, the inputs first.
        gaining: Triangles beside units whose mean output gradient is positive, one a
            unit behind the inputs.
        losing: Triangles beside those whose is negative.
        failing: Crosses beside those where it, or the mean output, is NaN or infinite.
    """

    def __init__(
        self, recording: Recording, chain: Chain, *, values: bool, ax: Axes | None
    ) -> None:
        self._recording, self._chain = recording, chain
        weights, gradients = recording.weights, recording.gradients
        self._weights = read_links(weights, chain)
        known = all(path in gradients for path in chain.kernels)
        self._gradients = read_links(gradients, chain) if known else None
        self._biases = read_biases(weights, chain)
        self._bias_gradients = read_biases(gradients, chain)
        self._outputs = read_means(recording, "outputs", chain)
        self._signals = read_means(recording, "output_gradients", chain)
        self._widest = _largest(self._weights)
        self._thickest = _largest(*self._biases)
        self._steepest = _largest(self._gradients)
        self._brightest = _largest(*self._outputs)
        self._loudest = _largest(*self._signals)
        scales = self._scales()
        spacing = min(_SPACING, (_HEIGHT - 1.5) / max(chain.sizes))
        width = _WIDTH_OF_NUMBERS + (1.5 if scales else 0) if values else _WIDTH
        self._places = chain.places((width - 1.2) / spacing)
        height = 1.8 + spacing * max(chain.sizes) + 0.27 * len(scales)
        self.ax: Axes = style.new_axes(ax, size=(width, height))
        ends = chain.ends(self._places)
        self._draw_links(ends)
        self._draw_nodes()
        self._numbers = self._write(ends) if values else None
        self._set_limits()
        steepest = None if self._gradients is None else self._steepest
        captions.add_legend(self.ax, self._widest, steepest, scales)

    def _scales(self) -> list[str]:
        """What is shown of units, and its largest magnitude."""
        shown = {
            "fill: mean output, darkest": (self._outputs, self._brightest),
            "at units: its gradient, largest": (self._signals, self._loudest),
        }
        return [
            f"{text} {largest:.3g}"
            for text, (arrays, largest) in shown.items()
            if any(a is not None for a in arrays)
        ]

    def _draw_links(self, ends: np.ndarray) -> None:
        from matplotlib.collections import LineCollection

        lines = LineCollection(list(ends), capstyle="butt", zorder=1)
        self.links: LineCollection = lines
        self.ax.add_collection(self.links, autolim=False)
        along = ends[:, 1] - ends[:, 0]
        # Beside the link, which may be of the same colour.
        aside = along[:, ::-1] * (-1, 1) / np.linalg.norm(along, axis=1)[:, None]
        shares = self._chain.shares()
        self._glyphs = ends[:, 0] + along * shares[:, None] + _ASIDE * aside
        self.rising: PathCollection = self._scatter("^", style.POSITIVE, 0)
        self.falling: PathCollection = self._scatter("v", style.NEGATIVE, 0)
        self.broken: PathCollection = self._scatter("x", style.ink(), 1.5)

    def _scatter(
        self,
        marker: str,
        color: ColorType,
        linewidth: float,
        places: np.ndarray | None = None,
    ) -> PathCollection:
        at = self._glyphs if places is None else places
        return self.ax.scatter(
            *at.T,
            s=np.zeros(len(at)),
            marker=marker,
            color=color,
            linewidths=linewidth,
            zorder=2 if places is None else 4,
        )

    def _draw_nodes(self) -> None:
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Circle

        places = np.concatenate(self._places)
        circles = [Circle(place, RADIUS) for place in places]
        self.nodes: PatchCollection = PatchCollection(circles, zorder=3)
        self.ax.add_collection(self.nodes, autolim=False)
        beside = places[self._chain.sizes[0] :] + 1.15 * RADIUS
        self.gaining: PathCollection = self._scatter("^", style.POSITIVE, 0, beside)
        self.losing: PathCollection = self._scatter("v", style.NEGATIVE, 0, beside)
        self.failing: PathCollection = self._scatter("x", style.ink(), 1.5, beside)
        look: dict[str, Any] = {"ha": "center", "va": "center", "zorder": 4}
        if max(self._chain.sizes) <= _MOST_NUMBERED:
            for (x, y), name in zip(places, self._chain.unit_names(), strict=True):
                self.ax.text(x, y, name, **look)
        layers = [source.layer_of(path) for path in self._chain.kernels]
        names = source.short_names([f"{layer}/" for layer in layers]).values()
        bottom = (1 - max(self._chain.sizes)) / 2 - 0.85
        for nodes, name in zip(self._places, ["input", *names], strict=True):
            self.ax.text(nodes[0][0], bottom, name.rstrip("/"), **look)

    def _write(self, ends: np.ndarray) -> captions.Numbers:
        """Numbers beside the links and the nodes, to be filled in."""
        along = ends[:, 1] - ends[:, 0]
        shares = 0.5 + (self._chain.shares() - 0.5) * 0.25
        middles = ends[:, 0] + along * shares[:, None]
        angles = np.degrees(np.arctan2(along[:, 1], along[:, 0]))
        units, radius = np.concatenate(self._places[1:]), np.array((0, RADIUS))
        below, above = units - radius, units + radius
        return captions.Numbers(self.ax, middles, self._glyphs, angles, below, above)

    def _set_limits(self) -> None:
        (left, _), (right, _) = self._places[0][0], self._places[-1][0]
        half = max(self._chain.sizes) / 2
        self.ax.set(xlim=(left - 0.8, right + 0.8), ylim=(-half - 0.6, half))
        self.ax.set_aspect("equal")
        self.ax.axis("off")

    def show(self, record: SupportsIndex) -> None:
        """Draws the network as it was at a record.

        Args:
            record: 0 is the first, -1 the last.

        Raises:
            ValueError: If there is no such record.
        """
        count = len(self._recording)
        if not isinstance(record, int | np.integer) or not -count <= record < count:
            raise ValueError(
                f"Expected record: an int from {-count} to {count - 1}, for there are "
                f"{count:,} records. Received: {record!r}."
            )
        record = int(record)
        self._show_links(self._weights[record])
        if self._gradients is not None:
            self._show_gradients(self._gradients[record])
        outputs = units_of(self._outputs, self._chain, record)
        signals = units_of(self._signals, self._chain, record)
        self._show_nodes(record, outputs)
        self._show_signals(outputs, signals)
        if self._numbers is not None:
            self._numbers.fill(
                weights=self._weights[record],
                gradients=None if self._gradients is None else self._gradients[record],
                biases=self._biases_of(record),
                outputs=outputs,
                signals=signals,
            )
        self.ax.set_title(self._title(record))

    def _title(self, record: int) -> str:
        x, label = source.time_axis(self._recording)
        loss = self._recording.index["loss"].iloc[record]
        return f"{label} {x[record]:,}, loss {loss:.4g}"

    def _show_links(self, weights: np.ndarray) -> None:
        good = np.isfinite(weights)
        part = np.abs(np.where(good, weights, 0)) / self._widest
        widths = np.where(good, _NARROWEST + (_WIDEST - _NARROWEST) * part, 1)
        self.links.set_linewidth(widths.tolist())
        # Width alone shows the magnitude: a paler line could not be seen.
        self.links.set_color([_signed(weight) for weight in weights])
        self.links.set_linestyle(["-" if fine else ":" for fine in good])

    def _show_gradients(self, gradients: np.ndarray) -> None:
        good = np.isfinite(gradients)
        part = np.abs(np.where(good, gradients, 0)) / self._steepest
        # The smallest that is not zero can still be seen.
        size = np.where(part > 0, _SMALLEST + (_LARGEST - _SMALLEST) * part, 0)
        self.rising.set_sizes(np.where(good & (gradients > 0), size, 0))
        self.falling.set_sizes(np.where(good & (gradients < 0), size, 0))
        self.broken.set_sizes(np.where(good, 0, 25))

    def _show_nodes(self, record: int, outputs: np.ndarray) -> None:
        ink = style.ink()
        rings: list[tuple[ColorType, float]] = [(ink, 1.0)] * self._chain.sizes[0]
        for bias in self._biases_of(record):
            if bias is None or not np.isfinite(bias):
                rings.append((ink, 1.0))
            else:
                width = 1 + 2.5 * abs(bias) / self._thickest
                rings.append((_signed(bias), width))
        values = [*[0.0] * self._chain.sizes[0], *outputs]
        faces = [
            style.faint(0.25) if dead else _tinted(value, abs(value) / self._brightest)
            for value, dead in zip(values, self._dead(record), strict=True)
        ]
        self.nodes.set_facecolor(faces)
        self.nodes.set_edgecolor([color for color, _ in rings])
        self.nodes.set_linewidth([width for _, width in rings])

    def _show_signals(self, outputs: np.ndarray, signals: np.ndarray) -> None:
        part = np.abs(np.where(np.isfinite(signals), signals, 0)) / self._loudest
        size = np.where(part > 0, _SMALLEST + (_LARGEST_OF_UNITS - _SMALLEST) * part, 0)
        self.gaining.set_sizes(np.where(signals > 0, size, 0))
        self.losing.set_sizes(np.where(signals < 0, size, 0))
        known = [known_units(u, self._chain) for u in (self._outputs, self._signals)]
        bad = [
            k & ~np.isfinite(u) for k, u in zip(known, (outputs, signals), strict=True)
        ]
        self.failing.set_sizes(np.where(bad[0] | bad[1], 25, 0))

    def _biases_of(self, record: int) -> list[float | None]:
        """The bias of each unit behind the inputs, or None."""
        found: list[float | None] = []
        for count, biases in zip(self._chain.sizes[1:], self._biases, strict=True):
            found += [None] * count if biases is None else list(biases[record])
        return found

    def _dead(self, record: int) -> Sequence[bool] | npt.NDArray[np.bool_]:
        if self._gradients is None:
            return [False] * sum(self._chain.sizes)
        biases = [None if b is None else b[record] for b in self._bias_gradients]
        return self._chain.dead_units(self._gradients[record], biases)


def _largest(*arrays: np.ndarray | None) -> float:
    """The largest magnitude, or 1 if there is none above zero."""
    known = [a[np.isfinite(a)] for a in arrays if a is not None]
    return max((float(np.abs(a).max()) for a in known if a.size), default=0) or 1.0


def _signed(value: float) -> ColorType:
    if not np.isfinite(value) or value == 0:
        return style.ink()
    return style.POSITIVE if value > 0 else style.NEGATIVE


def _tinted(value: float, share: float) -> ColorType:
    """The colour of a sign, pale enough for a unit's name to be read on it."""
    from matplotlib.colors import to_rgba

    if not np.isfinite(value) or value == 0:
        return "none"
    return to_rgba(_signed(value), 0.1 + 0.45 * share)
