"""On JAX, training with weights split over devices is recorded and left as it is."""

import os
import pickle
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import pytest

import hrcallbacks as hr

SCRIPT = Path(__file__).parent / "distributed" / "train_sharded.py"
MESHES = [(1, 4), (2, 2)]
RECORDERS = ["raw", "before", "norm", "summaries", "outputs"]

pytestmark = pytest.mark.skipif(
    keras.config.backend() != "jax", reason="Keras splits weights on JAX"
)


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> dict:
    """What four devices made, by mesh and recorder (None for none)."""
    out = tmp_path_factory.mktemp("sharded") / "runs.pickle"
    settings = {
        "PYTHONPATH": str(Path(hr.__file__).parents[1]),
        "XLA_FLAGS": "--xla_force_host_platform_device_count=4",
    }
    done = subprocess.run(
        [sys.executable, SCRIPT, out],
        env=os.environ | settings,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return pickle.loads(out.read_bytes())


@pytest.mark.parametrize("mesh", MESHES)
def test_two_kernels_are_split(runs: dict, mesh: tuple) -> None:
    split = ["net/hidden/kernel", "net/mid/kernel"]
    assert runs[mesh, "raw"]["split"] == split


@pytest.mark.parametrize("recorder", RECORDERS)
@pytest.mark.parametrize("mesh", MESHES)
def test_training_with_split_weights_is_unchanged_by_recording(
    runs: dict, mesh: tuple, recorder: str
) -> None:
    plain, recorded = runs[mesh, None], runs[mesh, recorder]
    for name in ("weights", "optimizer", "loss"):
        assert len(plain[name]) > 0
        for a, b in zip(plain[name], recorded[name], strict=True):
            np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mesh", MESHES)
def test_split_weights_are_recorded_whole(runs: dict, mesh: tuple) -> None:
    run, before = runs[mesh, "raw"], runs[mesh, "before"]
    assert run["complete"]
    assert run["recorded_gradients"]["net/hidden/kernel"].shape == (8, 4, 8)
    assert run["recorded_gradients"]["net/mid/kernel"].shape == (8, 8, 8)
    weights = run["recorded_weights"]
    for path, final in zip(weights, run["weights"], strict=True):
        np.testing.assert_array_equal(weights[path][-1], final)
        np.testing.assert_array_equal(
            before["recorded_weights"][path][1:], weights[path][:-1]
        )
    assert run["replay_error"] < 1e-7


@pytest.mark.parametrize("mesh", MESHES)
def test_split_weights_give_the_records_of_one_device(runs: dict, mesh: tuple) -> None:
    run, single = runs[mesh, "raw"], runs[mesh, "one device"]
    for quantity in ("recorded_gradients", "recorded_weights"):
        for path, expected in single[quantity].items():
            scale = np.abs(expected).max()
            np.testing.assert_allclose(
                run[quantity][path], expected, rtol=0, atol=2e-6 * scale, err_msg=path
            )
