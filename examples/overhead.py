# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # What recording costs
#
# `model.fit` with the recorder, with what people use in its place, and alone, measured
# in turn in one process, in random order. Each measurement has a plain `fit` right
# before or after it, so that whatever else the machine is doing falls on both. What
# counts is the ratio of the two, and its median. The row of the plain `fit`, measured
# against itself, says how far the machine can tell.
#
# Every step's time is the training thread's, from the first step to the end of the last
# epoch; *at the end* is what `fit` waits after that, until all is stored. *Fresh MB* is
# memory a step that the system had not handed out before, beyond what the plain `fit`
# takes: on some machines the first touch of a page costs more than the copy into it.

# %%
import argparse
import contextlib
import gc
import importlib.util
import json
import os
import random
import shutil
import sys
import tempfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("WANDB_MODE", "offline")
os.environ.setdefault("WANDB_SILENT", "true")

import keras
import numpy as np

import hrcallbacks as hr

BACKEND = keras.config.backend()
PARTS = ("models", "layers", "parameters", "records", "memory")
parser = argparse.ArgumentParser(
    description="Measures what recording costs. Choose Keras' backend with "
    "KERAS_BACKEND=tensorflow, jax or torch. A GPU is used where the backend finds one."
)
parser.add_argument(
    "--rounds", type=int, default=9, help="measurements a row (default: %(default)s)"
)
parser.add_argument(
    "--parts",
    nargs="+",
    choices=PARTS,
    default=["models"],
    help="models: the table of three models; layers: what numbers of all layers' "
    "outputs cost, also in a transformer; parameters, records: how the cost grows with "
    "the model's size and with the recorded steps; memory: what 10,000 recorded steps "
    "take with a store (default: models)",
)
parser.add_argument(
    "--models",
    nargs="+",
    choices=("1-6-1", "mlp", "cnn", "transformer"),
    help="(default: all that a part is measured with)",
)
parser.add_argument(
    "--steps", type=int, help="steps of a measurement (default: 100, 1000 for 1-6-1)"
)
parser.add_argument(
    "--json", metavar="FILE", type=Path, help="where to save all figures"
)
parser.add_argument(
    "--jit-compile",
    choices=("auto", "yes", "no"),
    default="auto",
    help="what models are compiled with; Keras' auto is XLA on TensorFlow with a GPU "
    "and on JAX (default: %(default)s)",
)
arguments = parser.parse_args([] if "ipykernel" in sys.modules else None)
JIT_COMPILE = {"auto": "auto", "yes": True, "no": False}[arguments.jit_compile]

# %% [markdown]
# ## The models


# %%
def dense_model(sizes):
    """Dense layers with ReLU; the last is linear."""
    *hidden, outputs = sizes[1:]
    layers = [keras.layers.Dense(size, "relu") for size in hidden]
    return keras.Sequential(
        [keras.Input((sizes[0],)), *layers, keras.layers.Dense(outputs)]
    )


def cnn_model():
    """Two convolutions with batch normalisation, and a classifier."""
    layers = keras.layers
    return keras.Sequential(
        [
            keras.Input((28, 28, 1)),
            layers.Conv2D(16, 3, activation="relu"),
            layers.BatchNormalization(),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(10),
        ]
    )


def transformer_model():
    """Two blocks of attention and dense layers, on 32 positions of 64 numbers."""
    layers = keras.layers
    inputs = x = keras.Input((32, 64))
    for _ in range(2):
        x = layers.Add()([x, layers.MultiHeadAttention(4, 16)(x, x)])
        x = layers.LayerNormalization()(x)
        inner = layers.Dense(64)(layers.Dense(256, "relu")(x))
        x = layers.LayerNormalization()(layers.Add()([x, inner]))
    outputs = layers.Dense(10)(layers.GlobalAveragePooling1D()(x))
    return keras.Model(inputs, outputs)


def fresh_bytes():
    """Memory that the system handed out to this process so far, page by page.

    Handing out can take longer than the copy that follows; freed memory that is used
    again is not counted. 0 where the system does not tell.
    """
    try:
        import resource
    except ImportError:
        return 0
    faults = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    return faults * resource.getpagesize()


