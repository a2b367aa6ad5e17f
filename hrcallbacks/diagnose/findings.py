"""What a diagnosis found: a table, and the same in words."""

from __future__ import annotations

import html
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, Self, get_args

import pandas as pd

from hrcallbacks.terminal import visible

Severity = Literal["severe", "warning", "note"]
SEVERITIES: tuple[Severity, ...] = get_args(Severity)
_WIDTH = 88
_COLUMNS = {
    "rule": "object",
    "severity": "object",
    "path": "object",
    "unit": "Int64",
    "step": "Int64",
    "evidence": "object",
    "advice": "object",
    "cause": "object",
}
# A screen; the table has all.
_MOST_LINES = 40
# How many findings of a rule are shown in words, units of a layer, rules by name.
_MOST_SHOWN = 4
_MOST_UNITS = 12
_MOST_NAMED = 8
_MOST_REASONS = 4
_ALL = "findings.to_frame() has all."


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    Args:
        rule: The rule's name.
        severity: `"severe"`: this run, or a good part of the model, does not learn.
            `"warning"`: something is likely to be wrong. `"note"`: worth knowing, but
            seen in good runs too.
        evidence: The numbers, in words.
        advice: What to try.
        path: Path of the variable; None for the run as a whole.
        unit: Number of the unit in its layer, from 1, as in the symbols `w^1_3`.
        step: The first step at which it was seen.
        cause: Name of the rule that found what it follows from; None for a first cause.
    """

    rule: str
    severity: Severity
    evidence: str
    advice: str
    path: str | None = None
    unit: int | None = None
    step: int | None = None
    cause: str | None = None


class Findings(pd.DataFrame):
    """The findings of a diagnosis: a DataFrame that prints as text.

    One row per finding, the worst cause first, followed by its consequences;
    columns `rule`, `severity` (`"severe"`, `"warning"` or `"note"`), `path` (None: the
    whole run), `unit` (from 1; missing if it is not about a single unit), `step` (the
    first), `evidence` (the numbers), `advice` (what to try) and `cause` (the rule that
    found what this follows from; None for a first cause). The text is a screen at most.
    Any selection, such as `findings[findings.unit == 3]`, is an ordinary DataFrame;
    `to_frame()` is all of it as one.

    Attributes:
        looked: Names of the rules that looked.
        not_looked: Why the others could not, by name.
        about: What was looked at, in words.
    """

    looked: list[str]
    not_looked: dict[str, str]
    about: str

    # Pandas keeps these on the object and makes no columns of them.
    _metadata = ["looked", "not_looked", "about"]  # noqa: RUF012

    @classmethod
    def of(
        cls,
        findings: Iterable[Finding],
        *,
        looked: Iterable[str],
        not_looked: Mapping[str, str],
        about: str,
    ) -> Self:
        """A table of findings, in the order given: see `causes.fold`.

        Args:
            findings: The findings.
            looked: Names of the rules that looked.
            not_looked: Why the others could not, by name.
            about: What was looked at, in words.
        """
        ranked = list(findings)
        columns = {
            name: pd.array([getattr(f, name) for f in ranked], dtype=dtype)
            if dtype == "Int64"
            else pd.Series([getattr(f, name) for f in ranked], dtype=dtype)
            for name, dtype in _COLUMNS.items()
        }
        made = cls(columns)
        made.looked = list(looked)
        made.not_looked = dict(not_looked)
        made.about = about
        return made

    @property
    def _constructor(self) -> type[pd.DataFrame]:
        return pd.DataFrame

    def to_frame(self) -> pd.DataFrame:
        """The same as an ordinary DataFrame."""
        return pd.DataFrame(self)

    def __repr__(self) -> str:
        """The causes in words, with what follows from each; a screen at most."""
        tail = self._who_looked()
        room = _MOST_LINES - _height(tail) - 3
        lines = [f"<Findings: {self._summary()}; {self.about}>"]
        groups = [*self._groups()]
        for number, group in enumerate(groups):
            said = next(
                (t for t in _tellings(group) if _height([*lines, "", *t]) <= room),
                _told(group, 0),
            )
            if number and _height([*lines, "", *said]) > room:
                more = len(groups) - number
                causes = "cause" if more == 1 else "causes"
                lines += ["", f"... and {more} more {causes}: {_ALL}"]
                break
            lines += ["", *said]
        return visible("\n".join([*lines, "", *tail]), keep="\n")

    __str__ = __repr__

    def _repr_html_(self) -> str:
        """The table, for a notebook, and who looked."""
        table = ""
        if len(self):
            with pd.option_context("display.max_colwidth", None):
                table = self.to_frame().to_html(
                    index=False, na_rep="", escape=True, classes="text"
                )
        notes = "".join(
            f"<p>{html.escape(line)}</p>" for line in self._who_looked(names=True)
        )
        title = f"{self._summary()}; {self.about}"
        return f"<p><b>Findings</b>: {html.escape(title)}</p>{table}{notes}"

    def _summary(self) -> str:
        there = [group["severity"].iloc[0] for group in self._groups()]
        counts = [(there.count(severity), severity) for severity in SEVERITIES]
        said = ", ".join(f"{count} {severity}" for count, severity in counts if count)
        if said:
            return said
        return "nothing found" if self.looked else "no rule could look"

    def _groups(self) -> Iterator[pd.DataFrame]:
        """The rows of each first cause, and of what follows from it."""
        rows = self.to_frame()
        roots = [
            cause if isinstance(cause, str) else rule
            for rule, cause in zip(rows["rule"], rows["cause"], strict=True)
        ]
        for root in dict.fromkeys(roots):
            yield rows.loc[[r == root for r in roots]]

    def _who_looked(self, *, names: bool = False) -> list[str]:
        numbered = bool(self["unit"].notna().to_numpy().any())
        lines = ["Units count from 1."] if numbered else []
        few = names or len(self.looked) <= _MOST_NAMED
        looked = ", ".join(self.looked) if few else f"{len(self.looked)} rules"
        lines.append(f"Looked: {looked or 'none'}.")
        if self.not_looked:
            lines.append("Could not look:")
            reasons: dict[str, list[str]] = {}
            for name, why in self.not_looked.items():
                reasons.setdefault(why, []).append(name)
            said = [f"  {', '.join(on)}: {why}" for why, on in reasons.items()]
            shown = said if names else [*map(_cut, said[:_MOST_REASONS])]
            lines += shown
            if len(said) > len(shown):
                more = len(said) - len(shown)
                lines.append(f"  ... and {more} more: findings.not_looked has all.")
        return [
            _wrapped(line.strip(), "  " if line[0] == " " else "") for line in lines
        ]


def _height(lines: Iterable[str]) -> int:
    return sum(1 + line.count("\n") for line in lines)


def _tellings(group: pd.DataFrame) -> Iterator[list[str]]:
    """A cause in words, with fewer and fewer of what follows from it."""
    return (_told(group, shown) for shown in range(_MOST_SHOWN, -1, -1))


def _told(group: pd.DataFrame, shown: int) -> list[str]:
    """A cause in words: what shows it, what to do, and what follows from it.

    Args:
        group: Its rows.
        shown: How many of its places and its consequences are told.
    """
    own = group.loc[group["cause"].isna()]
    rest = group.loc[group["cause"].notna()]
    lines = [f"{own['severity'].iloc[0]}: {own['rule'].iloc[0]}"]
    for advice in dict.fromkeys(own["advice"].tolist()):
        found = own.loc[own["advice"] == advice]
        most = max(shown, 1)
        lines += [_wrapped(line, "  ") for line in _described(found, most)]
        lines += [_wrapped(f"Try {advice}", "  ")]
    names: list[str] = [*dict.fromkeys(rest["rule"].tolist())]
    if names:
        lines.append("  From this follows:")
    lines += [_consequence(rest.loc[rest["rule"] == n], n) for n in names[:shown]]
    if names[shown:]:
        more = "and " if shown else ""
        lines.append(_wrapped(f"{more}{', '.join(names[shown:])}.", "    "))
    return lines


def _consequence(found: pd.DataFrame, name: str) -> str:
    """What follows from a cause: two lines at most."""
    first, *others = _described(found)
    places = len({path for path in found["path"].tolist() if isinstance(path, str)})
    said = f"{name}: {first}"
    if others and places > 1:
        said = f"{name} in {places} layers, as {first}"
    return _wrapped(_cut(said), "    ")


def _cut(text: str) -> str:
    """A text of two lines at most."""
    width = 2 * _WIDTH - 20
    if len(text) <= width:
        return text
    return f"{text[:width].rpartition(' ')[0].rstrip(',;:')} ..."


def _described(found: pd.DataFrame, most: int = _MOST_SHOWN) -> list[str]:
    """One line for all rows that differ only in their unit and step."""
    groups: dict[tuple[str | None, str], dict[Any, list[int]]] = {}
    columns = [found[name].tolist() for name in ("path", "evidence", "step", "unit")]
    for path, evidence, step, unit in zip(*columns, strict=True):
        steps = groups.setdefault((path, evidence), {})
        if unit is not pd.NA:
            steps.setdefault(step, []).append(unit)
    lines = [_line(path, what, steps) for (path, what), steps in groups.items()]
    more = len(lines) - most
    if more > 0:
        lines = lines[:most]
        lines.append(f"... and {more} more: {_ALL}")
    return lines


def _line(path: str | None, evidence: str, steps: Mapping[Any, list[int]]) -> str:
    if not steps:
        where = path
    else:
        ranked = sorted(steps.items(), key=lambda item: (item[0] is pd.NA, item[0]))
        where = f"{path}, {', '.join(_units(units, step) for step, units in ranked)}"
    return f"{where}: {evidence}." if where else f"{evidence[0].upper()}{evidence[1:]}."


def _units(units: list[int], step: Any) -> str:
    shown = ", ".join(map(str, units[:_MOST_UNITS]))
    more = len(units) - _MOST_UNITS
    since = "" if step is pd.NA else f" (from step {step:,})"
    word = "unit" if len(units) == 1 else "units"
    return f"{word} {shown}{f' and {more} more' if more > 0 else ''}{since}"


def _wrapped(text: str, indent: str) -> str:
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
