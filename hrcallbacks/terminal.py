"""Text for a terminal, which obeys some of the characters that it is sent.

A recording may come from anyone: names with escape sequences could move the cursor,
change what was printed before, or make text run from right to left.
"""

import sys
from typing import TextIO


def visible(text: str, *, keep: str = "") -> str:
    r"""A text with each character that does not print as its escape, as in `repr`.

    Args:
        text: The text.
        keep: Characters that stay as they are, such as our own line breaks.

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
    """Prints lines, of which a terminal obeys only the line breaks.

    Args:
        text: What to print.
        file: Where to; None for standard output.
    """
    print(visible(str(text), keep="\n"), file=file or sys.stdout, flush=True)


class Terminal:
    """A file that writes to a terminal as `say` does.

    Args:
        file: The terminal.
    """

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, text: str) -> int:
        """Writes text."""
        return self._file.write(visible(text, keep="\n"))

    def flush(self) -> None:
        """Writes what is buffered."""
        self._file.flush()
