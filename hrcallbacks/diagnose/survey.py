"""What the rules of a diagnosis may ask of a recording."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import numpy.typing as npt

from hrcallbacks.diagnose.progress import Progress, chance_of, progress_of
from hrcallbacks.diagnose.structure import Structure
from hrcallbacks.diagnose.tracks import Track

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.types import QuantityName


class CannotLook(Exception):
    """A rule lacks what it needs; the message says what."""


class Patient(Protocol):
    """A rule that waits for something to last; see `Survey.patience`."""

    @property
    def min_records(self) -> int:
        """How many records in a row it must last."""
        ...

    @property
    def min_epochs(self) -> int:
        """How many epochs it must last, if an epoch has several batches."""
        ...

    @property
    def most_records(self) -> int:
        """How many records are enough even so."""
        ...


class Survey:
    """A recording as the rules see it: each answer is computed once, block by block.

    `follow` switches to a longer recording of the same run. What was read of the
    shorter one is not read again, so that a run can be watched while it is training.

    Attributes:
        recording: The recording.
        steps: Step of each record, int array of shape `(records,)`.
        epochs: Epoch of each record, int array of shape `(records,)`.
        shapes: Shape of each trainable variable of the model, by path.
        structure: The model's layers and loss; None in older recordings.
        unreadable: What could not be read of the weights before the first step.
    """

    def __init__(self, recording: Recording) -> None:
        self._tracks: dict[tuple[QuantityName, str], Track] = {}
        self._take(recording)

    def follow(self, recording: Recording) -> None:
        """Switches to a recording; from the start unless it continues this one."""
        steps, shapes = self.steps, self.shapes
        self._take(recording)
        if self.shapes != shapes or not np.array_equal(self.steps[: len(steps)], steps):
            self._tracks = {}

    def _take(self, recording: Recording) -> None:
        variables = recording.attributes.get("variables", ())
        self.recording = recording
        self.steps: np.ndarray = np.asarray(recording.index["step"])
        self.epochs: np.ndarray = np.asarray(recording.index["epoch"])
        self.shapes: dict[str, tuple[int, ...]] = {p: tuple(s) for p, s in variables}
        self._flags = recording.has_gradient
        self._known: dict[tuple[QuantityName, str], dict[str, np.ndarray]] = {}
        self._progress: tuple[Progress | None] | None = None
        self.unreadable: str | None = None
        self._norms: dict[str, np.ndarray] = {}
        self._total: np.ndarray | None = None
        model = recording.attributes.get("model")
        self.structure: Structure | None = Structure(model) if model else None

    def need_structure(self) -> Structure:
        """The model's structure.

        Raises:
            CannotLook: If it was not recorded.
        """
        if self.structure is None:
            raise CannotLook("the model's layers and loss were not recorded")
        return self.structure

    @property
    def progress(self) -> Progress | None:
        """How the loss went; None if it is not known."""
        if self._progress is None:
            self._progress = (progress_of(self),)
        return self._progress[0]

    @property
    def chance(self) -> float | None:
        """Loss of a model that knows nothing; None if that is not known."""
        return chance_of(self)

    @property
    def learns(self) -> bool:
        """Whether the run is known to learn."""
        return self.progress is not None and self.progress.learns

    @property
    def no_loss(self) -> str:
        """Why nothing can be said of the loss: it is unknown, or NaN."""
        if self.loss_is_nan:
            return "the loss is NaN in every record"
        return "the loss was not recorded"

    @property
    def loss_is_nan(self) -> bool:
        """Whether the loss is NaN from the first record on, and not just unknown.

        A training step that names no loss leaves NaN too; then gradients are finite.
        """
        if not np.isnan(self.losses).all():
            return False
        structure, index = self.structure, self.recording.index
        known = ("step", "epoch", "batch", "call", "loss")
        others = [n for n in index if n not in known and "learning_rate" not in str(n)]
        if structure and structure.losses and others:
            return True  # Keras' own step, which names its loss beside the metrics.
        norms = self.numbers("gradients", "norm")
        for path in self.recording.paths:
            if path in norms:
                first = norms[path][:1]
            elif path in (arrays := self.recording.arrays("gradients")):
                first = np.asarray(arrays[path][:1])
            else:
                continue
            if self.has_gradient(path)[0] and np.isnan(first).any():
                return True
        return False

    @property
    def accuracy(self) -> np.ndarray | None:
        """Accuracy at the end of each epoch; None if there is none in the index."""
        index = self.recording.index
        names = [
            n for n in index if "accuracy" in str(n) and not str(n).startswith("val_")
        ]
        if not names or self.structure is None:
            return None
        column = index[names[0]].to_numpy(float)
        ends = np.flatnonzero(np.append(np.diff(self.epochs) != 0, True))
        found = column[ends][np.isfinite(column[ends])]
        return found if len(found) else None

    @property
    def batches(self) -> int:
        """Batches in an epoch."""
        return int(self.recording.index["batch"].to_numpy().max())

    def initial(self, path: str) -> np.ndarray | None:
        """A variable's weights before the first step; None if they are not known.

        Where the store is damaged they are not, and `unreadable` says why.
        """
        start = self.recording.fits[0].weights if self.recording.fits else None
        try:
            return None if start is None else start.get(path)
        except OSError as error:
            self.unreadable = str(error)
            return None

    def weight_norms(self, path: str) -> np.ndarray | None:
        """Norms of the weights with which each record's loss came; None if unknown."""
        recorded = self.numbers("weights", "norm").get(path)
        track = None if recorded is not None else self.track("weights", path)
        norms = track.norms if track else recorded
        if norms is None or self.recording.attributes.get("weights_at") == "before":
            return norms
        before = self.initial(path)
        start = norms[:1] if before is None else [np.linalg.norm(before)]
        return np.concatenate([start, norms[:-1]])

    def __len__(self) -> int:
        """Number of records."""
        return len(self.steps)

    def need(self, records: int) -> None:
        """Refuses a recording with fewer records.

        Raises:
            CannotLook: If there are fewer.
        """
        if len(self) < records:
            raise CannotLook(f"it needs {records} records, and there are {len(self)}")

    def patience(self, rule: Patient) -> int:
        """How many records in a row show that something is over, not a batch's chance.

        Args:
            rule: At least its `min_records` have to pass; if an epoch has several
                batches, also its `min_epochs` or its `most_records`.
        """
        batch: Any = self.recording.index["batch"]
        batches = int(batch.max())
        if batches == 1:
            return rule.min_records
        window = rule.most_records
        if np.count_nonzero(np.diff(self.epochs)) >= rule.min_epochs:
            since = self.steps[-1] - rule.min_epochs * batches
            window = min(window, int((self.steps > since).sum()))
        return max(rule.min_records, window)

    def when(self, record: int | np.integer) -> str:
        """The step of a record, in words, with its epoch if that differs."""
        step, epoch = int(self.steps[record]), int(self.epochs[record])
        return f"step {step:,}" + ("" if step == epoch else f" (epoch {epoch:,})")

    @property
    def fits(self) -> list[slice]:
        """The records of each fit, as slices."""
        firsts = [f.first for f in self.recording.fits if f.first < len(self)]
        starts = sorted({0, *firsts})
        ends = [*starts[1:], len(self)]
        return [slice(*pair) for pair in zip(starts, ends, strict=True)]

    @property
    def losses(self) -> np.ndarray:
        """Loss of each record, float64, shape `(records,)`."""
        return np.asarray(self.recording.index["loss"], np.float64)

    @property
    def misses_steps(self) -> bool:
        """Whether steps were run that were not recorded."""
        if self.recording.attributes.get("epoch_gradient") == "mean":
            return False
        return bool(self.steps[0] > 1 or (np.diff(self.steps) > 1).any())

    @property
    def kernels(self) -> list[str]:
        """Paths of the recorded variables of two or more axes that are no biases."""
        paths = self.recording.paths
        return [p for p in paths if len(self.shapes[p]) > 1 and "bias" not in p]

    def has_gradient(self, path: str) -> npt.NDArray[np.bool_]:
        """Which records have a gradient of a variable, shape `(records,)`."""
        if path in self._flags:
            return np.asarray(self._flags[path], bool)
        return np.ones(len(self), bool)

    def track(self, quantity: QuantityName, path: str | None) -> Track | None:
        """The `Track` of a variable's gradients or weights; None if not recorded."""
        arrays = self.recording.arrays(quantity)
        if path is None or path not in arrays:
            return None
        changes = quantity == "weights"
        track = self._tracks.get((quantity, path))
        if track is None:
            track = Track(self.shapes[path], changes=changes)
            self._tracks[quantity, path] = track
        if track.count < len(self):
            there = np.ones(len(self), bool) if changes else self.has_gradient(path)
            track.read(arrays[path], there)
            # Who asks the recording for them later need not read it again.
            self.recording.cache.keep(quantity, "norm", path, track.norms)
            self.recording.cache.keep(quantity, "nonfinite", path, track.nonfinite)
        return track

    def numbers(self, quantity: QuantityName, reduction: str) -> dict[str, np.ndarray]:
        """A recorded reduction to a number, by path: float64, shape `(records,)`."""
        key = quantity, reduction
        if key not in self._known:
            arrays = self.recording.arrays(quantity, reduction)
            numbers = {p: np.asarray(arrays[p], np.float64) for p in arrays}
            self._known[key] = {p: a for p, a in numbers.items() if a.ndim == 1}
        return self._known[key]

    def norms(self) -> dict[str, np.ndarray]:
        """Norms of gradients by path, shape `(records,)`; NaN where there was none.

        Raises:
            CannotLook: If neither gradients nor their norms were recorded.
        """
        if self._norms:
            return self._norms
        recorded = self.numbers("gradients", "norm")
        found: dict[str, np.ndarray] = {}
        for path in self.recording.paths:
            if path in recorded:
                found[path] = recorded[path]
            elif track := self.track("gradients", path):
                found[path] = track.norms
        self._norms = found
        if not found:
            raise CannotLook(
                "neither gradients nor their norms were recorded; " + self.there_are
            )
        return found

    def rms(self) -> dict[str, np.ndarray]:
        """Root mean square of each kernel's gradient by path, shape `(records,)`."""
        norms = self.norms()
        sizes = {p: np.sqrt(max(np.prod(self.shapes[p]), 1)) for p in self.kernels}
        return {p: norms[p] / sizes[p] for p in self.kernels if p in norms}

    def total_norms(self) -> np.ndarray:
        """Norm of all recorded gradients together, shape `(records,)`."""
        total = self._total
        if total is None:
            with np.errstate(over="ignore"):
                squares = [
                    np.where(self.has_gradient(path), np.square(norm), 0)
                    for path, norm in self.norms().items()
                ]
                total = np.sqrt(np.sum(np.stack(squares), axis=0))
            self._total = total
        return total

    def setting(self, name: str) -> float:
        """A number in the optimizer's config; 0 if it is not set."""
        return _setting(self.recording.attributes.get("optimizer"), name)

    @property
    def there_are(self) -> str:
        """What was recorded, for messages."""
        there = []
        for quantity in ("gradients", "weights"):
            asked = self.recording.attributes.get("reductions", {}).get(quantity)
            if asked is None:
                asked = ["raw"] if self.recording.arrays(quantity) else []
            there += [f"{quantity} {name!r}" for name in asked]
        return f"there are: {', '.join(there) or 'none at all'}"


def _setting(config: object, name: str) -> float:
    # A LossScaleOptimizer's config holds that of another.
    if not isinstance(config, dict):
        return 0
    values = [v if k == name else _setting(v, name) for k, v in config.items()]
    return max((v for v in values if isinstance(v, int | float)), default=0)
