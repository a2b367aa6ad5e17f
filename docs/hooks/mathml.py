r"""Mathematics at build time: TeX becomes MathML, which browsers draw by themselves.

Markdown pages mark their formulas through `pymdownx.arithmatex`; notebook pages
through the renderer that is changed here. `\tag{4}` numbers an equation, and gives it
the anchor `#eq-4`. A formula that cannot be converted fails the build.
"""

import html
import re

import math_core
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from nbconvert.filters.markdown_mistune import IPythonRenderer

_MARKED = re.compile(
    r'<(?P<kind>span|div) class="arithmatex">\\[(\[](?P<tex>.*?)\\[)\]]</(?P=kind)>',
    re.S,
)
_CONVERTER = math_core.LatexToMathML(fancy_error=False)


def _marked(kind, opening, closing):
    def render(self, *body):
        text = self.escape_html(body[-1])
        return f'<{kind} class="arithmatex">{opening}{text}{closing}</{kind}>'

    return render


IPythonRenderer.inline_math = _marked("span", r"\(", r"\)")
IPythonRenderer.block_math = _marked("div", r"\[", r"\]")


@event_priority(-50)  # After the page of a notebook is cleaned.
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
