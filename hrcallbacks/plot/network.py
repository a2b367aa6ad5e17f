"""A small dense network as a picture of nodes and links, and which can be drawn."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, SupportsIndex

import numpy as np

from hrcallbacks.plot import source
from hrcallbacks.plot.chain import Chain
from hrcallbacks.plot.picture import Picture

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from hrcallbacks.recording.recording import Recording

_MOST_UNITS = 16
_MOST_WEIGHTS = 200
_MOST_VALUES = 40


def network(
    recording: Recording,
    *,
    record: SupportsIndex = -1,
    values: bool = False,
    ax: Axes | None = None,
) -> Axes:
    """The nodes and links of a small dense network at one record.

    A link's colour is its weight's sign, its width the weight's magnitude. A triangle
    on it is the gradient: upwards where it is positive, its area the magnitude. Both
    are relative to the largest of the whole recording, so that records can be compared.
    The ring of a node is its bias. A hidden unit is grey where all the gradients of its
    incoming and outgoing weights and of its bias are exactly zero in this record.

    Where outputs of the layers were recorded, raw or as `hr.PerUnit("mean")`, a unit is
    filled with the colour of its mean output over the batch, and a triangle above it is
    the mean gradient of the loss with respect to that output, from `output_gradients`.
    Written beside it, they are `y` and `δ`.

    Args:
        recording: A recording of all raw weights of a chain of dense layers, and of
            their raw gradients if those are to be shown.
        record: Which record: 0 is the first, -1 the last.
        values: Whether weights and gradients are written beside the links.
        ax: Axes to draw on; None for a new figure.

    Returns:
        The axes.

    Raises:
        TypeError: If `recording` is not a recording.
        ValueError: If the recording is empty, its model is not a chain of dense layers,
            weights were not recorded, there are more than 16 units in a layer or more
            than 200 weights (40 with `values`), or there is no such record.
        ImportError: If Matplotlib is not installed.
    """
    picture = picture_of(recording, values=values, ax=ax)
    picture.show(record)
    return picture.ax


def picture_of(recording: Recording, *, values: bool, ax: Axes | None) -> Picture:
    """The picture of a recording, before it shows a record; see `network`."""
    chain = dense_chain(source.checked(recording))
    count = sum(a * b for a, b in chain.pairs)
    if values and count > _MOST_VALUES:
        raise ValueError(
            f"values=True would write {2 * count} numbers over each other: up to "
            f"{_MOST_VALUES} weights have room for theirs, and this model has {count}. "
            "recording.to_frame(names='symbol') has the numbers."
        )
    return Picture(recording, chain, values=values, ax=ax)


def dense_chain(recording: Recording) -> Chain:
    """The dense layers of a recording's model.

    Raises:
        ValueError: If they are not a chain, too large to draw, or were not recorded.
    """
    shapes = dict(recording.attributes["variables"])
    kernels = [path for path, shape in shapes.items() if len(shape) == 2]
    other = source.not_dense(recording)
    if other is not None:
        raise _refused(f"This model has {other!r} of shape {tuple(shapes[other])}.")
    for above, below in itertools.pairwise(kernels):
        if shapes[above][1] != shapes[below][0]:
            raise _refused(
                f"In this model {above!r} gives {shapes[above][1]} numbers, and "
                f"{below!r} takes {shapes[below][0]}."
            )
    sizes = [shapes[kernels[0]][0], *(shapes[path][1] for path in kernels)]
    weights = sum(int(np.prod(shapes[path])) for path in kernels)
    if max(sizes) > _MOST_UNITS or weights > _MOST_WEIGHTS:
        raise _refused(
            f"This model has layers of {sizes} units and {weights:,} weights; up to "
            f"{_MOST_UNITS} units a layer and {_MOST_WEIGHTS} weights can be drawn."
        )
    missing = [path for path in kernels if path not in recording.weights]
    if missing:
        raise ValueError(
            "The network is drawn from all its weights, and those of "
            f"{missing} were not recorded. Record GradientRecorder(weights='raw'), of "
            "all variables."
        )
    names = [f"{source.layer_of(path)}/bias" for path in kernels]
    biases = [name if name in recording.weights else None for name in names]
    return Chain(kernels, biases, sizes)


def _refused(why: str) -> ValueError:
    return ValueError(
        f"The picture is of a small chain of dense layers. {why} See "
        "hr.plot.gradient_flow(recording), hr.plot.heatmap(recording, variables=...), "
        "hr.plot.histograms(recording)."
    )
