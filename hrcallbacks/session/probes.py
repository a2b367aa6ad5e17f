"""What is taken from each step."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from hrcallbacks.capture.probe import Probe
from hrcallbacks.quantities.plan import Plan
from hrcallbacks.quantities.quantity import Quantity, Scene
from hrcallbacks.session.model_fit import ModelFit
from hrcallbacks.session.model_summary import summarize_model
from hrcallbacks.session.settings import Settings
from hrcallbacks.session.start import describe
from hrcallbacks.storage.memory_limit import too_large
from hrcallbacks.storage.store import Store


class Probes:
    """The probes of one recorder: for steps that are recorded, and for all others.

    Attributes:
        plan: What a record holds.

    Args:
        settings: The recorder's.
        store: Where the record's arrays are declared.
        of_each_step: What else is taken from each step, such as for sinks.
        of_records: What else is taken from the steps that are recorded.
    """

    def __init__(
        self,
        settings: Settings,
        store: Store,
        of_each_step: Sequence[Quantity],
        of_records: Sequence[Quantity] = (),
    ) -> None:
        self.plan: Plan = settings.plan()
        self._settings = settings
        self._of_each_step = list(of_each_step)
        self._of_records = [*self._of_each_step, *of_records]
        self._recorded: Probe | None = None
        self._other: Probe | None = None
        self._seen: list[Any] = []  # The variables and optimizers of the probes.
        self.begin_recording(store)

    def begin_recording(self, store: Store) -> None:
        """Begins another recording.

        Steps of the same model need not be compiled again.

        Args:
            store: Where its arrays are declared.
        """
        self._store = store
        self._is_new = True  # Nothing is declared yet: any model may come.
        self._record_bytes = 0
        # How many records the fit is expected to add; None where nobody knows.
        self.expected: int | None = None
        # Called once a model's variables are known, if that is in its first step.
        self.on_late: Callable[[], None] = self.check
        self.forget_failures()

    @property
    def all(self) -> list[Probe]:
        """The probes made so far."""
        return [probe for probe in (self._recorded, self._other) if probe is not None]

    def of_step(self, *, recorded: bool) -> Probe | None:
        """The probe for a step; None if nothing is taken from it.

        A model that Keras builds in its first step has no variables before. That step
        is always captured, and the variables are selected before its update.
        """
        wanted = recorded or not self.is_resolved or self.plan.awaits
        return self._recorded if wanted else self._other

    def prepare(self, fit: ModelFit) -> None:
        """Makes the probes, unless those of an earlier fit can be used.

        Raises:
            ValueError: If nothing can be recorded of the model.
        """
        # Optimizers too: compiling again replaces them.
        seen = [*fit.model.trainable_variables, *fit.optimizers]
        if self._recorded is None or list(map(id, seen)) != list(map(id, self._seen)):
            if self._is_new:
                self.plan = self._settings.plan()
            recorded = [*self.plan.quantities, *self._of_records]
            find = self._find if self.plan.late else None
            self._recorded = Probe(recorded, self._select, find)
            self._other = None
            # Every step contributes to a mean.
            means = [self.plan.gradients] if self._settings.mean else []
            if others := [*self._of_each_step, *means]:
                self._other = Probe(others, self._select)
        self._seen = seen
        for quantity in self._of_records:
            quantity.check_model(fit.model)
        if fit.model.built:
            for probe in self.all:
                probe.variables(fit.model)
            self.plan.check_model(fit.model)
            self.check()

    @property
    def is_resolved(self) -> bool:
        """Whether the variables are known."""
        return self._recorded is not None and self._recorded.is_resolved

    def variables(self, model: Any) -> Mapping[str, Any]:
        """The variables that are recorded, by path."""
        return self._recorded.variables(model) if self._recorded else {}

    def _select(self, trainable: Sequence[Any]) -> Mapping[str, Any]:
        selected = self.plan.select(trainable)
        self._record_bytes = 0
        self.on_late()
        return selected

    def _find(self, scene: Scene) -> None:
        """Fixes what only a step shows, before it updates anything.

        Raises:
            ValueError: If it cannot be recorded; says why.
        """
        if self.plan.awaits:
            self.plan.check_model(scene.model)
        if self.plan.find(scene):
            self._record_bytes = 0
            self._check_size()
            self.on_late()

    def _check_size(self) -> None:
        count = self.expected
        if count is None or self._store.fits_in(count, self.record_bytes):
            return
        raise too_large(
            held=len(self._store),
            record_bytes=self.record_bytes,
            count=count,
            variables=len(self.plan.specs),
            record_freq=self._settings.record_freq,
            max_bytes=self._settings.max_bytes,
            row_bytes=self.plan.row_bytes,
        )

    def check(self) -> None:
        """Rejects the selection if the store holds something else.

        Raises:
            ValueError: If it does.
        """
        # What only a step will tell is what it was before, for all that is known.
        late = {quantity for q in self.plan.late for quantity in q.of_record}
        known = self._store.columns.specs
        awaited = {k: s for k, s in known.items() if k.quantity in late}
        self._store.check({**(awaited if self.plan.awaits else {}), **self.plan.specs})

    @property
    def record_bytes(self) -> int:
        """Size of a record, including what the store already holds."""
        if not self._record_bytes:
            columns = self._store.columns
            self._record_bytes = columns.record_bytes_with(self.plan.specs)
        return self._record_bytes

    def declare(self, model: Any) -> None:
        """Declares and describes the selection in the store.

        Raises:
            ValueError: If the store holds something else.
        """
        self.check()
        earlier = dict(self._store.attributes.get("variables", ()))
        optimizer = getattr(model, "optimizer", None)
        attributes = {
            "variables": self.plan.variables(earlier),
            "optimizer": describe(optimizer),
            "model": summarize_model(model),
            **self.plan.describe(),
            **self._settings.describe(),
        }
        self._store.declare(self.plan.specs, attributes)
        self._is_new = False
        self._record_bytes = 0

    @property
    def has_seen_optimizer(self) -> bool:
        """Whether an optimizer was called."""
        return any(probe.optimizers for probe in self.all)

    @property
    def failure(self) -> Exception | None:
        """What kept a step from being captured, or None."""
        failures = [probe.failure for probe in self.all if probe.failure is not None]
        return failures[0] if failures else None

    def forget_failures(self) -> None:
        """Forgets failures that were reported."""
        for probe in self.all:
            probe.failure = None
