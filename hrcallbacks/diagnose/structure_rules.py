"""Rules about how a model is made: its output and loss, its activations."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

from hrcallbacks.diagnose.rules import CannotLook, Rule
from hrcallbacks.diagnose.structure import LINEAR, Loss, Node, Structure
from hrcallbacks.diagnose.target_rules import range_of

if TYPE_CHECKING:
    from hrcallbacks.diagnose.findings import Finding
    from hrcallbacks.diagnose.survey import Survey

_EXCLUSIVE = (
    "categorical_crossentropy",
    "sparse_categorical_crossentropy",
    "categorical_focal_crossentropy",
)
_BINARY = ("binary_crossentropy", "binary_focal_crossentropy")
_PROBABILITIES = (*_EXCLUSIVE, *_BINARY)
_UNKNOWN_GRAPH = "what follows what in the model is not known (a subclassed model)"
# What the failures of a wrong model look like.
_ANY_FAILURE = (
    *("regularization", "input_scale", "negative_loss", "update_size", "loss_rises"),
    *("exploding", "nan", "identical_units", "silent_outputs", "vanishing"),
    *("dead_units", "saturated_units", "saturated_layer", "frozen", "no_progress"),
    *("metric_stuck", "one_batch"),
)


@dataclass(frozen=True)
class OutputActivation(Rule):
    """An output activation that does not fit the loss.

    A cross-entropy takes probabilities, or logits if it says `from_logits=True`: the
    first need a softmax (classes that exclude one another) or a sigmoid, the second no
    activation. A softmax over one unit is always 1. There is no threshold: the model
    and its loss either fit or do not.
    """

    name: ClassVar[str] = "output_activation"
    explains: ClassVar[tuple[str, ...]] = _ANY_FAILURE
    suspect: ClassVar[bool] = True

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        structure = survey.need_structure()
        if not structure.known:
            raise CannotLook(_UNKNOWN_GRAPH)
        for output in structure.outputs:
            node, activations = structure.head(output)
            yield from self._of_output(survey, structure, node, activations)

    def _of_output(
        self, survey: Survey, structure: Structure, node: Node, activations: list[str]
    ) -> Iterator[Finding]:
        path = node.variable("kernel") or node.path
        if activations[-1:] == ["softmax"] and node.units == 1:
            yield self._found(
                survey,
                path,
                "a softmax over one unit is 1 whatever comes in: nothing can be learnt",
                "activation='sigmoid' with binary_crossentropy, or a unit for each "
                "class.",
            )
            return
        if activations.count("softmax") > 1:
            yield self._found(
                survey,
                path,
                "two softmax after one another: the second flattens the first",
                "a single softmax.",
            )
        if len(structure.losses) != 1 or len(structure.outputs) != 1:
            return
        loss = structure.losses[0]
        if loss.own or loss.name not in _PROBABILITIES:
            return
        if not (activations or node.is_weighted):
            raise CannotLook(f"what {node.path} makes of the output is not known")
        said = _misfit(loss, node, activations[-1] if activations else None)
        if said:
            yield self._found(survey, path, *said)

    def _found(self, survey: Survey, path: str, evidence: str, advice: str) -> Finding:
        return self.found("warning", evidence, advice, path=path, step=survey.steps[0])


def _misfit(loss: Loss, node: Node, activation: str | None) -> tuple[str, str] | None:
    """What does not fit, and what to do; None if it does."""
    exclusive = loss.name in _EXCLUSIVE
    right = "softmax" if exclusive else "sigmoid"
    if loss.from_logits:
        if activation in LINEAR:
            return None
        again = activation in ("softmax", "sigmoid")
        return (
            f"{loss.name} with from_logits=True takes logits, and the output goes "
            f"through {activation}: "
            + (f"the loss is to apply the {right}" if again else "that cuts them"),
            "no activation at the output"
            + (", or from_logits=False in the loss." if again else "."),
        )
    if exclusive and node.units == 1:
        return (
            f"{loss.name} over a single unit: with one class there is nothing to tell "
            "apart",
            "a unit for each class with softmax, or binary_crossentropy with sigmoid.",
        )
    if activation == right or (not exclusive and activation == "softmax"):
        return None
    if exclusive and activation == "sigmoid":
        return (
            f"{loss.name} with sigmoid at the output: the {node.units} classes exclude "
            "one another, and their probabilities do not add up to 1",
            "activation='softmax'; or binary_crossentropy if several may be true.",
        )
    if activation in ("hard_sigmoid", "sparsemax", "log_softmax"):
        return None
    what = "no activation" if activation in LINEAR else activation
    return (
        f"{loss.name} takes probabilities, and the output has {what}: what is below 0 "
        "or above 1 is cut off, and has no gradient",
        f"activation='{right}' at the output, or from_logits=True in the loss"
        + ("." if activation in LINEAR else " and no activation."),
    )


@dataclass(frozen=True)
class OutputRange(Rule):
    """An output activation that bounds the answers of a regression.

    A relu never answers below 0, a sigmoid or softmax keeps to 0 to 1, tanh to -1 to 1:
    right if the targets do too. Where these were recorded, the rule `targets` looks at
    them instead. An accuracy of a squared error says that the targets are classes.
    These are notes, unless nothing is learnt.
    """

    name: ClassVar[str] = "output_range"
    explains: ClassVar[tuple[str, ...]] = (
        *("silent_outputs", "frozen", "no_progress", "metric_stuck", "dead_units"),
    )
    suspect: ClassVar[bool] = True

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        structure = survey.need_structure()
        if not structure.known:
            raise CannotLook(_UNKNOWN_GRAPH)
        if len(structure.losses) != 1 or len(structure.outputs) != 1:
            raise CannotLook("the model has not a single output with a single loss")
        loss = structure.losses[0]
        node, activations = structure.head(structure.outputs[0])
        last = activations[-1] if activations else None
        if loss.name not in _DISTANCES or loss.own:
            return
        path = node.variable("kernel") or node.path
        bounds = _RANGES.get(last or "")
        if any("accuracy" in metric or metric == "acc" for metric in structure.metrics):
            yield self.found(
                "note",
                f"{loss.name} as loss, and an accuracy as metric: classes are compared "
                "as if they were amounts",
                "a cross-entropy: softmax and sparse_categorical_crossentropy, or one "
                "sigmoid and binary_crossentropy; of amounts, mae as metric.",
                path=path,
                step=survey.steps[0],
            )
        elif bounds and range_of(survey.recording) is None:
            yield self.found(
                "note",
                f"{loss.name} with {last} at the output, which answers {bounds}",
                "no activation at the output, unless the targets keep to that too.",
                path=path,
                step=survey.steps[0],
            )


_DISTANCES = ("mean_squared_error", "mean_absolute_error", "huber", "log_cosh")
_RANGES = {
    "relu": "0 or more, and has no gradient at 0",
    "sigmoid": "from 0 to 1",
    "softmax": "from 0 to 1, and a sum of 1",
    "tanh": "from -1 to 1",
}


@dataclass(frozen=True)
class HiddenActivations(Rule):
    """Hidden layers without activation, or with one that hinders the gradient.

    Two layers with no activation between them compute what one could. A softmax makes
    its units compete for a sum of 1; an exponential grows without bounds; a stack of
    sigmoid layers lets through a quarter of the gradient at each, at most, tanh less
    than all. Each has its uses, so they are notes, unless they make something fail.

    Args:
        min_stack: How many sigmoid or tanh layers in a row are a stack.
    """

    name: ClassVar[str] = "hidden_activation"
    explains: ClassVar[tuple[str, ...]] = (
        *("nan", "exploding", "vanishing", "saturated_units", "saturated_layer"),
        *("no_progress", "metric_stuck", "frozen", "dead_units"),
    )
    suspect: ClassVar[bool] = True
    min_stack: int = 3

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        structure = survey.need_structure()
        if not structure.known:
            raise CannotLook(_UNKNOWN_GRAPH)
        first = survey.steps[0]
        pairs = [
            (node, after)
            for node in structure.nodes.values()
            if node.is_weighted and (after := structure.next_weighted(node))
        ]
        for names, what, advice in (
            (("softmax",), _SOFTMAX, "relu in the hidden layers."),
            (("exponential",), _EXPONENTIAL, "relu in the hidden layers."),
        ):
            nodes = [n for n, _ in pairs if structure.effective(n) in names]
            if nodes:
                yield self.found(
                    "note", f"{_counted(nodes)} {what}", advice, step=first
                )
        yield from self._linear(structure, pairs, int(first))
        yield from self._stack(structure, pairs, int(first))

    def _linear(
        self, structure: Structure, pairs: list[tuple[Node, Node]], first: int
    ) -> Iterator[Finding]:
        bare = [
            node
            for node, after in pairs
            if structure.effective(node) in LINEAR and not _narrows(node, after)
        ]
        if bare:
            yield self.found(
                "note",
                f"{_counted(bare)} no activation before the next layer: two such "
                "layers compute no more than one",
                "activation='relu' in hidden layers.",
                step=first,
            )

    def _stack(
        self, structure: Structure, pairs: list[tuple[Node, Node]], first: int
    ) -> Iterator[Finding]:
        for name, share in (("sigmoid", "a quarter"), ("tanh", "all")):
            stack = [
                node
                for node, _ in pairs
                if structure.effective(node) == name
                and not structure.reaches_normalization(node)
            ]
            if len(stack) >= self.min_stack:
                yield self.found(
                    "note",
                    f"{_counted(stack)} {name} as activation, each of which lets "
                    f"through {share} of the gradient at most",
                    "relu with He initialization (he_normal), or batch normalization "
                    "before the activation.",
                    step=first,
                )


_SOFTMAX = "softmax as activation: their units share a sum of 1, and little goes on"
_EXPONENTIAL = "an exponential as activation: what goes through grows without bounds"


def _narrows(node: Node, after: Node) -> bool:
    """Whether a layer is a bottleneck, which may do without an activation."""
    return bool(node.units and after.units and node.units * 2 <= after.units)


def _counted(nodes: list[Node]) -> str:
    paths = ", ".join(node.path for node in nodes[:3])
    more = f" and {len(nodes) - 3} more" if len(nodes) > 3 else ""
    count = f"{len(nodes)} hidden layer{'s' if len(nodes) > 1 else ''}"
    return f"{count} ({paths}{more}) ha{'ve' if len(nodes) > 1 else 's'}"


@dataclass(frozen=True)
class FrozenShare(Rule):
    """Frozen layers that were never trained, and hold most of the model.

    Layers with pretrained weights are frozen on purpose. One whose biases are all 0
    looks as if it had just been initialized; freezing it keeps its random weights.

    Args:
        share: From which share of the model's parameters on it is a warning.
    """

    name: ClassVar[str] = "frozen_share"
    explains: ClassVar[tuple[str, ...]] = ("no_progress", "metric_stuck")
    suspect: ClassVar[bool] = True
    share: float = 0.5

    def look(self, survey: Survey) -> Iterator[Finding]:
        """Looks for what the class describes."""
        nodes = [*survey.need_structure().nodes.values()]
        total = sum(node.parameters for node in nodes)
        fresh = [n for n in nodes if not n.trainable and n.parameters and n.untouched]
        frozen = sum(node.parameters for node in fresh)
        if not fresh or frozen < self.share * total:
            return
        names = ", ".join(node.path for node in fresh[:4])
        more = f" and {len(fresh) - 4} more" if len(fresh) > 4 else ""
        yield self.found(
            "warning",
            f"{frozen / total:.0%} of the parameters are frozen in {names}{more}, and "
            "the biases there are all 0, as of weights that were never trained",
            "layer.trainable = True before compile; or load the pretrained weights.",
            step=survey.steps[0],
        )
