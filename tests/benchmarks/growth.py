"""How the time grows in which a recording is read, replayed and written.

Each curve is measured in one process, and its slope said: of the line through the
logarithms, the last three points. 1 is a time that grows as what is counted does; below
it, a part of the time is fixed.

    PYTHONPATH=tests/shared python tests/benchmarks/growth.py records bytes
"""

import argparse
import contextlib
import dataclasses
import functools
import io
import tempfile
import time
from pathlib import Path

import keras
import matplotlib as mpl
import numpy as np
from plot_recordings import recording_of

import hrcallbacks as hr
from hrcallbacks.types import Fit, OptimizerStart

mpl.use("agg")
ROUNDS = 3


def of_norms(records, variables):
    """A recording of the norms of some variables, at as many steps."""
    random = np.random.default_rng(0)
    paths = [f"m/layer_{number}/kernel" for number in range(variables)]
    norms = {
        (quantity, "norm"): {p: np.abs(random.normal(size=records)) for p in paths}
        for quantity in ("gradients", "weights")
    }
    return described(
        recording_of(
            loss=random.random(records),
            reduced=norms,
            reductions={q: {"norm": {"kind": "norm"}} for q, _ in norms},
            record_freq=1,
            backend=keras.config.backend(),
        ),
        dict.fromkeys(paths, (16, 16)),
    )


def of_arrays(records, variables, side):
    """A recording of whole square arrays."""
    random = np.random.default_rng(0)
    array = random.normal(size=(records, side, side)).astype("float32")
    arrays = {f"m/layer_{number}/kernel": array for number in range(variables)}
    raw = {quantity: {"raw": {"kind": "raw"}} for quantity in ("gradients", "weights")}
    made = recording_of(
        arrays,
        arrays,
        loss=random.random(records),
        reductions=raw,
        backend=keras.config.backend(),
    )
    return described(made, dict.fromkeys(arrays, (side, side)))


def described(recording, shapes):
    recording.attributes["variables"] = list(shapes.items())
    optimizers = {"0": OptimizerStart("Adam", None, False, False)}
    recording.fits[:] = [Fit(ended=True, optimizers=optimizers)]
    return recording


def trained(steps):
    """The recording of a small network."""
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((1,)), keras.layers.Dense(6, "relu"), keras.layers.Dense(1)]
    )
    model.compile("adam", loss="mse")
    x = np.random.default_rng(0).normal(size=(steps * 8, 1)).astype("float32")
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, x, batch_size=8, verbose=0, callbacks=[recorder])
    return recorder.recording


def seconds(call):
    """The least of some rounds."""
    times = []
    for _ in range(ROUNDS):
        start = time.perf_counter()
        with contextlib.redirect_stderr(io.StringIO()):
            call()
        times.append(time.perf_counter() - start)
    return min(times)


@dataclasses.dataclass
class Curve:
    """What takes time, and of what.

    Attributes:
        name: Its name.
        sizes: By size, what makes a recording of it.
        calls: By name, what is timed: called with the recording, opened from a store.
    """

    name: str
    sizes: dict
    calls: dict

    def measure(self):
        times = {name: [] for name in self.calls}
        for make in self.sizes.values():
            with tempfile.TemporaryDirectory() as folder:
                path = Path(folder, "run.zarr")
                make().save(path)
                for name, call in self.calls.items():
                    times[name].append(seconds(functools.partial(call, path)))
        sizes = np.array(list(self.sizes), float)
        print(f"\n{self.name}: {', '.join(f'{size:,.0f}' for size in sizes)}")
        for name, found in times.items():
            slope = np.polyfit(np.log(sizes[-3:]), np.log(found[-3:]), 1)[0]
            said = ", ".join(f"{each:.3g}" for each in found)
            print(f"  {name:<22} {said} s; slope {slope:.2f}")


def opened(call):
    return lambda path: call(hr.open_recording(path))


READ = {
    "open": opened(lambda recording: recording.index),
    "diagnose": opened(lambda recording: recording.diagnose()),
    "statistic norm": opened(lambda r: r.statistic("gradients", "norm")),
    "plot.gradient_flow": opened(lambda recording: recording.plot.gradient_flow()),
    "save": lambda path: saved(hr.open_recording(path)),
}


def saved(recording):
    with tempfile.TemporaryDirectory() as folder:
        recording.save(Path(folder, "copy.zarr"))


def read(recording):
    for arrays in (recording.gradients, recording.weights):
        for array in arrays.values():
            for start in range(0, len(array), 64):
                array[start : start + 64]


def events(recording):
    with tempfile.TemporaryDirectory() as folder:
        hr.to_tensorboard(recording, folder)


RAW = {name: READ[name] for name in ("diagnose", "statistic norm", "save")}
RAW["read it all"] = opened(read)
CURVES = {
    "records": Curve(
        "Records of the norms of 50 variables",
        {n: lambda n=n: of_norms(n, 50) for n in (1_000, 10_000, 30_000, 100_000)},
        READ,
    ),
    "variables": Curve(
        "Variables, norms at 1,000 steps",
        {n: lambda n=n: of_norms(1_000, n) for n in (10, 100, 300, 1_000)},
        READ,
    ),
    "bytes": Curve(
        "Megabytes of whole arrays of 256 x 256, 8 variables",
        {
            n * 16 * 0.262144: lambda n=n: of_arrays(n, 8, 256)
            for n in (10, 50, 150, 500)
        },
        RAW,
    ),
    "replay": Curve(
        "Steps of a network of 19 parameters",
        {n: lambda n=n: trained(n) for n in (1_000, 5_000, 20_000, 50_000)},
        {"replay": opened(lambda recording: recording.replay())},
    ),
    "tensorboard": Curve(
        "Records of the norms of 8 variables",
        {n: lambda n=n: of_norms(n, 8) for n in (1_000, 3_000, 10_000)},
        {"to_tensorboard": opened(events)},
    ),
}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("curves", nargs="*", choices=CURVES, default=list(CURVES))
    for name in parser.parse_args().curves:
        CURVES[name].measure()
