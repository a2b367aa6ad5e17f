"""Makes arrays of a store: each is described, compressed, and has checksums."""

from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hrcallbacks.storage.array_metadata import FIRST, array_checksum
from hrcallbacks.storage.checksums import CHECKSUM
from hrcallbacks.storage.described import Coordinate


def create_array(
    group: Any,
    path: str,
    *,
    shape: tuple[int, ...],
    chunks: tuple[int, ...],
    dtype: Any,
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
    first: int = 0,
    shuffle: Literal["bitshuffle", "noshuffle"] = "bitshuffle",
    overwrite: bool = False,
) -> Any:
    """An array without content.

    Args:
        group: The store's Zarr group.
        path: Its path in the group.
        shape: Its shape.
        chunks: Shape of a chunk.
        dtype: Its dtype, of numbers.
        dimensions: Names of its axes.
        attributes: What describes it.
        first: Records before this one will never be written.
        shuffle: How blosc reorders its bytes.
        overwrite: Whether it may take the place of another.

    Returns:
        A `zarr.Array` that writes each chunk, whatever is in it.
    """
    from zarr.codecs import BloscCodec, Crc32cCodec

    dtype = np.dtype(dtype)
    blosc = BloscCodec(cname="lz4", clevel=1, shuffle=shuffle)
    attributes = dict(attributes) | ({FIRST: first} if first else {})
    chunks = tuple(max(1, length) for length in chunks)
    attributes[CHECKSUM] = array_checksum(path, dtype.name, chunks, attributes)
    array = group.create_array(
        path,
        shape=shape,
        chunks=chunks,
        dtype=dtype,
        fill_value=np.nan if dtype.kind in "fc" else 0,
        compressors=[blosc, Crc32cCodec()],
        attributes=attributes,
        dimension_names=list(dimensions),
        overwrite=overwrite,
    )
    return writes_all(array)


def writes_all(array: Any) -> Any:
    """The array, writing chunks of only NaN or zero too: a missing one is damage."""
    # Looking for them would also be slower than writing them.
    return array.with_config({"write_empty_chunks": True})


def write_array(
    group: Any,
    path: str,
    value: np.ndarray,
    dimensions: Sequence[str],
    attributes: Mapping[str, Any],
) -> None:
    """Writes an array that does not change."""
    # A failed attempt may have left one.
    array = create_array(
        group,
        path,
        shape=value.shape,
        chunks=value.shape,
        dtype=value.dtype,
        dimensions=dimensions,
        attributes=attributes,
        overwrite=True,
    )
    array[...] = value


def write_coordinate(group: Any, folder: str, coordinate: Coordinate) -> None:
    """Writes what lies beside a statistic."""
    path = f"{folder}/{coordinate.name}"
    if not isinstance(coordinate.values, list):
        values = np.asarray(coordinate.values)
        attributes = coordinate.attributes
        write_array(group, path, values, [coordinate.dimension], attributes)
        return
    from zarr.codecs import Crc32cCodec

    # Text is for other readers: ours has it from the store's attributes.
    texts = [text.encode("utf-8", "replace").decode() for text in coordinate.values]
    array = group.create_array(
        path,
        shape=(len(texts),),
        chunks=(max(1, len(texts)),),
        dtype="string",
        compressors=[Crc32cCodec()],
        attributes=dict(coordinate.attributes),
        dimension_names=[coordinate.dimension],
        overwrite=True,
    )
    array[...] = np.array(texts, object)
