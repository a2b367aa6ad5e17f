"""Rules about what a run starts with: initial weights, the size of the inputs."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.structure import Node, Structure
from hrcallbacks.diagnose.units import layers

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey

_HE = "initializer='he_normal' with relu, 'glorot_uniform' otherwise (Keras' default)."


@dataclass(frozen=True)
class InitialWeights(Rule):
    """Initial weights that are all alike, or far too large or small for their layer.

    Units that start with the same weights stay the same as long as the gradients are.
    A layer keeps the scale of what goes through it if its weights have a deviation of
    about `sqrt(2 / inputs)` (He et al., 2015, with ReLU) or `sqrt(1 / inputs)`
    (Glorot and Bengio, 2010). Layers one after another, without normalization,
    multiply what they are off by. A recurrent kernel is applied once a time step: its
    largest eigenvalue is what counts.

    Args:
        large: How many times too large the weights of all layers together must be.
        small: How many times too small they must be together.
        large_layer: How many times too large those of one layer must be.
        radius: Above which largest eigenvalue a recurrent kernel is too large.
        above_chance: Large weights are a warning if the first loss is so many times
            what a model that knows nothing gets (twice as many in a run that learns).
            Keras cuts a cross-entropy off at 16, seven times that of ten classes.
    """

    name: ClassVar[str] = "initial_weights"
    explains: ClassVar[tuple[str, ...]] = (
        *("identical_units", "vanishing", "exploding", "nan", "dead_units", "frozen"),
        *("saturated_units", "saturated_layer", "no_progress", "loss_rises"),
        *("metric_stuck", "silent_outputs", "update_size", "one_batch"),
    )
    suspect: ClassVar[bool] = True
    large: float = 30.0
    small: float = 0.001
    large_layer: float = 5.0
    radius: float = 1.5
    above_chance: float = 5.0

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        known = {p: w for p in survey.kernels if (w := _start(survey, p)) is not None}
        if survey.unreadable:
            raise CannotLook(survey.unreadable)
        if not known:
            raise CannotLook(
                "the weights before the first step were not kept: it needs raw weights "
                "and gradients of each step, or the model's layers"
            )
        yield from self._alike(survey, known)
        yield from self._scale(survey, known)
        yield from self._recurrent(survey)

    def _alike(self, survey: Survey, known: dict[str, _Start]) -> Iterator[Finding]:
        for layer in layers(survey.shapes):
            start = known.get(layer.kernel)
            if start is None or start.deviation > 0 or layer.count < 2:
                continue
            yield self.found(
                "note",
                f"all its weights start as {start.mean:.3g}: its {layer.count} units "
                "compute the same",
                f"random initial weights: kernel_{_HE}",
                path=layer.kernel,
                step=survey.steps[0],
            )

    def _scale(self, survey: Survey, known: dict[str, _Start]) -> Iterator[Finding]:
        structure = survey.structure
        gains: dict[str, float] = {}
        for path, start in known.items():
            if "recurrent" not in path and start.deviation > 0:
                gains[path] = start.deviation / _usual(survey, path)
        large = [p for p, gain in gains.items() if gain > self.large_layer]
        chain = structure is not None and structure.keeps_scale
        product = math.prod(gains.values()) if chain else math.nan
        if product < self.small:
            worst = min(gains, key=lambda p: gains[p])
            yield self.found(
                "note",
                f"the initial weights of {len(gains)} layers are small: of {worst}, "
                f"{gains[worst]:.2g} of what keeps the scale; together they leave "
                f"{product:.1g} of what comes in",
                f"kernel_{_HE[:-1]}; or batch normalization between the layers.",
                step=survey.steps[0],
            )
        elif large and (product > self.large or not chain):
            worst = max(gains, key=lambda p: gains[p])
            first, chance = survey.losses[0], survey.chance
            # A run that learns all the same gets by with them.
            limit = self.above_chance * (2 if survey.learns else 1)
            wrong = chance is not None and first > limit * chance
            yield self.found(
                "warning" if wrong else "note",
                f"the initial weights of {len(large)} layer"
                f"{'s' if len(large) > 1 else ''} are large: of {worst}, "
                f"{gains[worst]:.2g} times what keeps the scale"
                + (f"; together they make it {product:.2g} times" if chain else "")
                + (
                    f"; the first loss is {first:.3g}, where knowing nothing gets "
                    f"{chance:.3g}"
                    if wrong
                    else ""
                ),
                f"kernel_{_HE}",
                step=survey.steps[0],
            )

    def _recurrent(self, survey: Survey) -> Iterator[Finding]:
        structure = survey.structure
        if structure is None:
            return
        for node in structure.nodes.values():
            path = node.variable("recurrent_kernel")
            kernel = None if path is None else survey.initial(path)
            if node.kind != "SimpleRNN" or kernel is None:
                continue
            radius = float(np.abs(np.linalg.eigvals(np.asarray(kernel))).max())
            if radius > self.radius:
                yield self.found(
                    "note",
                    f"the largest eigenvalue of the recurrent kernel starts at "
                    f"{radius:.2g}: what goes through it grows by as much each time "
                    "step",
                    "recurrent_initializer='orthogonal' (Keras' default), an LSTM or "
                    "GRU, clipnorm=1.0.",
                    path=path,
                    step=survey.steps[0],
                )


@dataclass(frozen=True)
class _Start:
    """Mean and deviation of a kernel's initial weights."""

    mean: float
    deviation: float


