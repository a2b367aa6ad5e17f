"""No damage to a store passes for data: see `tests/shared/damage.py`."""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import damage
import pytest

import hrcallbacks as hr
from hrcallbacks.storage import zarr_columns

pytest.importorskip("zarr")
# A run of more: HRCALLBACKS_MUTATIONS=1000 pytest tests/storage/test_damage.py
COUNT = int(os.environ.get("HRCALLBACKS_MUTATIONS", "60"))
# With this one, some mutations pass for data where the checksums are not looked at.
SEED = 4


@pytest.fixture
def store(tiny, line, tmp_path, monkeypatch):
    """A store with several chunks an array, of two fits."""
    monkeypatch.setattr(zarr_columns, "_CHUNK_BYTES", 60)  # Five rows of a kernel.
    recorder = hr.GradientRecorder(
        record_freq=1,
        gradients=["raw", "norm", hr.Histogram(4, octaves=8)],
        store=tmp_path / "run.zarr",
    )
    for _ in range(2):
        tiny.fit(*line, batch_size=5, epochs=1, verbose=0, callbacks=[recorder])
    return tmp_path / "run.zarr"


def test_damage_is_an_error_that_names_the_place_or_does_no_harm(store):
    command = [sys.executable, damage.__file__, store, str(COUNT), str(SEED)]
    root = str(Path(hr.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root}
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert len(lines) == COUNT
    bad = [line for line in lines if line["outcome"] not in ("right", "error")]
    assert not bad, "\n".join(map(str, bad))
    outcomes = collections.Counter(line["outcome"] for line in lines)
    print(f"{COUNT} mutations:", dict(outcomes))
    assert outcomes["error"] > COUNT / 2
