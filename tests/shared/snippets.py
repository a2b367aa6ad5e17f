"""The code that the start page, the README and the how-to pages ask readers to paste.

`python tests/shared/snippets.py` lists it.
"""

import re
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
START, README = ROOT / "examples" / "quickstart.py", ROOT / "README.md"
HOW_TO = sorted((ROOT / "docs" / "how-to").glob("*.py"))
PAGES = [START, README, *HOW_TO]


@dataclass(frozen=True)
class Snippets:
    """What a page has a reader install, and paste in this order."""

    page: Path
    extras: frozenset[str]
    more: frozenset[str]
    code: tuple[str, ...]

    @property
    def script(self):
        """All of them, as they are pasted."""
        return "\n\n".join(self.code)


def read(page):
    """The snippets of a page: fenced blocks of Markdown, or the cells of a script."""
    text = page.read_text()
    named = re.findall(r"hrcallbacks\[([a-z,]+)\]|extra: (\w+)", text)
    # The first command names what the page needs; README names more where it needs it.
    found = named if page == README else named[:1]
    extras = {extra for both in found for some in both for extra in some.split(",")}
    more = re.search(r"^# (?:Install: )?`pip install \"[^\"]*\"([^`]*)`$", text, re.M)
    others = more[1].split() if more else []
    return Snippets(
        page, frozenset(extras - {""}), frozenset(others), code_of(page, text)
    )


def code_of(page, text):
    """The pieces of code in a page's text."""
    if page.suffix == ".md":
        return tuple(re.findall(r"^```python\n(.*?)^```", text, re.M | re.S))
    cells = re.split(r"^# %%(.*)\n", text, flags=re.M)[1:]
    pairs = zip(cells[::2], cells[1::2], strict=True)
    code = (body for head, body in pairs if "[markdown]" not in head)
    return tuple(
        re.sub(r"^# Figure: (.*\n# )*.*\n", "", body, flags=re.M) for body in code
    )


if __name__ == "__main__":
    for page in PAGES:
        snippets = read(page)
        needs = ", ".join(sorted(snippets.extras | snippets.more))
        print(f"{page.relative_to(ROOT)} ({needs})")
        for number, code in enumerate(snippets.code, start=1):
            lines = code.strip().splitlines()
            print(f"  {number:2} {len(lines):3} lines: {lines[0][:68]}")
