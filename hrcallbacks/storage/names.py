"""Names on disk: readable, and distinct."""

import hashlib
from collections.abc import Container

# Bytes of a name on disk.
_LONGEST = 120


def on_disk(name: str) -> str:
    """A readable and distinct name for a file or folder.

    Letters, digits, `-` and `_` stay. File systems limit the length of a name, mostly
    to 255 bytes: a longer one keeps its beginning and end, with a digest in between.

    Example:
        >>> on_disk("hidden/kernel")
        'hidden.kernel'
        >>> on_disk("x" * 300 + "/kernel")
        'xxxxxxxxxxxxxxxxxxxxxxxx~1e84a00e~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.kernel'
    """
    safe = "".join(c if c.isalnum() or c in "_-" else "." for c in name)
    # Names of only dots are folders; the other one has a meaning in Zarr.
    if safe.strip(".") and safe != "zarr.json" and len(safe.encode()) <= _LONGEST:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{_ascii(safe)[:24]}~{digest}~{_ascii(safe)[-40:]}"


def _ascii(safe: str) -> str:
    """The name with one byte per character."""
    return "".join(c if c.isascii() else "." for c in safe)


def distinct(name: str, taken: Container[str]) -> str:
    """A name that is not taken, even on file systems that ignore case.

    Args:
        name: The preferred name.
        taken: The names that are taken, casefolded.

    Example:
        >>> distinct("Loss", {"loss", "step"})
        'Loss~2'
    """
    made, number = name, 1
    while made.casefold() in taken:
        number += 1
        made = f"{name}~{number}"
    return made
