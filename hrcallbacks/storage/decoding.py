"""Decodes chunks with the codecs that recordings have, checking sizes beforehand.

A chunk from somewhere else may say that it inflates to gigabytes. What its compressor's
header says is compared with the size of the chunk before any memory is taken.
"""

from collections.abc import Sequence
from typing import Any

from hrcallbacks.storage.checksums import crc32c

# Format 1 has zstd in its index; everything else is written with blosc.
CODECS = ("bytes", "blosc", "zstd", "crc32c")
_CRC_BYTES = 4
_BLOSC_HEADER = 16
_ZSTD_MAGIC = 0xFD2FB528


def most_bytes(size: int) -> int:
    """The most bytes that a chunk takes when compressed."""
    return size + size // 64 + 1024


def decoded(data: bytes, size: int, codecs: Sequence[str]) -> bytes:
    """A chunk's bytes.

    Args:
        data: The file's content.
        size: How many bytes it has to make.
        codecs: Names of the codecs after `bytes`, in the order of encoding.

    Raises:
        ValueError: If it is damaged.
    """
    for codec in reversed(codecs):
        data = _DECODERS[codec](data, size)
    if len(data) != size:
        raise ValueError(f"it has {len(data):,} bytes in place of {size:,}")
    return data


def _without_crc(data: bytes, size: int) -> bytes:
    content, stated = data[:-_CRC_BYTES], data[-_CRC_BYTES:]
    if len(stated) < _CRC_BYTES or crc32c(content) != int.from_bytes(stated, "little"):
        raise ValueError("its content does not match its checksum")
    return content


def _from_blosc(data: bytes, size: int) -> bytes:
    if len(data) < _BLOSC_HEADER:
        raise ValueError("it is cut short")
    inflated = int.from_bytes(data[4:8], "little")
    length = int.from_bytes(data[12:16], "little")
    _check_sizes(inflated, size)
    if length != len(data):
        raise ValueError(f"it has {len(data):,} bytes and says {length:,}")
    return _decompressed("blosc", data)


def _from_zstd(data: bytes, size: int) -> bytes:
    _check_sizes(_zstd_size(data), size)
    return _decompressed("zstd", data)


def _zstd_size(data: bytes) -> int:
    """What a frame inflates to: see RFC 8878, section 3.1.1."""
    if len(data) < 6 or int.from_bytes(data[:4], "little") != _ZSTD_MAGIC:
        raise ValueError("it is no zstd frame")
    descriptor = data[4]
    single = descriptor >> 5 & 1
    width = (1 if single else 0, 2, 4, 8)[descriptor >> 6]
    if not width:
        raise ValueError("it does not say its size")
    start = 5 + (0 if single else 1) + (0, 1, 2, 4)[descriptor & 3]
    stated = int.from_bytes(data[start : start + width], "little")
    return stated + 256 if width == 2 else stated


def _check_sizes(inflated: int, size: int) -> None:
    if inflated != size:
        raise ValueError(f"it would inflate to {inflated:,} bytes in place of {size:,}")


def _decompressed(codec: str, data: bytes) -> bytes:
    from numcodecs.registry import get_codec

    try:
        decoder: Any = get_codec({"id": codec})
        return bytes(decoder.decode(data))
    except Exception as error:  # The library has no class of errors of its own.
        raise ValueError(f"it cannot be decompressed ({error})") from error


_DECODERS = {"crc32c": _without_crc, "blosc": _from_blosc, "zstd": _from_zstd}
