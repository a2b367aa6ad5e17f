"""Whether a fit that began still runs: no hook says that an exception ended it."""

import sys
import threading
from collections.abc import Iterator
from dataclasses import dataclass
from types import FrameType

# Documented in spite of their names.
_frame_at = sys._getframe  # pyright: ignore[reportPrivateUsage]
_frames_of_threads = sys._current_frames  # pyright: ignore[reportPrivateUsage]


@dataclass(frozen=True)
class Stack:
    """The functions that were running when it was taken, innermost first.

    It keeps their frames, and with them their data: not to be kept for long.
    """

    thread: int
    frames: tuple[FrameType, ...]

    @classmethod
    def here(cls) -> "Stack":
        """That of this thread, without the function that asks."""
        return cls(threading.get_ident(), (*_outwards(_frame_at(1).f_back),))

    def common(self, other: "Stack") -> FrameType | None:
        """The innermost function that still ran when another one was taken."""
        later = {id(frame) for frame in other.frames}
        return next((frame for frame in self.frames if id(frame) in later), None)


@dataclass(frozen=True)
class Caller:
    """The function that runs the loop of a fit.

    Attributes:
        thread: The thread that it runs in.
        frame: Its frame. It keeps the fit's data while it is held: a frame that is
            gone would leave its identity to others.
    """

    thread: int
    frame: FrameType

    @classmethod
    def of(cls, first: Stack, second: Stack) -> "Caller | None":
        """The innermost function that called two hooks, one after the other."""
        frame = first.common(second)
        return frame and cls(first.thread, frame)

    @property
    def is_running(self) -> bool:
        """Whether it is still at work."""
        top = _frames_of_threads().get(self.thread)
        return any(frame is self.frame for frame in _outwards(top))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
