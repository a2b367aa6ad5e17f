"""Names on disk, which can be read and told from one another."""

import hashlib
from collections.abc import Container

# Bytes of a name on disk.
_LONGEST = 120


def on_disk(name: str) -> str:
    """A name for a file or folder, which can be read in it and told from others.

    Letters, digits, `-` and `_` stay. File systems bound the bytes of a name, mostly
    at 255: of a longer one the beginning and the end are left, and a digest.

    Example:
        >>> on_disk("hidden/kernel")
        'hidden.kernel'
        >>> on_disk("x" * 300 + "/kernel")
        'xxxxxxxxxxxxxxxxxxxxxxxx~1e84a00e~xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx.kernel'
    """
    safe = "".join(c if c.isalnum() or c in "_-" else "." for c in name)
    # Of dots alone, a name would be that of a folder; Zarr has a meaning for the other.
    if safe.strip(".") and safe != "zarr.json" and len(safe.encode()) <= _LONGEST:
        return safe
    digest = hashlib.sha256(name.encode("utf-8", "backslashreplace")).hexdigest()[:8]
    return f"{_ascii(safe)[:24]}~{digest}~{_ascii(safe)[-40:]}"


def _ascii(safe: str) -> str:
    """A byte a character."""
    return "".join(c if c.isascii() else "." for c in safe)


def distinct(name: str, taken: Container[str]) -> str:
    """A name that is not taken, also where a file system does not tell `a` from `A`.

    Args:
        name: The name that is wanted.
        taken: Those that are taken, casefolded.

    Example:
        >>> distinct("Loss", {"loss", "step"})
        'Loss~2'
    """
    made, number = name, 1
    while made.casefold() in taken:
        number += 1
        made = f"{name}~{number}"
    return made
