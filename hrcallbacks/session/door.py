"""The single door between a captured step and the bytes in the store."""

import functools
from collections.abc import Callable
from typing import Any, Protocol

from hrcallbacks.storage.store import Store


class Stoppable(Protocol):
    """What the door guards: a `Session`."""

    store: Store
    stopped: bool
    deferred: BaseException | None

    def stop(self, error: Exception) -> None:
        """Stops the recording, not the training."""
        ...


def guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """Makes an exception stop the recording, with one warning, but not the training.

    What also ends the training, such as Ctrl-C, is noted in the recording.
    """

    @functools.wraps(hook)
    def guard(self: Stoppable, *args: Any, **kwargs: Any) -> None:
        if self.stopped:
            return
        try:
            hook(self, *args, **kwargs)
        except Exception as error:
            self.stop(error)
        except BaseException as error:
            self.store.note_fault(f"interrupted by {error!r} while records were made")
            raise

    return guard


def deferring(hook: Callable[..., None]) -> Callable[..., None]:
    """Delays what ends the training until the next hook.

    A step returns its state to Keras after `receive`: on JAX a Ctrl-C in between would
    lose the weights.
    """

    @functools.wraps(hook)
    def defer(self: Stoppable, *args: Any, **kwargs: Any) -> None:
        try:
            hook(self, *args, **kwargs)
        except Exception:
            raise
        except BaseException as error:
            self.deferred = error

    return defer
