"""When a step is armed: after every other callback's hook has run."""

from collections.abc import Callable
from typing import Any

import keras


class Arming:
    """Arms the steps of one fit as late as possible.

    A callback that raises after ours would leave an armed step in the model. Keras
    appends a `History` after the user's callbacks in each fit, and stores it as
    `model.history`: steps are armed in its hook. If the user put a `History` before
    the recorder, steps are armed at once.

    Args:
        model: The model, when its training begins.
    """

    def __init__(self, model: Any) -> None:
        self._history = getattr(model, "history", None)
        self._begun = getattr(self._history, "epoch", None)
        self._is_later = False

    def begin(self) -> None:
        """Finds out which comes later, once all callbacks know that training begins."""
        if isinstance(self._history, keras.callbacks.History):
            # It starts a new list of epochs when training begins.
            self._is_later = getattr(self._history, "epoch", None) is not self._begun

    def run(self, arm: Callable[[], None]) -> None:
        """Calls `arm` once the other callbacks know that a step begins."""
        if not self._is_later:
            arm()
            return
        own = vars(self._history)
        last = own.get("on_train_batch_begin")
        if not isinstance(last, _Last):
            last = own["on_train_batch_begin"] = _Last(self._history)
        last.calls.append(arm)

    def clear(self) -> None:
        """Forgets a step that the other callbacks were never told of."""
        own = vars(self._history) if self._is_later else {}
        if isinstance(own.get("on_train_batch_begin"), _Last):
            del own["on_train_batch_begin"]


class _Last:
    """Stands in for a hook of Keras' `History`, once."""

    def __init__(self, history: Any) -> None:
        self._history = history
        self.calls: list[Callable[[], None]] = []

    def __call__(self, *args: Any, **kwargs: Any) -> None:
        vars(self._history).pop("on_train_batch_begin", None)
        self._history.on_train_batch_begin(*args, **kwargs)
        for call in self.calls:
            call()
