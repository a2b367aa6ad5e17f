"""Tables as text: what is read back, and what LaTeX makes of it."""

import io
import re
import shutil
import subprocess
import sys

import csv_text
import numpy as np
import pandas as pd
import pytest

import hrcallbacks as hr
from hrcallbacks.export.typeset import page_layout, write_table


def text_of(frame, form, **options):
    file = io.StringIO()
    write_table(frame, file, form=form, **options)
    return file.getvalue()


@pytest.fixture(scope="module")
def published():
    """A published table, with the columns that a recording has beside it."""
    table = hr.load_published_table(0.1)
    table.insert(0, "step", table["epoch"])
    table.insert(2, "batch", 1)
    table.insert(3, "learning_rate", 0.1)
    return table


@pytest.fixture
def awkward():
    return pd.DataFrame(
        {
            "step": [1, 2],
            "path": ["my_layer#2/a&b%c$d", "~^\\{}<x>|y\n\n$x^{$"],
            "a_b#&%$~^\\{}<>|": [1.5, -2e-9],
            "w^10_123": np.float32([np.nan, -np.inf]),
        }
    )


def test_csv_gives_every_float_back():
    floats = np.float32([0.1, 1 / 3, 1e-45, 3.4e38, -0.0, np.nan, np.inf])
    frame = pd.DataFrame({"step": range(7), "a": floats, "b": 1e-9 * np.pi})
    read = csv_text.read(text_of(frame, "csv"))
    pd.testing.assert_frame_equal(
        read, frame.astype({"a": "float64"}), check_exact=True
    )
    np.testing.assert_array_equal(np.signbit(read["a"]), np.signbit(floats))


def test_page_layout_has_the_published_columns(published):
    expected = hr.load_published_table(0.1)
    pd.testing.assert_frame_equal(page_layout(published), expected)
    several = published.assign(epoch=[1] * 5 + [2] * 5, learning_rate=np.arange(10.0))
    assert [*page_layout(several)][:4] == ["step", "learning_rate", "output", "loss"]


def cells(tabular):
    rows = [row for row in tabular.splitlines() if row.endswith(r"\\")]
    return [row.removesuffix(r" \\").split(" & ") for row in rows]


def test_latex_has_the_published_numbers_in_blocks_of_a_page(published):
    expected = hr.load_published_table(0.1)
    text = text_of(page_layout(published), "latex")
    found = {}
    blocks = re.findall(r"\\begin\{tabular\}.*?\\end\{tabular\}", text, re.S)
    assert len(blocks) == 5
    for block in blocks:
        head, *rows = cells(block)
        assert head[0] == "epoch"
        for name, column in zip(head, zip(*rows, strict=True), strict=True):
            found[name] = [float(cell.strip("$")) for cell in column]
    assert [*found][:5] == ["epoch", "output", "loss", "$w^1_1$", "$g^1_1$"]
    np.testing.assert_array_equal(pd.DataFrame(found), expected)


def test_long_tables_go_on_below():
    frame = pd.DataFrame({"step": range(1, 101), "x": 0.5})
    blocks = text_of(frame, "latex").split(r"\begin{tabular}")[1:]
    steps = [row[0] for block in blocks for row in cells(block)[1:]]
    assert steps == [str(step) for step in range(1, 101)]
    assert len(blocks) == 3


def test_small_numbers_are_not_printed_as_zero():
    frame = pd.DataFrame({"step": [1, 2, 3, 4], "x": [0.0, 4e-7, 6e-7, -12345678.0]})
    column = [row[1] for row in cells(text_of(frame, "latex"))[1:]]
    assert column == [
        "0.000000",
        r"$4.000\times10^{-7}$",
        "0.000001",
        r"$-1.235\times10^{7}$",
    ]


def test_markdown_reads_back(published):
    rows = text_of(page_layout(published), "markdown").splitlines()
    split = [[cell.strip() for cell in row.strip("|").split("|")] for row in rows]
    assert split[0][:4] == ["epoch", "output", "loss", "$w^1_1$"]
    assert set("".join(split[1])) == {"-", ":"}
    np.testing.assert_array_equal(
        np.array(split[2:], float), hr.load_published_table(0.1)
    )


