"""Nodes and links, drawn once, and then shown at one record or another."""

from dataclasses import dataclass

import numpy as np

from hrcallbacks.plot import source, style

# Lengths in the units of the axes, in which the nodes of a layer are 1 apart.
_RADIUS = 0.27
_WIDTH, _HEIGHT = 7.0, 6.0  # Inches, the height at the most.
_SPACING = 0.62  # Inches between the nodes of a layer, if there is room.
_NARROWEST, _WIDEST = 0.7, 6.0  # Points.
_SMALLEST, _LARGEST = 10.0, 150.0  # Square points.
_ASIDE = 0.17
# More units of a layer have no room for a number in each.
_MOST_NUMBERED = 12


@dataclass
class Chain:
    """Dense layers, each of which takes what the one before it gives.

    Attributes:
        kernels: Paths of the kernels.
        biases: Paths of their biases, None where there is none.
        sizes: Units in each layer, the inputs first.
    """

    kernels: list
    biases: list
    sizes: list

    @property
    def pairs(self):
        """Units before and behind each kernel."""
        return list(zip(self.sizes, self.sizes[1:], strict=False))

    def links(self):
        """`(kernel, from, to)` of each link, in the order of the kernels' elements."""
        return [
            (number, i, j)
            for number, (above, below) in enumerate(self.pairs)
            for i in range(above)
            for j in range(below)
        ]


