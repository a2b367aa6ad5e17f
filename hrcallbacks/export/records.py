"""Makes records again from an index and arrays."""

from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from hrcallbacks.types import Key, Record, Step

_PLACE = ("step", "epoch", "batch", "call", "loss")


def records_of(index: pd.DataFrame, arrays: Mapping[Key, Any]) -> Iterator[Record]:
    """The records, one after another.

    Args:
        index: A recording's index.
        arrays: Its arrays, `(records, *shape)`.
    """
    for number, row in enumerate(index.to_dict("records")):
        numbers = {str(name): v for name, v in row.items() if name not in _PLACE}
        rates = {n: v for n, v in numbers.items() if n.startswith("learning_rate")}
        yield Record(
            step=Step(
                step=int(row["step"]),
                epoch=int(row["epoch"]),
                batch=int(row["batch"]),
                call=int(row["call"]) if row.get("call", np.nan) > 0 else None,
            ),
            loss=row["loss"],
            values={key: np.asarray(rows[number]) for key, rows in arrays.items()},
            learning_rates=rates,
            metrics={n: v for n, v in numbers.items() if n not in rates},
        )
