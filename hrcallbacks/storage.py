"""Where records go: in memory, one host array a record, path and quantity."""

import numpy as np
import pandas as pd

from hrcallbacks.recording import Arrays, Recording


class MemoryStore:
    """Keeps records in memory.

    Attributes:
        attributes: What holds for the whole recording; see `Recording.attributes`.
        fits: What each fit started from, whether it ended, and what fault stopped its
            recording.
    """

    def __init__(self):
        self.attributes = {}
        self.fits = []
        self._specs = {"gradients": {}, "weights": {}}
        self._rows = []
        self._arrays = []

    def __len__(self):
        """Number of records."""
        return len(self._rows)

    def declare(self, quantity, specs):
        """Says what is to come, before it comes.

        Args:
            quantity: `"gradients"` or `"weights"`.
            specs: Dict from path to `(shape, dtype)`.

        Raises:
            ValueError: If a path was declared with another shape.
        """
        known = self._specs[quantity]
        for path, (shape, _) in specs.items():
            if path in known and known[path][0] != shape:
                raise ValueError(
                    f"This recorder holds {quantity} of {path!r} with shape "
                    f"{known[path][0]}; in this model its shape is {shape}. Call "
                    "recorder.reset(), or use another recorder for another model."
                )
        known.update(specs)

    def begin_fit(self, snapshot):
        """Says that a fit begins.

        Args:
            snapshot: What a replay of it starts from; see `hrcallbacks.snapshot`.
        """
        self.fits.append({"first": len(self), "ended": False, "fault": None} | snapshot)

    def append(self, row, arrays):
        """Adds a record.

        Args:
            row: The index' row: a dict of step, epoch, batch, loss and metrics.
            arrays: Dict from quantity to a dict from path to array.
        """
        # The row last: a record counts once it is whole.
        self._arrays.append(arrays)
        self._rows.append(row)

    def recording(self):
        """A `Recording` of the records so far, which later ones leave alone."""
        rows = self._rows[:]
        arrays = self._arrays[: len(rows)]
        paths = list(self._specs["gradients"])
        got = [[path in record["gradients"] for path in paths] for record in arrays]
        return Recording(
            index=pd.DataFrame(rows or None, columns=None if rows else _EMPTY_INDEX),
            gradients=self._stacks("gradients", arrays),
            weights=self._stacks("weights", arrays),
            has_gradient=pd.DataFrame(got, columns=paths, dtype=bool),
            attributes=self.attributes | self._completeness(),
            fits=[dict(fit) for fit in self.fits],
        )

    def _completeness(self):
        faults = [f["fault"] for f in self.fits if f["fault"]]
        ended = all(f["ended"] for f in self.fits)
        return {"complete": ended and not faults, "fault": next(iter(faults), None)}

    def _stacks(self, quantity, arrays):
        specs = dict(self._specs[quantity])

        def stack(path):
            shape, dtype = specs[path]
            stacked = np.full((len(arrays), *shape), np.nan, dtype)
            for number, record in enumerate(arrays):
                if path in record[quantity]:
                    stacked[number] = record[quantity][path]
            return stacked

        return Arrays(stack, specs, quantity)


_EMPTY_INDEX = ["step", "epoch", "batch", "loss"]
