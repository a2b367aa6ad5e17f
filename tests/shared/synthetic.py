"""Recordings made of arrays, for tests: no training, no Keras."""

import numpy as np
import pandas as pd

import hrcallbacks as hr
from hrcallbacks.recording.recording import Recording
from hrcallbacks.storage.memory import MemoryStore
from hrcallbacks.types import HAS_GRADIENT, Fit, Key, Record, Spec, Step


def recording_of(
    gradients=None,
    weights=None,
    *,
    batch=None,
    loss=None,
    batches=1,
    steps=None,
    shapes=None,
    lacking=(),
    fits=(0,),
    **attributes,
):
    """A recording of the arrays given.

    Args:
        gradients: Dict from path to array, `(records, *shape)`; a path may end in
            `:norm` or another reduction's name.
        weights: Likewise.
        batch: Likewise, by part of the data.
        loss: One number a record; falls from 1 if not given.
        batches: Batches in an epoch.
        steps: Number of each record's step; from 1 on if not given.
        shapes: Dict from path to shape, of variables that only reductions tell of.
        lacking: Paths that got no gradient.
        fits: First record of each fit.
        attributes: More of the recording's attributes.
    """
    columns = {
        Key(quantity, *reversed(parts(name))): np.asarray(array)
        for quantity, arrays in (
            ("gradients", gradients),
            ("weights", weights),
            ("batch", batch),
        )
        for name, array in (arrays or {}).items()
    }
    shapes = dict(shapes or {})
    for key, array in columns.items():
        if key.reduction == "raw" and key.quantity != "batch":
            shapes.setdefault(key.path, array.shape[1:])
    steps = steps if steps is None else [*steps]
    loss = loss if loss is None else [*loss]
    count = len(next(iter(columns.values()))) if columns else len(loss)
    store = MemoryStore()
    attributes = {
        "weights_at": "after",
        "variables": list(shapes.items()),
        "reductions": {
            q: {key.reduction: {} for key in columns if key.quantity == q}
            for q in ("gradients", "weights", "batch")
        },
        **attributes,
    }
    flags = [
        Key(HAS_GRADIENT, "", key.path)
        for key in columns
        if key.quantity == "gradients"
    ]
    specs = {key: Spec(array.shape[1:], "float32") for key, array in columns.items()}
    store.declare(specs | dict.fromkeys(flags, Spec((), "float64")), attributes)
    for n in range(count):
        if n in fits:
            store.begin_fit(Fit(ended=True))
        step = n + 1 if steps is None else int(steps[n])
        epoch, batch = divmod(step - 1, batches)
        got = {key: float(key.path not in lacking) for key in flags}
        values = {key: array[n] for key, array in columns.items()}
        made = Record(
            step=Step(step, epoch + 1, batch + 1),
            loss=1 / (n + 1) if loss is None else float(loss[n]),
            values=values | got,
        )
        store.append(made)
    return Recording.of(store.snapshot())


def record(step, values=None, *, epoch=1, batch=1, loss=0.0, **metrics):
    """A record of a step, of arrays by `Key`."""
    return Record(Step(step, epoch, batch), loss, values or {}, metrics=metrics)


def parts(name):
    path, _, reduction = name.partition(":")
    return path, reduction or "raw"


def published(rate):
    """A published table as a recording: two kernels, no biases, ten epochs."""
    table = hr.load_published_table(rate)
    arrays = {
        letter: {
            path: table[[f"{letter}^{k}_{i}" for i in range(1, 7)]]
            .to_numpy()
            .reshape(-1, *shape)
            for k, (path, shape) in enumerate(
                (("hidden/kernel", (1, 6)), ("output/kernel", (6, 1))), start=1
            )
        }
        for letter in "gw"
    }
    return recording_of(arrays["g"], arrays["w"], loss=table["loss"])


def noise(*shape, seed=0):
    """Random numbers, none of them zero."""
    return np.random.default_rng(seed).normal(size=shape) + 1e-9


def network(records=12, *, seed=0, units=4):
    """Gradients of a healthy 3-units-2 network."""
    shapes = {
        "net/hidden/kernel": (3, units),
        "net/hidden/bias": (units,),
        "net/output/kernel": (units, 2),
        "net/output/bias": (2,),
    }
    return {
        path: noise(records, *shape, seed=seed + n)
        for n, (path, shape) in enumerate(shapes.items())
    }


def silence(gradients, unit, records):
    """Sets all gradients of a hidden unit to zero, in a slice of records."""
    gradients["net/hidden/kernel"][records, :, unit] = 0
    gradients["net/hidden/bias"][records, unit] = 0
    gradients["net/output/kernel"][records, unit] = 0
    return gradients


def rows(findings, **wanted):
    """The findings that have these values, a plain DataFrame."""
    table = findings.to_frame()
    for column, value in wanted.items():
        table = table[table[column] == value]
    assert isinstance(table, pd.DataFrame)
    return table
