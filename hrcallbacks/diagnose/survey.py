"""What the rules of a diagnosis may ask of a recording."""

from typing import Any

import numpy as np

from hrcallbacks.diagnose.tracks import Track


class CannotLook(Exception):
    """A rule lacks what it needs; the message says what, in words."""


class Survey:
    """A recording as the rules see it: each answer is made once, from blocks.

    `follow` goes over to a longer recording of the same run. What was read of the
    shorter one is not read again, so that a run can be watched while it goes on.

    Attributes:
        recording: The `Recording`.
        steps: Step of each record, int array.
        epochs: Epoch of each record, int array.
        shapes: Dict from path to shape, of each trainable variable of the model.
    """

    def __init__(self, recording):
        self._tracks = {}
        self.recording: Any = None
        self.follow(recording)

    def follow(self, recording):
        """Goes over to a recording; from the start unless it continues this one."""
        steps = recording.index["step"].to_numpy()
        shapes = {p: tuple(s) for p, s in recording.attributes.get("variables", ())}
        if self.recording is not None:
            known = self.steps
            if not np.array_equal(steps[: len(known)], known) or shapes != self.shapes:
                self._tracks = {}
        self.recording = recording
        self.steps = steps
        self.epochs = recording.index["epoch"].to_numpy()
        self.shapes = shapes
        self._flags = recording.has_gradient
        self._known = {}

    def __len__(self):
        """Number of records."""
        return len(self.steps)

    def need(self, records):
        """Refuses a recording with fewer records.

        Raises:
            CannotLook: If there are fewer.
        """
        if len(self) < records:
            raise CannotLook(f"it needs {records} records, and there are {len(self)}")

    def patience(self, rule):
        """So many records in a row tell that something is over, and no batch's chance.

        Args:
            rule: Has `min_records`; where an epoch has several batches, `min_epochs`
                have to pass too, or `most_records`.
        """
        batches = int(self.recording.index["batch"].max())
        if batches == 1:
            return rule.min_records
        window = rule.most_records
        if np.count_nonzero(np.diff(self.epochs)) >= rule.min_epochs:
            since = self.steps[-1] - rule.min_epochs * batches
            window = min(window, int((self.steps > since).sum()))
        return max(rule.min_records, window)

    def when(self, record):
        """The step of a record, in words, with its epoch where that differs."""
        step, epoch = int(self.steps[record]), int(self.epochs[record])
        return f"step {step:,}" + ("" if step == epoch else f" (epoch {epoch:,})")

    @property
    def fits(self):
        """The records of each fit, as slices."""
        firsts = [f["first"] for f in self.recording.fits if f["first"] < len(self)]
        starts = sorted({0, *firsts})
        ends = [*starts[1:], len(self)]
        return [slice(*pair) for pair in zip(starts, ends, strict=True)]

    @property
    def misses_steps(self):
        """Whether steps were run that no record tells of."""
        if self.recording.attributes.get("epoch_gradient") == "mean":
            return False
        return bool(self.steps[0] > 1 or (np.diff(self.steps) > 1).any())

    @property
    def kernels(self):
        """Paths of the recorded variables of two or more axes that are no biases."""
        paths = self.recording.paths
        return [p for p in paths if len(self.shapes[p]) > 1 and "bias" not in p]

    def has_gradient(self, path):
        """Which records have a gradient of a variable, an array of bool."""
        if path in self._flags:
            return self._flags[path].to_numpy()
        return np.ones(len(self), bool)

    def track(self, quantity, path):
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
        return track

    def numbers(self, quantity, reduction):
        """A recorded reduction to a number, dict from path to float64 array."""
        key = quantity, reduction
        if key not in self._known:
            arrays = self.recording.arrays(quantity, reduction)
            numbers = {p: np.asarray(arrays[p], np.float64) for p in arrays}
            self._known[key] = {p: a for p, a in numbers.items() if a.ndim == 1}
        return self._known[key]

    def norms(self):
        """Norms of gradients, dict from path to array; NaN where there was none.

        Raises:
            CannotLook: If neither gradients nor their norms were recorded.
        """
        found = {}
        for path in self.recording.paths:
            if path in self.numbers("gradients", "norm"):
                found[path] = self.numbers("gradients", "norm")[path]
            elif track := self.track("gradients", path):
                found[path] = track.norms
        if not found:
            raise CannotLook(
                "neither gradients nor their norms were recorded; " + self.there_are
            )
        return found

    def rms(self):
        """Root mean square of the gradients of kernels, dict from path to array."""
        norms = self.norms()
        sizes = {p: np.sqrt(max(np.prod(self.shapes[p]), 1)) for p in self.kernels}
        return {p: norms[p] / sizes[p] for p in self.kernels if p in norms}

    def total_norms(self):
        """Norm of all recorded gradients of each record together, an array."""
        with np.errstate(over="ignore"):
            squares = [
                np.where(self.has_gradient(path), np.square(norm), 0)
                for path, norm in self.norms().items()
            ]
            return np.sqrt(np.sum(squares, axis=0))

    def setting(self, name):
        """A number in the optimizer's config; 0 where it is not set."""
        return _setting(self.recording.attributes.get("optimizer"), name)

    @property
    def there_are(self):
        """What was recorded, for messages."""
        there = []
        for quantity in ("gradients", "weights"):
            asked = self.recording.attributes.get("reductions", {}).get(quantity)
            if asked is None:
                asked = ["raw"] if self.recording.arrays(quantity) else []
            there += [f"{quantity} {name!r}" for name in asked]
        return f"there are: {', '.join(there) or 'none at all'}"


def _setting(config, name):
    # A LossScaleOptimizer's config holds that of another.
    if not isinstance(config, dict):
        return 0
    values = [v if k == name else _setting(v, name) for k, v in config.items()]
    return max((v for v in values if isinstance(v, int | float)), default=0)