class Work:
    """A model's training: `fit` on `steps` batches."""

    def __init__(self, name, make, batch, steps):
        steps = arguments.steps or steps
        self.name, self.make, self.steps, self.batch = name, make, steps, batch
        model = make()
        shape, outputs = model.input_shape[1:], model.output_shape[1:]
        self.parameters = sum(int(np.prod(v.shape)) for v in model.trainable_variables)
        random_state = np.random.default_rng(0)
        # Few batches, seen again and again: what they hold does not matter here.
        self.x = random_state.normal(size=(batch * steps, *shape)).astype("float32")
        self.y = random_state.normal(size=(batch * steps, *outputs)).astype("float32")

    def model(self):
        """A compiled model."""
        model = self.make()
        model.compile(
            keras.optimizers.Adam(1e-3),
            loss="mse",
            jit_compile=JIT_COMPILE,
        )
        return model


WORKS = {
    "1-6-1": lambda: Work("1-6-1", lambda: dense_model((1, 6, 1)), 128, 1000),
    "mlp": lambda: Work("mlp", lambda: dense_model((784, 512, 512, 10)), 128, 100),
    "cnn": lambda: Work("cnn", cnn_model, 64, 100),
}
# Those whose layers are looked into.
DEEP = {name: WORKS[name] for name in ("mlp", "cnn")} | {
    "transformer": lambda: Work("transformer", transformer_model, 32, 100)
}

# %% [markdown]
# ## The cases
#
# A case makes callbacks for a model, or is a training loop of its own.


# %%
class GetWeights(keras.callbacks.Callback):
    """What people write to see weights: a copy of all, each step. No gradients."""

    def on_train_begin(self, logs=None):
        self.kept = []

    def on_train_batch_end(self, batch, logs=None):
        self.kept.append(self.model.get_weights())


def tensorboard(work, folder):
    """Keras' own callback: weights only, once an epoch."""
    return [keras.callbacks.TensorBoard(folder, histogram_freq=1)]


class Watched(keras.callbacks.Callback):
    """`wandb.watch(log="all")`, offline, at each step."""

    def on_train_begin(self, logs=None):
        import wandb

        self.run = wandb.init(project="overhead", dir=tempfile.gettempdir())
        wandb.watch(self.model, log="all", log_freq=1)

    def on_train_batch_end(self, batch, logs=None):
        self.run.log({"step": batch})

    def on_train_end(self, logs=None):
        self.run.unwatch(self.model)
        self.run.finish()


class WritesFiles(keras.callbacks.Callback):
    """What any store pays: a thread writes as many bytes to plain files of 8 MiB."""

    chunk = np.random.default_rng(0).bytes(8 * 1024**2)

    def __init__(self, work, folder):
        super().__init__()
        self.folder, self.step_bytes = Path(folder), 2 * 4 * work.parameters

    def on_train_begin(self, logs=None):
        self.folder.mkdir(parents=True, exist_ok=True)
        self.thread = ThreadPoolExecutor(1)
        self.waiting = self.files = 0

    def on_train_batch_end(self, batch, logs=None):
        self.waiting += self.step_bytes
        while self.waiting >= len(self.chunk):
            self.waiting -= len(self.chunk)
            self.files += 1
            path = self.folder / str(self.files)
            self.thread.submit(path.write_bytes, self.chunk)

    def on_train_end(self, logs=None):
        self.thread.shutdown(wait=True)
        shutil.rmtree(self.folder)


def hand_written_loop(work, model):
    """An eager loop that keeps gradients and weights, as tutorials show it."""
    kept = []
    loss_of = keras.losses.MeanSquaredError()
    variables = model.trainable_variables
    model.optimizer.build(variables)

    def batches():
        for start in range(0, len(work.x), work.batch):
            yield tuple(
                keras.ops.convert_to_tensor(a[start : start + work.batch])
                for a in (work.x, work.y)
            )

    start, before = time.perf_counter(), fresh_bytes()
    for x, y in batches():
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = loss_of(y, model(x, training=True))
            gradients = tape.gradient(loss, variables)
            model.optimizer.apply(gradients, variables)
        else:
            import torch

            model.zero_grad()
            loss_of(y, model(x, training=True)).backward()
            gradients = [v.value.grad.detach().clone() for v in variables]
            with torch.no_grad():
                model.optimizer.apply(gradients, variables)
        kept.append([np.array(keras.ops.convert_to_numpy(g)) for g in gradients])
        kept.append([np.array(keras.ops.convert_to_numpy(v)) for v in variables])
    return time.perf_counter() - start, 0.0, fresh_bytes() - before


