"""A store behind a URL, written while training runs: killed, and resumed."""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest

import hrcallbacks as hr

ROOT = Path(__file__).parents[2]
s3fs = pytest.importorskip("s3fs")
servers = pytest.importorskip("moto.server")

# Epochs take longer than a look at the store does.
TRAIN = """
import sys, time
import keras, numpy as np
import hrcallbacks as hr

class Slowly(keras.callbacks.Callback):
    def on_epoch_end(self, epoch, logs=None):
        time.sleep(float(sys.argv[3]))

def train(store, backup, pause=0.0):
    keras.utils.set_random_seed(0)
    layers = [keras.Input((1,)), keras.layers.Dense(3, name="hidden")]
    model = keras.Sequential([*layers, keras.layers.Dense(1, name="out")], name="net")
    model.compile("adam", loss="mse")
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    recorder = hr.GradientRecorder(record_freq=1, store=store, resume=True)
    callbacks = [recorder, keras.callbacks.BackupAndRestore(backup)]
    callbacks += [Slowly()] if pause else []
    model.fit(x, 3 * x, batch_size=5, epochs=6, shuffle=False, verbose=0,
              callbacks=callbacks)
    return recorder.recording

if __name__ == "__main__":
    train(sys.argv[1], sys.argv[2], float(sys.argv[3]))
"""


@pytest.fixture
def bucket(monkeypatch):
    """The URL of an empty bucket of a server on loopback."""
    server = servers.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    server.start()
    host, port = server.get_host_and_port()
    for name, value in {
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "AWS_DEFAULT_REGION": "us-east-1",
        "AWS_ENDPOINT_URL": f"http://{host}:{port}",
    }.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    s3fs.S3FileSystem().mkdir("runs")
    yield "s3://runs"
    s3fs.S3FileSystem.clear_instance_cache()
    server.stop()


def start(store, backup, pause):
    return subprocess.Popen(
        [sys.executable, "-c", TRAIN, store, str(backup), str(pause)],
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def records_at(url):
    try:
        return len(hr.open_recording(url))
    except FileNotFoundError:
        return 0


def test_a_remote_run_that_is_killed_and_resumed_is_the_same(bucket, tmp_path):
    url = f"{bucket}/run.zarr"
    run = start(url, tmp_path / "backup", 1.0)
    deadline = time.monotonic() + 120
    try:
        while records_at(url) < 8 and time.monotonic() < deadline:
            time.sleep(0.3)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    killed = hr.open_recording(url)
    assert 8 <= len(killed) < 24
    assert not killed.attributes["complete"]
    assert start(url, tmp_path / "backup", 0.0).wait() == 0

    found = hr.open_recording(url)
    scope = {"__name__": "train"}
    exec(TRAIN, scope)
    plain = scope["train"](str(tmp_path / "plain.zarr"), str(tmp_path / "unused"))
    assert found.attributes["complete"]
    assert len(found) == 24
    columns = ["step", "epoch", "batch", "loss"]
    assert found.index[columns].equals(plain.index[columns])
    for path in plain.paths:
        for ours, theirs in (
            (found.gradients[path], plain.gradients[path]),
            (found.weights[path], plain.weights[path]),
        ):
            np.testing.assert_array_equal(np.asarray(ours), np.asarray(theirs))
    assert found.replay().max_error < 1e-6
    assert keras.config.backend() == found.attributes["backend"]
