"""Shows Matplotlib's animations as one SVG that moves without a script.

Why: a GIF would be white on a dark page, and moves for those who asked for no motion.
Runs in the kernels of docs/hooks/notebooks.py; docs/assets/stylesheets/site.css stops
it where motion is unwanted, or on request.
"""

import io
import re

from IPython import get_ipython
from matplotlib import pyplot as plt
from matplotlib.animation import AbstractMovieWriter, Animation

SECONDS = 0.8  # For one frame.

_DEFINITION = re.compile(r'<path id="([^"]+)"[^>]*/>\s*')
_METADATA = re.compile(r"<metadata>.*?</metadata>", re.S)
_BODY = re.compile(r"(<svg.*?>)(.*)</svg>", re.S)


class Frames(AbstractMovieWriter):
    """Collects an animation's frames as SVG."""

    def setup(self, fig, outfile, dpi=None):
        """Called first, with the figure."""
        self.fig, self.frames = fig, []

    def grab_frame(self, **options):
        """Called for each frame, once it is drawn."""
        frame = io.StringIO()
        self.fig.savefig(frame, format="svg", **options)
        self.frames.append(frame.getvalue())

    def finish(self):
        """Leaves no file."""


def as_svg(animation):
    """The frames as groups of one SVG, each shown for its share of the time."""
    writer = Frames()
    animation.save("", writer=writer)
    plt.close(writer.fig)
    count = len(writer.frames)
    seen, groups = set(), []

    def once(definition):  # Of a letter, say, that several frames draw.
        new = definition[1] not in seen
        seen.add(definition[1])
        return definition[0] if new else ""

    for number, frame in enumerate(writer.frames):
        opening, body = _BODY.search(_METADATA.sub("", frame)).groups()
        delay = (number - count) * SECONDS
        body = _DEFINITION.sub(once, body)
        groups.append(
            f'<g class="frame" style="animation-delay: {delay:g}s">{body}</g>'
        )
    return f"{opening}<style>{style(count)}</style>{''.join(groups)}</svg>"


def style(count):
    """Shows one frame of `count` at a time; clip paths would inherit `visibility`."""
    return (
        f".frame {{ animation: frame {count * SECONDS:g}s step-end infinite }} "
        "@keyframes frame { 0% { opacity: 1 } "
        f"{100 / count:.4g}% {{ opacity: 0 }} }}"
    )


get_ipython().display_formatter.formatters["image/svg+xml"].for_type(Animation, as_svg)
