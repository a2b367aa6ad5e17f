"""Observed stars for the worked example, downloaded from VizieR.

`download_catalog` keeps them in a CSV file, which `hrcallbacks.stars.load_catalog`
reads. astroquery is imported only where the server has to be asked.
"""

import os
import secrets
import tempfile
import warnings
from pathlib import Path

import numpy as np

from hrcallbacks.progress import elapsed
from hrcallbacks.stars import COLUMNS, checked_stars, load_catalog, require_columns

_INSTEAD = (
    "Nothing was written. Call hr.download_catalog again later, or with "
    'server="..." for a mirror; or use hr.load_catalog(), the bundled reconstruction, '
    "which needs no network."
)


def download_catalog(
    path="catalog.csv", *, rows=10_000, timeout=60, overwrite=False, server=None
):
    """Stars of Gaia DR2 from VizieR (I/345), kept in a CSV file.

    Sends the query of the assignment: `Lum`, `BP-RP` and `Teff` of the first stars
    with `Lum > 0` and `Teff > 0`. If the file exists, it is read and nothing is asked;
    it appears only once it is whole. A download of today need not be the one that the
    published tables were made from.

    Args:
        path: The CSV file. Its directory must exist.
        rows: How many stars to ask for. Not looked at where the file exists.
        timeout: Seconds to wait for the server to answer, or to go on answering.
        overwrite: Download even if the file exists, and replace it.
        server: Host name of a VizieR mirror. None: `astroquery.vizier.conf.server`.

    Returns:
        DataFrame as of `load_catalog(path)`.

    Raises:
        ImportError: If astroquery is not installed.
        TimeoutError: If the server does not answer in time.
        ConnectionError: If it cannot be reached, breaks off or answers with an error.
        ValueError: If its answer is not a whole table of such stars, an argument is
            out of range, or the file that exists is not a catalogue.
        OSError: If the file cannot be written. Where the directory does not allow it,
            this is found before anything is downloaded.
    """
    path = Path(path)
    if not isinstance(rows, int | np.integer) or rows < 1:
        raise ValueError(f"Expected rows: an int of 1 or more. Received: rows={rows!r}")
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
    _write_whole(path, _query_vizier(rows, timeout, server))
    # Read back, so that this call and the next one return the same numbers.
    return load_catalog(path)


def _kept(path):
    try:
        return load_catalog(path)
    except ValueError as error:
        raise ValueError(
            f"{error} To replace the file: "
            f"hr.download_catalog({str(path)!r}, overwrite=True)."
        ) from error


def _query_vizier(rows, timeout, server):
    try:
        import requests
        from astroquery import cache_conf
        from astroquery.exceptions import TableParseError
        from astroquery.vizier import Vizier, conf
    except ImportError as error:
        raise ImportError(
            f"hr.download_catalog needs astroquery ({error}). Install it with: "
            'pip install "hrcallbacks[stars]". hr.load_catalog(), the bundled '
            "reconstruction, needs neither it nor a network."
        ) from error

    server = server or conf.server
    vizier = Vizier(
        columns=COLUMNS,
        column_filters={"Lum": " > 0", "Teff": " > 0"},
        timeout=timeout,
        vizier_server=server,
        row_limit=int(rows),
    )
    asked = f"VizieR at {server} (catalogue I/345)"
    try:
        # astroquery would keep broken answers too and hand them out for a week.
        with (
            cache_conf.set_temp("cache_active", False),
            warnings.catch_warnings(),
            elapsed(f"Asking {asked} for {rows:,} stars"),
        ):
            # It would only warn of a broken table, and parse it once more, leniently.
            warnings.filterwarnings("error", message="VOTABLE parsing raised")
            # Made at run time, by a decorator of astroquery's.
            tables = vizier.get_catalogs("I/345")  # pyright: ignore[reportAttributeAccessIssue]
    except requests.RequestException as error:
        if _timed_out(error):
            raise TimeoutError(
                f"{asked} did not answer within timeout={timeout} s. "
                f"Try a longer one. {_INSTEAD}"
            ) from error
        if error.response is not None:
            status = f"{error.response.status_code} {error.response.reason}"
            raise ConnectionError(
                f"{asked} answered with HTTP status {status}. {_INSTEAD}"
            ) from error
        raise ConnectionError(
            f"The connection to {asked} failed: {error}. {_INSTEAD}"
        ) from error
    except TableParseError as error:
        raise ValueError(
            f"The answer of {asked} is broken off or damaged: {error}. {_INSTEAD}"
        ) from error
    try:
        return _stars_of(tables, rows, f"The answer of {asked}")
    except ValueError as error:
        raise ValueError(f"{error} {_INSTEAD}") from error


def _timed_out(error):
    import requests
    import urllib3

    # A server that falls silent halfway comes as a ConnectionError around the timeout.
    causes = (error, *error.args)
    kinds = (requests.Timeout, urllib3.exceptions.TimeoutError)
    return any(isinstance(cause, kinds) for cause in causes)


def _stars_of(tables, rows, source):
    # astroquery leaves out tables without rows; None stands for no VOTable at all.
    if tables is None:
        raise ValueError(f"{source} is not a VOTable.")
    if not tables:
        raise ValueError(f"{source} holds no stars.")
    table = tables[0]
    require_columns(table.colnames, COLUMNS, source)
    stars = table[COLUMNS].to_pandas()
    checked_stars(stars, source)
    # Gaia DR2 has 77 million such stars: fewer than asked for is a part of an answer.
    if len(stars) < rows:
        raise ValueError(f"{source} holds {len(stars)} of the rows={rows} asked for.")
    return stars


def _require_writable(path):
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


def _write_whole(path, stars):
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
