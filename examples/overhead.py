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
# The ten epochs of the worked example, with the recorder and without it, measured in
# turn in one process, in random order, so that whatever else the machine is doing
# falls on both. What counts is the ratio of neighbours, and its median. The same
# measurement of the plain `fit` against itself says how far the machine can tell.
#
# *Trained before*: the model's train functions are compiled. *First fit*: compiling
# them is part of it, as in a script that trains once.

# %%
import argparse
import gc
import os
import random
import sys
import time

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")  # Silences its notice.

import keras
import numpy as np

import hrcallbacks as hr

parser = argparse.ArgumentParser(description="Measures what recording costs.")
parser.add_argument(
    "--rounds", type=int, default=15, help="measurements a row (default: %(default)s)"
)
arguments = parser.parse_args([] if "ipykernel" in sys.modules else None)

x, y = hr.training_data()
CASES = {
    "plain fit": lambda: [],
    "plain fit, again": lambda: [],
    "recorded": lambda: [hr.GradientRecorder()],
}


def compiled_model(jit_compile):
    """The 1-6-1 network, ready for `fit`."""
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.compile(
        keras.optimizers.Adam(0.1),
        loss="mse",
        metrics=[hr.MeanOutput()],
        jit_compile=jit_compile,
    )
    return model


def seconds(model, callbacks):
    """Duration of ten full-batch epochs."""
    gc.collect()
    start = time.perf_counter()
    model.fit(
        x,
        y,
        batch_size=len(x),
        epochs=10,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    return time.perf_counter() - start


def measure(jit_compile, trained_before):
    """Durations by case, each of shape (rounds,)."""
    models = {case: compiled_model(jit_compile) for case in CASES}
    callbacks = {case: make() for case, make in CASES.items()}
    durations = {case: [] for case in CASES}
    for case in CASES:
        seconds(models[case], callbacks[case])
    for _ in range(arguments.rounds):
        for case in random.sample(list(CASES), len(CASES)):
            if not trained_before:
                models[case] = compiled_model(jit_compile)
                callbacks[case] = CASES[case]()
            durations[case].append(seconds(models[case], callbacks[case]))
    return {case: np.array(of_case) for case, of_case in durations.items()}


# %%
print(f"Ten epochs of {len(x):,} stars, median of {arguments.rounds} rounds\n")
print(f"{'':34}{'ms':>8}{'ratio to plain fit':>20}")
for jit_compile in (True, False):
    for trained_before in (True, False):
        durations = measure(jit_compile, trained_before)
        plain = durations["plain fit"]
        compiler = "XLA" if jit_compile else "graph"
        when = "trained before" if trained_before else "first fit"
        for case, of_case in durations.items():
            ratio = f"{np.median(of_case / plain):.3f}"
            label = f"{compiler}, {when}: {case}"
            print(f"{label:42}{1e3 * np.median(of_case):>8.1f}{ratio:>12}")
