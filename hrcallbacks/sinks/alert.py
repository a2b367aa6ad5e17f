"""Alerts raised while a run is training."""

from collections.abc import Iterable, Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

from hrcallbacks.diagnose import RULES, Rule, Watch
from hrcallbacks.sinks.nonfinite import Nonfinite
from hrcallbacks.sinks.recent_batches import RecentBatches
from hrcallbacks.sinks.sink import Sink
from hrcallbacks.types import Record, RunInfo

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording

_NAN = "nan"
_RECENT_BYTES = 64 * 1024**2


class Alert(Sink):
    """Warns when something is wrong with a run, once per finding, while it trains.

    Notes, the mildest findings, are left out, and what follows from another finding is
    named with it. Nonfinite gradients are left out too if a `LossScaleOptimizer` skips
    their steps.

    Args:
        rules: `"nan"` looks for NaN and infinity in the loss and in the recorded
            gradients and weights, as soon as records reach the host, at the latest at
            an epoch's end. Another name from `hr.diagnose.RULES`, such as
            `"dead_units"`, or a rule, such as `hr.diagnose.DeadUnits(min_records=50)`,
            checks the recording so far at each epoch's end. Or a list of these.
        stop: Whether to stop training too, at the end of the step or the epoch. Not
            allowed with `attached`.
        keep_batch: Whether the recording keeps the data of the steps that it warns of,
            as `Recording.batches[step]`: what that step was given, so that one sees
            which samples made the NaN. The data of each recorded step then come to the
            host. A finding at an epoch's end may name an earlier step, whose data are
            still there if the later ones take less than 64 MiB. In memory they count
            towards `max_bytes`.

    Raises:
        TypeError: If `rules` has the wrong type.
        ValueError: If there is no rule with that name.

    Example:
        >>> Alert(["nan", "dead_units"], stop=True)
        <Alert of 2 rules, stops training>
    """

    waits = True

    def __init__(
        self,
        rules: str | Rule | Iterable[str | Rule] = _NAN,
        *,
        stop: bool = False,
        keep_batch: bool = False,
    ) -> None:
        listed = _checked(rules)
        self._count = len(listed)
        self._others = [rule for rule in listed if rule not in (_NAN, RULES[_NAN])]
        self._asks_nan = len(self._others) < len(listed)
        self._stop = bool(stop)
        self.needs_batch: bool = bool(keep_batch)
        self._nonfinite: Nonfinite | None = None
        self._begin_recording()

    def _begin_recording(self) -> None:
        self._watch = Watch(self._others) if self._others else None
        self._told: set[tuple[str, str, str]] = set()
        self._recent = RecentBatches(_RECENT_BYTES)

    def __repr__(self) -> str:
        """What it looks for."""
        rules = f"{self._count} rule{'' if self._count == 1 else 's'}"
        return f"<Alert of {rules}{', stops training' if self._stop else ''}>"

    def check_loop(self) -> None:
        """See `Sink.check_loop`."""
        if self._stop:
            raise ValueError(
                "hr.Alert(..., stop=True) can stop only fit. Use stop=False, and stop "
                "your own loop yourself."
            )

    def begin(self, run: RunInfo) -> None:
        """See `Sink.begin`."""
        self._nonfinite = Nonfinite(run) if self._asks_nan else None
        if not run.records:
            self._begin_recording()

    def add(self, record: Record) -> None:
        """Looks for NaN and infinity."""
        if self._watch is not None and record.batch:
            self._recent.add(record.step.step, record.batch)
        if self._nonfinite and (text := self._nonfinite.look(record)):
            self._alert(text, record.step.step, record.batch)

    def look(self, recording: "Recording") -> None:
        """Applies the rules to the recording so far."""
        if self._watch is None or not len(recording):
            return
        rows = self._watch.look(recording).to_frame().to_dict("records")
        for row in rows:
            key = row["rule"], str(row["path"]), str(row["unit"])
            if row["severity"] == "note" or row["cause"] or key in self._told:
                continue
            self._told.add(key)
            rest = [r["rule"] for r in rows if r["cause"] == row["rule"]]
            step = None if pd.isna(row["step"]) else int(row["step"])
            batch = self._recent.of(step)
            self._alert(_finding(row, [*dict.fromkeys(rest)]), step, batch)

    def _alert(
        self, text: str, step: int | None, batch: Mapping[str, np.ndarray]
    ) -> None:
        if batch and step is not None:
            self.keep(step, batch)
            text += f" Its batch is kept: recording.batches[{step}]."
        end = "stops: stop=True." if self._stop else "goes on."
        self.say(f"{text} Training {end}", stop=self._stop)


def _checked(rules: Any) -> list[str | Rule]:
    try:
        listed: Any = [rules] if isinstance(rules, str | Rule) else list(rules)
        Watch(listed)
    except (TypeError, ValueError) as error:
        raise type(error)(
            f"Expected rules: the name of a rule ({list(RULES)}), a hr.diagnose.Rule, "
            f"or a list of these. Received: {rules!r}. ({error})"
        ) from error
    return listed


def _finding(row: dict[str, Any], consequences: list[str]) -> str:
    where = [row["path"]] if isinstance(row["path"], str) else []
    for name, said in (("unit", "unit"), ("step", "from step")):
        if not pd.isna(row[name]):
            where.append(f"{said} {int(row[name])}")
    place = f" in {', '.join(where)}" if where else ""
    evidence, advice = (row[name].rstrip(".") for name in ("evidence", "advice"))
    follows = f" From this follows: {', '.join(consequences)}." if consequences else ""
    return f"{row['rule']}{place}: {evidence}. Try: {advice}.{follows}"
