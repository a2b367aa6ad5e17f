"""The stars of the worked example: bundled, downloaded, prepared for training.

`load_catalog` and `download_catalog` give the same three columns: `Lum` (luminosity,
solar luminosities), `BP-RP` (Gaia colour, mag) and `Teff` (effective temperature, K).
`training_data` turns them into the network's input and target, and
`load_published_table` gives what the published training made of them.
"""

import math
import os
import secrets
import tempfile
import warnings
from importlib import resources
from pathlib import Path

import numpy as np
import pandas as pd

_COLUMNS = ["Lum", "BP-RP", "Teff"]
_LOGARITHMS_OF = ["Lum", "Teff"]
_PUBLISHED_RATES = (0.1, 0.3)


def load_catalog(path=None):
    """The bundled catalogue of 10,000 stars, or one from a CSV file.

    **The bundled stars are reconstructed, not observed.** The download behind the
    published tables was never published, so this synthetic sample was solved for:
    full-batch training of the 1-6-1 network on it gives the weights, gradients,
    outputs and losses of the two published tables (`load_published_table`). That is
    all it can show. It says nothing about real stars, nor which stars the original
    download held; and `BP-RP`, which the network never sees, is not constrained by
    the tables at all. For observed stars use `download_catalog`.

    Args:
        path: A CSV file with columns `Lum`, `BP-RP` and `Teff`, such as
            `download_catalog` writes; other columns are left out. None: the bundled
            reconstruction.

    Returns:
        DataFrame of float64 columns `Lum` (solar luminosities), `BP-RP` (mag, NaN
        where the file has a gap) and `Teff` (K), one row a star.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is not a CSV file, lacks a column or has no rows, if a `Lum`
            or `Teff` is not positive and finite, or a `BP-RP` not a finite number.

    Example:
        >>> list(load_catalog())
        ['Lum', 'BP-RP', 'Teff']
    """
    if path is None:
        return _read_catalog(_bundled("catalog.csv"), "The bundled catalogue")
    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(
            f"There is no catalogue file at {str(path)!r}. To download one there: "
            f"hr.download_catalog({str(path)!r}). For the bundled reconstruction: "
            "hr.load_catalog()."
        )
    try:
        return _read_catalog(path, f"The file {str(path)!r}")
    except ValueError as error:
        raise ValueError(
            f"{error} If the file is an old download, replace it: "
            f"hr.download_catalog({str(path)!r}, overwrite=True)."
        ) from error


def training_data(catalog=None, seed=1453):
    r"""Input and target of the worked example's network.

    As in the assignment, $x = \frac{\log L - \min \log L}{\max \log L - \min \log L}$
    and $y = \log T$, both base 10, in the order that `np.random.seed(seed)` and
    `np.random.permutation` give. NumPy's global random state is left alone.

    Args:
        catalog: DataFrame with columns `Lum` (solar luminosities) and `Teff` (K).
            None: `load_catalog()`.
        seed: Seed of the permutation. None: the catalogue's own order.

    Returns:
        `(x, y)`, both float64 of shape `(N, 1)`: normalised log10 luminosity in
        [0, 1], and log10 of the temperature in kelvin.

    Raises:
        TypeError: If `catalog` is not a DataFrame.
        ValueError: If it lacks a column or has no rows, if a `Lum` or `Teff` is not
            positive and finite, or if all luminosities are equal.

    Example:
        >>> stars = pd.DataFrame({"Lum": [1.0, 10.0, 100.0], "Teff": [1e3, 1e4, 1e5]})
        >>> x, y = training_data(stars, seed=None)
        >>> x.ravel(), y.ravel()
        (array([0. , 0.5, 1. ]), array([3., 4., 5.]))
    """
    catalog = load_catalog() if catalog is None else catalog
    if not isinstance(catalog, pd.DataFrame):
        raise TypeError(
            "Expected catalog: a DataFrame with columns 'Lum' and 'Teff'. Received: "
            f"{type(catalog).__name__}. For a CSV file: "
            "hr.training_data(hr.load_catalog(path))."
        )
    _require_rows(catalog, _LOGARITHMS_OF, "The catalog")
    log_l, log_t = (
        np.log10(_positive(catalog[name], "The catalog")) for name in _LOGARITHMS_OF
    )
    span = log_l.max() - log_l.min()
    if span == 0:
        raise ValueError(
            f"All {len(catalog)} luminosities in the catalog are equal (log10 "
            f"Lum={log_l[0]:g}), so that they cannot be normalised to [0, 1]. Expected "
            "at least two stars of different Lum."
        )
    x, y = (log_l - log_l.min()) / span, log_t
    if seed is not None:
        # The legacy generator is the one that the published tables were made with.
        order = np.random.RandomState(seed).permutation(len(x))
        x, y = x[order], y[order]
    return x[:, np.newaxis], y[:, np.newaxis]


