"""What is wrong with a run, said while it goes on: `GradientRecorder(alert=...)`."""

import math
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.diagnose import RULES, Rule, Watch
from hrcallbacks.reductions import RAW

_NAN = "nan"
_MOST_NAMED = 5
# Of these a number that is not finite says that an element is not: not of update_ratio,
# infinite where weights are zero, nor of a function of the user's own.
_TELLING = ("norm", "mean", "std", "min", "max", "abs_max", "update_norm", "Sample")


def checked_alert(alert):
    """Whether to look for NaN and infinity, and a list of the other rules.

    Raises:
        TypeError: If `alert` is of no such kind.
        ValueError: If there is no rule of such a name.
    """
    if alert is None:
        return False, []
    try:
        rules: Any = [alert] if isinstance(alert, str | Rule) else list(alert)
        Watch(rules)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"Expected alert: None, the name of a rule ({list(RULES)}), a "
            f"hr.diagnose.Rule, or a list of these. Received: {alert!r}. ({error})"
        ) from error
    others = [rule for rule in rules if rule not in (_NAN, RULES[_NAN])]
    return len(others) < len(rules), others


class NanAlert:
    """Looks for NaN and infinity in records as they are stored.

    A variable's gradients and its weights are each said once a fit, and the loss.
    """

    def __init__(self):
        self._ignoring = False
        self._kinds = {}
        self._said = set()
        self._news = []

    def begin(self, reductions, *, ignores_gradients):
        """Begins a fit.

        Args:
            reductions: See `LiveTensorBoard.begin`.
            ignores_gradients: Whether gradients that are not finite are of no account:
                a `LossScaleOptimizer` skips them.
        """
        self._ignoring = ignores_gradients
        self._kinds = {
            (quantity, name): RAW if name == RAW else about["kind"]
            for quantity, names in reductions.items()
            for name, about in names.items()
        }
        self._said = set()
        self._news = []

    def add_record(self, row, values):
        """Looks at a record."""
        found = {}
        if not math.isfinite(row.get("loss", 0.0)):
            found["loss"] = f"the loss ({row['loss']})"
        for (quantity, name, path), value in values.items():
            kind = self._kinds.get((quantity, name))
            if kind is None or (quantity == "gradients" and self._ignoring):
                continue
            if what := _what(kind, name, np.asarray(value)):
                found.setdefault((quantity, path), f"{quantity} of {path!r} ({what})")
        new = {key: text for key, text in found.items() if key not in self._said}
        if new:
            self._said |= new.keys()
            self._news.append(_sentence(row, list(new.values())))

    def end_epoch(self, epoch, logs):
        """Nothing is to be done."""

    def end(self):
        """Nothing is open."""

    def news(self):
        """What was found since it was last asked, as texts."""
        while self._news:
            yield self._news.pop(0)


def _what(kind, name, value):
    """What of a recorded value is not finite, in words; None if all is."""
    if kind in (RAW, "Sample"):
        count = value.size - int(np.isfinite(value).sum())
        return f"{count:,} of {value.size:,} elements" if count else None
    if kind in ("Histogram", "nonfinite"):
        count = int(value[-2:].sum() if kind == "Histogram" else value)
        return f"{count:,} elements" if count else None
    if kind in _TELLING and not np.isfinite(value):
        return f"{name}: {float(value)}"
    return None


def _sentence(row, texts):
    named = ", ".join(texts[:_MOST_NAMED])
    more = len(texts) - _MOST_NAMED
    return (
        f"NaN or infinity at step {int(row['step'])} (epoch {int(row['epoch'])}, batch "
        f"{int(row['batch'])}): {named}" + (f", and {more} more." if more > 0 else ".")
    )


class RulesAlert:
    """Asks rules at each epoch's end; says each finding once a recording.

    Notes, which good runs have too, are not said.

    Args:
        rules: As for `hrcallbacks.diagnose.diagnose`.
    """

    def __init__(self, rules):
        self._watch = Watch(rules)
        self._said = set()
        self._failure = None
        self._failed = False

    def look(self, recording):
        """What is new in a recording, as a list of texts."""
        if self._failed or not len(recording):
            return []
        try:
            findings = self._watch.look(recording).to_frame()
        except Exception as error:
            self._failed, self._failure = True, error
            return []
        return [*self._new(findings.to_dict("records"))]

    def _new(self, rows):
        for row in rows:
            key = row["rule"], str(row["path"]), str(row["unit"])
            if row["severity"] != "note" and key not in self._said:
                self._said.add(key)
                yield _finding(row)

    def news(self):
        """What went wrong since it was last asked, as texts."""
        failure, self._failure = self._failure, None
        if failure is not None:
            yield f"{self._watch!r} failed, and looks no more: {failure!r}."


def _finding(row):
    where = [row["path"]] if isinstance(row["path"], str) else []
    for name, said in (("unit", "unit"), ("step", "from step")):
        if not pd.isna(row[name]):
            where.append(f"{said} {int(row[name])}")
    place = f" in {', '.join(where)}" if where else ""
    evidence, advice = (row[name].rstrip(".") for name in ("evidence", "advice"))
    return f"{row['rule']}{place}: {evidence}. Try: {advice}."
