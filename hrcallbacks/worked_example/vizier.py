"""Observed stars for the worked example, downloaded from VizieR.

`download_catalog` keeps them in a CSV file, which `load_catalog` of `stars` reads.
astroquery words the question; it is imported only where the server has to be asked.
What the server answers is bounded: see `bounded_answer`.
"""

from __future__ import annotations

import math
import os
import secrets
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, SupportsIndex
from xml.etree import ElementTree

import numpy as np
import pandas as pd

from hrcallbacks.checks import positive_integer
from hrcallbacks.optional import optional
from hrcallbacks.progress import elapsed
from hrcallbacks.worked_example.bounded_answer import ask
from hrcallbacks.worked_example.stars import (
    COLUMNS,
    checked_stars,
    load_catalog,
    require_columns,
)

_INSTEAD = (
    "Nothing was written. Call hr.download_catalog again later, or with "
    'server="..." for a mirror; or use hr.load_catalog(), the bundled reconstruction, '
    "which needs no network."
)


# A star takes some 70 bytes of XML, and the description of the table some 10,000.
_BYTES, _BYTES_A_ROW = 4 * 1024**2, 512


def download_catalog(
    path: str | os.PathLike[str] = "catalog.csv",
    *,
    rows: SupportsIndex = 10_000,
    timeout: float = 60,
    overwrite: bool = False,
    server: str | None = None,
) -> pd.DataFrame:
    """Stars of Gaia DR2 from VizieR (I/345), kept in a CSV file.

    Sends the query of the assignment: `Lum`, `BP-RP` and `Teff` of the first stars
    with `Lum > 0` and `Teff > 0`. If the file exists, it is read and nothing is asked;
    it appears only once it is complete. A download made today may differ from the one
    behind the published tables.

    Args:
        path: The CSV file. Its directory must exist.
        rows: How many stars to ask for. Ignored if the file is read.
        timeout: How many seconds the server has for its whole answer.
        overwrite: Download even if the file exists, and replace it.
        server: Host name of a VizieR mirror. None for
            `astroquery.vizier.conf.server`.

    Returns:
        The table that `load_catalog(path)` gives.

    Raises:
        ImportError: If astroquery is not installed.
        TimeoutError: If the server does not answer in time.
        ConnectionError: If it cannot be reached, breaks off or answers with an error.
        ValueError: If its answer is not a complete table of such stars, an argument is
            out of range, or the file that exists is not a catalogue.
        OSError: If the file cannot be written. A directory that does not allow it is
            found before anything is downloaded.
    """
    path = Path(path)
    count = positive_integer(rows, "rows")
    if not timeout > 0:
        raise ValueError(f"Expected timeout: seconds > 0. Received: timeout={timeout}")
    if server is not None and "/" in server:
        raise ValueError(
            "Expected server: a host name such as 'vizier.cds.unistra.fr'. "
            f"Received: server={server!r}"
        )
    if path.is_file() and not overwrite:
        return _kept(path)
    _require_writable(path)
    _write_whole(path, _query_vizier(count, timeout, server))
    # Read back, so that this call and the next one return the same numbers.
    return load_catalog(path)


def _kept(path: Path) -> pd.DataFrame:
    try:
        return load_catalog(path)
    except ValueError as error:
        raise ValueError(
            f"{error} To replace the file: "
            f"hr.download_catalog({str(path)!r}, overwrite=True)."
        ) from error


