"""Which weights lead into a unit, and which out of it, as far as shapes can tell.

A recording knows the paths and shapes of a model's variables and no more. What is
assumed:

- A kernel of a layer that has no recurrent kernel and is not depthwise has its units
  along the last axis (`Dense`, convolutions); a bias beside it, of as many elements, is
  theirs. Where the bias fits the last axis but one instead, the kernel is that of a
  transposed convolution, and its units lie there.
- A unit leads into a later kernel whose input axis has as many elements (the last axis
  but one, or the first), or a multiple, as after `Flatten` or `Concatenate`. Of several
  such kernels each may be the one.
- Where no kernel follows, the layer is taken to be the model's output, and its units
  are left alone.
"""

from dataclasses import dataclass

import numpy as np

# So many layers are looked for side by side in what a kernel takes in.
_MOST_PARTS = 8


@dataclass(frozen=True)
class Layer:
    """A layer of units.

    Attributes:
        kernel: Path of the kernel that leads into them.
        axis: Its axis of units.
        count: Number of units.
        bias: Path of their bias, or None.
        outgoing: What they may lead into, `(path, axis)`s.
    """

    kernel: str
    axis: int
    count: int
    bias: str | None
    outgoing: tuple


def layers(shapes):
    """The layers of units of a model.

    Args:
        shapes: Dict from path to shape, in the model's order.

    Returns:
        A list of `Layer`s that lead into another kernel.

    Example:
        >>> shapes = {"a/kernel": (1, 6), "a/bias": (6,), "b/kernel": (6, 1)}
        >>> [(layer.kernel, layer.count, layer.outgoing) for layer in layers(shapes)]
        [('a/kernel', 6, (('b/kernel', -2),))]
    """
    kernels = [p for p, shape in shapes.items() if len(shape) > 1 and _is_kernel(p)]
    found = []
    for number, path in enumerate(kernels):
        place = _unit_axis(path, shapes)
        if place is None:
            continue
        axis, bias = place
        count = shapes[path][axis]
        later = kernels[number + 1 :]
        outgoing = tuple(
            (other, inputs)
            for other in later
            if (inputs := _input_axis(other, shapes, count)) is not None
        )
        if outgoing:
            found.append(Layer(path, axis, count, bias, outgoing))
    return found


def _is_kernel(path):
    name = _name(path)
    return name.endswith("kernel") and name != "recurrent_kernel"


def _name(path):
    return path.partition("#")[0].rpartition("/")[2]


def _sibling(path, name):
    before, _, number = path.partition("#")
    after = f"#{number}" if number else ""
    return f"{before.rpartition('/')[0]}/{name}".lstrip("/") + after


def _unit_axis(path, shapes):
    if "depthwise" in path or _sibling(path, "recurrent_kernel") in shapes:
        return None
    bias = _sibling(path, "bias")
    if bias not in shapes:
        return -1, None
    for axis in (-1, -2):
        if shapes[bias] == (shapes[path][axis],):
            return axis, bias
    return None  # Gates, heads, channels times multiplier.


def _input_axis(path, shapes, count):
    shape = shapes[path]
    place = _unit_axis(path, shapes)
    transposed = place is not None and place[0] == -2
    axes = (-1,) if transposed else (-2, -len(shape))
    exact = [axis for axis in axes if shape[axis] == count]
    multiples = [axis for axis in axes if shape[axis] % count == 0 < shape[axis]]
    return next(iter([*exact, *multiples]), None)


def _seen_outside(activity, count):
    """Activity of the inputs of a kernel, by unit, in each way that units may lie.

    Args:
        activity: `Activity` along the kernel's input axis.
        count: Number of units.

    Returns:
        A list of `Activity`s of that many units: one where inputs and units are as
        many; otherwise units lie at regular distances (after `Flatten`), side by side
        (the same, channels first), or in one of several parts (after `Concatenate`).
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


def watched(survey):
    """The layers of which raw gradients were recorded, incoming and outgoing."""
    return [
        layer
        for layer in layers(survey.shapes)
        if survey.track("gradients", layer.kernel) and outgoing_of(survey, layer)
    ]


def incoming(survey, layer):
    """When a unit had a gradient in its incoming kernel or bias, an `Activity`."""
    alive = survey.track("gradients", layer.kernel).activity[layer.axis]
    bias = survey.track("gradients", layer.bias) if layer.bias else None
    return alive.or_(bias.activity[-1]) if bias else alive


def outgoing_of(survey, layer):
    """When a unit had a gradient in what it may lead into: `(path, Activity)`s."""
    found = []
    for path, axis in layer.outgoing:
        track = survey.track("gradients", path)
        if track:
            inputs = track.activity[axis]
            found += [(path, a) for a in _seen_outside(inputs, layer.count)]
    return found


def movement(survey, layer):
    """When weights moved that lead into a unit; None if that tells nothing."""
    track = survey.track("weights", layer.kernel)
    if track is None or survey.setting("weight_decay"):
        return None
    return track.activity[layer.axis]


def informative(survey, path):
    """How many records, before each, can tell of a variable: shape `(records + 1,)`.

    Not those in which it got no gradient, or all of the model's were zero.
    """
    moving = survey.total_norms() > 0
    return np.concatenate([[0], np.cumsum(moving & survey.has_gradient(path))])
