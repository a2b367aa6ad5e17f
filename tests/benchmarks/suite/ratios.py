"""Benchmarks for asv: did anything get slower?

Each is a ratio of two times, measured in turn in one process, so that numbers from
different machines, or from a busy one, can be compared: 1.2 is a fifth slower than the
thing it is compared with. `nox -s benchmarks` runs them.
"""

import shutil
import statistics
import tempfile
import time
from pathlib import Path

import keras
import numpy as np
import pandas as pd

import hrcallbacks as hr

ROUNDS = 7
STEPS = 100


def seconds(call):
    start = time.perf_counter()
    call()
    return time.perf_counter() - start


def ratio(case, beside, rounds=ROUNDS):
    """Median of the ratios of their times, each pair measured in turn."""
    case(), beside()
    ratios = []
    for number in range(rounds):
        first, second = (case, beside) if number % 2 else (beside, case)
        times = {first: seconds(first), second: seconds(second)}
        ratios.append(times[case] / times[beside])
    return statistics.median(ratios)


def compiled(*sizes):
    keras.utils.set_random_seed(0)
    *hidden, outputs = sizes[1:]
    layers = [keras.layers.Dense(size, "relu") for size in hidden]
    model = keras.Sequential(
        [keras.Input((sizes[0],)), *layers, keras.layers.Dense(outputs)], name="m"
    )
    model.compile("adam", loss="mse")
    return model


class Recording:
    """A `fit` that records every step, beside one that does not."""

    params = (["1-6-1", "670,000 parameters"], ["norms", "raw", "raw, to Zarr"])
    param_names = ("model", "recorded")
    unit = "times a plain fit"
    timeout = 600

    def setup(self, model, recorded):
        sizes = (1, 6, 1) if model == "1-6-1" else (784, 512, 512, 10)
        self.model = compiled(*sizes)
        random = np.random.default_rng(0)
        self.x, self.y = (
            random.normal(size=(STEPS * 128, size)).astype("float32")
            for size in (sizes[0], sizes[-1])
        )
        self.folder = tempfile.mkdtemp()
        options = (
            {"gradients": "norm", "weights": "norm"} if recorded == "norms" else {}
        )
        self.store = str(Path(self.folder, "run.zarr")) if "Zarr" in recorded else None
        self.recorder = hr.GradientRecorder(
            record_freq=1, store=self.store, max_bytes=8 * 1024**3, **options
        )

    def fit(self, *callbacks):
        self.model.fit(
            self.x,
            self.y,
            batch_size=128,
            verbose=0,
            shuffle=False,
            callbacks=callbacks,
        )

    def record(self):
        self.recorder.reset()
        if self.store:
            shutil.rmtree(self.store, ignore_errors=True)
        self.fit(self.recorder)

    def track_recording(self, model, recorded):
        return ratio(self.record, self.fit)

    def teardown(self, model, recorded):
        shutil.rmtree(self.folder)


def made(records, shapes, *, reductions):
    """A recording of random numbers in a store."""
    from hrcallbacks.recording.arrays import Arrays
    from hrcallbacks.recording.recording import Recording as OfNumbers

    random = np.random.default_rng(0)
    steps = np.arange(1, records + 1)
    index = pd.DataFrame({"step": steps, "epoch": 1, "batch": steps, "loss": 1.0})
    paths = {f"m/layer_{n}/kernel": shape for n, shape in enumerate(shapes)}
    kinds = {}
    for quantity in ("gradients", "weights"):
        for name in reductions:
            arrays = {
                path: random.normal(size=(records, *(shape if name == "raw" else ())))
                for path, shape in paths.items()
            }
            arrays = {path: array.astype("float32") for path, array in arrays.items()}
            kinds[quantity, name] = Arrays(arrays.__getitem__, arrays, quantity)
    said = {name: {"kind": name} for name in reductions}
    attributes = {
        "variables": [*paths.items()],
        "reductions": {"gradients": said, "weights": said},
        "record_freq": 1,
        "weights_at": "after",
        "complete": True,
        "fault": None,
        "backend": keras.config.backend(),
    }
    return lambda: OfNumbers(index, kinds, dict(attributes))


class Reading:
    """What is made of a recording, beside one pass of NumPy over its numbers."""

    unit = "times one pass of NumPy"
    timeout = 600

    def setup(self):
        self.raw = made(200, [(256, 256), (256,)] * 2, reductions=["raw"])
        self.norms = made(20_000, [(2, 2)] * 50, reductions=["norm"])

    def one_pass(self, make):
        for arrays in make().arrays_by_kind.values():
            for path in arrays:
                flat = arrays[path].reshape(len(arrays[path]), -1)
                for start in range(0, len(flat), 8):
                    wide = flat[start : start + 8].astype(np.float64)
                    np.sqrt(np.einsum("ij,ij->i", wide, wide))

    def track_norms_of_raw(self):
        def norms():
            recording = self.raw()
            for quantity in ("gradients", "weights"):
                recording.statistic(quantity, "norm")

        return ratio(norms, lambda: self.one_pass(self.raw))

    def track_diagnosis_of_raw(self):
        return ratio(lambda: self.raw().diagnose(), lambda: self.one_pass(self.raw))

    def track_diagnosis_of_norms(self):
        return ratio(lambda: self.norms().diagnose(), lambda: self.one_pass(self.norms))


class Replay:
    """`replay()`, beside the `fit` that was recorded."""

    unit = "times the fit"
    timeout = 600

    def setup(self):
        self.model = compiled(1, 6, 1)
        self.x = np.linspace(0, 1, 8 * STEPS).reshape(-1, 1)
        self.recorder = hr.GradientRecorder(record_freq=1)

    def fit(self):
        self.recorder.reset()
        self.model.fit(
            self.x, self.x, batch_size=8, verbose=0, callbacks=[self.recorder]
        )

    def track_replay(self):
        self.fit()
        recording = self.recorder.recording
        return ratio(lambda: recording.replay().max_error, self.fit)


class Export:
    """Files, beside the histograms that NumPy makes of the same numbers."""

    unit = "times NumPy's histograms"
    timeout = 600

    def setup(self):
        self.recording = made(200, [(16, 16), (16,)] * 4, reductions=["raw"])
        self.folder = tempfile.mkdtemp()
        self.count = 0

    def histograms(self):
        for arrays in self.recording().arrays_by_kind.values():
            for path in arrays:
                for row in arrays[path]:
                    np.histogram(row, 30)

    def _new(self, name):
        self.count += 1
        return Path(self.folder, f"{name}_{self.count}")

    def track_tensorboard(self):
        return ratio(
            lambda: hr.to_tensorboard(self.recording(), self._new("logs")),
            self.histograms,
        )

    def track_parquet(self):
        return ratio(
            lambda: self.recording().to_parquet(self._new("file")), self.histograms
        )

    def teardown(self):
        shutil.rmtree(self.folder)
