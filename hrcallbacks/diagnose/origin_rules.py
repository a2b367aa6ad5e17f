"""Where NaN or infinity begins: in the batch, in a layer, or on the way back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.diagnose.nonfinite import Nonfinite
from hrcallbacks.diagnose.outlier_rules import is_scaled
from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.names import PREACTIVATION, layer_of

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey

_MOST_NAMED = 8
_COMPUTED = (
    "to look at what is computed there: a logarithm, a root, a quotient of what may be "
    "0, an exponential of what may be large. keras.ops.maximum(x, 1e-7) keeps x off 0; "
    "a sum that overflows takes a lower learning rate, clipnorm=1.0 or normalization."
)
_DERIVED = (
    "to look at the derivative of what is computed there: that of a root or a norm is "
    "infinite at 0, and keras.ops.where hides a value but not its derivative. Keep the "
    "argument off 0: keras.ops.sqrt(x + 1e-7)."
)
_LOST = (
    "to see whether the targets or sample weights are finite (batch={'*': 'nonfinite'} "
    "tells), and whether a loss of your own takes a logarithm, root or quotient of "
    "what may be 0."
)
_DATA = (
    "to clean these samples or leave them out; numpy.isfinite(x) finds them in all the "
    "data."
)


@dataclass(frozen=True)
class NanOrigin(Rule):
    """Where NaN or infinity begins, in the first step that has any.

    Looks at the batch, then at the outputs of layers in the order in which they are
    computed, then at the loss, then at the gradients with respect to the outputs in the
    reverse order. What was recorded of these may be raw, `hr.Rows`, `"nonfinite"`,
    another number such as `"norm"`, or one for each unit. If rows of the batch were
    recorded, it names those at fault. A `LossScaleOptimizer` skips steps whose
    gradients are not finite, so what begins on the way back is a note there, unless the
    last record has it too.
    """

    name: ClassVar[str] = "nan_origin"
    explains: ClassVar[tuple[str, ...]] = (
        *("undefined_loss", "nan", "exploding", "dead_units", "saturated_units"),
        *("silent_outputs", "vanishing", "saturated_layer", "frozen", "no_progress"),
        *("metric_stuck", "one_batch"),
    )

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        recording = survey.recording
        outputs, deltas, batch = (
            Nonfinite(recording, quantity)
            for quantity in ("outputs", "output_gradients", "batch")
        )
        if not (outputs.names or deltas.names):
            raise CannotLook(
                "it needs outputs={'*': 'nonfinite'}, and output_gradients= for the "
                "way back"
            )
        told = [of.records(n) for of in (batch, outputs, deltas) for n in of.names]
        anywhere = np.any([*told, _bad_losses(survey)], axis=0)
        if not anywhere.any():
            return
        record = int(np.argmax(anywhere))
        begin = _Begin(survey, record, batch, outputs, deltas)
        skipped = is_scaled(survey.recording.attributes.get("optimizer"))
        yield begin.found(self, skipped=skipped and not anywhere[-1])


class _Said(NamedTuple):
    path: str | None
    evidence: str
    advice: str


class _Begin:
    """The record in which it begins."""

    def __init__(
        self,
        survey: Survey,
        record: int,
        batch: Nonfinite,
        outputs: Nonfinite,
        deltas: Nonfinite,
    ) -> None:
        self._survey = survey
        self._record = record
        self._batch, self._outputs, self._deltas = batch, outputs, deltas

    def found(self, rule: Rule, *, skipped: bool) -> Finding:
        """What it is, as a finding of a rule.

        Args:
            rule: The rule.
            skipped: Whether the optimizer skips such steps, and there are none later.
        """
        said = self._in_batch() or self._in_outputs() or self._in_loss()
        harmless = said is None and skipped
        said = said or self._on_the_way_back()
        evidence = f"at {self._survey.when(self._record)} {said.evidence}"
        step = int(self._survey.steps[self._record])
        if harmless:
            evidence += ". The optimizer scales the loss and skips such steps"
            advice = "nothing, as long as such steps are few."
        else:
            kept = step in self._survey.recording.batches
            where = f" recording.batches[{step}] has the batch." if kept else ""
            advice = said.advice + where
        return rule.found(
            "note" if harmless else "severe",
            evidence,
            advice,
            path=said.path,
            step=step,
        )

    def _bad(self, of: Nonfinite) -> list[str]:
        return [name for name in of.names if of.records(name)[self._record]]

    def _in_batch(self) -> _Said | None:
        bad = self._bad(self._batch)
        if not bad:
            return None
        parts = [f"{n!r}{self._place(self._batch, n)}" for n in bad]
        return _Said(None, f"the batch itself is not finite: {_listed(parts)}", _DATA)

    def _place(self, of: Nonfinite, name: str) -> str:
        rows, units = of.rows(name, self._record), of.units(name, self._record)
        said = [f"rows {_listed(map(str, rows))} of the batch, from 0"] if rows else []
        said += [f"units {_listed(map(str, units))}"] if units else []
        return f" ({'; '.join(said)})" if said else ""

    def _in_outputs(self) -> _Said | None:
        bad = self._bad(self._outputs)
        if not bad:
            return None
        order = _inner_first(self._outputs.names)
        name = min(bad, key=order.index)
        before = order[: order.index(name)]
        place = self._place(self._outputs, name)
        return _Said(
            layer_of(name),
            f"it begins in {_output(name)}{place}; {self._inputs(before)}",
            self._weights(name) or _COMPUTED,
        )

    def _inputs(self, before: list[str]) -> str:
        """What is known of what came in."""
        data = (
            "the batch is finite"
            if self._batch.names
            else "whether the batch is, batch={'*': 'nonfinite'} would tell"
        )
        if not before:
            return f"no layer comes before it among those recorded, and {data}"
        return f"{_output(before[-1])} before it is finite, and {data}"

    def _weights(self, name: str) -> str | None:
        """What to do if the layer's own weights were not finite before the step."""
        survey, path = self._survey, layer_of(name)
        before = survey.recording.attributes.get("weights_at") == "before"
        record = self._record if before else self._record - 1
        arrays = survey.recording.arrays("weights")
        own = [p for p in survey.recording.paths if f"/{path}/" in f"/{p}"]
        for variable in own:
            weights = survey.initial(variable) if record < 0 else None
            if record >= 0 and variable in list(arrays):
                weights = np.asarray(arrays[variable][record])
            if weights is not None and not np.isfinite(weights).all():
                return (
                    f"record_freq=1: the weights {variable} were not finite before "
                    "this step, and an earlier update made them so."
                )
        return None

    def _in_loss(self) -> _Said | None:
        if not _bad_losses(self._survey)[self._record]:
            return None
        order = _inner_first(self._deltas.names)
        last = [n for n in order[-1:] if n in self._bad(self._deltas)]
        place = self._place(self._deltas, last[0]) if last else ""
        loss = self._survey.losses[self._record]
        return _Said(
            None, f"it begins in the loss, {loss}{place}; {self._forward}", _LOST
        )

    @property
    def _forward(self) -> str:
        if self._outputs.names:
            return "all outputs recorded are finite"
        return "outputs were not recorded"

    def _on_the_way_back(self) -> _Said:
        bad = self._bad(self._deltas)
        order = _inner_first(self._deltas.names)
        name = max(bad, key=order.index)
        after = order[order.index(name) + 1 :]
        place = self._place(self._deltas, name)
        begins = (
            f"that of {_output(after[0])} after it is finite"
            if after
            else "no layer comes after it among those recorded: the loss is next"
        )
        return _Said(
            layer_of(name),
            f"it begins on the way back, in the gradient with respect to "
            f"{_output(name)}{place}; {begins}; {self._forward}",
            _DERIVED,
        )


def _bad_losses(survey: Survey) -> npt.NDArray[np.bool_]:
    """Which records have a loss that is not finite; none if it is not known."""
    bad = ~np.isfinite(survey.losses)
    unknown = np.isnan(survey.losses).all() and not survey.loss_is_nan
    return np.zeros_like(bad) if unknown else bad


def _inner_first(names: list[str]) -> list[str]:
    """Names in the order in which they are computed.

    A model or layer around others is called before them, and gives its output after.
    """
    order: list[str] = []
    waiting: list[str] = []
    for name in names:
        while waiting and not _is_inside(name, waiting[-1]):
            order.append(waiting.pop())
        waiting.append(name)
    return [*order, *reversed(waiting)]


def _is_inside(name: str, other: str) -> bool:
    inner, outer = layer_of(name), layer_of(other)
    return inner.startswith(f"{outer}/") and inner != outer


def _output(name: str) -> str:
    if name.endswith(f"/{PREACTIVATION}"):
        return f"what goes into the activation of {layer_of(name)!r}"
    return f"the output of {name!r}"


def _listed(names: Iterable[str]) -> str:
    listed = list(names)
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
