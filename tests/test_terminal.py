"""What a recording holds, on a terminal and on a page: seen, and never obeyed."""

import io
import json
import sys
from html.parser import HTMLParser

import pytest
from synthetic import noise, recording_of

import hrcallbacks as hr
from hrcallbacks.cli.parser import main
from hrcallbacks.diagnose.findings import Finding, Findings
from hrcallbacks.storage.checksums import signed
from hrcallbacks.terminal import visible

# Clears the screen, sets colours by a C1 control, sets the title, turns text around.
HARM = "\x1b[2J\x9b31m\x1b]0;title\x07\u202egpj\r\u2028"
TAG = "<img src=x onerror=alert(1)>"


def is_harmless(text):
    return all(character.isprintable() for character in text.replace("\n", ""))


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("dense/kernel", "dense/kernel"),
        ("größe_λ/重み", "größe_λ/重み"),
        ("\x1b[31m", r"\x1b[31m"),
        ("\x9b31m", r"\x9b31m"),
        ("\N{RIGHT-TO-LEFT OVERRIDE}x", r"\u202ex"),
        ("a\nb\tc\rd\x7f", r"a\nb\tc\rd\x7f"),
        ("\N{LINE SEPARATOR}\U000e0001\ud800", r"\u2028\U000e0001\ud800"),
    ],
)
def test_what_does_not_print_is_shown_as_its_escape(text, shown):
    assert visible(text) == shown
    assert visible(f"{text}\n", keep="\n") == f"{shown}\n".replace(r"a\nb", "a\nb")


def recording(name, **attributes):
    """A recording in which every text is the one given."""
    arrays = {
        f"{name}/a/kernel": noise(6, 3, 2),
        f"{name}/b/kernel": noise(6, 5),
    }
    made = recording_of(
        arrays, arrays, record_freq=name, backend=name, loss=[1.0] * 6, **attributes
    )
    made.index[name] = 0.5
    return made


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store in which every text is harmful."""
    recording(HARM).save(tmp_path / "run.zarr")
    file = tmp_path / "run.zarr" / "zarr.json"
    described = json.loads(file.read_text())
    fit = described["attributes"]["fits"][0]
    fit["fault"] = HARM
    fit["optimizers"] = {HARM: {"class_name": HARM, "has_state": False}}
    described["attributes"] = signed(described["attributes"])  # As anybody can.
    file.write_text(json.dumps(described))
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize(
    "command",
    [
        "show run.zarr",
        "table run.zarr --variables nothing",
        "table run.zarr --names symbol --biases --variables */b/kernel",
        "plot run.zarr --what network",
        "plot run.zarr --what heatmap --variables nothing",
    ],
)
def test_commands_make_what_does_not_print_visible(store, capsys, command):
    status = main(command.split())
    output, errors = capsys.readouterr()
    assert r"\x1b" in output + errors
    assert is_harmless(output + errors)
    assert status == (0 if command.startswith("show") else 2), errors


class FakeTerminal(io.StringIO):
    def isatty(self):
        return True


def test_a_table_is_exact_in_a_file_and_harmless_on_a_terminal(
    store, monkeypatch, capsys
):
    assert main(["table", "run.zarr"]) == 0
    exact, _ = capsys.readouterr()
    assert HARM in exact
    monkeypatch.setattr(sys, "stdout", FakeTerminal())
    assert main(["table", "run.zarr"]) == 0
    shown = sys.stdout.getvalue()
    assert is_harmless(shown)
    assert shown == visible(exact, keep="\n")


def test_reprs_are_harmless():
    harmful = recording(HARM, reductions={"gradients": {}, "weights": {}})
    for shown in (harmful, harmful.gradients, harmful.plot):
        assert is_harmless(repr(shown))
    assert r"\x1b[2J" in repr(harmful)


def test_reprs_of_what_is_on_disk_are_harmless(store):
    opened = hr.open_recording("run.zarr")
    assert "INCOMPLETE" in repr(opened)
    for shown in (opened, next(iter(opened.gradients.values()))):
        assert is_harmless(repr(shown))


def test_findings_are_harmless():
    found = Finding(HARM, "note", f"seen {HARM}", f"this {HARM}", path=HARM, unit=1)
    table = Findings.of([found], looked=[HARM], not_looked={HARM: HARM}, about=HARM)
    assert is_harmless(repr(table))
    assert is_harmless(str(table))


class Tags(HTMLParser):
    """The tags of a page, as a browser finds them."""

    def __init__(self, page):
        super().__init__()
        self.tags, self.text = [], ""
        self.feed(page)

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)

    def handle_data(self, data):
        self.text += data


def test_no_text_of_a_recording_becomes_a_tag():
    harmful = recording(TAG + HARM)
    harmful.attributes |= {"complete": False, "fault": TAG}
    page = Tags(harmful._repr_html_())
    # The path of each variable, the index' column, and the fault.
    assert page.text.count(TAG) == 4
    assert "img" not in page.tags
    assert r"\x1b" in page.text
    found = Finding(TAG, "note", TAG, TAG, path=TAG)
    table = Findings.of([found], looked=[TAG], not_looked={TAG: TAG}, about=TAG)
    page = Tags(table._repr_html_())
    assert page.text.count(TAG) == 8
    assert "img" not in page.tags


def test_a_shape_that_is_text_becomes_no_tag():
    """As of an empty recording that no store has checked."""
    harmful = recording("net")
    harmful.attributes["variables"] = [("net/a/kernel", [TAG])]
    harmful.index = harmful.index.iloc[:0]
    page = Tags(harmful._repr_html_())
    assert TAG in page.text
    assert "img" not in page.tags
