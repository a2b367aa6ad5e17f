"""What the pictures take from a recording, and what they refuse."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from hrcallbacks.export import tables
from hrcallbacks.plot import style
from hrcallbacks.selection.variables import choose_paths

if TYPE_CHECKING:
    from typing_extensions import TypeIs

    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.recording.runs import Runs
    from hrcallbacks.types import QuantityName


def is_runs(recording: object) -> TypeIs[Runs]:
    """Whether it is `hr.Runs`: told by what it has, as recordings import pictures."""
    return isinstance(recording, Mapping) and hasattr(recording, "parameters")


def checked(recording: Recording) -> Recording:
    """The recording that was passed, if it is one and has a record.

    Raises:
        TypeError: If it is not a recording.
        ValueError: If it is empty.
    """
    if isinstance(recording, str | os.PathLike):
        raise TypeError(
            f"Received the path {os.fspath(recording)!r}. Open the recording first: "
            f"hr.open_recording({os.fspath(recording)!r})."
        )
    if not hasattr(recording, "statistic"):
        hint = (
            " Use its recording: recorder.recording."
            if hasattr(recording, "recording")
            else ""
        )
        raise TypeError(
            f"Expected a recording. Received: {type(recording).__name__}.{hint}"
        )
    if not len(recording):
        complete = recording.attributes.get("complete", True)
        raise ValueError(
            "The recording is empty: there is nothing to draw. "
            + (
                "Pass the recorder to fit, model.fit(..., callbacks=[recorder]), and "
                "look at its record_freq."
                if complete
                else "Its run is going on, or broke off before the first record was "
                "written. Open it again later: hr.open_recording(path)."
            )
        )
    return recording


class TimeAxis(NamedTuple):
    """Where the records of a recording lie in time.

    Attributes:
        times: Numbers of epochs or steps, one a record.
        label: What they count.
    """

    times: npt.NDArray[np.integer]
    label: Literal["Epoch", "Step"]


class Elements(NamedTuple):
    """A variable's elements, or a sample of them.

    Attributes:
        array: Shape `(records, *shape)`, or `(records, n)` for n sampled elements, in
            memory or on disk.
        indices: Flat indices of the sampled elements; None for all.
    """

    array: Any
    indices: npt.NDArray[np.integer] | None


def time_axis(recording: Recording) -> TimeAxis:
    """Where the records lie in time.

    Returns:
        Epochs, if a single fit recorded one record an epoch; steps otherwise.
    """
    index = recording.index
    epochs = np.asarray(index["epoch"])
    by_epoch = recording.attributes.get("record_freq") == "epoch"
    # A second fit counts its epochs anew.
    if by_epoch and np.all(np.diff(epochs) > 0):
        return TimeAxis(epochs, "Epoch")
    return TimeAxis(np.asarray(index["step"]), "Step")


def raw_paths(
    recording: Recording, quantity: QuantityName, variables: str | Sequence[str] | None
) -> dict[str, Elements]:
    """The chosen variables whose elements were recorded, all or a sample, by path."""
    found: dict[str, Elements] = {}
    raw = recording.arrays(quantity)
    samples = recorded_kind(recording, quantity, "Sample")
    for path in choose_paths(recording.paths, variables):
        if path in raw:
            found[path] = Elements(raw[path], None)
            continue
        for name, described in samples.items():
            arrays = recording.arrays(quantity, name)
            if path in arrays:
                indices = sampled(recording, path, described)
                found[path] = Elements(arrays[path], indices)
                break
    return found


def absent(
    recording: Recording, quantity: QuantityName, path: str
) -> npt.NDArray[np.bool_]:
    """In which records a variable got no gradient; one bool a record."""
    if quantity != "gradients":
        return np.zeros(len(recording), bool)
    return recording.without_gradient(path)


def sampled(
    recording: Recording, path: str, described: Mapping[str, Any]
) -> npt.NDArray[np.integer]:
    """The flat indices of the elements that an `hr.Sample` took."""
    from hrcallbacks.reductions.sample import Sample

    shape = dict(recording.attributes["variables"])[path]
    sample = Sample(described["n"], described["seed"])
    return sample.indices(int(np.prod(shape, dtype=int)))


def recorded_kind(
    recording: Recording, quantity: str, kind: str
) -> dict[str, dict[str, Any]]:
    """Descriptions of the recorded reductions of a kind, by name."""
    asked = recording.attributes.get("reductions", {}).get(quantity, {})
    return {n: d for n, d in asked.items() if d.get("kind") == kind}


def recorded_of(recording: Recording, quantity: str) -> str:
    """What was recorded of a quantity, for messages."""
    asked = recording.attributes.get("reductions", {}).get(quantity, {})
    return ", ".join(asked) or "nothing"


def short_names(paths: Iterable[str]) -> dict[str, str]:
    """What pictures call each path: without the model's name, if all begin with it.

    Example:
        >>> short_names(["net/a/kernel", "net/a/bias"])
        {'net/a/kernel': 'a/kernel', 'net/a/bias': 'a/bias'}
    """
    parts = {path: path.split("/") for path in paths}
    heads = {names[0] for names in parts.values()}
    strip = len(heads) == 1 and all(len(names) > 2 for names in parts.values())
    shown = {path: "/".join(names[strip:]) for path, names in parts.items()}
    return {path: style.plain_text(name) for path, name in shown.items()}


def layer_of(path: str) -> str:
    """The layer that a variable belongs to."""
    return path.rpartition("/")[0] or path


def is_dense(recording: Recording) -> bool:
    """Whether the model has only kernels of two axes and their biases."""
    return not_dense(recording) is None


def not_dense(recording: Recording) -> str | None:
    """The first variable that is no dense layer's kernel or bias, or None."""
    shapes = dict(recording.attributes["variables"])
    kernels = {
        layer_of(path)
        for path, shape in shapes.items()
        if len(shape) == 2 and path.endswith("/kernel")
    }
    for path, shape in shapes.items():
        name = {1: "bias", 2: "kernel"}.get(len(shape))
        if path.rpartition("/")[2] != name or layer_of(path) not in kernels:
            return path
    return None


def element_labels(
    recording: Recording,
    path: str,
    quantity: QuantityName,
    indices: npt.NDArray[np.integer] | None = None,
) -> list[str]:
    """A name for each element: `w^1_3` as mathtext in a dense network, or its indices.

    Args:
        recording: The recording.
        path: A variable's path.
        quantity: What the elements are.
        indices: The flat indices of the elements; None for all.
    """
    shape = tuple(dict(recording.attributes["variables"])[path])
    flat = np.arange(int(np.prod(shape, dtype=int))) if indices is None else indices
    elements = [tuple(map(int, np.unravel_index(n, shape))) for n in flat]
    if is_dense(recording):
        name = tables.symbol_names(recording, [path], biases=True)[path]
        return [_mathtext(name(quantity[:-1], element)) for element in elements]
    return ["[" + ",".join(map(str, e)) + "]" for e in elements]


def _mathtext(symbol: str) -> str:
    letter, _, rest = symbol.partition("^")
    above, _, below = rest.partition("_")
    return f"${letter}^{{{above}}}_{{{below}}}$"
