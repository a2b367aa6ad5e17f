import pickle

import pandas as pd
import pytest
from synthetic import published

from hrcallbacks.diagnose.findings import Finding, Findings


def findings(*found, looked=("a",), not_looked=()):
    about = "9 records, steps 1 to 9"
    return Findings.of(found, looked=looked, not_looked=not_looked, about=about)


def finding(rule="a", severity="note", evidence="seen", **where):
    return Finding(rule, severity, evidence, "this.", **where)


def test_it_is_a_table_in_the_order_given():
    table = findings(
        finding(severity="severe", path="x/kernel", unit=3, step=7),
        finding("b", severity="warning", cause="a"),
        finding("c", severity="note"),
    )
    assert isinstance(table, pd.DataFrame)
    assert list(table) == [
        *("rule", "severity", "path", "unit", "step", "evidence", "advice", "cause")
    ]
    assert table["severity"].tolist() == ["severe", "warning", "note"]
    assert (table["unit"][0], table["step"][0]) == (3, 7)
    assert table["unit"].isna().tolist() == [False, True, True]
    assert table["path"].tolist() == ["x/kernel", None, None]


def test_what_is_taken_of_it_is_an_ordinary_table():
    table = findings(finding(unit=1), finding(unit=2))
    for part in (table[table.unit == 2], table.to_frame(), table.head(1)):
        assert type(part) is pd.DataFrame
    assert len(table[table.unit == 2]) == 1


def test_nothing_found_says_who_looked_and_who_could_not():
    table = findings(looked=["a", "b"], not_looked={"c": "no weights were recorded"})
    assert table.empty
    assert repr(table) == (
        "<Findings: nothing found; 9 records, steps 1 to 9>\n\n"
        "Looked: a, b.\n"
        "Could not look:\n"
        "  c: no weights were recorded"
    )
    assert "no rule could look" in repr(findings(looked=[]))
    assert "nothing found" in table._repr_html_()


def test_units_of_one_kind_share_a_line():
    text = repr(
        findings(
            *(finding(path="x/kernel", unit=n, evidence="dead") for n in (1, 3, 6)),
            finding(path="x/kernel", unit=2, evidence="died"),
        )
    )
    assert "\n  x/kernel, units 1, 3, 6: dead.\n" in text
    assert "\n  x/kernel, unit 2: died.\n" in text
    assert text.count("Try this.") == 1
    assert "Units count from 1." in text
    assert all(len(line) <= 88 for line in text.splitlines())


def test_many_findings_are_cut_short_in_words_alone():
    many = [finding(evidence=f"number {n}") for n in range(50)]
    table = findings(*many, *(finding(unit=n, path="x") for n in range(99)))
    assert len(table) == 149
    assert len(repr(table).splitlines()) < 20
    assert "and 47 more: findings.to_frame() has all" in repr(table)


def test_what_follows_is_told_under_its_cause():
    text = repr(
        findings(
            finding("rate", "severe", "too high"),
            finding("nan", "severe", "all NaN", cause="rate"),
            *(
                finding("dead", evidence=f"{n}", path=f"x{n}", unit=n, cause="rate")
                for n in range(1, 9)
            ),
            finding("other", "note", "else"),
        )
    )
    assert text.startswith("<Findings: 1 severe, 1 note; 9 records")
    assert "From this follows:\n    nan: All NaN.\n    dead in 8 layers, as x1" in text
    assert text.count("Try this.") == 2  # What follows needs no advice of its own.


def test_however_much_was_found_it_is_a_screen():
    many = [
        finding(f"rule_{n}", "severe", f"seen {'much ' * 55}{k}", path=f"x{k}/kernel")
        for n in range(20)
        for k in range(30)
    ]
    rest = [
        finding(f"more_{n}", evidence="seen " * 60, path=f"x{k}", cause="rule_0")
        for n in range(9)
        for k in range(3)
    ]
    why = {f"blind_{n}": f"it lacks {'much ' * 60}{n}" for n in range(20)}
    text = repr(findings(*many, *rest, not_looked=why, looked=["a"] * 20))
    lines = text.splitlines()
    assert len(lines) <= 40, text
    assert max(map(len, lines)) <= 88
    assert "more causes: findings.to_frame() has all" in text


def test_a_notebook_sees_the_table_whole():
    page = published(0.3).diagnose()._repr_html_()
    assert "<table" in page
    assert "are exactly 0 in all 10 records" in page  # Not cut off.
    assert "Looked: " in page
    assert ", nan," in page


@pytest.mark.filterwarnings("error")
def test_it_can_be_pickled():
    table = findings(finding(unit=1), not_looked={"c": "why"})
    again = pickle.loads(pickle.dumps(table))
    assert repr(again) == repr(table)
