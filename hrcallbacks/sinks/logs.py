"""Numbers of each step's gradients, for Keras' logs."""

import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal

import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.checks import choice
from hrcallbacks.quantities.gradient_norm import GradientNorm
from hrcallbacks.quantities.quantity import Quantity
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.types import RunInfo


class Logs(Sink):
    """Adds the norm of the gradients to the logs of `fit`.

    `gradient_norm` then appears in the progress bar, in `History`, in
    `Recording.index`, and for all callbacks after the recorder, such as `CSVLogger` and
    `EarlyStopping(monitor="gradient_norm")`. A batch's logs have the norm of its step
    (the last one, if an execution has several). An epoch's logs have the mean over all
    its steps, recorded or not, including NaN and infinity. If a step updates a variable
    several times, the latest gradient counts.

    Args:
        gradients: `"norm"`, the Frobenius norm of all selected variables' gradients
            together, whether they are recorded or not.
        by: `"variable"` also adds `gradient_norm/<path>` for each variable; NaN where
            it got no gradient.

    Raises:
        ValueError: If an argument has an invalid value.

    Example:
        >>> Logs(gradients="norm", by="variable")
        <Logs of gradient_norm, by variable>
    """

    def __init__(
        self,
        gradients: Literal["norm"] = "norm",
        *,
        by: Literal["variable"] | None = None,
    ) -> None:
        choice(gradients, "gradients", ("norm",))
        choice(by, "by", (None, "variable"))
        self._norm = GradientNorm(by_variable=by is not None)
        self._has_warned = False
        self._begin_epoch()

    def _begin_epoch(self) -> None:
        # Norms stay on the device until Keras wants its logs. Keras may run the hook
        # for a step's logs in other threads, steps behind the training and unordered.
        # That hook waits for the step's loss anyway. So it also brings the norm to the
        # host, and the training thread never waits.
        self._waiting: dict[int, tuple[int, Any]] = {}  # By batch, with its place.
        self._values: list[np.ndarray | None] = []

    def __getstate__(self) -> dict[str, Any]:
        """What a copy keeps: nothing from an epoch."""
        return {"_norm": self._norm, "_has_warned": False}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """Makes a copy."""
        vars(self).update(state)
        self._begin_epoch()

    def __repr__(self) -> str:
        """What it adds."""
        by = ", by variable" if self._norm.by_variable else ""
        return f"<Logs of {GradientNorm.name}{by}>"

    def check_loop(self) -> None:
        """See `Sink.check_loop`: a loop has no logs."""
        raise ValueError(
            "hr.Logs adds to the logs of fit; outside fit there are none. Record "
            "gradients='norm' instead, or pass the recorder to fit."
        )

    def begin(self, run: RunInfo) -> None:
        """See `Sink.begin`."""
        self._begin_epoch()

    def takes(self) -> Sequence[Quantity]:
        """See `Sink.takes`."""
        return (self._norm,)

    def see_step(self, batch: int, values: Mapping[str, Any]) -> None:
        """See `Sink.see_step`."""
        tensor = values.get(GradientNorm.name)
        if tensor is not None:
            self._waiting[batch] = len(self._values), tensor
            self._values.append(None)

    def metrics(self, values: Mapping[str, np.ndarray]) -> Mapping[str, float]:
        """See `Sink.metrics`."""
        norms = values.get(GradientNorm.name)
        return {} if norms is None else self._named(norms)

    def _named(self, norms: np.ndarray) -> dict[str, float]:
        name = GradientNorm.name
        names = [name, *(f"{name}/{path}" for path in self._norm.paths)]
        return dict(zip(names, norms.tolist(), strict=False))

    def log_batch(self, logs: Any, batches: range) -> None:
        """Adds the norms of an execution's last step to its logs."""
        norms = None
        for batch in batches:
            found = self._waiting.pop(batch, None)
            norms = norms if found is None else self._resolve(*found)
        if norms is not None:
            self._put(logs, norms)

    def log_epoch(self, logs: Any) -> None:
        """Adds the means over the epoch's steps; NaN if none had a gradient."""
        for batch in list(self._waiting):
            self._resolve(*self._waiting.pop(batch))
        rows = [row for row in self._values if row is not None]
        means = np.mean(rows, axis=0) if rows else np.full(1, math.nan)
        self._begin_epoch()
        self._put(logs, means)

    def _resolve(self, place: int, tensor: Any) -> np.ndarray:
        norms = backend.to_host(tensor).astype(np.float64)
        self._values[place] = norms
        return norms

    def _put(self, logs: Any, norms: np.ndarray) -> None:
        if not isinstance(logs, dict):
            return
        new = self._named(norms)
        if new.keys() & logs.keys():
            self._warn()
        logs.update({name: norm for name, norm in new.items() if name not in logs})

    def _warn(self) -> None:
        if not self._has_warned:
            self._has_warned = True
            self.say(
                f"The logs already have {GradientNorm.name!r} from elsewhere, so "
                "hr.Logs does not add it. Is there another recorder, or a metric with "
                "that name?"
            )
