"""No damage to a store passes for data: see `tests/shared/damage.py`."""

import collections
import json
import os
import subprocess
import sys
from pathlib import Path

import damage
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.storage import zarr_columns
from hrcallbacks.storage.zarr_store import ZarrStore
from hrcallbacks.types import Fit, Key, OptimizerStart, Record, Spec, Step

pytest.importorskip("zarr")
# A run of more: HRCALLBACKS_MUTATIONS=1000 pytest tests/storage/test_damage.py
COUNT = int(os.environ.get("HRCALLBACKS_MUTATIONS", "60"))
# With this one, some mutations pass for data where the checksums are not looked at.
SEED = 4


@pytest.fixture
def store(tmp_path, monkeypatch):
    """A store with several chunks an array, of two fits; the same on each backend."""
    monkeypatch.setattr(zarr_columns, "_CHUNK_BYTES", 60)  # Five rows of a kernel.
    shapes = {"net/hidden/kernel": (1, 3), "net/hidden/bias": (3,), "net/scale": (1,)}
    rng = np.random.default_rng(0)
    kinds = [
        *((quantity, "raw", None) for quantity in ("gradients", "weights")),
        ("gradients", "norm", ()),
        ("gradients", "histogram", (5,)),
        ("has_gradient", "", ()),
    ]
    specs = {
        Key(*kind, path): Spec(own if shape is None else shape, "float32")
        for *kind, shape in kinds
        for path, own in shapes.items()
    }
    reductions = {
        "norm": {"kind": "Named"},
        "histogram": {"kind": "Histogram", "edges": [0.25, 0.5, 1.0]},
    }
    attributes = {
        "weights_at": "after",
        "variables": list(shapes.items()),
        "reductions": {"gradients": {"raw": {}, **reductions}, "weights": {"raw": {}}},
    }
    weights = {path: rng.normal(size=own) for path, own in shapes.items()}
    state = [np.array(4), *weights.values()]
    sgd = OptimizerStart("SGD", {"rate": 0.5}, False, False, [*shapes], state)
    store = ZarrStore(tmp_path / "run.zarr")
    for fit in (1, 2):
        store.open(chief=True)
        store.declare(specs, attributes)
        store.begin_fit(Fit(weights=weights, optimizers={"0": sgd}))
        store.begin_epoch(1, len(store), 4)
        for batch in range(1, 5):
            values = {key: rng.normal(size=spec.shape) for key, spec in specs.items()}
            step = Step(4 * (fit - 1) + batch, 1, batch)
            store.append(Record(step, rng.normal(), values, {"learning_rate": 0.5}))
        store.end_epoch(1, len(store))
        store.end_fit()
        store.close()
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