def _query_vizier(rows: int, timeout: float, server: str | None) -> pd.DataFrame:
    with optional(
        "astroquery",
        extra="stars",
        needed_by="hr.download_catalog",
        hint="hr.load_catalog(), the bundled reconstruction, needs neither it nor a "
        "network.",
    ):
        from astroquery.vizier import Vizier, conf

    server = server or str(conf.server)
    vizier: Any = Vizier(
        columns=COLUMNS,
        column_filters={"Lum": " > 0", "Teff": " > 0"},
        row_limit=rows,
    )
    question = vizier.get_catalogs_async("I/345", get_query_payload=True)
    asked = f"VizieR at {server} (catalogue I/345)"
    address = f"https://{server}/viz-bin/votable"
    most = _BYTES + _BYTES_A_ROW * rows
    try:
        with elapsed(f"Asking {asked} for {rows:,} stars"):
            answer = ask(asked, address, question, timeout=timeout, most=most)
        return _stars_of(answer, rows, f"The answer of {asked}")
    except TimeoutError as error:
        raise TimeoutError(
            f"{asked} did not answer within timeout={timeout} s. "
            f"Try a longer one. {_INSTEAD}"
        ) from error
    except ConnectionError as error:
        raise ConnectionError(f"{error}. {_INSTEAD}") from error
    except ValueError as error:
        raise ValueError(f"{error} {_INSTEAD}") from error


def _stars_of(answer: bytes, rows: int, source: str) -> pd.DataFrame:
    table = _table_of(answer, source)
    require_columns(list(table), COLUMNS, source)
    stars = table.loc[:, COLUMNS]
    checked_stars(stars, source)
    # Gaia DR2 has 77 million such stars: with fewer than asked for, some are missing.
    if len(stars) < rows:
        raise ValueError(f"{source} holds {len(stars)} of the rows={rows} asked for.")
    return stars


def _table_of(answer: bytes, source: str) -> pd.DataFrame:
    """The first table of a VOTable that has rows.

    Only the names of its fields and its numbers, written as text, are read: VizieR
    sends nothing else. Whatever else VOTables may have, such as data that is packed or
    stored elsewhere, may be far larger than the answer.
    """
    if not answer.startswith(b"<?xml"):
        raise ValueError(f"{source} is not a VOTable.")
    try:
        root = ElementTree.fromstring(answer)
    except ElementTree.ParseError as error:
        raise ValueError(f"{source} is broken off or damaged: {error}.") from error
    for table in root.iterfind(".//{*}TABLE"):
        if rows := table.findall("{*}DATA/{*}TABLEDATA/{*}TR"):
            cells = [[cell.text for cell in row] for row in rows]
            return _numbers(table.findall("{*}FIELD"), cells, source)
    raise ValueError(f"{source} holds no stars.")


def _numbers(
    fields: Sequence[ElementTree.Element],
    cells: Sequence[Sequence[str | None]],
    source: str,
) -> pd.DataFrame:
    if any(len(row) != len(fields) for row in cells):
        raise ValueError(
            f"{source} is broken off or damaged: it has {len(fields)} columns, and "
            "rows of other lengths."
        )
    single = {"float": np.float32}
    return pd.DataFrame(
        {
            field.get("name"): np.array(
                [_number(text) for text in column],
                single.get(field.get("datatype", ""), np.float64),
            )
            for field, column in zip(fields, zip(*cells, strict=True), strict=True)
        }
    )


def _number(text: str | None) -> float:
    try:
        return float(text or "nan")
    except ValueError:
        return math.nan


def _require_writable(path: Path) -> None:
    if path.is_dir():
        raise IsADirectoryError(
            f"Expected path: a CSV file to write. Received: the directory {str(path)!r}"
            f". Nothing was downloaded. Try path={str(path / 'catalog.csv')!r}."
        )
    try:
        with tempfile.TemporaryFile(dir=path.parent):
            pass
    except OSError as error:
        raise OSError(
            error.errno,
            f"No file can be written in its directory ({error.strerror or error}). "
            "Nothing was downloaded. Create the directory or choose another path",
            str(path),
        ) from error


def _write_whole(path: Path, stars: pd.DataFrame) -> None:
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        with temporary.open("x", encoding="utf-8", newline="") as file:
            stars.to_csv(file, index=False)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise OSError(
            error.errno,
            f"The stars were downloaded but not written ({error.strerror or error}). "
            "Make room or choose another path, and call hr.download_catalog again",
            str(path),
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
