"""Who hears of records while training goes on, and what they have to say."""

import warnings
from collections.abc import Iterable
from typing import Any

from hrcallbacks.alert import NanAlert, RulesAlert, checked_alert
from hrcallbacks.session.settings import Settings


class Speaker:
    """TensorBoard and the alerts of one recorder.

    Args:
        settings: The recorder's.

    Attributes:
        followers: Who is told of each record, in the thread that stores it.
    """

    def __init__(self, settings: Settings) -> None:
        wants_nan, rules = checked_alert(settings.alert)
        self._stops = settings.stops
        self._tensorboard = settings.new_tensorboard()
        self._nan_alert = NanAlert() if wants_nan else None
        self._rules_alert = RulesAlert(rules) if rules else None
        followers: list[Any] = [self._tensorboard, self._nan_alert]
        self.followers = [follower for follower in followers if follower]

    @property
    def looks_at_epochs(self) -> bool:
        """Whether an epoch's records have to be stored before it is over."""
        return bool(self._nan_alert or self._rules_alert)

    def begin(self, reductions: dict, *, chief: bool, skips_nonfinite: bool) -> None:
        """A fit begins.

        Args:
            reductions: What will be recorded: `Recording.attributes["reductions"]`.
            chief: Whether this process writes for all workers.
            skips_nonfinite: Whether gradients that are not finite are of no account.

        Raises:
            OSError: If TensorBoard's folder cannot be written.
        """
        if self._nan_alert:
            self._nan_alert.begin(reductions, ignores_gradients=skips_nonfinite)
        if self._tensorboard and chief:
            self._tensorboard.begin(reductions)

    def end(self) -> None:
        """A fit ends, or broke off."""
        for follower in self.followers:
            follower.end()

    def speak(self, model: Any) -> None:
        """Warns of what came up, and stops training if that was asked for."""
        for source in filter(None, (self._tensorboard, self._rules_alert)):
            for text in source.news():
                warnings.warn(text, RuntimeWarning, stacklevel=6)
        if self._nan_alert:
            self._alert(model, self._nan_alert.news())

    def look(self, model: Any, recording: Any) -> None:
        """Asks the rules about the recording so far."""
        if self._rules_alert:
            self._alert(model, self._rules_alert.look(recording()))
            self.speak(model)

    def _alert(self, model: Any, findings: Iterable[str]) -> None:
        ends = "stops: on_alert='stop'." if self._stops else "goes on."
        for text in findings:
            # First: a warning may be an error.
            if self._stops:
                model.stop_training = True
            warnings.warn(f"{text} Training {ends}", RuntimeWarning, stacklevel=7)
