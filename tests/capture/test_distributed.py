"""Training on two replicas is recorded as one device with the whole batch."""

import json
import os
import pickle
import socket
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.worked_example.backprop import mse_gradients

SCRIPT = Path(__file__).parent / "distributed" / "train.py"
# Under MirroredStrategy Keras itself runs no compiled step: XLA wants one device.
MODES = {
    "tensorflow": {"mirrored": ["graph", "eager"], "multi_worker": ["graph"]},
    "jax": {"data_parallel": ["jit", "graph", "eager"]},
}.get(keras.config.backend(), {})

pytestmark = pytest.mark.skipif(not MODES, reason="Keras distributes on TF and JAX")


def free_ports(count):
    sockets = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [s.getsockname()[1] for s in sockets]
    for s in sockets:
        s.close()
    return ports


def cluster(strategy):
    """For each process that a strategy takes, what to set in its environment."""
    if strategy != "multi_worker":
        return [{"XLA_FLAGS": "--xla_force_host_platform_device_count=2"}]
    workers = {"worker": [f"127.0.0.1:{port}" for port in free_ports(2)]}
    tasks = [{"type": "worker", "index": index} for index in range(2)]
    return [{"TF_CONFIG": json.dumps({"cluster": workers, "task": t})} for t in tasks]


@pytest.fixture(scope="module", params=MODES)
def workers(request, tmp_path_factory):
    """What each process of a strategy pickled, by mode and number of samples."""
    strategy, folder = request.param, tmp_path_factory.mktemp(request.param)
    package = str(Path(hr.__file__).parents[1])
    processes = []
    for number, settings in enumerate(cluster(strategy)):
        out = folder / f"{number}.pickle"
        command = [sys.executable, SCRIPT, strategy, out, *MODES[strategy]]
        env = os.environ | {"PYTHONPATH": package} | settings
        log = (folder / f"{number}.log").open("w")
        with log:
            process = subprocess.Popen(command, env=env, stdout=log, stderr=log)
        processes.append((process, out))
    try:
        for process, out in processes:
            code = process.wait(timeout=300)
            assert code == 0, out.with_suffix(".log").read_text()[-3000:]
    finally:
        for process, _ in processes:
            process.kill()
            process.wait()
    return [pickle.loads(out.read_bytes()) for _, out in processes]


def cases_of(worker, samples):
    """The modes in which Keras itself trains so many samples."""
    cases = {mode: case for (mode, n), case in worker.items() if n == samples}
    refused = [case["refused"] for case in cases.values() if "refused" in case]
    if refused:
        pytest.skip(f"Keras cannot fit this without a recorder either: {refused[0]}")
    assert cases
    return cases


def assert_close(values, expected, tolerance=5e-7):
    """Equal to float32 noise, relative to the largest element."""
    assert values.keys() == expected.keys()
    for path, value in values.items():
        scale = np.abs(expected[path]).max()
        np.testing.assert_allclose(
            value, expected[path], rtol=0, atol=tolerance * scale, err_msg=path
        )


def halves(x, y):
    """The shares of two replicas, the first of which gets the odd sample."""
    middle = (len(x) + 1) // 2
    return (x[:middle], y[:middle]), (x[middle:], y[middle:])


def batches(samples):
    x = np.linspace(-1, 1, samples, dtype="float32")[:, np.newaxis]
    y = np.sin(3 * x)
    starts = [*range(0, samples, 8)] * 2
    return [(x[i : i + 8], y[i : i + 8]) for i in starts]


def test_records_equal_those_of_one_device_with_the_whole_batch(workers):
    for worker in workers:
        for case in cases_of(worker, 20).values():
            distributed, single = case["distributed"], case["single"]
            assert distributed["complete"]
            assert_close(distributed["gradients"], single["gradients"])
            assert_close(distributed["weights"], single["weights"])
            np.testing.assert_allclose(
                distributed["index"]["loss"], single["index"]["loss"], rtol=5e-7
            )
            for column in ("step", "epoch", "batch"):
                assert (
                    distributed["index"][column].tolist()
                    == single["index"][column].tolist()
                )
            assert distributed["index"]["step"].tolist() == [*range(1, 7)]


@pytest.mark.parametrize("samples", [20, 21, 17])
def test_recorded_gradients_are_what_trained_the_replicas(workers, samples):
    for worker in workers:
        for case in cases_of(worker, samples).values():
            assert case["distributed"]["replay_error"] < 1e-7


@pytest.mark.parametrize("samples", [21, 17])
def test_an_uneven_batch_is_recorded_as_the_mean_of_the_replicas(workers, samples):
    # Keras halves the loss of each replica, however many samples it has got.
    for worker in workers:
        for case in cases_of(worker, samples).values():
            run = case["distributed"]
            for t, batch in enumerate(batches(samples)):
                parameters = [w[t] for w in run["weights"].values()]
                shares = [s for s in halves(*batch) if len(s[0])]
                gradients = [mse_gradients(parameters, *share) for share in shares]
                for path, *parts in zip(run["gradients"], *gradients, strict=True):
                    np.testing.assert_allclose(
                        run["gradients"][path][t], sum(parts) / 2, rtol=2e-6, atol=1e-6
                    )


@pytest.mark.parametrize("samples", [20, 21, 17])
def test_training_on_replicas_is_unchanged_by_recording(workers, samples):
    for worker in workers:
        for case in cases_of(worker, samples).values():
            plain, recorded = case["plain"], case["distributed"]
            for name in ("final", "optimizer"):
                for a, b in zip(plain[name], recorded[name], strict=True):
                    np.testing.assert_array_equal(a, b)
            np.testing.assert_equal(plain["history"], recorded["history"])


def test_nothing_stays_in_what_was_trained_on_replicas(workers):
    for worker in workers:
        for case in cases_of(worker, 20).values():
            assert case["plain"]["attributes"] == case["distributed"]["attributes"]


def test_each_worker_records_the_same(workers):
    first, *others = [cases_of(worker, 20) for worker in workers]
    for other in others:
        for mode, case in other.items():
            for quantity in ("gradients", "weights"):
                for path, values in case["distributed"][quantity].items():
                    np.testing.assert_array_equal(
                        values, first[mode]["distributed"][quantity][path]
                    )
