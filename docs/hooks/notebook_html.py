"""Makes pages of notebooks look and link as the site's other pages do.

mkdocs-jupyter renders notebooks for pages of any theme, with styles and scripts of its
own in each page. Here their cells are put in the elements that the theme styles, so
that these can go; links are checked and resolved as MkDocs does in Markdown pages.
"""

import base64
import copy
import logging
import posixpath
import re
from urllib.parse import urldefrag

from bs4 import BeautifulSoup
from markdown.extensions.toc import slugify, unique
from mkdocs.structure.toc import get_toc
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import PythonLexer

# Drawings that mkdocs-jupyter has put into images, where no style of the page reaches.
_EMBEDDED = re.compile(r'<img [^>]*?"data:image/svg\+xml;base64,([^"]+)"[^>]*>')

_COLUMN = 358  # Pixels of text beside each other on a phone of 390.

log = logging.getLogger("mkdocs.hooks.notebook_html")


def on_page_content(content, page, files, **_):
    """Cleans the page of a notebook."""
    if not page.file.src_uri.endswith(".ipynb"):
        return content
    soup = BeautifulSoup(content, "html.parser")
    body = BeautifulSoup("", "html.parser")
    for cell in soup.select(".jp-Cell"):
        if cell.find_parent(class_="jp-Cell"):
            continue
        body.extend(code(cell) if "jp-CodeCell" in cell["class"] else prose(cell))
    page.toc = get_toc(name_headings(body))
    link(body, page, files)
    return _EMBEDDED.sub(lambda match: base64.b64decode(match[1]).decode(), str(body))


def prose(cell):
    """What a Markdown cell shows."""
    for anchor in cell.select(".anchor-link"):
        anchor.decompose()
    for block in cell.select(".highlight > pre"):
        text = parsed("<code></code>")
        text.extend(list(block.contents))
        block.append(text)
    return list(cell.select_one(".jp-RenderedMarkdown").contents)


def code(cell):
    """What a code cell shows: its source, and what came out."""
    parts = []
    source = cell.select_one(".jp-InputArea pre")
    if source is not None and source.get_text().strip():
        parts.append(parsed(as_highlighted(source.get_text().strip("\n"))))
        if "celltag_setup" in cell["class"]:
            parts = [folded(parts.pop(), "Imports and options")]
        elif "celltag_picture" in cell["class"]:
            parts = []
    for output in cell.select(".jp-OutputArea-output"):
        parts.append(as_output(output))
    return parts


def folded(element, summary):
    """The element, shown on request."""
    details = parsed(f"<details><summary>{summary}</summary></details>")
    details.append(element)
    return details


def as_highlighted(source):
    """Python in the theme's colours."""
    formatter = HtmlFormatter(cssclass="language-python highlight", wrapcode=True)
    return highlight(source, PythonLexer(), formatter)


def as_output(output):
    """An output in an element that scrolls by itself where the page is narrow."""
    for style in output.select("style"):
        style.decompose()
    for table in output.select("table"):
        del table["border"]
    for size in output.select("table.dataframe + p"):  # "10 rows x 26 columns"
        size.decompose()
    for shown in output.select(".highlight"):  # Of IPython.display.Code.
        shown.replace_with(parsed(as_highlighted(shown.get_text().strip("\n"))))
    frame = parsed('<div class="output" tabindex="0"></div>')
    if output.select_one("img"):
        frame["class"] = ["output", "figure"]
        if least_width(output) <= _COLUMN:
            del frame["tabindex"]
    frame.extend(copy.copy(child) for child in list(output.contents))
    return frame


def least_width(output):
    """The width in pixels that the widest figure of an output keeps."""
    drawings = [base64.b64decode(m).decode() for m in _EMBEDDED.findall(str(output))]
    widths = [re.search(r"min-width: (\d+)px", drawing) for drawing in drawings]
    return max((int(width[1]) for width in widths if width), default=0)


def parsed(markup):
    """The element of a piece of HTML."""
    return next(iter(BeautifulSoup(markup, "html.parser").find_all(recursive=False)))


def name_headings(body):
    """Gives each heading an anchor; returns the table of contents, as Markdown's."""
    used, tokens, open_tokens = set(), [], []
    for heading in body.find_all(["h1", "h2", "h3", "h4"]):
        name = heading.get_text().strip()
        heading["id"] = unique(slugify(name, "-"), used)
        anchor = {"class": "headerlink", "href": f"#{heading['id']}"}
        sign = BeautifulSoup("", "html.parser").new_tag(
            "a", attrs=anchor | {"title": "Permanent link"}
        )
        sign.string = "¶"
        heading.append(sign)
        level = int(heading.name[1])
        token = {"level": level, "id": heading["id"], "name": name, "children": []}
        while open_tokens and open_tokens[-1]["level"] >= level:
            open_tokens.pop()
        (open_tokens[-1]["children"] if open_tokens else tokens).append(token)
        open_tokens.append(token)
    return tokens


def link(body, page, files):
    """Resolves links to other pages by their sources, and warns of dead ones."""
    for element in body.find_all("a", href=True):
        target, fragment = urldefrag(element["href"])
        if "://" in target or target.startswith("mailto:"):
            continue
        if not target:
            if (
                fragment
                and not body.find(id=fragment)
                and not fragment.startswith("eq-")
            ):
                log.warning("%s: no anchor #%s", page.file.src_uri, fragment)
            continue
        folder = posixpath.dirname(page.file.src_uri)
        uri = posixpath.normpath(posixpath.join(folder, target))
        file = files.get_file_from_path(uri)
        if file is None:
            log.warning("%s links to %s, which is no page", page.file.src_uri, target)
            continue
        element["href"] = file.url_relative_to(page.file) + (
            f"#{fragment}" if fragment else ""
        )
