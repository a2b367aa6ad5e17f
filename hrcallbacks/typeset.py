"""Tables as text: CSV to compute with, LaTeX and Markdown to print.

LaTeX goes through pandas' Styler (Jinja2), Markdown through tabulate.
"""

import math
import re
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.terminal import visible

FORMATS = ("csv", "latex", "markdown")

_SYMBOL = re.compile(r"^(w|g|b|gb)\^(\d+)_(\d+)$")
# Characters in footnotesize, a third of an em between columns, on LaTeX's narrowest
# usual line (345 pt, of `article`), and rows on its page.
_LINE = 80
_ROWS = 40
# Each followed by a strut: room around superscripts and subscripts, and above numbers.
_RULES: Any = [
    {"selector": "toprule", "props": r":hline\rule[-0.9ex]{0pt}{3.6ex};"},
    {"selector": "midrule", "props": r":hline\rule{0pt}{2.4ex};"},
    {"selector": "bottomrule", "props": ":hline;"},
]
# What Markdown, as GitHub and Pandoc read it, may take for something else than text.
_MARKS = re.compile(r"[\\`*_\[\]<>&$~^|]")
# In LaTeX's oldest encoding these characters print as others; pandas leaves them.
_OTHERS = {"<": r"\textless{}", ">": r"\textgreater{}", "|": r"\textbar{}"}


def page_layout(frame):
    """The columns of a wide table with symbols that the published tables have.

    Args:
        frame: DataFrame of `Recording.to_frame(names="symbol")`.

    Returns:
        DataFrame of `epoch` (or `step`, where an epoch has several records), the
        metrics, `loss`, and the elements. A learning rate stays if it changes.
    """
    key = "epoch" if frame["epoch"].is_unique else "step"
    elements = [name for name in frame if _SYMBOL.match(name)]
    fixed = {"step", "epoch", "batch", "loss", *elements}
    others = [
        name
        for name in frame
        if name not in fixed
        and not (name.startswith("learning_rate") and frame[name].nunique() <= 1)
    ]
    return frame[[key, *others, "loss", *elements]]


def write_table(frame, file, *, form, standalone=False):
    """Writes a table as text.

    Args:
        frame: DataFrame whose first column says what a row is of; its index is left
            out.
        file: A file that is open for text.
        form: `"csv"`: every digit and every name as it is, so that what is read back is
            equal, floats in float64. A spreadsheet takes a name that begins with `=`
            for a formula: have it read such columns as text. `"latex"`: `tabular`s
            that need no package, as many side by side and below each other as the page
            asks for, the first column repeated in each. `"markdown"`: a table as GitHub
            and Pandoc read it. In print, names are shown as they are, and what does
            not print as its escape.
        standalone: Of LaTeX, whether to make it a document.

    Numbers for print have six decimals, as the published tables; a number that would
    then be zero and is not, or is a million or more, is written with its exponent.

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
        frame.astype(floats).to_csv(file, index=False, lineterminator="\n")
        return
    frame = _printable(frame)
    if form == "latex":
        file.write(_document(_latex(frame)) if standalone else _latex(frame))
    else:
        file.write(_markdown(frame))


def _printable(frame: pd.DataFrame) -> pd.DataFrame:
    """A table with line breaks and the like in its texts made visible."""
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


def _latex(frame):
    return (
        "{\\footnotesize\\setlength{\\tabcolsep}{3pt}\\setlength{\\parindent}{0pt}\n"
        + "\\par\\medskip\n".join(_tabular(block) for block in _blocks(frame))
        + "\\par}\n"
    )


def _document(text):
    return (
        "\\documentclass{article}\n\\pagestyle{empty}\n"
        "\\setlength{\\topmargin}{-30pt}\\setlength{\\textheight}{640pt}\n"
        "\\begin{document}\n"
        f"{text}\\end{{document}}\n"
    )


def _blocks(frame):
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


def _tabular(block):
    try:
        from pandas.io.formats.style import Styler
    except ImportError as error:
        raise _missing("Jinja2", error) from error
    styler = Styler(block).hide(axis="index").set_table_styles(_RULES)
    styler.format(_latex_cell, escape="latex")
    styler.format_index(_latex_header, escape="latex", axis="columns")
    return styler.to_latex(column_format="".join(_sides(block)))


def _latex_header(escaped):
    name = escaped.replace(r"\textasciicircum ", "^").replace(r"\_", "_")
    return _math(name) if _SYMBOL.match(name) else _latex_cell(escaped)


def _latex_cell(value):
    if isinstance(value, str):
        return "".join(_OTHERS.get(character, character) for character in value)
    text = _plain(value)
    mantissa, e, exponent = text.partition("e")
    if e:
        return f"${mantissa}\\times10^{{{int(exponent)}}}$"
    if text.startswith("-") or text == "inf":  # A minus is not a hyphen.
        return f"${text}$".replace("inf", r"\infty")
    return text


def _markdown(frame):
    try:
        import tabulate
    except ImportError as error:
        raise _missing("tabulate", error) from error
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
    """Text of which nothing is emphasis, a link, a tag, code or mathematics."""
    return _MARKS.sub(r"\\\g<0>", text)


def _math(name):
    r"""`w^1_12` as `$w^1_{12}$`; what is no symbol stays."""

    def braced(match):
        letters, *numbers = match.groups()
        above, below = (n if len(n) == 1 else f"{{{n}}}" for n in numbers)
        return f"${letters}^{above}_{below}$"

    return _SYMBOL.sub(braced, name)


def _sides(frame):
    return ["r" if frame[name].dtype.kind in "iuf" else "l" for name in frame]


def _plain(value):
    if not isinstance(value, float | np.floating):
        return str(value)
    text = f"{value:.6f}"
    if math.isfinite(value) and (abs(value) >= 1e6 or (value and not float(text))):
        return f"{value:.3e}"
    return text


def _missing(what, error):
    return ImportError(
        f"This needs {what} ({error}). Install it with: "
        'pip install "hrcallbacks[tables]".'
    )