def recorder(**options):
    """A case with a recorder."""
    options = {"max_bytes": 16 * 1024**3} | options
    return lambda work, folder: [hr.GradientRecorder(**options)]


def stored(**options):
    """A case with a recorder that writes a store."""

    def make(work, folder):
        store = str(Path(folder) / "run.zarr")
        return [hr.GradientRecorder(record_freq=1, store=store, **options)]

    return make


PLAIN = "plain fit"
FILES = "as many bytes to plain files"
CASES = {
    PLAIN: lambda work, folder: [],
    "once an epoch": recorder(),
    "steps that are not recorded": recorder(record_freq=hr.at([1])),
    "every step, norms": recorder(record_freq=1, gradients="norm", weights="norm"),
    "every step, gradient norms": recorder(
        record_freq=1, gradients="norm", weights=None
    ),
    "every step, one norm in the logs": recorder(sinks=[hr.Logs()]),
    "every step, histograms": recorder(
        record_freq=1, gradients=hr.Histogram(), weights=None
    ),
    "every step, raw gradients": recorder(record_freq=1, weights=None),
    "every step, raw": recorder(record_freq=1),
    "every step, raw, to Zarr": stored(),
    FILES: lambda work, folder: [WritesFiles(work, folder)],
}
OF_OUTPUTS = ["norm", "zero_fraction"]
OF_LAYERS = {
    PLAIN: CASES[PLAIN],
    "every step, gradient norms": CASES["every step, gradient norms"],
    "the same, and all outputs": recorder(
        record_freq=1, gradients="norm", weights=None, outputs=OF_OUTPUTS
    ),
    "the same, and their gradients": recorder(
        record_freq=1,
        gradients="norm",
        weights=None,
        outputs=OF_OUTPUTS,
        output_gradients=OF_OUTPUTS,
    ),
}
PEERS = {
    "TensorBoard(histogram_freq=1)": tensorboard,
    "get_weights() each step": lambda work, folder: [GetWeights()],
    "eager loop by hand": hand_written_loop,
    'wandb.watch(log="all")': lambda work, folder: [Watched()],
}


def available_peers():
    """The peers that can be measured here."""
    peers = dict(PEERS)
    if BACKEND != "tensorflow" or importlib.util.find_spec("tensorboard") is None:
        del peers["TensorBoard(histogram_freq=1)"]
    if BACKEND == "jax":
        del peers["eager loop by hand"]
    if BACKEND != "torch" or importlib.util.find_spec("wandb") is None:
        del peers['wandb.watch(log="all")']
    return peers


# %% [markdown]
# ## The measurement


# %%
class Clock(keras.callbacks.Callback):
    """When the first step began and the last epoch ended, and what memory was new."""

    def on_epoch_begin(self, epoch, logs=None):
        self.fresh, self.begin = fresh_bytes(), time.perf_counter()

    def on_epoch_end(self, epoch, logs=None):
        self.end = time.perf_counter()
        self.fresh = fresh_bytes() - self.fresh


def run(work, model, case, callbacks):
    """Seconds of the training thread, those that `fit` waits at the end, new memory."""
    gc.collect()
    if case is hand_written_loop:
        return hand_written_loop(work, model)
    clock = Clock()
    model.fit(
        work.x,
        work.y,
        batch_size=work.batch,
        shuffle=False,
        verbose=0,
        callbacks=[*callbacks, clock],
    )
    at_the_end = time.perf_counter() - clock.end
    return clock.end - clock.begin, at_the_end, clock.fresh


