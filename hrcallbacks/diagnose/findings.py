"""What a diagnosis found: a table, and the same in words."""

import html
import textwrap
from dataclasses import dataclass
from typing import Any

import pandas as pd

from hrcallbacks.terminal import visible

SEVERITIES = ("severe", "warning", "note")
_WIDTH = 88
_COLUMNS = {
    "rule": "object",
    "severity": "object",
    "path": "object",
    "unit": "Int64",
    "step": "Int64",
    "evidence": "object",
    "advice": "object",
}
# Of a rule so many findings are shown in words; the table has all.
_MOST_SHOWN = 6
_MOST_UNITS = 12


@dataclass(frozen=True)
class Finding:
    """One thing that a rule found.

    Args:
        rule: The rule's name.
        severity: `"severe"`: this run, or a good part of the model, does not learn.
            `"warning"`: something is likely to be wrong. `"note"`: worth knowing, and
            seen in good runs too.
        evidence: The numbers, in words.
        advice: What to try.
        path: Path of the variable; None if it is about the run as a whole.
        unit: Number of the unit in its layer, from 1, as in the symbols `w^1_3`.
        step: The first step at which it was seen.
    """

    rule: str
    severity: str
    evidence: str
    advice: str
    path: str | None = None
    unit: int | None = None
    step: int | None = None


class Findings(pd.DataFrame):
    """The findings of a diagnosis: a DataFrame that prints as text.

    One row a finding, the gravest first; columns `rule`, `severity` (`"severe"`,
    `"warning"` or `"note"`), `path` (None: the whole run), `unit` (from 1; missing
    where it is about no single unit), `step` (the first), `evidence` (the numbers) and
    `advice` (what to try). Whatever is taken of it, `findings[findings.unit == 3]`, is
    an ordinary DataFrame; `to_frame()` is all of it as one.

    Attributes:
        looked: Names of the rules that looked.
        not_looked: Dict from the names of those that could not, to why.
        about: What was looked at, in words.
    """

    # Pandas keeps these on the object and makes no columns of them.
    _metadata = ["looked", "not_looked", "about"]  # noqa: RUF012

    @classmethod
    def of(cls, findings, *, looked, not_looked, about):
        """A table of `Finding`s, sorted by severity; otherwise in the order given."""
        ranked = sorted(findings, key=lambda f: SEVERITIES.index(f.severity))
        columns = {
            name: pd.array([getattr(f, name) for f in ranked], dtype=dtype)
            if dtype == "Int64"
            else pd.Series([getattr(f, name) for f in ranked], dtype=dtype)
            for name, dtype in _COLUMNS.items()
        }
        made: Any = cls(columns)
        made.looked = list(looked)
        made.not_looked = dict(not_looked)
        made.about = about
        return made

    @property
    def _constructor(self):
        return pd.DataFrame

    def to_frame(self):
        """The same as an ordinary DataFrame."""
        return pd.DataFrame(self)

    def __repr__(self):
        """The findings in words."""
        lines = [f"<Findings: {self._summary()}; {self.about}>"]
        title = ""
        for (severity, rule, advice), found in self._groups():
            if title != (title := f"{severity}: {rule}"):
                lines += ["", title]
            lines += [_wrapped(line, "  ") for line in _described(found)]
            lines += [_wrapped(f"Try {advice}", "  ")]
        return visible("\n".join([*lines, "", *self._who_looked()]), keep="\n")

    __str__ = __repr__

    def _repr_html_(self):
        """The table, for a notebook, and who looked."""
        table = ""
        if len(self):
            with pd.option_context("display.max_colwidth", None):
                table = self.to_frame().to_html(index=False, na_rep="", escape=True)
        notes = "".join(f"<p>{html.escape(line)}</p>" for line in self._who_looked())
        title = f"{self._summary()}; {self.about}"
        return f"<p><b>Findings</b>: {html.escape(title)}</p>{table}{notes}"

    def _summary(self):
        there = self["severity"].tolist()
        counts = [(there.count(severity), severity) for severity in SEVERITIES]
        said = ", ".join(f"{count} {severity}" for count, severity in counts if count)
        if said:
            return said
        return "nothing found" if self.looked else "no rule could look"

    def _groups(self):
        columns = [self[name] for name in ("severity", "rule", "advice")]
        keys = [*zip(*columns, strict=True)]
        rows = self.to_frame()
        for key in dict.fromkeys(keys):
            yield key, rows[[k == key for k in keys]]

    def _who_looked(self):
        lines = ["Units count from 1."] if len(self["unit"].dropna()) else []
        lines.append(f"Looked: {', '.join(self.looked) or 'none'}.")
        if self.not_looked:
            lines.append("Could not look:")
            reasons: dict[str, list] = {}
            for name, why in self.not_looked.items():
                reasons.setdefault(why, []).append(name)
            lines += [f"  {', '.join(names)}: {why}" for why, names in reasons.items()]
        return [
            _wrapped(line.strip(), "  " if line[0] == " " else "") for line in lines
        ]


def _described(found):
    """One line for all rows that differ in their unit and step alone."""
    groups: dict[tuple, dict] = {}
    columns = [found[name].tolist() for name in ("path", "evidence", "step", "unit")]
    for path, evidence, step, unit in zip(*columns, strict=True):
        steps = groups.setdefault((path, evidence), {})
        if unit is not pd.NA:
            steps.setdefault(step, []).append(unit)
    lines = [_line(path, what, steps) for (path, what), steps in groups.items()]
    more = len(lines) - _MOST_SHOWN
    if more > 0:
        lines = lines[:_MOST_SHOWN]
        lines.append(f"... and {more} more: findings.to_frame() has all.")
    return lines


def _line(path, evidence, steps):
    if not steps:
        where = path
    else:
        ranked = sorted(steps.items(), key=lambda item: (item[0] is pd.NA, item[0]))
        where = f"{path}, {', '.join(_units(units, step) for step, units in ranked)}"
    return f"{where}: {evidence}." if where else f"{evidence[0].upper()}{evidence[1:]}."


def _units(units, step):
    shown = ", ".join(map(str, units[:_MOST_UNITS]))
    more = len(units) - _MOST_UNITS
    since = "" if step is pd.NA else f" (from step {step:,})"
    word = "unit" if len(units) == 1 else "units"
    return f"{word} {shown}{f' and {more} more' if more > 0 else ''}{since}"


def _wrapped(text, indent):
    return textwrap.fill(
        text,
        _WIDTH,
        initial_indent=indent,
        subsequent_indent=f"{indent}  ",
        break_long_words=False,
        break_on_hyphens=False,
    )
