"""Findings that follow from one another become one: the first cause, and the rest.

Each rule says which others may follow from what it finds: `Rule.explains`. Rules are in
the order of causes: what a model is made of, what it starts with, how training goes,
what that does to units and layers, and whether anything is learnt.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from hrcallbacks.diagnose.findings import SEVERITIES, Finding
from hrcallbacks.diagnose.rules import Rule

# Rules about events: what came before one does not follow from it.
_EVENTS = (
    *("nan_origin", "loss_rises", "exploding", "nan", "dead_units", "saturated_units"),
)


def fold(findings: Iterable[Finding], rules: Sequence[Rule]) -> list[Finding]:
    """The findings, those of a cause first, then what follows from it.

    A cause is as severe as the gravest of its consequences.

    Args:
        findings: What rules found, in the order of the rules.
        rules: The rules that looked.

    Returns:
        The same findings, the gravest cause first; `cause` of a consequence is the name
        of the rule that found its cause.
    """
    by_rule: dict[str, list[Finding]] = {}
    for finding in findings:
        by_rule.setdefault(finding.rule, []).append(finding)
    known = {rule.name: rule for rule in rules if rule.name in by_rule}
    causes = _causes(known, by_rule)
    groups: dict[str, list[str]] = {n: [] for n in known if n not in causes}
    for name, cause in causes.items():
        groups[cause].append(name)
    lifted = [_lifted(root, rest, by_rule) for root, rest in groups.items()]
    lifted.sort(key=lambda group: _rank(group[0]))
    return [finding for group in lifted for finding in group]


def _causes(
    rules: Mapping[str, Rule], found: Mapping[str, Sequence[Finding]]
) -> dict[str, str]:
    """Name of the first cause, by name of what follows from it."""
    causes: dict[str, str] = {}
    names = [*rules]
    for place, name in enumerate(names):
        likely = [
            earlier
            for earlier in names[:place]
            if _explains(rules[earlier], found[earlier], name, found[name])
        ]
        # What is sure goes before what is only suspected.
        likely.sort(key=lambda earlier: not _is_sure(found[earlier]))
        if likely:
            causes[name] = causes.get(likely[0], likely[0])
    return causes


def _explains(
    rule: Rule, found: Sequence[Finding], other: str, others: Sequence[Finding]
) -> bool:
    if other not in rule.explains:
        return False
    grave = any(finding.severity != "note" for finding in others)
    if not _is_sure(found) and not (rule.suspect and grave):
        return False
    if rule.name in _EVENTS and other in _EVENTS:
        return _first(found) <= _first(others)
    return True


def _is_sure(found: Sequence[Finding]) -> bool:
    return any(finding.severity != "note" for finding in found)


def _first(found: Sequence[Finding]) -> int:
    return min((f.step for f in found if f.step is not None), default=0)


def _lifted(
    root: str, rest: Sequence[str], found: Mapping[str, Sequence[Finding]]
) -> list[Finding]:
    consequences = [
        replace(finding, cause=root) for name in rest for finding in found[name]
    ]
    gravest = min((_rank(finding) for finding in consequences), default=2)
    own = sorted(found[root], key=_rank)
    own = [replace(f, severity=SEVERITIES[min(_rank(f), gravest)]) for f in own]
    return [*own, *sorted(consequences, key=_rank)]


def _rank(finding: Finding) -> int:
    return SEVERITIES.index(finding.severity)
