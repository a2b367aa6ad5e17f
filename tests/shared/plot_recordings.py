"""Recordings made of arrays, for the tests of the plots: no training, no backend."""

import numpy as np
import pandas as pd

import hrcallbacks as hr
from hrcallbacks.recording.arrays import Arrays


def recording_of(
    gradients=None,
    weights=None,
    *,
    loss=None,
    steps=None,
    by_epoch=False,
    has_gradient=None,
    reduced=None,
    reductions=None,
    complete=True,
    **attributes,
):
    """A recording of what is given.

    Args:
        gradients, weights: Dicts from path to an array `(records, *shape)`.
        loss: The losses.
        steps: The steps; None for 1, 2, 3...
        by_epoch: Whether each record is an epoch's last.
        has_gradient: Dict from path to bools; where nothing is said, True.
        reduced: Dict from (quantity, reduction) to a dict from path to an array.
        reductions: What is said of them, as in `Recording.attributes`.
        complete: Whether the run came to its end.
        **attributes: More of these.
    """
    kinds = {("gradients", "raw"): gradients, ("weights", "raw"): weights}
    kinds |= reduced or {}
    kinds = {kind: arrays for kind, arrays in kinds.items() if arrays}
    shapes = {}
    for (quantity, reduction), arrays in kinds.items():
        if quantity not in ("gradients", "weights"):
            continue
        for path, array in arrays.items():
            if reduction == "raw" or path not in shapes:
                shapes[path] = np.shape(array)[1:]
    first = next(iter(next(iter(kinds.values())).values())) if kinds else loss
    count = len(first)
    steps = np.arange(1, count + 1) if steps is None else np.asarray(steps)
    index = pd.DataFrame(
        {
            "step": steps,
            "epoch": np.arange(1, count + 1) if by_epoch else np.ones(count, int),
            "batch": np.ones(count, int) if by_epoch else steps,
            "loss": np.ones(count) if loss is None else np.asarray(loss, float),
        }
    )
    of_gradients = [a for (q, _), a in kinds.items() if q == "gradients"]
    flags = {path: np.ones(count) for arrays in of_gradients for path in arrays}
    for path, given in (has_gradient or {}).items():
        flags[path] = np.asarray(given, float)
    kinds["has_gradient", ""] = flags
    if reductions is None:
        reductions = {
            q: {r: {"kind": r}} for q, r in kinds if q in ("gradients", "weights")
        }
    return hr.Recording(
        index=index,
        arrays={
            kind: Arrays(arrays.__getitem__, arrays, kind[0])
            for kind, arrays in kinds.items()
        },
        attributes={
            "complete": complete,
            "weights_at": "after",
            "record_freq": "epoch" if by_epoch else 1,
            "variables": list(shapes.items()),
            "reductions": reductions,
        }
        | attributes,
    )


def published(rate):
    """The published table of a learning rate as a recording of its two kernels."""
    table = hr.load_published_table(rate)

    def kernels(letter):
        columns = {
            layer: table[[f"{letter}^{layer}_{n}" for n in range(1, 7)]].to_numpy()
            for layer in (1, 2)
        }
        return {
            "net/hidden/kernel": columns[1].reshape(-1, 1, 6),
            "net/output/kernel": columns[2].reshape(-1, 6, 1),
        }

    return recording_of(kernels("g"), kernels("w"), loss=table["loss"], by_epoch=True)


def layered(outputs, deltas=None, *, rows=None, activations=(), **options):
    """A recording of layers' outputs, raw or reduced, and of the gradients of them.

    Args:
        outputs: Dict from a name, or one with `:` and a reduction of `told`, to an
            array `(records, ...)`.
        deltas: Likewise, of the gradients with respect to them.
        rows: Dict from name to the rows of each record's batch.
        activations: Dict from a layer's path to its activation.
        **options: As for `recording_of`.
    """
    told = {
        "raw": {"kind": "Raw"},
        "norm": {"kind": "norm"},
        "rows": {"kind": "Rows", "n": 2},
        "mean_per_unit": {"kind": "PerUnit", "of": "mean"},
        "zero_fraction_per_unit": {"kind": "PerUnit", "of": "zero_fraction"},
    }
    reduced, reductions = {}, {"gradients": {"raw": {}}, "weights": {"raw": {}}}
    given = {"outputs": outputs, "output_gradients": deltas or {}}
    for quantity, arrays in given.items():
        for name, array in arrays.items():
            path, _, kind = name.partition(":")
            kind = kind or "raw"
            reduced.setdefault((quantity, kind), {})[path] = np.asarray(array)
            reductions.setdefault(quantity, {})[kind] = told[kind]
            flags = {path: np.ones(len(array))}
            reduced.setdefault((f"has_{quantity[:-1]}", ""), {}).update(flags)
    if rows:
        reduced["output_rows", ""] = {n: np.asarray(r, float) for n, r in rows.items()}
    layers = [{"path": p, "activation": a} for p, a in dict(activations).items()]
    return recording_of(
        reduced=reduced,
        reductions=reductions,
        model={"layers": layers},
        **options,
    )


def overlapping(ax, texts):
    """Pairs of texts that touch where they are drawn."""
    from matplotlib.text import Text

    ax.figure.canvas.draw()
    # Without the line of an annotation.
    boxes = [(t.get_text(), Text.get_window_extent(t)) for t in texts if t.get_text()]
    return [
        (one, other)
        for number, (one, box) in enumerate(boxes)
        for other, further in boxes[:number]
        if box.overlaps(further)
    ]
