"""What the pictures take from a recording, and what they refuse."""

import os

import numpy as np

from hrcallbacks import tables
from hrcallbacks.plot import style
from hrcallbacks.selection import choose_paths


def checked(recording):
    """A recording that has a record.

    Raises:
        TypeError: If it is no recording.
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


def time_axis(recording):
    """Where the records lie in time.

    Returns:
        An array of epochs, where one record an epoch was recorded in one fit; of
        steps otherwise. And the axis' label, `"Epoch"` or `"Step"`.
    """
    index = recording.index
    epochs = index["epoch"].to_numpy()
    by_epoch = recording.attributes.get("record_freq") == "epoch"
    # A second fit counts its epochs anew.
    if by_epoch and np.all(np.diff(epochs) > 0):
        return epochs, "Epoch"
    return index["step"].to_numpy(), "Step"


def raw_paths(recording, quantity, variables):
    """The chosen variables of which every element was recorded, or a sample.

    Returns:
        Dict from path to `(array, indices)`: an array of shape `(records, *shape)`, or
        `(records, n)` for n sampled elements, whose flat indices are then given.
    """
    found = {}
    raw = recording.arrays(quantity)
    samples = recorded_kind(recording, quantity, "Sample")
    for path in choose_paths(recording.paths, variables):
        if path in raw:
            found[path] = raw[path], None
            continue
        for name, described in samples.items():
            arrays = recording.arrays(quantity, name)
            if path in arrays:
                found[path] = arrays[path], sampled(recording, path, described)
                break
    return found


def absent(recording, quantity, path):
    """Bool for each record: whether a variable got no gradient in it."""
    flags = recording.has_gradient
    if quantity != "gradients" or path not in flags:
        return np.zeros(len(recording), bool)
    return ~flags[path].to_numpy()


def sampled(recording, path, described):
    """The flat indices of the elements that an `hr.Sample` took."""
    from hrcallbacks.reductions import Sample

    shape = dict(recording.attributes["variables"])[path]
    sample = Sample(described["n"], described["seed"])
    return sample.indices(int(np.prod(shape, dtype=int)))


def recorded_kind(recording, quantity, kind):
    """Descriptions of the recorded reductions of a kind, by name."""
    asked = recording.attributes.get("reductions", {}).get(quantity, {})
    return {n: d for n, d in asked.items() if d.get("kind") == kind}


def recorded_of(recording, quantity):
    """What was recorded of a quantity, for messages."""
    asked = recording.attributes.get("reductions", {}).get(quantity, {})
    return ", ".join(asked) or "nothing"


def short_names(paths):
    """What pictures call paths: without the model's name, where all begin with it.

    Example:
        >>> short_names(["net/a/kernel", "net/a/bias"])
        {'net/a/kernel': 'a/kernel', 'net/a/bias': 'a/bias'}
    """
    parts = {path: path.split("/") for path in paths}
    heads = {names[0] for names in parts.values()}
    strip = len(heads) == 1 and all(len(names) > 2 for names in parts.values())
    shown = {path: "/".join(names[strip:]) for path, names in parts.items()}
    return {path: style.plain_text(name) for path, name in shown.items()}


def layer_of(path):
    """The layer that a variable belongs to."""
    return path.rpartition("/")[0] or path


def is_dense(recording):
    """Whether the model has kernels of two axes and their biases alone."""
    return not_dense(recording) is None


def not_dense(recording):
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


def element_labels(recording, path, quantity, indices=None):
    """A name for each element: `w^1_3` as mathtext in a dense network, or its indices.

    Args:
        recording: A `Recording`.
        path: A variable's path.
        quantity: `"weights"` or `"gradients"`.
        indices: The flat indices of the elements; None for all.
    """
    shape = tuple(dict(recording.attributes["variables"])[path])
    flat = np.arange(int(np.prod(shape, dtype=int))) if indices is None else indices
    elements = [tuple(map(int, np.unravel_index(n, shape))) for n in flat]
    if is_dense(recording):
        name = tables.symbol_names(recording, [path], biases=True)[path]
        return [_mathtext(name(quantity[:-1], element)) for element in elements]
    return ["[" + ",".join(map(str, e)) + "]" for e in elements]


def _mathtext(symbol):
    letter, _, rest = symbol.partition("^")
    above, _, below = rest.partition("_")
    return f"${letter}^{{{above}}}_{{{below}}}$"
