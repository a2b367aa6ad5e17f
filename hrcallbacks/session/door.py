"""The one door between a captured step and the bytes in the store."""

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
        """Stops the recording, and not the training."""
        ...


def guarded(hook: Callable[..., None]) -> Callable[..., None]:
    """Has an exception stop the recording, with one warning, and not the training.

    What ends the training too, such as Ctrl-C, is noted in the recording.
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
            self.store.note_fault(f"broken off by {error!r} while records were made")
            raise

    return guard


def deferring(hook: Callable[..., None]) -> Callable[..., None]:
    """What ends the training ends it at the next hook.

    A step hands its state back to Keras after `receive`: on JAX the weights would be
    lost if Ctrl-C came in between.
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
