"""Trains a tiny network on one device and on two replicas; pickles what came of it.

`../test_distributed.py` runs this in processes of its own, since the number of devices
is fixed once a backend has started:

    python train.py STRATEGY OUT MODE...
"""

import pickle
import sys
from pathlib import Path

COMPILE = {
    "eager": {"run_eagerly": True},
    "graph": {"jit_compile": False},
    "jit": {"jit_compile": True},
}
# Samples in the data, in batches of 8: the last batch has 4, 5 and 1.
SAMPLES = (20, 21, 17)


def mirrored():
    import tensorflow as tf

    (cpu,) = tf.config.list_physical_devices("CPU")
    two = [tf.config.LogicalDeviceConfiguration()] * 2
    tf.config.set_logical_device_configuration(cpu, two)
    return tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])


def multi_worker():
    import tensorflow as tf

    return tf.distribute.MultiWorkerMirroredStrategy()


def data_parallel():
    import keras

    devices = keras.distribution.list_devices("cpu")
    assert len(devices) == 2
    return keras.distribution.DataParallel(devices=devices)


def data(samples):
    import numpy as np

    x = np.linspace(-1, 1, samples, dtype="float32")[:, np.newaxis]
    return x, np.sin(3 * x)


def build(mode):
    import keras

    keras.utils.set_random_seed(7)
    hidden = keras.layers.Dense(3, activation="relu", name="hidden")
    output = keras.layers.Dense(1, name="output")
    model = keras.Sequential([keras.Input((1,)), hidden, output], name="tiny")
    model.compile(keras.optimizers.Adam(0.05), loss="mse", **COMPILE[mode])
    return model


def train(model, samples, *, recorded):
    import keras

    import hrcallbacks as hr

    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    history = model.fit(
        *data(samples),
        batch_size=8,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=[recorder] if recorded else [],
    )
    owners = [model, model.optimizer, *model.metrics]
    run = {
        "final": model.get_weights(),
        "optimizer": [keras.ops.convert_to_numpy(v) for v in model.optimizer.variables],
        "history": history.history,
        "attributes": [sorted(vars(owner)) for owner in owners],
    }
    return run, recorder.recording


def _contents(recording):
    return {
        "complete": recording.attributes["complete"],
        "index": recording.index,
        "gradients": {p: recording.gradients[p][:] for p in recording.paths},
        "weights": {p: recording.weights[p][:] for p in recording.paths},
        "replay_error": recording.replay().max_error,
    }


def train_on_replicas(strategy, mode, samples, *, recorded):
    # In the scope: there, variables that stand for one on each replica differ most
    # from others. What is returned is looked at outside, as after any training.
    with strategy.scope():
        return train(build(mode), samples, recorded=recorded)


def train_case(strategy, mode, samples):
    """The same training on one device, and on two with and without a recorder."""
    try:
        plain, _ = train_on_replicas(strategy, mode, samples, recorded=False)
    except Exception as error:
        return {"refused": repr(error)[:300]}
    distributed, seen = train_on_replicas(strategy, mode, samples, recorded=True)
    single, expected = train(build(mode), samples, recorded=True)
    return {
        "plain": plain,
        "distributed": distributed | _contents(seen),
        "single": single | _contents(expected),
    }


if __name__ == "__main__":
    name, out, *modes = sys.argv[1:]
    strategy = globals()[name]()
    # Replicas are slow where nothing is compiled: one number of samples is enough.
    cases = {
        (mode, samples): train_case(strategy, mode, samples)
        for mode in modes
        for samples in (SAMPLES[:1] if mode == "eager" else SAMPLES)
    }
    Path(out).write_bytes(pickle.dumps(cases))
