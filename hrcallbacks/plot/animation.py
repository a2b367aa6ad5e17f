"""The picture of a network, record after record."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrcallbacks.plot.network import picture_of

if TYPE_CHECKING:
    from matplotlib.animation import FuncAnimation, PillowWriter
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording

_MOST_FRAMES = 500
_ENDINGS = (".gif", ".html", ".mp4")


def network_animation(
    recording: Recording,
    *,
    values: bool = False,
    interval: float = 600,
    ax: Axes | None = None,
) -> FuncAnimation:
    """The picture of `network`, from the first record to the last.

    `save_animation` writes it to a file; in a notebook,
    `IPython.display.HTML(animation.to_jshtml())` shows it with buttons.

    Args:
        recording: As for `network`.
        values: As for `network`.
        interval: Milliseconds from one record to the next.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The animation; its `figure` is the one that moves. Keep a reference to it:
        without one, it stops.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: For the same reasons as `network`, or if there are more than 500
            records.
        ImportError: If Matplotlib is not installed.
    """
    picture = picture_of(recording, values=values, ax=ax)
    if len(recording) > _MOST_FRAMES:
        raise ValueError(
            f"An animation of {len(recording):,} records would have as many frames, "
            f"and {_MOST_FRAMES} can be watched. Record fewer, such as with "
            "record_freq='epoch', or see hr.plot.network(recording, record=n) and "
            "hr.plot.trajectories(recording)."
        )
    from matplotlib.animation import FuncAnimation

    picture.show(0)
    figure: Any = picture.ax.figure
    animation: Any = FuncAnimation(
        figure,
        picture.show,
        frames=len(recording),
        interval=interval,
        repeat_delay=2 * interval,
    )
    animation.figure = figure
    return animation


def save_animation(
    animation: FuncAnimation, path: str | os.PathLike[str], *, dpi: float = 100
) -> None:
    """Writes an animation to a file, in the format of the file's ending.

    Args:
        animation: What `network_animation` returned.
        path: A path that ends in `.gif` (written with Pillow, which comes with
            Matplotlib), `.html` (one file, with buttons to play and to step) or `.mp4`
            (needs ffmpeg).
        dpi: Dots per inch.

    Raises:
        ValueError: If the path ends in something else.
    """
    path = Path(path)
    check_ending(path)
    if path.suffix.lower() == ".html":
        import matplotlib as mpl

        with mpl.rc_context({"savefig.dpi": dpi, "animation.embed_limit": 200}):
            page = animation.to_jshtml()
        path.write_text(_PAGE.format(page), encoding="utf-8")
        return
    writer: str | PillowWriter = "ffmpeg"
    if path.suffix.lower() == ".gif":
        source: Any = animation.event_source  # Matplotlib's stubs leave it out.
        writer = _pillow_writer(1000 / source.interval)
    animation.save(path, writer=writer, dpi=dpi)


def check_ending(path: str | os.PathLike[str]) -> None:
    """Refuses a path whose format `save_animation` cannot write.

    Raises:
        ValueError: If it ends in something other than `.gif`, `.html` or `.mp4`.
    """
    if Path(path).suffix.lower() not in _ENDINGS:
        raise ValueError(
            f"Expected a path that ends in one of {_ENDINGS}. Received: {str(path)!r}."
        )


def _pillow_writer(fps: Any) -> PillowWriter:
    from matplotlib.animation import PillowWriter
    from matplotlib.colors import to_rgba

    class OnPaper(PillowWriter):
        def grab_frame(self, **savefig_kwargs: Any) -> None:
            # A GIF's frames lie above each other: through transparent ones, the
            # earlier ones can be seen.
            if to_rgba(self.fig.get_facecolor())[3] < 1:
                savefig_kwargs["facecolor"] = "white"
            super().grab_frame(**savefig_kwargs)

    return OnPaper(fps=fps)


_PAGE = """<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8"><title>Network</title></head>
<body>
{}
</body></html>
"""
