"""Reads an executed notebook as Markdown, so that MkDocs treats it like any other page.

Why: mkdocs-jupyter makes a notebook a page, but renders it past Markdown. Titles lose
their code, links are neither checked nor resolved, and each page carries its own 600 KB
of styles. Here MkDocs renders the text, and the outputs are put in afterwards.
"""

import html
import re

import nbformat
from mkdocs.plugins import event_priority

_SLOT = '<div data-output="{}"></div>'
_KINDS = ("text/html", "image/svg+xml", "text/plain")  # The best first.
_UNSOUGHT = "data-search-exclude"
_COLUMN = 358  # Pixels of text beside each other on a phone of 390.
# Whatever moves for longer than five seconds can be stopped (WCAG 2.2.2).
_PAUSE = '<label class="pause"><input type="checkbox"> Pause</label>'


def on_pre_page(page, **_):
    """Undoes mkdocs-jupyter's own rendering, which it sets on the page."""
    vars(page).pop("render", None)


def on_page_read_source(page, **_):
    """The Markdown of a notebook; of other pages, what MkDocs reads."""
    if not page.file.src_uri.endswith(".ipynb"):
        return None
    page.outputs = []
    book = nbformat.read(page.file.abs_src_path, as_version=4)
    return "\n\n".join(part for cell in book.cells for part in parts(cell, page))


@event_priority(50)  # Before formulas are converted.
def on_page_content(content, page, **_):
    """Puts the outputs in."""
    for number, output in enumerate(getattr(page, "outputs", ())):
        content = content.replace(_SLOT.format(number), output)
    return content


def parts(cell, page):
    """Yields the text of a cell, or its code and a slot for each of its outputs."""
    if cell.cell_type == "markdown":
        yield cell.source
        return
    tags = cell.metadata.get("tags", [])
    code = f"~~~~python\n{cell.source}\n~~~~"
    if "setup" in tags:
        yield '??? setup "Imports and options"\n\n    ' + code.replace("\n", "\n    ")
    elif cell.source and "picture" not in tags:
        yield code
    for output in cell.get("outputs", ()):
        yield _SLOT.format(len(page.outputs))
        page.outputs.append(shown(output))


def shown(output):
    """The HTML of an output, in a frame that scrolls where the page is narrow."""
    data = output.get("data", {"text/plain": output.get("text", "")})
    kind = next(kind for kind in _KINDS if kind in data)
    body = data[kind]
    if kind == "image/svg+xml":
        pause = _PAUSE * ("@keyframes" in body)
        # What scrolls must be reachable by keyboard.
        focus = ' tabindex="0"' * (least_width(body) > _COLUMN)
        return f'<div class="output figure" {_UNSOUGHT}{focus}>{body}{pause}</div>'
    body = trimmed(body) if kind == "text/html" else f"<pre>{html.escape(body)}</pre>"
    # Nobody searches for numbers, and each page loads the whole index.
    unsought = _UNSOUGHT * ("<table" in body)
    return f'<div class="output" tabindex="0" {unsought}>{body}</div>'


def least_width(svg):
    """The width in pixels that a figure keeps on any screen."""
    found = re.search(r"min-width: (\d+)px", svg)
    return int(found[1]) if found else 0


def trimmed(markup):
    """HTML for notebooks without the styles that the theme has."""
    if "<table" in markup or 'class="highlight"' in markup:
        markup = re.sub(r"<style.*?</style>", "", markup, flags=re.S)
    markup = re.sub(r'(<table[^>]*) border="1"', r"\1", markup)
    markup = re.sub(r"(</table>)\s*<p>\d+ rows . \d+ columns</p>", r"\1", markup)
    code = r'(<div class="highlight"><pre>)(.*?)(</pre>)'  # Of IPython.display.Code.
    return re.sub(code, r"\1<code>\2</code>\3", markup, flags=re.S)
