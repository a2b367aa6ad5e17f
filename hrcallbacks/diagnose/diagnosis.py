"""Rules, applied to a recording."""

from __future__ import annotations

import inspect
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

from hrcallbacks.diagnose.alike_rules import IdenticalUnits, SilentOutputs
from hrcallbacks.diagnose.causes import fold
from hrcallbacks.diagnose.findings import Finding, Findings
from hrcallbacks.diagnose.gradient_rules import Exploding, Vanishing
from hrcallbacks.diagnose.idle_rules import Frozen, SaturatedLayer, UntouchedRows
from hrcallbacks.diagnose.origin_rules import NanOrigin
from hrcallbacks.diagnose.outlier_rules import NotFinite, OneBatch, UndefinedLoss
from hrcallbacks.diagnose.progress_rules import (
    MetricStuck,
    NegativeLoss,
    NoProgress,
    Overfits,
    Regularization,
)
from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.start_rules import InitialWeights, InputScale
from hrcallbacks.diagnose.structure_rules import (
    FrozenShare,
    HiddenActivations,
    OutputActivation,
    OutputRange,
)
from hrcallbacks.diagnose.survey import Survey
from hrcallbacks.diagnose.target_rules import Targets
from hrcallbacks.diagnose.training_rules import LossRises, UpdateSize
from hrcallbacks.diagnose.unit_rules import DeadUnits, SaturatedUnits

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

# In the order of causes: see `hrcallbacks.diagnose.causes`.
RULES: Mapping[str, Rule] = MappingProxyType(
    {
        rule.name: rule
        for rule in (
            # Where what is not finite begins: no other rule has seen it.
            NanOrigin(),
            # What the model is made of, and what it starts with.
            OutputActivation(),
            Targets(),
            UndefinedLoss(),
            InitialWeights(),
            HiddenActivations(),
            OutputRange(),
            FrozenShare(),
            Regularization(),
            InputScale(),
            # How training goes.
            NegativeLoss(),
            UpdateSize(),
            LossRises(),
            Exploding(),
            NotFinite(),
            OneBatch(),
            # What that does to units and layers.
            IdenticalUnits(),
            SilentOutputs(),
            DeadUnits(),
            SaturatedUnits(),
            Vanishing(),
            SaturatedLayer(),
            Frozen(),
            UntouchedRows(),
            # And what comes of it.
            NoProgress(),
            MetricStuck(),
            Overfits(),
        )
    }
)


class Watch:
    """Rules that follow a run while it is training.

    Given a longer recording of the same run, it reads only the new records.

    Args:
        rules: As for `diagnose`.

    Raises:
        TypeError: For the same reasons as `diagnose`.
        ValueError: If there is no rule of such a name.

    Example:
        >>> Watch(["nan", DeadUnits(min_records=20)])
        <Watch for nan, dead_units>
    """

    def __init__(self, rules: str | Rule | Iterable[str | Rule] | None = None) -> None:
        self._rules = chosen_rules(rules)
        self._survey: Survey | None = None

    def look(self, recording: Recording) -> Findings:
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
        found: list[Finding] = []
        looked: list[str] = []
        not_looked: dict[str, str] = {}
        for rule in self._rules:
            try:
                found += rule.look(self._survey)
                looked.append(rule.name)
            except CannotLook as why:
                not_looked[rule.name] = str(why)
        about = _about(recording)
        found = fold(found, self._rules)
        return Findings.of(found, looked=looked, not_looked=not_looked, about=about)

    def __repr__(self) -> str:
        """Names the rules."""
        return f"<Watch for {', '.join(rule.name for rule in self._rules)}>"


def diagnose(
    recording: Recording, rules: str | Rule | Iterable[str | Rule] | None = None
) -> Findings:
    """What is wrong with a training run, found by rules.

    Args:
        recording: A recording, finished or not, in memory or on disk.
        rules: None for all of `RULES`; the name of one, a `Rule`, or several of these.

    Returns:
        A DataFrame with one row per finding, the worst cause first, and after it what
        follows from it. It prints as text, a screen at most, and says which rules
        looked, and which could not and why. Columns: `rule`, `severity` (`"severe"`,
        `"warning"`, `"note"`), `path`, `unit` (from 1), `step` (the first), `evidence`,
        `advice` and `cause` (the rule that found what this follows from, or None).

    Raises:
        ValueError: If the recording is empty, or there is no rule of such a name.
        TypeError: If `rules` has the wrong type.
    """
    return Watch(rules).look(recording)


def chosen_rules(rules: str | Rule | Iterable[str | Rule] | None) -> list[Rule]:
    """The rules that `rules=` asks for, in its order."""
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


def _rule(item: object) -> Rule:
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


def _about(recording: Recording) -> str:
    steps = recording.index["step"]
    first, last = int(steps.iloc[0]), int(steps.iloc[-1])
    count = f"{len(recording):,} record{'s' if len(recording) > 1 else ''}"
    return f"{count}, step{f's {first:,} to' if first != last else ''} {last:,}"
