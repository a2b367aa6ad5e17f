"""CSV text as a table, with each float exactly as it stands there."""

import io

import pandas as pd


def read(text):
    """Reads CSV; older versions of pandas round unless told not to, newer are exact."""
    old = int(pd.__version__.split(".")[0]) < 3
    precision = {"float_precision": "round_trip"} if old else {}
    return pd.read_csv(io.StringIO(text), **precision)