def test_markdown_keeps_pipes_in_their_cells(awkward):
    head, _, *rows = text_of(awkward, "markdown").splitlines()
    assert [len(re.findall(r"(?<!\\)\|", row)) for row in (head, *rows)] == [5, 5, 5]
    assert "$w^{10}_{123}$" in head
    assert "-2.000e-09" in rows[1]


NAMES = [
    *("$x^{$", "$y$", "a&b", "a\\b", r"a\|b", "a|b", "*a*", "_a_", "a_b_c", "`a`"),
    *("[a](http://b)", "![a](b)", "<img src=x onerror=alert(1)>", "<!--", "&lt;"),
    *("~~a~~", "a^2^", "=1+1", "=cmd|' /C calc'!A0", "+1", "-1", "@a", "w^1", "{}%s"),
    *("w^1_1\n", '"a', "a,b", "'"),
]
# As they are shown: one line each.
SHOWN = {name: name.replace("\n", r"\n") for name in NAMES}
BROKEN = ["a\nb", "a\r\nb\rc", "a\n\nb", "\x1b[31m", "\u202ea"]


def of_names(names):
    """A table with each name in its head, and in a cell."""
    frame = pd.DataFrame({"path": names, "x": 0.5})
    return frame.assign(**dict.fromkeys(names, 1))


def test_markdown_shows_names_as_they_are():
    markdown_it = pytest.importorskip("markdown_it")
    parser = markdown_it.MarkdownIt("commonmark").enable(["table", "strikethrough"])
    names = NAMES + BROKEN
    shown = [name.encode("unicode_escape").decode() for name in BROKEN]
    shown = [*SHOWN.values(), *shown]
    text = text_of(of_names(names), "markdown")
    cells = [token for token in parser.parse(text) if token.type == "inline"]
    texts = [cell.children for cell in cells]
    # Plain text and characters that were escaped: no tag, link, image or emphasis.
    assert {part.type for parts in texts for part in parts} == {"text"}
    plain = ["".join(part.content for part in parts) for parts in texts]
    assert plain[: len(names) + 2] == ["path", "x", *shown]
    assert plain[len(names) + 2 :: len(names) + 2] == shown


def test_markdown_has_no_mathematics_but_symbols():
    """GitHub and Pandoc take `$` that no backslash escapes for mathematics."""
    text = text_of(of_names([*NAMES, "w^1_1"]), "markdown")
    assert re.findall(r"(?<!\\)\$[^$]*\$", text) == ["$w^1_1$"]


def test_csv_gives_every_name_back():
    frame = of_names(NAMES + BROKEN)
    read = csv_text.read(text_of(frame, "csv"))
    pd.testing.assert_frame_equal(read, frame)


@pytest.mark.parametrize("name", NAMES + BROKEN)
def test_latex_escapes_names(name):
    text = text_of(of_names([name]), "latex")
    (head, *_, _), row = cells(text)
    for cell in (text.split(" & ")[2].split(r" \\")[0], row[0]):
        left = cell
        for command in (r"\textbackslash ", r"\textasciitilde ", r"\textasciicircum "):
            left = left.replace(command, "")
        left = re.sub(r"\\text(less|greater|bar)\{\}|\\[&%$#_{}]", "", left)
        assert not set(left) & set("\\{}$&#^_~%<>|\n\r\x1b"), cell
    assert head == "path"


@pytest.mark.parametrize(
    ("module", "form"), [("jinja2", "latex"), ("tabulate", "markdown")]
)
def test_what_is_missing_is_named(monkeypatch, awkward, module, form):
    monkeypatch.setitem(sys.modules, module, None)
    monkeypatch.delitem(sys.modules, "pandas.io.formats.style", False)
    with pytest.raises(ImportError, match=r'pip install "hrcallbacks\[tables\]"'):
        text_of(awkward, form)


def compiled(text, folder):
    """What pdflatex says of a document."""
    if not shutil.which("pdflatex"):
        pytest.skip("needs pdflatex (Debian: texlive-latex-base)")
    (folder / "table.tex").write_text(text, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "table.tex"]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stdout
    return result.stdout


def test_the_published_layout_compiles_and_fits_on_a_page(tmp_path, published):
    said = compiled(text_of(page_layout(published), "latex", standalone=True), tmp_path)
    assert "Overfull" not in said
    assert "(1 page," in said


def test_any_name_compiles(tmp_path, awkward):
    said = compiled(text_of(awkward, "latex", standalone=True), tmp_path)
    assert "Missing character" not in said
