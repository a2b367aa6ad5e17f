"""The stars of the worked example: bundled or in a file, prepared for training.

`load_catalog`, like `hr.download_catalog`, gives three columns: `Lum` (luminosity,
solar luminosities), `BP-RP` (Gaia colour, mag) and `Teff`
(effective temperature, K). `training_data` turns them into the network's input and
target. `load_initial_weights` gives the weights that the published training started
from, and `load_published_table` what it made of them.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterable, Sequence
from importlib import resources
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import pandas as pd

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

COLUMNS = ["Lum", "BP-RP", "Teff"]
_LOGARITHMS_OF = ["Lum", "Teff"]
_PUBLISHED_RATES = (0.1, 0.3)
# Of the network's four variables, in the order of Keras' `get_weights`.
_SHAPES = {"w^1": (1, 6), "b^1": (6,), "w^2": (6, 1), "b^2": (1,)}


def load_catalog(path: str | os.PathLike[str] | None = None) -> pd.DataFrame:
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
            `download_catalog` writes; other columns are left out. None for the bundled
            reconstruction.

    Returns:
        Float64 columns `Lum` (solar luminosities), `BP-RP` (mag, NaN where the file
        has a gap) and `Teff` (K), one row a star.

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
        place = path / "catalog.csv" if path.is_dir() else path
        raise FileNotFoundError(
            f"There is no catalogue file at {str(path)!r}"
            f"{', which is a folder' if path.is_dir() else ''}. To download one: "
            f"hr.download_catalog({str(place)!r}). For the bundled reconstruction: "
            "hr.load_catalog()."
        )
    try:
        return _read_catalog(path, f"The file {str(path)!r}")
    except ValueError as error:
        raise ValueError(
            f"{error} For the bundled reconstruction: hr.load_catalog()."
        ) from error


def training_data(
    catalog: pd.DataFrame | None = None, seed: int | np.integer | None = 1453
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    r"""Input and target of the worked example's network.

    As in the assignment, $x = \frac{\log L - \min \log L}{\max \log L - \min \log L}$
    and $y = \log T$, both base 10, in the order that `np.random.seed(seed)` and
    `np.random.permutation` give. NumPy's global random state is left alone.

    Args:
        catalog: A table with columns `Lum` (solar luminosities) and `Teff` (K). None
            for `load_catalog()`.
        seed: Seed of the permutation. None for the catalogue's own order.

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
        np.log10(_positive(catalog, name, "The catalog")) for name in _LOGARITHMS_OF
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


def load_published_table(learning_rate: float) -> pd.DataFrame:
    r"""One of the two published tables of weights and gradients.

    Row t holds output, loss and gradients before update t, and the weights after it.
    The superscript says which kernel, the subscript which element.

    Args:
        learning_rate: 0.1 or 0.3.

    Returns:
        10 rows and 27 columns: `epoch`, `output` (mean over the stars),
        `loss`, and `w^1_1`, `g^1_1`, ... `w^2_6`, `g^2_6`, printed to 6 decimals.

    Raises:
        ValueError: If no table was published for that rate.

    Example:
        >>> load_published_table(0.1).shape
        (10, 27)
    """
    rate = _published_rate(learning_rate, "load_published_table")
    with _bundled(f"lr_{rate}.csv").open("rb") as file:
        return pd.read_csv(file)


def load_initial_weights(learning_rate: float) -> list[npt.NDArray[np.float32]]:
    """The weights from which a published run started.

    The tables do not print them. `keras.utils.set_random_seed(1453)` followed by the
    assignment's model and two clones of it draws them on TensorFlow: the first clone
    was trained at 0.1, the second at 0.3. Other backends draw other numbers from the
    same seed, so start from these: `model.set_weights(hr.load_initial_weights(0.1))`.

    Args:
        learning_rate: 0.1 or 0.3. The two runs started from different weights.

    Returns:
        Hidden kernel, hidden bias, output kernel and output bias, float32 of shapes
        `(1, 6)`, `(6,)`, `(6, 1)` and `(1,)`, as `model.get_weights()` orders them.

    Raises:
        ValueError: If no run was published at that rate.

    Example:
        >>> [w.shape for w in load_initial_weights(0.1)]
        [(1, 6), (6,), (6, 1), (1,)]
    """
    rate = _published_rate(learning_rate, "load_initial_weights")
    with _bundled("initial_weights.csv").open("rb") as file:
        row = pd.read_csv(file, index_col="learning_rate").loc[rate]
    return [
        row[row.index.str.startswith(name)].to_numpy(np.float32).reshape(shape)
        for name, shape in _SHAPES.items()
    ]