def load_published_table(learning_rate):
    r"""One of the two published tables of weights and gradients.

    Row t holds output, loss and gradients before update t, and the weights after it.
    The superscript says which kernel, the subscript which element.

    Args:
        learning_rate: 0.1 or 0.3.

    Returns:
        DataFrame of 10 rows and 27 columns: `epoch`, `output` (mean over the stars),
        `loss`, and `w^1_1`, `g^1_1`, ... `w^2_6`, `g^2_6`, printed to 6 decimals.

    Raises:
        ValueError: If no table was published for that rate.

    Example:
        >>> load_published_table(0.1).shape
        (10, 27)
    """
    for rate in _PUBLISHED_RATES:
        # Keras hands learning rates out in float32.
        if _is_close(learning_rate, rate):
            with _bundled(f"lr_{rate}.csv").open("rb") as file:
                return pd.read_csv(file)
    raise ValueError(
        f"No table was published for learning_rate={learning_rate!r}. There are "
        f"tables for: {list(_PUBLISHED_RATES)}. Try hr.load_published_table(0.1)."
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
        return load_catalog(path)
    _require_writable(path)
    _write_whole(path, _query_vizier(rows, timeout, server))
    # Read back, so that this call and the next one return the same numbers.
    return load_catalog(path)


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
        columns=_COLUMNS,
        column_filters={"Lum": " > 0", "Teff": " > 0"},
        timeout=timeout,
        vizier_server=server,
        row_limit=int(rows),
    )
    asked = f"VizieR at {server} (catalogue I/345)"
    try:
        # astroquery would keep broken answers too and hand them out for a week.
        with cache_conf.set_temp("cache_active", False), warnings.catch_warnings():
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


_INSTEAD = (
    "Nothing was written. Call hr.download_catalog again later, or with "
    'server="..." for a mirror; or use hr.load_catalog(), the bundled reconstruction, '
    "which needs no network."
)


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
    _require_columns(table.colnames, _COLUMNS, source)
    stars = table[_COLUMNS].to_pandas()
    _checked(stars, source)
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


def _bundled(name):
    return resources.files("hrcallbacks") / "data" / name


def _read_catalog(file, source):
    try:
        with file.open("rb") as stream:
            catalog = pd.read_csv(stream)
    # Covers no columns, uneven rows and bytes that are not text.
    except ValueError as error:
        raise ValueError(f"{source} is not a CSV file: {error}.") from error
    return _checked(catalog, source)


def _checked(catalog, source):
    _require_rows(catalog, _COLUMNS, source)
    colour = _numbers(catalog["BP-RP"])
    gap = catalog["BP-RP"].isna().to_numpy()
    _require(gap | np.isfinite(colour), "BP-RP", "neither empty nor finite", source)
    return pd.DataFrame(
        {
            "Lum": _positive(catalog["Lum"], source),
            "BP-RP": colour,
            "Teff": _positive(catalog["Teff"], source),
        }
    )


def _require_rows(catalog, names, source):
    _require_columns(list(catalog), names, source)
    if catalog.empty:
        raise ValueError(f"{source} has the columns {names} but no rows.")


def _require_columns(columns, names, source):
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"{source} lacks the columns {missing}. Expected: {names}. "
            f"It has: {list(columns)}."
        )


def _positive(column, source):
    values = _numbers(column)
    good = (values > 0) & np.isfinite(values)
    _require(good, column.name, "not a positive finite number", source)
    return values


def _numbers(column):
    # Text becomes NaN, which the checks then report by row.
    numbers = pd.Series(pd.to_numeric(column, errors="coerce"))
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _require(good, name, fault, source):
    bad = np.flatnonzero(~good)
    if bad.size:
        raise ValueError(
            f"{source} has {bad.size} of {len(good)} rows whose {name} is {fault}. "
            f"The first of them, counting from 0: {bad[:5].tolist()}."
        )


def _is_close(number, rate):
    try:
        return math.isclose(number, rate, rel_tol=1e-6)
    except TypeError:
        return False