def _start(survey: Survey, path: str) -> _Start | None:
    weights = survey.initial(path)
    if weights is not None:
        flat = np.asarray(weights, np.float64)
        alike = flat.min() == flat.max()
        return _Start(float(flat.mean()), 0.0 if alike else float(flat.std()))
    return None


def _usual(survey: Survey, path: str) -> float:
    shape = survey.shapes[path]
    node = _node_of(survey.structure, path)
    inputs = math.prod(shape[:-1])
    if node is not None and "Transpose" in node.kind:
        inputs = math.prod(shape[:-2]) * shape[-1]
    if node is not None and "Depthwise" in node.kind:
        inputs = math.prod(shape[:-2])
    gain = 1.0
    if node is not None and survey.structure is not None:
        relu = "relu" in (survey.structure.effective(node) or "")
        gain = math.sqrt(2.0) if relu else 1.0
    # Glorot's and LeCun's are within a factor of two of one another.
    return gain / math.sqrt(max(inputs, 1))


def _node_of(structure: Structure | None, path: str) -> Node | None:
    if structure is None:
        return None
    nodes = structure.nodes.values()
    return next((node for node in nodes if path in node.variables), None)


@dataclass(frozen=True)
class InputScale(Rule):
    """Inputs far from 1, seen in the gradients of the first layer.

    The gradient of a dense or convolutional kernel is the sum over samples of input
    times error, that of its bias the sum of the errors: their ratio is the size of the
    inputs. Its square says how much more the loss bends along the weights than along
    the bias: beyond 20, 400 times. Not looked at where normalization follows, which
    takes the scale out again. What an L2 penalty adds is taken off.

    Args:
        large: Above which size of the largest input it is a note.
        small: Below which size of the largest input it is a note.
        warning: By which further factor it is a warning.
        records: How many of the first records are looked at.
        share: In what share of these it must hold.
    """

    name: ClassVar[str] = "input_scale"
    explains: ClassVar[tuple[str, ...]] = (
        *("exploding", "loss_rises", "update_size", "dead_units", "saturated_units"),
        *("saturated_layer", "nan", "no_progress", "vanishing", "frozen"),
        *("silent_outputs", "metric_stuck", "one_batch"),
    )
    suspect: ClassVar[bool] = True
    large: float = 20.0
    small: float = 0.02
    warning: float = 2.0
    records: int = 16
    share: float = 0.8

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        structure = survey.need_structure()
        if not structure.known:
            raise CannotLook(
                "what follows what in the model is not known (a subclassed model)"
            )
        survey.need(4)
        looked = False
        for node in structure.first:
            kernel, bias = node.variable("kernel"), node.variable("bias")
            usable = kernel and bias and not _has_l1(node)
            if not usable or structure.reaches_normalization(node):
                continue
            sizes = self._sizes(survey, str(kernel), str(bias))
            if sizes is not None and len(sizes[0]):
                looked = True
                yield from self._of(survey, str(kernel), *sizes)
        if not looked:
            raise CannotLook(
                "it needs raw gradients of a first layer's kernel and bias, without "
                f"regularizer or normalization; {survey.there_are}"
            )

    def _sizes(
        self, survey: Survey, kernel: str, bias: str
    ) -> tuple[np.ndarray, np.ndarray] | None:
        """Size of the largest input, and of their sum, of each of the first records."""
        raw = survey.recording.arrays("gradients")
        if kernel not in raw or bias not in raw:
            return None
        gradient = np.asarray(raw[kernel][: self.records], np.float64)
        penalty = _l2(survey, kernel, self.records)
        if penalty is None:
            return None
        gradient = gradient - penalty
        errors = np.asarray(raw[bias][: self.records], np.float64)
        # Of one linear unit and the whole data set, errors may add up to nothing.
        if survey.batches == 1 and errors.shape[-1] == 1:
            return None
        by_input = gradient.reshape(len(gradient), -1, gradient.shape[-1])
        rows = np.linalg.norm(by_input, axis=2)
        total = np.linalg.norm(errors.reshape(len(errors), -1), axis=1)
        known = (total > 0) & np.isfinite(total) & np.isfinite(rows).all(axis=1)
        largest = rows[known].max(axis=1) / total[known]
        added = np.linalg.norm(by_input.sum(axis=1), axis=1)[known] / total[known]
        return largest, added

    def _of(
        self, survey: Survey, path: str, largest: np.ndarray, added: np.ndarray
    ) -> Iterator[Finding]:
        big = np.quantile(largest, 1 - self.share)
        # Where an input is 1 and the others 0, each is seldom seen; their sum is 1.
        little = np.quantile(largest, self.share)
        small = little < self.small and np.median(added) < 0.5
        if big <= self.large and not small:
            return
        size = float(np.median(largest))
        off = max(size / self.large, self.small / max(size, 1e-300))
        yield self.found(
            "warning" if off > self.warning else "note",
            f"its gradient is {size:.2g} times that of its bias: that is the "
            "size of the largest input",
            "inputs of mean 0 and deviation 1 (keras.layers.Normalization, or x / 255 "
            "once, for pictures).",
            path=path,
            step=survey.steps[0],
        )


def _has_l1(node: Node) -> bool:
    options = [about.get("options") or {} for about in node.regularizers.values()]
    return any(o.get("l1") for o in options) or any(
        about.get("class") not in ("L1", "L2", "L1L2")
        for about in node.regularizers.values()
    )


def _l2(survey: Survey, kernel: str, records: int) -> np.ndarray | float | None:
    """Gradient of the L2 penalty on a kernel; None if it is not known."""
    node = _node_of(survey.structure, kernel)
    about = node.regularizers.get("kernel") if node else None
    factor = float((about or {}).get("options", {}).get("l2") or 0)
    if not factor:
        return 0.0
    raw = survey.recording.arrays("weights")
    start = survey.initial(kernel)
    if kernel not in raw or start is None or survey.misses_steps:
        return None
    after = np.asarray(raw[kernel][:records], np.float64)
    if survey.recording.attributes.get("weights_at") == "before":
        return 2 * factor * after
    return 2 * factor * np.concatenate([np.asarray(start)[np.newaxis], after[:-1]])