def measure(work, cases, rounds):
    """What `run` gives, by case: the case and a plain fit beside it, (rounds, 2, 3)."""
    model = work.model()  # One for all: where it lies in memory counts.
    folder = Path(tempfile.mkdtemp(prefix="overhead_"))
    stores = {name: folder / str(number) for number, name in enumerate(cases)}
    callbacks = {
        name: [] if make is hand_written_loop else make(work, str(stores[name]))
        for name, make in cases.items()
    }
    measured = {name: [] for name in cases}

    def take(name):
        for callback in callbacks[name]:
            if isinstance(callback, hr.GradientRecorder):
                callback.reset()
                shutil.rmtree(stores[name], ignore_errors=True)
        return run(work, model, cases[name], callbacks[name])

    try:
        for number in range(rounds + 1):  # The first compiles, and is not counted.
            for name in random.sample(list(cases), len(cases)):
                plain_first = random.random() < 0.5
                plain = take(PLAIN) if plain_first else None
                taken = take(name)
                plain = plain or take(PLAIN)
                if number:
                    measured[name].append((taken, plain))
    finally:
        shutil.rmtree(folder, ignore_errors=True)
    return {name: np.array(pairs) for name, pairs in measured.items()}


def copy_bandwidth(size=256 * 1024**2):
    """Bytes a second of a copy into fresh memory, and into memory used before."""
    source = np.ones(size // 8)
    fresh, used = [], []
    target = np.empty_like(source)
    for _ in range(5):
        start = time.perf_counter()
        source.copy()
        middle = time.perf_counter()
        np.copyto(target, source)
        end = time.perf_counter()
        fresh.append(middle - start)
        used.append(end - middle)
    return size / float(np.median(fresh)), size / float(np.median(used[1:]))


def rows_of(part, work, measured):
    """What is said of each case."""
    for name, pairs in measured.items():
        (case, end, fresh), (plain, _, plain_fresh) = np.moveaxis(pairs, 0, -1)
        yield {
            "part": part,
            "case": name,
            "peer": name in PEERS,
            "model": work.name,
            "parameters": work.parameters,
            "batch": work.batch,
            "steps": work.steps,
            "ms_a_step": 1e3 * float(np.median(case)) / work.steps,
            "ratio": float(np.median(case / plain)),
            "quartiles": np.percentile(case / plain, [25, 75]).tolist(),
            "added_ms_a_step": 1e3 * float(np.median(case - plain)) / work.steps,
            "at_the_end_s": float(np.median(end)),
            "fresh_bytes_a_step": float(np.median(fresh - plain_fresh)) / work.steps,
        }


def show(rows):
    """Prints them."""
    print(
        f"{'':32}{'ms/step':>9}{'ratio':>8}{'quartiles':>16}{'added ms':>10}"
        f"{'at end s':>10}{'fresh MB':>10}"
    )
    for row in rows:
        low, high = row["quartiles"]
        print(
            f"{row['case']:32}{row['ms_a_step']:9.3f}{row['ratio']:8.3f}"
            f"{low:9.3f}-{high:.3f}{row['added_ms_a_step']:11.3f}"
            f"{row['at_the_end_s']:10.2f}{row['fresh_bytes_a_step'] / 1e6:10.3f}"
        )


results = {
    "backend": BACKEND,
    "keras": keras.__version__,
    "jit_compile": WORKS["1-6-1"]().model().jit_compile,
    "cores": os.cpu_count(),
    "rounds": arguments.rounds,
    "rows": [],
}


def keep(**found):
    """Adds to the results, and saves them: a run may break off."""
    results.update(found)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))


compiled = "" if results["jit_compile"] else "out"
print(
    f"Keras {keras.__version__} on {BACKEND}, with{compiled} jit_compile, "
    f"{os.cpu_count()} cores"
)

# %% [markdown]
# ## Three models
#
# For raw recording the yardstick is the machine's own: the time to copy the recorded
# bytes once, into fresh memory, at the bandwidth measured in the same run.

# %%
if "models" in arguments.parts:
    fresh, used = copy_bandwidth()
    keep(
        bytes_a_second={
            "copy to fresh memory": fresh,
            "copy to used memory": used,
        }
    )
    print(
        f"This machine copies {fresh / 1e9:.1f} GB/s into fresh memory, "
        f"{used / 1e9:.1f} into used."
    )
    for name in [n for n in arguments.models or WORKS if n in WORKS]:
        work = WORKS[name]()
        cases = CASES | available_peers()
        rows = list(rows_of("models", work, measure(work, cases, arguments.rounds)))
        keep(rows=results["rows"] + rows)
        print(f"\n{name}: {work.parameters:,} parameters, batches of {work.batch}")
        show(rows)
        copied = 2 * 4 * work.parameters
        added = {row["case"]: row["added_ms_a_step"] for row in rows}
        raw, zarr = added["every step, raw"], added["every step, raw, to Zarr"]
        print(
            f"Raw is {copied / 1e6:.3g} MB a step. Copying that once takes "
            f"{1e3 * copied / fresh:.3f} ms into fresh memory; the recorder added "
            f"{raw:.3f} ms, {raw / (1e3 * copied / fresh):.2f} times as much, and to "
            f"Zarr {zarr:.3f} ms. A thread that writes as many bytes to plain files "
            f"added {added[FILES]:.3f} ms."
        )

