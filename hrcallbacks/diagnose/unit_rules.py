"""Rules about single units: dead, saturated."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

import numpy as np
import numpy.typing as npt

from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.units import (
    Layer,
    incoming,
    informative,
    layers,
    movement,
    outgoing_of,
    watched,
)

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding, Severity
    from hrcallbacks.diagnose.survey import Survey
    from hrcallbacks.diagnose.tracks import Activity

_NEVER_ALIVE = (
    "other initial weights (He, biases of 0 or slightly above), inputs of mean 0, or "
    "an activation that always has a gradient (leaky_relu, gelu)."
)
_DIED = (
    "a lower learning rate, a warm-up, or an activation that always has a gradient "
    "(leaky_relu, gelu)."
)

_NO_LAYERS = "no kernel of the model leads into another one"
_UNSEEN = "; steps between the records were not seen"


@dataclass(frozen=True)
class DeadUnits(Rule):
    """ReLU units whose gradients are exactly zero, incoming and outgoing.

    A unit is dead if from some step on each gradient of its incoming kernel, its bias
    and its outgoing kernel is exactly 0, in record after record, while other gradients
    are not. It was never alive if that holds from the first record on; otherwise it
    died after the last step in which one was not 0. `hrcallbacks.diagnose.units` says
    how a unit's weights are found; recurrent layers and the model's output are left
    out. A regularizer on a kernel gives dead units a gradient, and so hides them.

    If not every step was recorded, weights that moved between records show that a unit
    lived. If only the `"zero_fraction"` of gradients was recorded, the rule can say how
    many zeros a layer has, but not whether they always belong to the same units.

    Args:
        min_records: How many records in a row, up to the last, must be zero.
        min_epochs: If an epoch has several batches, for how many epochs too, since a
            batch may lack what a unit responds to.
        most_records: How many records are enough even so.
        times: How many times as long as ever before the unit must be silent.
        warning_share: From which share of a layer's units on it is a warning, in a run
            that does not learn; some are a note, for they are seen in runs that do.
        severe_share: From which share of all the model's units on it is severe; a
            whole layer always is.
        zero_share: With only `"zero_fraction"`: from which share of zeros on, in each
            record, in all that leads into a layer and out of it.
    """

    name: ClassVar[str] = "dead_units"
    # Not that nothing is learnt: half the units suffice for that. Of a whole layer that
    # is dead, the layers before it are frozen; what comes of that follows from it too.
    explains: ClassVar[tuple[str, ...]] = ("frozen", "vanishing", "saturated_units")
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100
    times: float = 3.0
    warning_share: float = 0.25
    severe_share: float = 0.65
    zero_share: float = 0.5

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need(self.min_records)
        found = layers(survey.shapes)
        if not found:
            raise CannotLook(_NO_LAYERS)
        raw = watched(survey)
        counted = survey.numbers("gradients", "zero_fraction")
        coarse = [n for n in found if n not in raw and n.kernel in counted]
        if not raw and not coarse:
            raise CannotLook(
                "neither raw gradients nor their 'zero_fraction' were recorded of a "
                f"kernel and of one that it leads into; {survey.there_are}"
            )
        yield from _weighed(self, survey, [self._of_layer(survey, n) for n in raw], raw)
        for layer in coarse:
            yield from self._coarse(survey, layer)

    def _of_layer(self, survey: Survey, layer: Layer) -> Iterator[Finding]:
        alive = incoming(survey, layer)
        outgoing = outgoing_of(survey, layer)
        # It may lead into one of several kernels: any that is silent too will do.
        both = [(path, alive.or_(a)) for path, a in outgoing]
        sure, moved = True, None
        if survey.misses_steps:
            moved = movement(survey, layer)
            sure = moved is not None
        counts = informative(survey, layer.kernel)
        patience = survey.patience(self)
        dead: dict[int, tuple[str, Activity]] = {}
        for path, activity in both:
            activity = activity.or_(moved) if moved else activity
            for unit in np.flatnonzero(self._silent(activity, counts, patience)):
                dead.setdefault(int(unit), (path, activity))
        for unit, (path, activity) in sorted(dead.items()):
            last = int(activity.last[unit])
            number = counts[-1] - counts[last + 1]
            where = self._where(survey, layer, path)
            yield self.found(
                "note",
                (
                    f"never alive: {where} all {number:,} records"
                    if last < 0
                    else f"died: {where} each record since"
                )
                + f"; dead in this layer: {len(dead)} of {layer.count} units"
                + ("" if sure else _UNSEEN),
                _NEVER_ALIVE if last < 0 else _DIED,
                path=layer.kernel,
                unit=unit + 1,
                step=survey.steps[last + 1],
            )

    def _silent(
        self, activity: Activity, counts: npt.NDArray[np.integer], patience: int
    ) -> npt.NDArray[np.bool_]:
        since = counts[-1] - counts[activity.last + 1]
        enough = np.maximum(patience, self.times * activity.gap)
        return since >= enough

    def _where(self, survey: Survey, layer: Layer, path: str) -> str:
        bias = " and bias" if survey.track("gradients", layer.bias) else ""
        return (
            f"all gradients, incoming (kernel{bias}) and outgoing ({path}), are "
            "exactly 0 in"
        )

    def _coarse(self, survey: Survey, layer: Layer) -> Iterator[Finding]:
        counted = survey.numbers("gradients", "zero_fraction")
        there = [layer.kernel, layer.bias, layer.outgoing[0].path]
        shares = np.vstack([counted[p] for p in there if p in counted])
        lowest = np.nanmin(shares, axis=0, initial=np.inf)
        lowest = lowest[np.isfinite(lowest) & (lowest < 1)]
        if len(lowest) < self.min_records or lowest.min() < self.zero_share:
            return
        few = int(lowest.min() * layer.count)
        yield self.found(
            "warning",
            f"at least {lowest.min():.0%} of its gradients are exactly 0 in each of "
            f"{len(lowest):,} records, incoming and outgoing, as if {few} of "
            f"{layer.count} units were dead. Which ones, and whether always the same, "
            "raw gradients would say",
            _DIED,
            path=layer.kernel,
            step=survey.steps[0],
        )


@dataclass(frozen=True)
class SaturatedUnits(Rule):
    """Units with an exactly zero gradient coming in while that going out is not.

    Such a unit has the same output whatever comes in: a `relu6` or `hard_sigmoid`
    beyond its end, a sigmoid whose derivative underflows; or all its outgoing weights
    are 0. In all else it is like `DeadUnits`.

    Args:
        min_records: How many records in a row, up to the last, must be zero.
        min_epochs: If an epoch has several batches, for how many epochs too, since a
            batch may lack what a unit responds to.
        most_records: How many records are enough even so.
        times: How many times as long as ever before the gradient must be zero.
        warning_share: From which share of a layer's units on it is a warning, in a run
            that does not learn.
        severe_share: From which share of all the model's units on it is severe.
    """

    name: ClassVar[str] = "saturated_units"
    explains: ClassVar[tuple[str, ...]] = (
        "frozen",
        "vanishing",
        "no_progress",
        "metric_stuck",
        "saturated_layer",
    )
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100
    times: float = 3.0
    warning_share: float = 0.25
    severe_share: float = 0.65

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        survey.need(self.min_records)
        raw = watched(survey)
        if not layers(survey.shapes):
            raise CannotLook(_NO_LAYERS)
        if not raw:
            raise CannotLook(
                "no raw gradients were recorded of a kernel and of one that it leads "
                f"into; {survey.there_are}"
            )
        yield from _weighed(self, survey, [self._of_layer(survey, n) for n in raw], raw)

    def _of_layer(self, survey: Survey, layer: Layer) -> Iterator[Finding]:
        alive = incoming(survey, layer)
        outgoing = [a for _, a in outgoing_of(survey, layer)]
        counts = informative(survey, layer.kernel)
        since = counts[-1] - counts[alive.last + 1]
        silent = since >= np.maximum(survey.patience(self), self.times * alive.gap)
        # Seen recently, and in each kernel that it may lead into.
        last_out = np.min([a.last for a in outgoing], axis=0)
        lately = counts[-1] - counts[last_out + 1] <= since // 2
        units = np.flatnonzero(silent & lately)
        for unit in units:
            yield self.found(
                "note",
                "a constant output: all incoming gradients are exactly 0 in each "
                f"record since, the outgoing ({layer.outgoing[0].path}) are not"
                + (_UNSEEN if survey.misses_steps else ""),
                "smaller initial weights, a lower learning rate, normalization before "
                "the activation, or an activation without flat ends.",
                path=layer.kernel,
                unit=int(unit) + 1,
                step=survey.steps[alive.last[unit] + 1],
            )


def _weighed(
    rule: DeadUnits | SaturatedUnits,
    survey: Survey,
    found: Sequence[Iterable[Finding]],
    among: Sequence[Layer],
) -> Iterator[Finding]:
    """The findings of each layer, as grave as they are for the model.

    A layer without a living unit lets nothing through, and a model of which most units
    are dead has lost most of itself. Else some dead units are usual in runs that learn.
    """
    by_layer = [[*one] for one in found]
    dead = sum(map(len, by_layer))
    share = dead / max(sum(layer.count for layer in among), 1)
    for layer, findings in zip(among, by_layer, strict=True):
        whole = len(findings) == layer.count > 1
        mine = len(findings) / layer.count
        if (whole or share >= rule.severe_share) and not survey.misses_steps:
            severity: Severity = "severe"
        elif share >= rule.severe_share or (
            mine >= rule.warning_share and not survey.learns
        ):
            severity = "warning"
        else:
            severity = "note"
        for finding in findings:
            yield replace(finding, severity=severity)
