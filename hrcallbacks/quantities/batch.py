"""What a training step is given: inputs, targets, sample weights."""

import math
from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

import keras
import numpy as np

from hrcallbacks.backends.current import backend
from hrcallbacks.quantities.dtypes import host_dtype
from hrcallbacks.quantities.of_batches import shape_of, spec_of
from hrcallbacks.quantities.quantity import Observer, Quantity, Scene
from hrcallbacks.quantities.wanted import Reductions, Wanted
from hrcallbacks.reductions.reduction import Reduction
from hrcallbacks.reductions.rows import Rows
from hrcallbacks.selection.variables import few_of
from hrcallbacks.types import BATCH_ROWS, Key, Spec

if TYPE_CHECKING:
    from hrcallbacks.backends.call import Call

_FLOATS = ("float16", "bfloat16", "float32", "float64")
_SHORT = ("bool", "int8", "uint8", "int16", "uint16")  # Float32 holds each of them.
_LONG = ("int32", "uint32", "int64", "uint64")


class Batch(Quantity):
    """The data of a step: `x`, `y`, `sample_weight`, as `train_step` is given them.

    Recorded are dense tensors of numbers. Where whole rows are recorded, whole numbers
    become floats, since a row that a smaller batch lacks is NaN.

    Args:
        what: As `GradientRecorder(batch=)`.
    """

    name: ClassVar[str] = "batch"
    is_apart = True
    of_whole_step = True

    def __init__(self, what: Reductions) -> None:
        of = "the data's parts, such as 'x', 'x/image', 'y' or 'sample_weight'"
        self.wanted: Wanted = Wanted(self.name, what, of=of)
        self._recorded: dict[str, tuple[Reduction, ...]] = {}
        self._by_rows: dict[Key, Spec] = {}
        # Of the first batch, by name.
        self._shapes: dict[str, tuple[int, ...]] = {}

    @property
    def of_record(self) -> Collection[str]:
        """See `Quantity.of_record`."""
        return (self.name, BATCH_ROWS)

    def check_model(self, model: Any) -> None:
        """See `Quantity.check_model`."""
        if self.wanted and backend.replicas(model) > 1:
            raise ValueError(
                "batch= records whole batches, and under tf.distribute each of "
                f"{backend.replicas(model)} replicas has a part of it. Record "
                "gradients and weights, or train on one device."
            )

    def find(self, scene: Scene) -> Mapping[Key, Spec]:
        """See `Quantity.find`."""
        if not self.wanted:
            return {}
        parts = parts_of(scene.data)
        tensors = tensors_of(scene)
        self._check_globs([*tensors, *self._recorded], set(parts) - set(tensors))
        specs: dict[Key, Spec] = {}
        for name, tensor in tensors.items():
            if name not in self._recorded:
                chosen = self.wanted.of_glob(self.wanted.glob_of(name))
                specs |= self._specs(name, tensor, scene, chosen)
                self._recorded[name] = chosen
        return specs

    def _check_globs(self, names: Sequence[str], others: Collection[str]) -> None:
        glob = self.wanted.unmatched(names)
        if glob is not None:
            raise ValueError(
                f"Nothing in the batch matches batch={glob!r}. It has: "
                f"{few_of(list(dict.fromkeys(names)))}."
                + (
                    f" Of {few_of(list(others))} nothing can be recorded: only dense "
                    "tensors of numbers are."
                    if others
                    else ""
                )
            )

    def _specs(
        self, name: str, tensor: Any, scene: Scene, chosen: Sequence[Reduction]
    ) -> dict[Key, Spec]:
        if not chosen:
            return {}
        shape = shape_of(tensor, scene, chosen, f"batch= of {name!r}")
        specs: dict[Key, Spec] = {}
        for reduction in chosen:
            key = Key(self.name, reduction.name, name)
            dtype = _recorded_dtype(tensor, whole=_has_rows(reduction))
            specs[key] = spec_of(self.wanted, reduction, name, Spec(shape, dtype))
            if _has_rows(reduction) and shape:
                self._by_rows[key] = specs[key]
        self._shapes[name] = shape
        if self._counts_rows(name, chosen):
            specs[Key(BATCH_ROWS, "", name)] = Spec((), "float64")
        return specs

    def _counts_rows(self, name: str, chosen: Sequence[Reduction]) -> bool:
        return bool(self._shapes[name]) and any(r.of_rows for r in chosen)

    @property
    def row_bytes(self) -> int:
        """See `Quantity.row_bytes`."""
        sizes = (
            math.prod(spec.shape[1:]) * np.dtype(spec.dtype).itemsize
            for key, spec in self._by_rows.items()
            if self.wanted.reductions[key.reduction].is_raw
        )
        return sum(sizes)

    def take(self, scene: Scene) -> None:
        """Takes what is recorded of a step's data."""
        for name, tensor in tensors_of(scene).items():
            chosen = self._recorded.get(name, ())
            for reduction in chosen:
                key = Key(self.name, reduction.name, name)
                if key in self._by_rows:  # They are filled up on the host.
                    rows = reduction.n if isinstance(reduction, Rows) else None
                    kept = tensor if rows is None else tensor[:rows]
                    scene.put(key, scene.put_aside(kept))
                elif _has_rows(reduction):
                    scene.put(key, scene.put_aside(tensor))
                else:
                    seen, shape = _floats(tensor), self._shapes[name]
                    if reduction.of_rows and shape:
                        seen = scene.ops.first_rows(seen, shape[0], reduction.fill)
                    scene.reduce(self.name, (reduction,), name, seen)
            if chosen and self._counts_rows(name, chosen):
                key = Key(BATCH_ROWS, "", name)
                scene.put(key, scene.ops.rows(tensor))

    def observer(self, scene: Scene) -> Observer:
        """See `Quantity.observer`."""
        return _Observer(self, scene)

    def complete(self, values: dict[Key, np.ndarray]) -> None:
        """Fills rows up with NaN that a batch lacks, and leaves out those too many."""
        for key, spec in self._by_rows.items():
            if key in values:
                values[key] = _filled(values[key], spec, key.path)

    def describe(self) -> Mapping[str, Mapping[str, Any]]:
        """See `Quantity.describe`."""
        return self.wanted.describe()


