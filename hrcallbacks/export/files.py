"""Recordings in other formats: xarray, Parquet."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np

from hrcallbacks.export import tables
from hrcallbacks.optional import optional
from hrcallbacks.progress import progress

if TYPE_CHECKING:
    import xarray as xr
    from xarray.backends import BackendArray

    from hrcallbacks.recording.recording import Recording

# The dimension of records, and the coordinate that it is indexed by.
STEP = "step"
# Rows of a Parquet row group, and about as many as are in memory at a time.
_ROWS = 1_000_000


def to_xarray(
    recording: Recording, stored: Mapping[tuple[str, str], Mapping[str, Any]]
) -> xr.Dataset:
    """A recording as an `xarray.Dataset`; see `Recording.to_xarray`.

    Args:
        recording: The recording.
        stored: Its arrays, in memory or on disk, by quantity and reduction, then path.
    """
    with optional("xarray", extra="xarray"):
        import xarray as xr
        from xarray.core import indexing

    def variable(
        quantity: str, reduction: str, path: str, array: Any
    ) -> tuple[str, xr.Variable]:
        name = f"{quantity}:{path}"
        name = name if reduction == "raw" else f"{name}:{reduction}"
        of = path if reduction == "raw" else f"{path}:{reduction}"
        axes = [f"{of}:axis_{n}" for n in range(array.ndim - 1)]
        data = array
        if not isinstance(array, np.ndarray):  # On disk, to be read when indexed.
            data = indexing.LazilyIndexedArray(_lazy(array))
        attributes = {"path": path, "quantity": quantity, "reduction": reduction}
        return name, xr.Variable((STEP, *axes), data, attributes)

    variables = dict(
        variable(quantity, reduction, path, arrays[path])
        for (quantity, reduction), arrays in stored.items()
        for path in arrays
        if reduction
    )
    coordinates = {
        name: (STEP, recording.index[name].to_numpy()) for name in recording.index
    }
    attributes = {
        "complete": int(recording.attributes["complete"]),
        "weights_at": recording.attributes["weights_at"],
        "backend": recording.attributes["backend"],
    }
    return xr.Dataset(variables, coordinates, attributes)


def _lazy(array: Any) -> BackendArray:
    from xarray.backends import BackendArray
    from xarray.core import indexing

    class OnDisk(BackendArray):
        shape, dtype = array.shape, array.dtype

        def __getitem__(self, key: Any) -> Any:
            return indexing.explicit_indexing_adapter(
                key, self.shape, indexing.IndexingSupport.BASIC, array.__getitem__
            )

    return OnDisk()


def to_parquet(
    recording: Recording, path: str | os.PathLike[str], rows: tables.Rows
) -> None:
    """Writes a tidy table of a recording; see `Recording.to_parquet`.

    Args:
        recording: The recording.
        path: The file to write.
        rows: The table.
    """
    with optional("PyArrow", extra="parquet"):
        import pyarrow as pa
        import pyarrow.parquet as pq

    block = max(1, _ROWS // max(rows.each, 1))
    writer = None
    bar = progress(of=f"Writing {path}", unit="record", total=len(recording))
    try:
        for start in range(0, len(recording), block):
            records = slice(start, min(start + block, len(recording)))
            table = pa.Table.from_pandas(rows.table(records), preserve_index=False)
            if writer is None:
                writer = pq.ParquetWriter(path, table.schema)
            writer.write_table(table)
            bar.update(records.stop - start)
    finally:
        bar.close()
        if writer is not None:
            writer.close()
