"""Trains a tiny network with sharded weights on four devices; pickles what came of it.

`../test_sharded.py` runs this in a process of its own, since the number of devices is
fixed once JAX has started:

    python train_sharded.py OUT
"""

import pickle
import sys
from pathlib import Path

import keras
import numpy as np

import hrcallbacks as hr

OPTIMIZERS = {
    "momentum": lambda: keras.optimizers.SGD(0.05, momentum=0.9),
    "Adam": lambda: keras.optimizers.Adam(0.01),
}
RECORDERS = {
    "raw": {},
    "before": {"weights_at": "before"},
    "norm": {"gradients": "norm", "weights": "norm"},
    "summaries": {
        "gradients": [hr.Histogram(), hr.Sample(5)],
        "weights": "update_norm",
    },
    "outputs": {
        "outputs": ["norm", "zero_fraction"],
        "output_gradients": ["norm", "mean"],
    },
}
# By how many devices share the batch and how many the weights, what to train with.
MESHES = {(1, 4): "Adam", (2, 2): "momentum"}


def sharded(mesh: tuple[int, int]) -> keras.distribution.ModelParallel:
    """A distribution that splits two kernels, along different axes."""
    devices = keras.distribution.list_devices("cpu")
    names = ["batch", "model"]
    layout = keras.distribution.LayoutMap(
        keras.distribution.DeviceMesh(mesh, names, devices)
    )
    layout[".*hidden.*kernel"] = (None, "model")
    layout[".*mid.*kernel"] = ("model", None)
    return keras.distribution.ModelParallel(layout_map=layout, batch_dim_name="batch")


def build(optimizer: str) -> keras.Model:
    """The network, its first weights always the same."""
    keras.utils.set_random_seed(3)
    layers = [
        keras.layers.Dense(8, activation="relu", name="hidden"),
        keras.layers.Dense(8, activation="relu", name="mid"),
        keras.layers.Dense(1, name="head"),
    ]
    model = keras.Sequential([keras.Input((4,)), *layers], name="net")
    model.compile(OPTIMIZERS[optimizer](), loss="mse")
    return model


def train(optimizer: str, options: dict | None) -> tuple[dict, hr.Recording | None]:
    """Eight steps, without a recorder where there are no options for one."""
    x = np.random.default_rng(0).normal(size=(64, 4)).astype("float32")
    y = np.sin(x.sum(axis=1, keepdims=True))
    model = build(optimizer)
    recorders = []
    if options is not None:
        recorders.append(hr.GradientRecorder(record_freq=1, **options))
    fit = {"batch_size": 16, "epochs": 2, "shuffle": False, "verbose": 0}
    history = model.fit(x, y, callbacks=recorders, **fit)
    return {
        "split": [
            v.path
            for v in model.trainable_variables
            if not v.value.sharding.is_fully_replicated
        ],
        "weights": model.get_weights(),
        "optimizer": [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables],
        "loss": history.history["loss"],
    }, recorders[0].recording if recorders else None


def contents(recording: hr.Recording) -> dict:
    """What was recorded raw."""
    return {
        "complete": recording.attributes["complete"],
        "recorded_gradients": {p: recording.gradients[p][:] for p in recording.paths},
        "recorded_weights": {p: recording.weights[p][:] for p in recording.paths},
        "replay_error": recording.replay().max_error,
    }


def train_all() -> dict:
    """What each recorder left, by mesh and its name; None is no recorder."""
    runs = {}
    for mesh, optimizer in MESHES.items():
        keras.distribution.set_distribution(None)
        run, recording = train(optimizer, {})
        runs[mesh, "one device"] = run | contents(recording)
        keras.distribution.set_distribution(sharded(mesh))
        runs[mesh, None], _ = train(optimizer, None)
        for name, options in RECORDERS.items():
            run, recording = train(optimizer, options)
            is_raw = name in ("raw", "before")
            runs[mesh, name] = run | (contents(recording) if is_raw else {})
    return runs


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(pickle.dumps(train_all()))
