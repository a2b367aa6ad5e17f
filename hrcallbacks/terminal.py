"""Text for a terminal, which obeys some of the characters that it is given.

What a recording holds may come from anyone: names with escape sequences could move the
cursor, change what was printed before, or have text read from right to left.
"""

import sys
from typing import TextIO


def visible(text: str, *, keep: str = "") -> str:
    r"""A text with each character that does not print as its escape, as in `repr`.

    Args:
        text: The text.
        keep: Characters that stay as they are, such as line breaks of our own.

    Example:
        >>> print(visible("dense\x1b[31m"))
        dense\x1b[31m
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in keep else _escape(c) for c in text)


def _escape(character: str) -> str:
    return character.encode("unicode_escape").decode("ascii")


def say(text: object, *, file: TextIO | None = None) -> None:
    """Prints lines, in which nothing but their breaks is obeyed by a terminal.

    Args:
        text: What to print.
        file: Where; None: standard output.
    """
    print(visible(str(text), keep="\n"), file=file or sys.stdout, flush=True)


class Terminal:
    """A file that writes to a terminal what it is given, as `say` does.

    Args:
        file: The terminal.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Writes text."""
        return self._file.write(visible(text, keep="\n"))

    def flush(self) -> None:
        """Writes what waits."""
        self._file.flush()
