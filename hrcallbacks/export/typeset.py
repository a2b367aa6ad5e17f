"""Tables as text: CSV to compute with, LaTeX and Markdown to print.

LaTeX goes through pandas' Styler (Jinja2), Markdown through tabulate.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from typing import Any, Literal, Protocol

import numpy as np
import pandas as pd

from hrcallbacks.optional import optional
from hrcallbacks.terminal import visible

FORMATS = ("csv", "latex", "markdown")

_SYMBOL = re.compile(r"^(w|g|b|gb)\^(\d+)_(\d+)$")
# How many characters in footnotesize, a third of an em between columns, fit on LaTeX's
# narrowest usual line (345 pt, in `article`), and how many rows on its page.
_LINE = 80
_ROWS = 40
# Each followed by a strut: room around superscripts and subscripts, and above numbers.
_RULES: Any = [
    {"selector": "toprule", "props": r":hline\rule[-0.9ex]{0pt}{3.6ex};"},
    {"selector": "midrule", "props": r":hline\rule{0pt}{2.4ex};"},
    {"selector": "bottomrule", "props": ":hline;"},
]
# What Markdown, as GitHub and Pandoc read it, may take for something other than text.
_MARKS = re.compile(r"[\\`*_\[\]<>&$~^|]")
# In LaTeX's oldest encoding these print as other characters; pandas leaves them.
_OTHERS = {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


class Writable(Protocol):
    """A file to which text can be written."""

    def write(self, text: str, /) -> object:
        """Writes text."""
        ...


def page_layout(frame: pd.DataFrame) -> pd.DataFrame:
    """The columns of a wide table with symbols that the published tables have too.

    Args:
        frame: The result of `Recording.to_frame(names="symbol")`.

    Returns:
        The columns `epoch` (or `step`, if an epoch has several records), the metrics,
        `loss`, and the elements. A learning rate is kept if it changes.
    """
    key = "epoch" if frame["epoch"].is_unique else "step"
    elements = [name for name in frame if _SYMBOL.match(name)]
    fixed = {"step", "epoch", "batch", "loss", *elements}
    others = [
        name
        for name in frame
        if name not in fixed
        and not (name.startswith("learning_rate") and frame.loc[:, name].nunique() <= 1)
    ]
    return frame.loc[:, [key, *others, "loss", *elements]]


def write_table(
    frame: pd.DataFrame,
    file: Writable,
    *,
    form: Literal["csv", "latex", "markdown"],
    standalone: bool = False,
) -> None:
    """Writes a table as text.

    Args:
        frame: The table. Its first column says what a row is about; its index is left
            out.
        file: Where to write: a file open for text.
        form: `"csv"`: every digit and every name as it is, so that what is read back is
            equal, with floats in float64. A spreadsheet takes a name that begins with
            `=` for a formula: have it read such columns as text. `"latex"`: `tabular`s
            that need no package, split to fit the page, the first column repeated in
            each. `"markdown"`: a table as GitHub and Pandoc read it. In print,
            characters that do not print are shown as escapes.
        standalone: Whether LaTeX is written as a whole document.

    Printed numbers have six decimals, as in the published tables. A number that would
    be rounded to zero, or is a million or more, is written with its exponent.

    Raises:
        ImportError: If Jinja2 (for LaTeX) or tabulate (for Markdown) is not installed.

    Example:
        >>> import sys
        >>> import pandas as pd
        >>> table = pd.DataFrame({"epoch": [1, 2], "w^1_12": [0.5, -2e-9]})
        >>> write_table(table, sys.stdout, form="csv")
        epoch,w^1_12
        1,0.5
        2,-2e-09
    """
    if form == "csv":
        floats = {n: "float64" for n in frame if frame[n].dtype.kind == "f"}
        out: Any = file  # pandas' annotations ask for more than it uses.
        frame.astype(floats).to_csv(out, index=False, lineterminator="\n")
        return
    frame = _printable(frame)
    if form == "latex":
        file.write(_document(_latex(frame)) if standalone else _latex(frame))
    else:
        file.write(_markdown(frame))


def _printable(frame: pd.DataFrame) -> pd.DataFrame:
    """The table with line breaks and the like in its texts made visible."""
    names = [visible(str(name)) for name in frame]
    columns = [
        frame[name]
        if frame[name].dtype.kind in "biufc"
        else frame[name].astype(object).map(lambda value: visible(str(value)))
        for name in frame
    ]
    made = pd.concat(columns, axis=1)
    made.columns = names
    return made


def _latex(frame: pd.DataFrame) -> str:
    return (
        "{\\footnotesize\\setlength{\\tabcolsep}{3pt}\\setlength{\\parindent}{0pt}\n"
        + "\\par\\medskip\n".join(_tabular(block) for block in _blocks(frame))
        + "\\par}\n"
    )


def _document(text: str) -> str:
    return (
        "\\documentclass{article}\n\\pagestyle{empty}\n"
        "\\setlength{\\topmargin}{-30pt}\\setlength{\\textheight}{640pt}\n"
        "\\begin{document}\n"
        f"{text}\\end{{document}}\n"
    )


def _blocks(frame: pd.DataFrame) -> Iterator[pd.DataFrame]:
    """Parts of a table that fit on a line and on a page."""
    widths = [
        2 + max(len(name), *(len(_plain(v)) for v in frame[name])) for name in frame
    ]
    groups, room = [[0]], _LINE - widths[0]
    for place, width in enumerate(widths[1:], start=1):
        if width > room and len(groups[-1]) > 1:
            groups.append([0])
            room = _LINE - widths[0]
        groups[-1].append(place)
        room -= width
    for start in range(0, len(frame), _ROWS):
        for group in groups:
            yield frame.iloc[start : start + _ROWS, group]


def _tabular(block: pd.DataFrame) -> str:
    with optional("Jinja2", extra="tables"):
        from pandas.io.formats.style import Styler
    styler = Styler(block).hide(axis="index").set_table_styles(_RULES)
    styler.format(_latex_cell, escape="latex")
    styler.format_index(_latex_header, escape="latex", axis="columns")
    return styler.to_latex(column_format="".join(_sides(block)))


def _latex_header(escaped: str) -> str:
    name = escaped.replace(r"\textasciicircum ", "^").replace(r"\_", "_")
    return _math(name) if _SYMBOL.match(name) else _latex_cell(escaped)


def _latex_cell(value: object) -> str:
    if isinstance(value, str):
        return "".join(_OTHERS.get(character, character) for character in value)
    text = _plain(value)
    mantissa, e, exponent = text.partition("e")
    if e:
        return f"${mantissa}\\times10^{{{int(exponent)}}}$"
    if text.startswith("-") or text == "inf":  # A minus is not a hyphen.
        return f"${text}$".replace("inf", r"\infty")
    return text


def _markdown(frame: pd.DataFrame) -> str:
    with optional("tabulate", extra="tables"):
        import tabulate
    headers = [_math(n) if _SYMBOL.match(n) else _markdown_text(n) for n in frame]
    rows = [
        [_markdown_text(v) if isinstance(v, str) else _plain(v) for v in row]
        for row in frame.itertuples(index=False, name=None)
    ]
    sides = {"l": "left", "r": "right"}
    return (
        tabulate.tabulate(
            rows,
            headers,
            tablefmt="pipe",
            disable_numparse=True,
            colalign=[sides[side] for side in _sides(frame)],
        )
        + "\n"
    )


def _markdown_text(text: str) -> str:
    """Text with all Markdown escaped: emphasis, links, tags, code and formulas."""
    return _MARKS.sub(r"\\\g<0>", text)


def _math(name: str) -> str:
    r"""`w^1_12` as `$w^1_{12}$`; anything else stays as it is."""

    def braced(match: re.Match[str]) -> str:
        letters, *numbers = match.groups()
        above, below = (n if len(n) == 1 else f"{{{n}}}" for n in numbers)
        return f"${letters}^{above}_{below}$"

    return _SYMBOL.sub(braced, name)


def _sides(frame: pd.DataFrame) -> list[Literal["l", "r"]]:
    return ["r" if frame[name].dtype.kind in "iuf" else "l" for name in frame]


def _plain(value: object) -> str:
    if not isinstance(value, float | np.floating):
        return str(value)
    text = f"{value:.6f}"
    if math.isfinite(value) and (abs(value) >= 1e6 or (value and not float(text))):
        return f"{value:.3e}"
    return text
