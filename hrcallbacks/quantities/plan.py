"""What a recording holds: quantities, variables, and what describes them."""

import importlib.metadata
from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np

from hrcallbacks.quantities.gradients import Gradients
from hrcallbacks.quantities.quantity import Quantity, Scene
from hrcallbacks.quantities.step_values import StepValues
from hrcallbacks.quantities.weights import Weights
from hrcallbacks.selection.variables import (
    check_pattern,
    select_variables,
    unique_paths,
)
from hrcallbacks.types import Key, Spec, Variables

_VERSIONS = {
    "hrcallbacks": importlib.metadata.version("hrcallbacks"),
    "keras": keras.__version__,
    "numpy": np.__version__,
}


class Plan:
    """What a recorder records.

    Attributes:
        gradients: The gradients.
        weights: The weights.
        late: What else is recorded, of which only a step tells what there is.
        has_found: Whether a step has told.
        specs: What a record holds of the model; nothing until `select`.

    Args:
        variables: Which variables: see `GradientRecorder(variables=)`.
        gradients: The gradients.
        weights: The weights.
        late: What else is recorded.
    """

    def __init__(
        self,
        variables: Variables,
        gradients: Gradients,
        weights: Weights,
        late: Sequence[Quantity] = (),
    ) -> None:
        check_pattern(variables)
        self.gradients = gradients
        self.weights = weights
        self.late: Sequence[Quantity] = late
        self.has_found: bool = False
        self._found: dict[Key, Spec] = {}
        self.specs: Mapping[Key, Spec] = {}
        self._variables = variables
        self._trainable: Sequence[Any] = ()  # All trainable variables of the model.

    @property
    def quantities(self) -> list[Quantity]:
        """What is taken of a step for a record."""
        return [StepValues(), self.gradients, self.weights, *self.late]

    @property
    def is_raw(self) -> bool:
        """Whether every element of gradients and weights is recorded."""
        return self.gradients.wanted.is_raw and self.weights.wanted.is_raw

    @property
    def reductions(self) -> dict[str, Mapping[str, Mapping[str, Any]]]:
        """What a reader needs to know about the reductions, by quantity and name."""
        described = {q.name: q.describe() for q in self.quantities}
        always = (self.gradients.name, self.weights.name)
        return {n: about for n, about in described.items() if about or n in always}

    def select(self, trainable: Sequence[Any]) -> Mapping[str, Any]:
        """Selects what to record of a model.

        Args:
            trainable: The model's trainable variables.

        Returns:
            The variables to record, by path.

        Raises:
            ValueError: If nothing matches, or a reduction fails.
        """
        chosen = select_variables(self._variables, trainable)
        specs: dict[Key, Spec] = {}
        for quantity in self.quantities:
            specs |= quantity.choose(chosen)
        self._trainable, self.specs = trainable, {**specs, **self._found}
        return chosen

    @property
    def awaits(self) -> bool:
        """Whether a step is still to tell what is recorded of it."""
        return bool(self.late) and not self.has_found

    def check_model(self, model: Any) -> None:
        """See `Quantity.check_model`."""
        for quantity in self.late:
            quantity.check_model(model)

    @property
    def unseen(self) -> dict[tuple[str, str], Sequence[str]]:
        """By quantity and glob, layers that no step so far has called."""
        return {(q.name, g): p for q in self.late for g, p in q.unseen.items()}

    @property
    def row_bytes(self) -> int:
        """How much each row of a batch takes of a record."""
        rows = [q.row_bytes for q in self.late]
        return sum(rows)

    def find(self, scene: Scene) -> bool:
        """See `Quantity.find`.

        Returns:
            Whether there is anything new.
        """
        found: dict[Key, Spec] = {}
        for quantity in self.late:
            found |= quantity.find(scene)
        fresh = {key: spec for key, spec in found.items() if key not in self._found}
        self._found |= fresh
        self.specs = {**self.specs, **fresh}
        self.has_found = True
        return bool(fresh)

    def variables(
        self, earlier: Mapping[str, tuple[int, ...]]
    ) -> list[tuple[str, tuple[int, ...]]]:
        """Path and shape of each trainable variable of the model.

        Args:
            earlier: Shapes by path from an earlier fit, which are kept.
        """
        paths = unique_paths(self._trainable)
        pairs = zip(paths, self._trainable, strict=True)
        now = {path: tuple(variable.shape) for path, variable in pairs}
        # In the order of the fit with more variables.
        first, second = sorted((earlier, now), key=len, reverse=True)
        return [*{**first, **second}.items()]

    def describe(self) -> dict[str, Any]:
        """What describes the whole recording, for `Recording.attributes`."""
        hidden = [sorted(q.out_of_reach) for q in self.late if q.out_of_reach]
        return {
            "reductions": self.reductions,
            **({"out_of_reach": hidden[0]} if hidden else {}),
            "weights_at": self.weights.at,
            "backend": keras.config.backend(),
            "versions": _VERSIONS,
        }
