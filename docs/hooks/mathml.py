r"""Mathematics at build time: TeX becomes MathML, which browsers draw by themselves.

Why: KaTeX and MathJax draw in the browser, from half a megabyte of scripts.
`pymdownx.arithmatex` marks the formulas. `\tag{4}` numbers an equation, and gives it
the anchor `#eq-4`. A formula that cannot be converted fails the build.
"""

import html
import re

import math_core
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority

_MARKED = re.compile(
    r'<(?P<kind>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=kind)>',
    re.S,
)
_CONVERTER = math_core.LatexToMathML(fancy_error=False)


@event_priority(-50)  # After a notebook's outputs are in.
def on_page_content(content, page, **_):
    """Converts the formulas of a page."""

    def convert(match):
        display, tex = match["kind"] == "div", html.unescape(match["tex"]).strip()
        try:
            return as_mathml(tex, display=display)
        except math_core.LatexError as error:
            raise PluginError(f"{page.file.src_uri}: {tex}\n{error}") from None

    return _MARKED.sub(convert, content)


def as_mathml(tex, *, display):
    """The MathML of a formula, with its number beside it if it has one."""
    tag = re.search(r"\\tag\{(\w+)\}", tex)
    if tag:
        tex = tex.replace(tag[0], "")
    formula = _CONVERTER.convert_with_local_state(tex, displaystyle=display)
    if not display:
        return formula
    number = f'<span class="equation-number">({tag[1]})</span>' if tag else ""
    anchor = f' id="eq-{tag[1]}"' if tag else ""
    # Focusable, since a narrow screen scrolls it.
    return (
        f'<div class="equation"{anchor}>'
        f'<div class="equation-body" tabindex="0">{formula}</div>{number}</div>'
    )