class _Observer(Observer):
    def __init__(self, batch: Batch, scene: Scene) -> None:
        super().__init__(scene)
        self._batch = batch
        self._taken: set[int] = set()  # Records.

    def before(self, call: "Call") -> None:
        if self._batch.wanted and self.scene.record not in self._taken:
            self._taken.add(self.scene.record)
            self._batch.take(self.scene)


def parts_of(data: Any) -> dict[str, Any]:
    """The parts of a batch by name: `x`, `x/image`, `y/0`, `sample_weight`.

    If a `train_step` takes data in another form than Keras' own, the places in it are
    the names: `0`, `1/image`.
    """
    try:
        x, y, weight = keras.utils.unpack_x_y_sample_weight(data)
        named = {"x": x, "y": y, "sample_weight": weight}
    except ValueError:
        named = {str(place): part for place, part in enumerate(data)}
    return {
        "/".join([name, *map(str, path)]): leaf
        for name, part in named.items()
        for path, leaf in keras.tree.flatten_with_path(part)
        if leaf is not None
    }


def tensors_of(scene: Scene) -> dict[str, Any]:
    """The parts of a step's batch that are dense tensors of numbers, by name."""
    found = {name: scene.of_batch(leaf) for name, leaf in parts_of(scene.data).items()}
    return {n: t for n, t in found.items() if t is not None and _is_numeric(t)}


def _is_numeric(tensor: Any) -> bool:
    try:
        dtype = keras.backend.standardize_dtype(tensor.dtype)
    except ValueError:  # Of no kind that Keras knows.
        return False
    return dtype in (*_FLOATS, *_SHORT, *_LONG)


def _has_rows(reduction: Reduction) -> bool:
    """Whether what it makes is the tensor, or rows of it."""
    return reduction.is_raw or isinstance(reduction, Rows)


def _recorded_dtype(tensor: Any, *, whole: bool) -> str:
    dtype = host_dtype(tensor)
    if dtype in _FLOATS:
        return dtype
    return "float64" if whole and dtype in _LONG else "float32"


def _floats(tensor: Any) -> Any:
    dtype = keras.backend.standardize_dtype(tensor.dtype)
    return tensor if dtype in _FLOATS else keras.ops.cast(tensor, "float32")


def _filled(rows: np.ndarray, spec: Spec, name: str) -> np.ndarray:
    if rows.shape[1:] != spec.shape[1:]:
        raise ValueError(
            f"batch= of {name!r}: rows have shape {rows.shape[1:]}, those of the first "
            f"batch had {spec.shape[1:]}. What differs in shape takes reductions, such "
            "as 'norm' or hr.PerUnit('mean')."
        )
    if rows.shape == spec.shape and rows.dtype == spec.dtype:
        return rows
    filled = np.full(spec.shape, np.nan, spec.dtype)
    count = min(len(rows), len(filled))
    filled[:count] = rows[:count]
    return filled
