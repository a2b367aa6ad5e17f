"""Checks what an array's `zarr.json` says, before anything of the array is read."""

import math
from collections.abc import Mapping
from typing import Any

import numpy as np

from hrcallbacks.storage.checksums import CHECKSUM, checksum
from hrcallbacks.storage.chunked_array import ChunkedArray
from hrcallbacks.storage.decoding import CODECS
from hrcallbacks.storage.files import Files

# Kinds of numbers and their sizes: bool, int8 to int64, float16 to float64, ...
_DTYPES = {
    "bool": "?",
    **{f"int{8 * n}": f"i{n}" for n in (1, 2, 4, 8)},
    **{f"uint{8 * n}": f"u{n}" for n in (1, 2, 4, 8)},
    **{f"float{8 * n}": f"f{n}" for n in (2, 4, 8)},
    **{f"complex{8 * n}": f"c{n}" for n in (8, 16)},
}
_ORDER = {"little": "<", "big": ">"}
# A chunk is 32 MiB at most, unless one row's last axis alone is larger.
_LARGEST_CHUNK = 2 * 1024**3
FIRST = "first_record"


class _Refused(Exception):
    """Why an array is not read."""


def open_array(files: Files, path: str, *, is_signed: bool) -> ChunkedArray:
    """An array of a store; none of its chunks is read.

    Args:
        files: The store's files.
        path: Its path in the store.
        is_signed: Whether it has a checksum, and each of its chunks too, so that a
            missing chunk is damage.

    Raises:
        ValueError: If it is not one that we write.
    """
    try:
        described = files.json(f"{path}/zarr.json")
        array = _array(files, path, described, is_signed)
    except FileNotFoundError as error:
        raise ValueError(
            f"The array {path!r} of the recording at {files.path!r} is missing: there "
            f"is no {path + '/zarr.json'!r}."
        ) from error
    except (_Refused, OSError, ValueError) as error:
        raise ValueError(
            f"The array {path!r} of the recording at {files.path!r} is not read: "
            f"{error}. hrcallbacks reads only arrays of numbers in Zarr format 3, with "
            f"the codecs {', '.join(CODECS)}."
        ) from error
    return array


def array_checksum(
    path: str, dtype: str, chunks: tuple[int, ...], attributes: Mapping[str, Any]
) -> str:
    """The checksum of an array's metadata, except its shape, which grows.

    Args:
        path: Its path in the store.
        dtype: Its dtype, as Zarr calls it.
        chunks: Shape of a chunk.
        attributes: Its attributes.
    """
    plain = {name: v for name, v in attributes.items() if name != CHECKSUM}
    return checksum([path, dtype, list(chunks), plain])


def _array(files: Files, path: str, said: Any, is_signed: bool) -> ChunkedArray:
    _check_kind(said)
    shape, chunks = _counts(said, "shape"), _chunks(said)
    name = said.get("data_type")
    if not isinstance(name, str) or name not in _DTYPES:
        raise _Refused(f"it holds {_short(name)}")
    order, codecs = _codecs(said, is_signed)
    dtype = np.dtype(order + _DTYPES[name])
    if len(chunks) != len(shape):
        raise _Refused(f"its shape is {shape} and that of its chunks {chunks}")
    size = math.prod(chunks) * dtype.itemsize
    if size > _LARGEST_CHUNK:
        raise _Refused(f"each of its chunks would have {size:,} bytes")
    attributes = said.get("attributes", {})
    if not isinstance(attributes, dict):
        raise _Refused(f"its attributes are {_short(attributes)}")
    found = attributes.get(CHECKSUM)
    if is_signed and found != array_checksum(path, name, chunks, attributes):
        raise _Refused("its metadata do not match their checksum: they are damaged")
    return ChunkedArray(
        files=files,
        path=path,
        shape=shape,
        dtype=dtype,
        chunks=chunks,
        codecs=codecs,
        attributes=attributes,
        fill=_fill(said, dtype),
        first=attributes.get(FIRST, 0) if is_signed else 0,
        may_lack_chunks=not is_signed,
    )


def _check_kind(said: Any) -> None:
    if not isinstance(said, dict):
        raise _Refused(f"its metadata are {_short(said)}")
    if said.get("zarr_format") != 3:
        raise _Refused(f"it has Zarr format {_short(said.get('zarr_format'))}")
    if said.get("node_type") != "array":
        raise _Refused(f"it is a {_short(said.get('node_type'))}")
    if said.get("storage_transformers"):
        raise _Refused("it has storage transformers")
    keys = said.get("chunk_key_encoding")
    if keys not in ({"name": "default"}, {"name": "default", **_SLASH}):
        raise _Refused(f"it names its chunks by {_short(keys)}")


_SLASH = {"configuration": {"separator": "/"}}


def _counts(said: Any, name: str, *, least: int = 0) -> tuple[int, ...]:
    found = said.get(name) if isinstance(said, dict) else None
    if not isinstance(found, list) or any(type(n) is not int for n in found):
        raise _Refused(f"its {name} is {_short(found)}")
    if any(n < least or n >= 2**63 for n in found):
        raise _Refused(f"its {name} is {_short(found)}")
    return tuple(found)


def _chunks(said: dict[str, Any]) -> tuple[int, ...]:
    grid = said.get("chunk_grid")
    if not isinstance(grid, dict) or grid.get("name") != "regular":
        raise _Refused(f"its chunk_grid is {_short(grid)}")
    return _counts(grid.get("configuration"), "chunk_shape", least=1)


def _codecs(said: dict[str, Any], is_signed: bool) -> tuple[str, tuple[str, ...]]:
    """The order of its bytes, and the names of the codecs after that."""
    found = said.get("codecs")
    if not isinstance(found, list) or not all(isinstance(c, dict) for c in found):
        raise _Refused(f"its codecs are {_short(found)}")
    names = [codec.get("name") for codec in found]
    for name in names:
        if not isinstance(name, str) or name not in CODECS:
            raise _Refused(f"it has the codec {_short(name)}")
    if names[:1] != ["bytes"] or names.count("bytes") > 1 or len(names) > 3:
        raise _Refused(f"it has the codecs {_short(names)}")
    if is_signed and names[-1] != "crc32c":
        raise _Refused("its chunks have no checksum")
    settings = found[0].get("configuration", {})
    endian = settings.get("endian", "little") if isinstance(settings, dict) else None
    if endian not in _ORDER:
        raise _Refused(f"its bytes are {_short(endian)}")
    return _ORDER[endian], tuple(names[1:])


def _fill(said: dict[str, Any], dtype: np.dtype) -> Any:
    """What a chunk holds that was not written."""
    fill = said.get("fill_value", 0)
    if dtype.kind in "fc" and fill == "NaN":
        return dtype.type(np.nan)
    if dtype.kind == "c" and isinstance(fill, list):
        fill = fill[0] if fill and fill[0] == fill[-1] else None
    if not isinstance(fill, int | float) or fill not in (0, 1):
        raise _Refused(f"its fill_value is {_short(fill)}")
    return dtype.type(fill)


def _short(value: Any) -> str:
    return f"{value!r:.120}"
