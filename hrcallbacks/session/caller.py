"""Whether a fit still runs: no hook reports that an exception ended it."""

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

    Do not keep it for long: it holds their frames, and with them their data.
    """

    thread: int
    frames: tuple[FrameType, ...]

    @classmethod
    def here(cls) -> "Stack":
        """The stack of this thread, without the calling function."""
        return cls(threading.get_ident(), (*_outwards(_frame_at(1).f_back),))

    def common(self, other: "Stack") -> FrameType | None:
        """The innermost function that was still running when `other` was taken."""
        later = {id(frame) for frame in other.frames}
        return next((frame for frame in self.frames if id(frame) in later), None)


@dataclass(frozen=True)
class Caller:
    """The function that runs the loop of a fit.

    Attributes:
        thread: The thread that it runs in.
        frame: Its frame, which keeps the fit's data alive. It must be held: the id of
            a freed frame can be reused.
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
        """Whether it is still running."""
        top = _frames_of_threads().get(self.thread)
        return any(frame is self.frame for frame in _outwards(top))


def _outwards(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back
