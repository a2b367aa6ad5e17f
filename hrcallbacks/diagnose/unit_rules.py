"""Rules about single units: dead, saturated."""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.units import (
    incoming,
    informative,
    layers,
    movement,
    outgoing_of,
    watched,
)

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
    how its weights are found, which it does not of recurrent layers and of the model's
    output. A regularizer on a kernel gives dead units a gradient, and so hides them.

    Where not every step was recorded, weights that moved between records show that a
    unit lived. Where gradients were recorded as `"zero_fraction"` alone, it can say how
    many zeros a layer has, not whether they are always the same units'.

    Args:
        min_records: So many records in a row, up to the last, must be zero.
        min_epochs: And, where an epoch has several batches, all of so many epochs: a
            batch may lack what a unit answers to.
        most_records: But no more records than these.
        times: And so many times as many as the unit was ever silent before.
        warning_share: Of a layer's units, how many must be dead for a warning; fewer
            are a note, for they are seen in networks that learn well.
        severe_share: And how many for it to be severe.
        zero_share: With `"zero_fraction"` alone: the share of zeros in each record, in
            all that leads into a layer and out of it.
    """

    name: ClassVar[str] = "dead_units"
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100
    times: float = 3.0
    warning_share: float = 0.25
    severe_share: float = 0.5
    zero_share: float = 0.5

    def look(self, survey):
        """See the class."""
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
        for layer in raw:
            yield from self._of_layer(survey, layer)
        for layer in coarse:
            yield from self._coarse(survey, layer)

    def _of_layer(self, survey, layer):
        alive = incoming(survey, layer)
        outgoing = outgoing_of(survey, layer)
        # Of several kernels that it may lead into, any that is silent too will do.
        both = [(path, alive.or_(a)) for path, a in outgoing]
        sure, moved = True, None
        if survey.misses_steps:
            moved = movement(survey, layer)
            sure = moved is not None
        counts = informative(survey, layer.kernel)
        patience = survey.patience(self)
        dead = {}
        for path, activity in both:
            activity = activity.or_(moved) if moved else activity
            for unit in np.flatnonzero(self._silent(activity, counts, patience)):
                dead.setdefault(int(unit), (path, activity))
        share = len(dead) / layer.count
        severity = _severity(self, share, sure)
        for unit, (path, activity) in sorted(dead.items()):
            last = int(activity.last[unit])
            number = counts[-1] - counts[last + 1]
            where = self._where(survey, layer, path)
            yield self.found(
                severity,
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

    def _silent(self, activity, counts, patience):
        since = counts[-1] - counts[activity.last + 1]
        enough = np.maximum(patience, self.times * activity.gap)
        return since >= enough

    def _where(self, survey, layer, path):
        bias = " and bias" if survey.track("gradients", layer.bias) else ""
        return (
            f"all gradients, incoming (kernel{bias}) and outgoing ({path}), are "
            "exactly 0 in"
        )

    def _coarse(self, survey, layer):
        counted = survey.numbers("gradients", "zero_fraction")
        there = [layer.kernel, layer.bias, layer.outgoing[0][0]]
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

    Such a unit gives the same output whatever comes in: a `relu6` or `hard_sigmoid`
    beyond its end, a sigmoid whose derivative underflows; or all its outgoing weights
    are 0. Otherwise as `DeadUnits`.

    Args:
        min_records: So many records in a row, up to the last, must be zero.
        min_epochs: And, where an epoch has several batches, all of so many epochs: a
            batch may lack what a unit answers to.
        most_records: But no more records than these.
        times: And so many times as many as the unit's gradient was ever zero before.
        warning_share: Of a layer's units, how many must be so for a warning.
        severe_share: And how many for it to be severe.
    """

    name: ClassVar[str] = "saturated_units"
    min_records: int = 5
    min_epochs: int = 2
    most_records: int = 100
    times: float = 3.0
    warning_share: float = 0.25
    severe_share: float = 0.5

    def look(self, survey):
        """See the class."""
        survey.need(self.min_records)
        raw = watched(survey)
        if not layers(survey.shapes):
            raise CannotLook(_NO_LAYERS)
        if not raw:
            raise CannotLook(
                "no raw gradients were recorded of a kernel and of one that it leads "
                f"into; {survey.there_are}"
            )
        for layer in raw:
            yield from self._of_layer(survey, layer)

    def _of_layer(self, survey, layer):
        alive = incoming(survey, layer)
        outgoing = [a for _, a in outgoing_of(survey, layer)]
        counts = informative(survey, layer.kernel)
        since = counts[-1] - counts[alive.last + 1]
        silent = since >= np.maximum(survey.patience(self), self.times * alive.gap)
        # Seen in each kernel that it may lead into, and lately.
        last_out = np.min([a.last for a in outgoing], axis=0)
        lately = counts[-1] - counts[last_out + 1] <= since // 2
        units = np.flatnonzero(silent & lately)
        share = len(units) / layer.count
        severity = _severity(self, share, not survey.misses_steps)
        for unit in units:
            yield self.found(
                severity,
                "a constant output: all incoming gradients are exactly 0 in each "
                f"record since, the outgoing ({layer.outgoing[0][0]}) are not"
                + (_UNSEEN if survey.misses_steps else ""),
                "smaller initial weights, a lower learning rate, normalization before "
                "the activation, or an activation without flat ends.",
                path=layer.kernel,
                unit=int(unit) + 1,
                step=survey.steps[alive.last[unit] + 1],
            )


def _severity(rule, share, sure):
    if share >= rule.severe_share and sure:
        return "severe"
    return "warning" if share >= rule.warning_share else "note"