class Picture:
    """The picture of a network.

    Args:
        recording: A `Recording`.
        chain: Its `Chain`.
        values: Whether numbers are written.
        ax: Axes, or None.

    Attributes:
        ax: The axes.
        links: A `LineCollection`, a line for each of `Chain.links`.
        rising: Triangles of positive gradients, one a link, of size 0 where none.
        falling: Those of negative ones.
        broken: Crosses of those that are NaN or infinite.
        nodes: A `PatchCollection`, a circle for each unit, the inputs first.
    """

    def __init__(self, recording, chain, *, values, ax):
        self._recording, self._chain = recording, chain
        weights, gradients = recording.arrays("weights"), recording.arrays("gradients")
        self._weights = _joined(weights, chain.kernels)
        self._gradients = _joined(gradients, chain.kernels)
        self._biases = [_read(weights, path) for path in chain.biases]
        self._bias_gradients = [_read(gradients, path) for path in chain.biases]
        self._widest = _largest(self._weights)
        self._thickest = _largest(*self._biases)
        self._steepest = _largest(self._gradients)
        self._spacing = min(_SPACING, (_HEIGHT - 1.5) / max(chain.sizes))
        self._places = self._place_nodes()
        height = 1.5 + self._spacing * max(chain.sizes)
        self.ax = style.new_axes(ax, size=(_WIDTH, height))
        self._draw_links()
        self._draw_nodes()
        self._texts = self._write() if values else []
        self._set_limits()
        self._add_legend()

    def _place_nodes(self):
        sizes = self._chain.sizes
        step = (_WIDTH - 1.2) / self._spacing / (len(sizes) - 1)
        return [
            np.array([(step * layer, (count - 1) / 2 - n) for n in range(count)])
            for layer, count in enumerate(sizes)
        ]

    def _draw_links(self):
        from matplotlib.collections import LineCollection

        ends = np.array([self._ends(*link) for link in self._chain.links()])
        self.links = LineCollection(list(ends), capstyle="butt", zorder=1)
        self.ax.add_collection(self.links, autolim=False)
        shares = [self._share(number) for number, *_ in self._chain.links()]
        slopes = ends[:, 1] - ends[:, 0]
        # Beside the link, which may be of the same colour.
        aside = slopes[:, ::-1] * (-1, 1) / np.linalg.norm(slopes, axis=1)[:, None]
        self._glyphs = _along(ends, np.array(shares)) + _ASIDE * aside
        self._written = _along(ends, 0.5 + (np.array(shares) - 0.5) * 0.25)
        self._angles = np.degrees(np.arctan2(slopes[:, 1], slopes[:, 0]))
        self.rising = self._scatter("^", style.POSITIVE, 0)
        self.falling = self._scatter("v", style.NEGATIVE, 0)
        self.broken = self._scatter("x", style.ink(), 1.5)

    def _scatter(self, marker, color, linewidth):
        return self.ax.scatter(
            *self._glyphs.T,
            s=np.zeros(len(self._glyphs)),
            marker=marker,
            color=color,
            linewidths=linewidth,
            zorder=2,
        )

    def _ends(self, number, i, j):
        """A link's ends, at the rims of its nodes: nodes may be transparent."""
        start, end = self._places[number][i], self._places[number + 1][j]
        gap = (end - start) / np.linalg.norm(end - start) * _RADIUS
        return start + gap, end - gap

    def _share(self, number):
        """How far along a link its triangle is: where links lie further apart."""
        above, below = self._chain.pairs[number]
        return 0.22 if above > below else 0.78

    def _draw_nodes(self):
        from matplotlib.collections import PatchCollection
        from matplotlib.patches import Circle

        places = np.concatenate(self._places)
        circles = [Circle(place, _RADIUS) for place in places]
        self.nodes = PatchCollection(circles, zorder=3)
        self.ax.add_collection(self.nodes, autolim=False)
        small = {"ha": "center", "va": "center", "fontsize": "small", "zorder": 4}
        if max(self._chain.sizes) <= _MOST_NUMBERED:
            for place, name in zip(places, self._unit_names(), strict=True):
                self.ax.text(*place, name, **small)
        layers = [source.layer_of(path) for path in self._chain.kernels]
        names = source.short_names([f"{layer}/" for layer in layers]).values()
        bottom = (1 - max(self._chain.sizes)) / 2 - 0.85
        for nodes, name in zip(self._places, ["input", *names], strict=True):
            self.ax.text(nodes[0][0], bottom, name.rstrip("/"), **small)

    def _unit_names(self):
        *hidden, last = self._chain.sizes
        first = hidden.pop(0)
        return [
            *_numbered("x", first),
            *(str(n + 1) for count in hidden for n in range(count)),
            *_numbered(r"\hat{y}", last),
        ]

    def _write(self):
        """Texts to be filled in: weights and gradients of links, biases of nodes."""

        def text(place, angle, gap):
            return self.ax.annotate(
                "",
                place,
                (0, gap),
                textcoords="offset points",
                rotation=angle,
                rotation_mode="anchor",
                ha="center",
                va="bottom",
                fontsize=7,
                zorder=4,
            )

        pairs = zip(self._written, self._glyphs, self._angles, strict=True)
        links = [(text(w, a, 3), text(g, a, 6)) for w, g, a in pairs]
        below = [(x, y - _RADIUS) for x, y in np.concatenate(self._places)]
        nodes = [text(place, 0, -9) for place in below]
        return links, nodes

    def _set_limits(self):
        (left, _), (right, _) = self._places[0][0], self._places[-1][0]
        half = max(self._chain.sizes) / 2
        self.ax.set(xlim=(left - 0.8, right + 0.8), ylim=(-half - 0.6, half))
        self.ax.set_aspect("equal")
        self.ax.axis("off")

    def _add_legend(self):
        from matplotlib.lines import Line2D

        ink = style.ink()
        entries = [
            Line2D([], [], color=style.POSITIVE, lw=3, label="weight > 0"),
            Line2D([], [], color=style.NEGATIVE, lw=3, label="weight < 0"),
        ]
        scale = f"widest: |weight| {self._widest:.3g}"
        if self._gradients is not None:
            mark = {"ls": "none", "ms": 7}
            up = {"marker": "^", "color": style.POSITIVE, "label": "gradient > 0"}
            down = {"marker": "v", "color": style.NEGATIVE, "label": "gradient < 0"}
            dead = {
                "marker": "o",
                "color": style.faint(0.25),
                "label": "no gradient (dead)",
            }
            dead |= {"ms": 9, "mec": ink}
            entries += [Line2D([], [], **mark | look) for look in (up, down, dead)]
            scale += f", largest: |gradient| {self._steepest:.3g}"
        self.ax.legend(
            handles=entries,
            title=f"{scale}; ring: bias",
            loc="upper center",
            bbox_to_anchor=(0.5, 0.0),
            ncols=len(entries),
            frameon=False,
            fontsize="small",
            title_fontsize="small",
            columnspacing=1.2,
            handletextpad=0.4,
            handlelength=1.4,
        )

    def show(self, record):
        """Shows a record.

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
        self._show_links(self._weights[record])
        if self._gradients is not None:
            self._show_gradients(self._gradients[record])
        self._show_nodes(record)
        if self._texts:
            self._show_values(record)
        self.ax.set_title(self._title(record))

    def _title(self, record):
        x, label = source.time_axis(self._recording)
        loss = self._recording.index["loss"].iloc[record]
        return f"{label} {x[record]:,}, loss {loss:.4g}"

    def _show_links(self, weights):
        good = np.isfinite(weights)
        part = np.abs(np.where(good, weights, 0)) / self._widest
        self.links.set_linewidths(
            np.where(good, _NARROWEST + (_WIDEST - _NARROWEST) * part, 1)
        )
        self.links.set_color(
            [_signed(w, 0.5 + 0.5 * p) for w, p in zip(weights, part, strict=True)]
        )
        self.links.set_linestyles(["-" if fine else ":" for fine in good])

    def _show_gradients(self, gradients):
        good = np.isfinite(gradients)
        part = np.abs(np.where(good, gradients, 0)) / self._steepest
        # The smallest that is not zero can still be seen.
        size = np.where(part > 0, _SMALLEST + (_LARGEST - _SMALLEST) * part, 0)
        self.rising.set_sizes(np.where(good & (gradients > 0), size, 0))
        self.falling.set_sizes(np.where(good & (gradients < 0), size, 0))
        self.broken.set_sizes(np.where(good, 0, 25))

    def dead_units(self, record):
        """Bool for each unit: hidden, and with no gradient at all in this record."""
        sizes = self._chain.sizes
        busy = [np.zeros(count, bool) for count in sizes]
        busy[0][:] = busy[-1][:] = True
        if self._gradients is None:
            return np.zeros(sum(sizes), bool)
        for (number, i, j), gradient in zip(
            self._chain.links(), self._gradients[record], strict=True
        ):
            busy[number][i] |= gradient != 0
            busy[number + 1][j] |= gradient != 0
        for number, gradients in enumerate(self._bias_gradients):
            if gradients is not None:
                busy[number + 1] |= gradients[record] != 0
        return ~np.concatenate(busy)

    def _show_nodes(self, record):
        ink = style.ink()
        rings = [(ink, 1.0)] * self._chain.sizes[0]
        for count, biases in zip(self._chain.sizes[1:], self._biases, strict=True):
            if biases is None:
                rings += [(ink, 1.0)] * count
                continue
            for bias in biases[record]:
                part = abs(bias) / self._thickest if np.isfinite(bias) else 0
                rings.append((_signed(bias, 1), 1 + 2.5 * part))
        faces = [style.faint(0.25) if d else "none" for d in self.dead_units(record)]
        self.nodes.set_facecolor(faces)
        self.nodes.set_edgecolor([color for color, _ in rings])
        self.nodes.set_linewidths([width for _, width in rings])

    def _show_values(self, record):
        links, nodes = self._texts
        for number, (weight, gradient) in enumerate(links):
            weight.set_text(_number(self._weights[record][number]))
            if self._gradients is not None:
                text = _number(self._gradients[record][number])
                gradient.set_text(f"g {text}")
        biases = [""] * self._chain.sizes[0]
        for count, values in zip(self._chain.sizes[1:], self._biases, strict=True):
            known = [""] * count if values is None else map(_number, values[record])
            biases += [f"b {text}" if text else "" for text in known]
        for text, bias in zip(nodes, biases, strict=True):
            text.set_text(bias)


def _read(arrays, path):
    if path is None or path not in arrays:
        return None
    return np.asarray(arrays[path], np.float64)


def _joined(arrays, kernels):
    """All kernels' elements, `(records, elements)`; None if one was not recorded."""
    if not all(path in arrays for path in kernels):
        return None
    read = [np.asarray(arrays[path], np.float64) for path in kernels]
    return np.concatenate([a.reshape(len(a), -1) for a in read], axis=1)


def _largest(*arrays):
    """The largest magnitude, or 1 if there is none above zero."""
    known = [a[np.isfinite(a)] for a in arrays if a is not None]
    return max((np.abs(a).max() for a in known if a.size), default=0) or 1.0


def _along(ends, shares):
    return ends[:, 0] + (ends[:, 1] - ends[:, 0]) * shares[:, np.newaxis]


def _signed(value, alpha):
    from matplotlib.colors import to_rgba

    if not np.isfinite(value) or value == 0:
        return style.faint(0.6)
    return to_rgba(style.POSITIVE if value > 0 else style.NEGATIVE, alpha)


def _numbered(letter, count):
    if count == 1:
        return [f"${letter}$"]
    return [f"${letter}_{{{n}}}$" for n in range(1, count + 1)]


def _number(value):
    return f"{value:.3g}".replace("-", "\N{MINUS SIGN}")