# %% [markdown]
# ## Layers' outputs
#
# The norm and the share of zeros of each layer's output, and of the gradient of it,
# beside the norms of gradients.

# %%
if "layers" in arguments.parts:
    for name in [n for n in arguments.models or DEEP if n in DEEP]:
        work = DEEP[name]()
        rows = list(rows_of("layers", work, measure(work, OF_LAYERS, arguments.rounds)))
        keep(rows=results["rows"] + rows)
        print(f"\n{name}: {work.parameters:,} parameters, batches of {work.batch}")
        show(rows)

# %% [markdown]
# ## How the cost grows

# %%
GROWTH = [PLAIN, "every step, norms", "every step, raw", "every step, raw, to Zarr"]

if "parameters" in arguments.parts:
    for width, steps in ((27, 400), (95, 400), (311, 400), (995, 100), (3157, 20)):
        sizes = (8, width, width, 1)
        work = Work(f"dense {width}", lambda s=sizes: dense_model(s), 32, steps)
        cases = {name: CASES[name] for name in GROWTH}
        taken = measure(work, cases, max(3, arguments.rounds // 3))
        rows = list(rows_of("parameters", work, taken))
        keep(rows=results["rows"] + rows)
        print(f"\n{work.parameters:,} parameters")
        show(rows)

if "records" in arguments.parts:
    for steps in (10, 100, 1000, 10_000):
        work = Work("1-6-1", lambda: dense_model((1, 6, 1)), 8, steps)
        cases = {name: CASES[name] for name in GROWTH}
        taken = measure(work, cases, max(3, arguments.rounds // 3))
        rows = list(rows_of("records", work, taken))
        keep(rows=results["rows"] + rows)
        print(f"\n{steps:,} recorded steps of the 1-6-1 network")
        show(rows)

# %% [markdown]
# ## Memory over 10,000 recorded steps
#
# A model of 20,000 parameters: 1.6 GB of records, in a store. The resident memory of
# the process is read at each thousandth step.


# %%
def resident_bytes():
    """Memory of this process; None where the system does not tell."""
    with contextlib.suppress(OSError):
        pages = int(Path("/proc/self/statm").read_text().split()[1])
        return pages * os.sysconf("SC_PAGESIZE")
    return None


class Memory(keras.callbacks.Callback):
    """Resident memory at each thousandth step."""

    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_end(self, batch, logs=None):
        if (batch + 1) % 1000 == 0:
            self.seen.append(resident_bytes())


if "memory" in arguments.parts:
    with tempfile.TemporaryDirectory() as folder:
        work = Work("dense", lambda: dense_model((98, 100, 100, 1)), 8, 10_000)
        memory, model = Memory(), work.model()
        (recording_callback,) = stored()(work, folder)
        run(work, model, None, [recording_callback, memory])
        mebibytes = [b and round(b / 1024**2) for b in memory.seen]
        start = time.perf_counter()
        recording = hr.open_recording(Path(folder) / "run.zarr")
        path = recording.paths[0]
        rows = recording.gradients[path][5000:5100]
        slice_seconds = time.perf_counter() - start
        size = sum(f.stat().st_size for f in Path(folder).rglob("*") if f.is_file())
        keep(
            memory={
                "parameters": work.parameters,
                "mebibytes": mebibytes,
                "slice_seconds": slice_seconds,
                "store_bytes": size,
            }
        )
        print(f"\n{len(recording):,} records, {size / 1e9:.2f} GB on disk")
        print(f"Resident memory at each 1000th step: {mebibytes} MiB")
        print(
            f"Opened, and {len(rows)} records of {path} read, in {slice_seconds:.2f} s"
        )

# %%
if arguments.json:
    print(f"\nAll figures: {arguments.json}")
