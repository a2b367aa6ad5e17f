"""Which weights lead into a unit, and which out of it, as far as shapes can tell.

A recording knows only the paths and shapes of a model's variables. It is assumed that:

- A kernel of a layer that has no recurrent kernel and is not depthwise has its units
  along the last axis (`Dense`, convolutions); a bias beside it, of as many elements, is
  theirs. Where the bias fits the last axis but one instead, the kernel is that of a
  transposed convolution, and its units lie there.
- A unit leads into a later kernel whose input axis has as many elements (the last axis
  but one, or the first), or a multiple, as after `Flatten` or `Concatenate`. If there
  are several such kernels, it may be any of them.
- A layer that no kernel follows is the model's output, and its units are left out.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from hrcallbacks.diagnose.survey import Survey
    from hrcallbacks.diagnose.tracks import Activity

# How many layers are looked for side by side in the input of a kernel.
_MOST_PARTS = 8


class Outgoing(NamedTuple):
    """A kernel that a layer may lead into.

    Attributes:
        path: Path of the kernel.
        axis: Its axis of inputs.
    """

    path: str
    axis: int


class _Units(NamedTuple):
    """The axis of a kernel along which its units lie, and the path of their bias."""

    axis: int
    bias: str | None


@dataclass(frozen=True)
class Layer:
    """A layer of units.

    Attributes:
        kernel: Path of the kernel that leads into them.
        axis: Its axis of units.
        count: Number of units.
        bias: Path of their bias, or None.
        outgoing: The kernels that they may lead into.
    """

    kernel: str
    axis: int
    count: int
    bias: str | None
    outgoing: tuple[Outgoing, ...]


def layers(shapes: Mapping[str, tuple[int, ...]]) -> list[Layer]:
    """The layers of units of a model.

    Args:
        shapes: Shapes of the variables by path, in the model's order.

    Returns:
        The layers that lead into another kernel.

    Example:
        >>> shapes = {"a/kernel": (1, 6), "a/bias": (6,), "b/kernel": (6, 1)}
        >>> [(layer.kernel, layer.count, *layer.outgoing) for layer in layers(shapes)]
        [('a/kernel', 6, Outgoing(path='b/kernel', axis=-2))]
    """
    return list(_layers(tuple((path, tuple(shape)) for path, shape in shapes.items())))


@functools.lru_cache(maxsize=8)  # Several rules ask.
def _layers(variables: tuple[tuple[str, tuple[int, ...]], ...]) -> list[Layer]:
    shapes = dict(variables)
    kernels = [p for p, shape in shapes.items() if len(shape) > 1 and _is_kernel(p)]
    places = {path: _unit_axis(path, shapes) for path in kernels}
    axes = {path: place and place.axis for path, place in places.items()}
    found: list[Layer] = []
    for number, path in enumerate(kernels):
        place = places[path]
        if place is None:
            continue
        axis, bias = place
        count = shapes[path][axis]
        outgoing = tuple(
            Outgoing(other, inputs)
            for other in kernels[number + 1 :]
            if (inputs := _input_axis(shapes[other], axes[other], count)) is not None
        )
        if outgoing:
            found.append(Layer(path, axis, count, bias, outgoing))
    return found


def _is_kernel(path: str) -> bool:
    name = _name(path)
    return name.endswith("kernel") and name != "recurrent_kernel"


def _name(path: str) -> str:
    return path.partition("#")[0].rpartition("/")[2]


def _sibling(path: str, name: str) -> str:
    before, _, number = path.partition("#")
    after = f"#{number}" if number else ""
    return f"{before.rpartition('/')[0]}/{name}".lstrip("/") + after


def _unit_axis(path: str, shapes: Mapping[str, tuple[int, ...]]) -> _Units | None:
    if "depthwise" in path or _sibling(path, "recurrent_kernel") in shapes:
        return None
    bias = _sibling(path, "bias")
    if bias not in shapes:
        return _Units(-1, None)
    for axis in (-1, -2):
        if shapes[bias] == (shapes[path][axis],):
            return _Units(axis, bias)
    return None  # Gates, heads, channels times multiplier.


@functools.lru_cache(maxsize=4096)  # Many kernels are alike.
def _input_axis(
    shape: tuple[int, ...], units_axis: int | None, count: int
) -> int | None:
    transposed = units_axis == -2
    axes = (-1,) if transposed else (-2, -len(shape))
    exact = [axis for axis in axes if shape[axis] == count]
    multiples = [axis for axis in axes if shape[axis] % count == 0 < shape[axis]]
    return next(iter([*exact, *multiples]), None)


def _seen_outside(activity: Activity, count: int) -> list[Activity]:
    """Activity of a kernel's inputs by unit, for each way in which units may lie.

    Args:
        activity: Activity along the kernel's input axis.
        count: Number of units.

    Returns:
        One activity of that many units if there are as many inputs. Otherwise one for
        units that lie at regular distances (after `Flatten`), one for units side by
        side (the same, channels first), and one for each of the parts that they may be
        (after `Concatenate`).
    """
    size = len(activity.first)
    times = size // count
    if times == 1:
        return [activity]
    interleaved = activity.arranged(lambda a: a.reshape(times, count)).any()
    in_a_row = activity.arranged(lambda a: a.reshape(count, times).T).any()
    starts = range(0, size, count)
    parts = [activity.arranged(lambda a, n=n: a[n : n + count]) for n in starts]
    return [interleaved, in_a_row, *(parts if times <= _MOST_PARTS else [])]


def watched(survey: Survey) -> list[Layer]:
    """The layers whose raw gradients were recorded, incoming and outgoing."""
    return [
        layer
        for layer in layers(survey.shapes)
        if survey.track("gradients", layer.kernel) and outgoing_of(survey, layer)
    ]


def incoming(survey: Survey, layer: Layer) -> Activity:
    """When the units of a watched layer had a gradient in their kernel or bias."""
    kernel = survey.track("gradients", layer.kernel)
    assert kernel is not None  # It is watched.
    alive = kernel.activity[layer.axis]
    bias = survey.track("gradients", layer.bias)
    return alive.or_(bias.activity[-1]) if bias else alive


def outgoing_of(survey: Survey, layer: Layer) -> list[tuple[str, Activity]]:
    """When the units had a gradient in each kernel that they may lead into."""
    found: list[tuple[str, Activity]] = []
    for path, axis in layer.outgoing:
        track = survey.track("gradients", path)
        if track:
            inputs = track.activity[axis]
            found += [(path, a) for a in _seen_outside(inputs, layer.count)]
    return found


def movement(survey: Survey, layer: Layer) -> Activity | None:
    """When the weights that lead into the units moved; None if that tells nothing."""
    track = survey.track("weights", layer.kernel)
    if track is None or survey.setting("weight_decay"):
        return None
    return track.activity[layer.axis]


def informative(survey: Survey, path: str) -> npt.NDArray[np.integer]:
    """How many records before each say anything of a variable, `(records + 1,)`.

    Not those in which it got no gradient, or all gradients of the model were zero.
    """
    moving = survey.total_norms() > 0
    return np.concatenate([[0], np.cumsum(moving & survey.has_gradient(path))])