def _published_rate(learning_rate: float, function: str) -> float:
    for rate in _PUBLISHED_RATES:
        # Keras hands learning rates out in float32.
        if _is_close(learning_rate, rate):
            return rate
    raise ValueError(
        f"No run was published at learning_rate={learning_rate!r}. There are runs at: "
        f"{list(_PUBLISHED_RATES)}. Try hr.{function}(0.1)."
    )


def _bundled(name: str) -> Traversable:
    return resources.files("hrcallbacks") / "data" / name


def _read_catalog(file: Path | Traversable, source: str) -> pd.DataFrame:
    try:
        with file.open("rb") as stream:
            catalog = pd.read_csv(stream)
    # Covers no columns, uneven rows and bytes that are not text.
    except ValueError as error:
        raise ValueError(f"{source} is not a CSV file: {error}.") from error
    return checked_stars(catalog, source)


def checked_stars(catalog: pd.DataFrame, source: str) -> pd.DataFrame:
    """The three columns of a catalogue, float64, checked to be stars.

    Args:
        catalog: The table; columns other than `COLUMNS` are left out.
        source: Where the catalogue came from, the first words of an error.

    Returns:
        A table like that of `load_catalog`.

    Raises:
        ValueError: If it lacks a column or has no rows, if a `Lum` or `Teff` is not
            positive and finite, or a `BP-RP` neither missing nor finite.
    """
    _require_rows(catalog, COLUMNS, source)
    colour = _numbers(catalog, "BP-RP")
    gap = np.asarray(catalog["BP-RP"].isna())
    _require(gap | np.isfinite(colour), "BP-RP", "neither empty nor finite", source)
    return pd.DataFrame(
        {
            "Lum": _positive(catalog, "Lum", source),
            "BP-RP": colour,
            "Teff": _positive(catalog, "Teff", source),
        }
    )


def _require_rows(catalog: pd.DataFrame, names: Sequence[str], source: str) -> None:
    require_columns(catalog, names, source)
    if catalog.empty:
        raise ValueError(f"{source} has the columns {names} but no rows.")


def require_columns(columns: Iterable[str], names: Sequence[str], source: str) -> None:
    """Refuses columns that lack one of `names`.

    Raises:
        ValueError: If one is missing; the message begins with `source`.
    """
    columns = list(columns)
    missing = [name for name in names if name not in columns]
    if missing:
        raise ValueError(
            f"{source} lacks the columns {missing}. Expected: {names}. "
            f"It has: {columns}."
        )


def _positive(catalog: pd.DataFrame, name: str, source: str) -> npt.NDArray[np.float64]:
    values = _numbers(catalog, name)
    good = (values > 0) & np.isfinite(values)
    _require(good, name, "not a positive finite number", source)
    return values


def _numbers(catalog: pd.DataFrame, name: str) -> npt.NDArray[np.float64]:
    # Text becomes NaN, which the checks then report by row.
    numbers = pd.Series(pd.to_numeric(catalog[name], errors="coerce"))
    return numbers.to_numpy(np.float64, na_value=np.nan)


def _require(good: npt.NDArray[np.bool_], name: str, fault: str, source: str) -> None:
    bad = np.flatnonzero(~good)
    if bad.size:
        raise ValueError(
            f"{source} has {bad.size} of {len(good)} rows whose {name} is {fault}. "
            f"The first of them, counting from 0: {bad[:5].tolist()}."
        )


def _is_close(number: float, rate: float) -> bool:
    try:
        return math.isclose(number, rate, rel_tol=1e-6)
    except TypeError:
        return False
