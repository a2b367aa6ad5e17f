"""Checksums of JSON: a flipped bit must not pass for another number."""

import json
from collections.abc import Mapping
from typing import Any

CHECKSUM = "checksum"


def crc32c(data: bytes) -> int:
    """The checksum that Zarr's codec `crc32c` appends to a chunk."""
    import google_crc32c  # Comes with Zarr.

    return google_crc32c.value(data)


def checksum(value: Any) -> str:
    """The checksum of JSON, however its text is laid out."""
    text = json.dumps(value, sort_keys=True, separators=(",", ":"))
    return f"crc32c:{crc32c(text.encode()):08x}"


def signed(attributes: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes with their checksum."""
    plain = {name: v for name, v in attributes.items() if name != CHECKSUM}
    return plain | {CHECKSUM: checksum(plain)}


def is_signed(attributes: Mapping[str, Any]) -> bool:
    """Whether attributes agree with their checksum."""
    plain = {name: v for name, v in attributes.items() if name != CHECKSUM}
    return attributes.get(CHECKSUM) == checksum(plain)
