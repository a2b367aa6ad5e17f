"""Rules, put to a recording."""

import inspect
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from hrcallbacks.diagnose.findings import Findings
from hrcallbacks.diagnose.gradient_rules import Exploding, Vanishing
from hrcallbacks.diagnose.idle_rules import Frozen, SaturatedLayer, UntouchedRows
from hrcallbacks.diagnose.outlier_rules import NotFinite, OneBatch
from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.survey import Survey
from hrcallbacks.diagnose.training_rules import LossRises, UpdateSize
from hrcallbacks.diagnose.unit_rules import DeadUnits, SaturatedUnits

RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            NotFinite(),
            LossRises(),
            Exploding(),
            Vanishing(),
            DeadUnits(),
            SaturatedUnits(),
            SaturatedLayer(),
            Frozen(),
            UpdateSize(),
            OneBatch(),
            UntouchedRows(),
        )
    }
)


class Watch:
    """Rules that follow a run while it goes on.

    Of a longer recording of the same run it reads only the records that are new.

    Args:
        rules: As for `diagnose`.

    Raises:
        TypeError: As of `diagnose`.
        ValueError: As of `diagnose`.

    Example:
        >>> Watch(["nan", DeadUnits(min_records=20)])
        <Watch for nan, dead_units>
    """

    def __init__(self, rules=None):
        self._rules = _chosen(rules)
        self._survey = None

    def look(self, recording):
        """The `Findings` in a recording; see `diagnose`."""
        if not len(recording):
            raise ValueError(
                "The recording is empty: there is nothing to diagnose. Pass the "
                "recorder to fit, model.fit(..., callbacks=[recorder]), and look at "
                "its record_freq."
            )
        if self._survey is None:
            self._survey = Survey(recording)
        else:
            self._survey.follow(recording)
        found, looked, not_looked = [], [], {}
        for rule in self._rules:
            try:
                found += rule.look(self._survey)
                looked.append(rule.name)
            except CannotLook as why:
                not_looked[rule.name] = str(why)
        about = _about(recording)
        return Findings.of(found, looked=looked, not_looked=not_looked, about=about)

    def __repr__(self):
        """Names the rules."""
        return f"<Watch for {', '.join(rule.name for rule in self._rules)}>"


def diagnose(recording, rules=None):
    """What is wrong with a training run, found by rules.

    Args:
        recording: A `Recording`, finished or not, in memory or on disk.
        rules: None for all of `RULES`; the name of one, a `Rule`, or a list of these.

    Returns:
        `Findings`: a DataFrame of one row a finding, the gravest first, that prints as
        text, and says which rules looked, and which could not and why. Columns:
        `rule`, `severity` (`"severe"`, `"warning"`, `"note"`), `path`, `unit` (from 1),
        `step` (the first), `evidence` and `advice`.

    Raises:
        ValueError: If the recording is empty, or there is no rule of such a name.
        TypeError: If `rules` is of no such kind.
    """
    return Watch(rules).look(recording)


def _chosen(rules):
    if rules is None:
        return list(RULES.values())
    single = isinstance(rules, str | Rule) or inspect.isclass(rules)
    items: Any = [rules] if single else rules
    try:
        chosen = [_rule(item) for item in items]
    except TypeError as error:
        if "iterable" not in str(error):
            raise
        chosen = [_rule(rules)]
    if not chosen:
        raise ValueError(f"rules={rules!r} has no rule. There are: {list(RULES)}.")
    return chosen


def _rule(item):
    if isinstance(item, str) and item in RULES:
        return RULES[item]
    if isinstance(item, str):
        raise ValueError(f"There is no rule {item!r}. There are: {list(RULES)}.")
    if inspect.isclass(item) and issubclass(item, Rule):
        raise TypeError(
            f"Received the class {item.__name__} in rules=. Make one of it: "
            f"{item.__name__}()."
        )
    if not isinstance(item, Rule):
        raise TypeError(
            f"Expected rules: None, one of {list(RULES)}, a hr.diagnose.Rule, or a "
            f"list of these. Received: {item!r}."
        )
    return item


def _about(recording):
    steps = recording.index["step"]
    first, last = int(steps.iloc[0]), int(steps.iloc[-1])
    count = f"{len(recording):,} record{'s' if len(recording) > 1 else ''}"
    return f"{count}, step{f's {first:,} to' if first != last else ''} {last:,}"
