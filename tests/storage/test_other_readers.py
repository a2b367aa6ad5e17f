"""A store is read by xarray where this package is not installed."""

import subprocess
import sys

import numpy as np
import pytest
from synthetic import noise, recording_of

import hrcallbacks as hr

pytest.importorskip("zarr")
pytest.importorskip("xarray", minversion="2025.3")  # The first that reads Zarr 3 trees.

READ = """
import sys
sys.modules["hrcallbacks"] = None
import warnings
import numpy as np
warnings.simplefilter("error")
import xarray as xr
path, found = sys.argv[1], {}
index = xr.open_zarr(path)
tree = xr.open_datatree(path, engine="zarr")
assert index.sizes["step"] == len(index["step"]) and set(index.coords) == {
    "step", "epoch", "batch"
}, index
for name, array in index.variables.items():
    found[name] = array.values
for node in tree.subtree:
    for name, array in node.to_dataset(inherit=False).variables.items():
        full = f"{node.path}/{name}".strip("/")
        texts = name in ("path", "bin")
        found[full] = np.array(array.values.tolist()) if texts else array.values
kernel = tree["gradients/raw/tiny/hidden/kernel"]
assert kernel.dims[0] == "step" and len(set(kernel.dims)) == 3, kernel
assert kernel.attrs["units"] == "loss per unit of the variable", kernel.attrs
found["third"] = kernel.sel(step=3).values
norm = tree["gradients/norm"].to_dataset()["norm"]
found["bias"] = norm.sel(path="tiny/hidden/bias").values
histogram = tree["gradients/histogram"].to_dataset()
assert histogram["histogram"].dims == ("step", "path", "bin"), histogram
assert {"low", "high", "bin", "path"} <= set(histogram.coords), histogram
assert "hrcallbacks" not in [m for m in sys.modules if sys.modules[m]]
np.savez(sys.argv[2], **{name.replace("/", "|"): a for name, a in found.items()})
"""


def read(path, folder):
    """What xarray finds there, by name, in a process without this package."""
    target = folder / "found.npz"
    command = [sys.executable, "-I", "-c", READ, path, target]
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder)
    assert done.returncode == 0, done.stderr
    with np.load(target) as found:
        return {name.replace("|", "/"): found[name] for name in found}


@pytest.fixture
def path(tiny, line, tmp_path):
    """A store of two fits, the second of which has more metrics."""
    path = tmp_path / "run.zarr"
    histogram = hr.Histogram(6, octaves=4)
    recorder = hr.GradientRecorder(
        record_freq=1, gradients=["raw", "norm", histogram], store=path
    )
    options = {"batch_size": 5, "verbose": 0, "callbacks": [recorder]}
    tiny.fit(*line, epochs=2, **options)
    tiny.compile("adam", loss="mse", metrics=["mae"], jit_compile=False)
    tiny.fit(*line, epochs=1, **options)
    return path


def test_xarray_reads_a_store_without_this_package(path, tmp_path):
    recording, found = hr.open_recording(path), read(path, tmp_path)
    for name in recording.index:
        np.testing.assert_array_equal(found[name], recording.index[name])
    assert len(recording) == 12
    for quantity in ("gradients", "weights"):
        for name, array in recording.arrays(quantity).items():
            np.testing.assert_array_equal(found[f"{quantity}/raw/{name}"], array[:])
    norms = recording.statistic("gradients", "norm")
    np.testing.assert_array_equal(found["gradients/norm/norm"], norms)
    assert found["gradients/norm/path"].tolist() == list(norms)
    np.testing.assert_array_equal(found["bias"], norms["tiny/hidden/bias"])
    np.testing.assert_array_equal(
        found["third"], recording.gradients["hidden/kernel"][2]
    )
    counts = recording.arrays("gradients", "histogram")
    np.testing.assert_array_equal(
        found["gradients/histogram/histogram"],
        np.stack([array[:] for array in counts.values()], axis=1),
    )
    edges = recording.attributes["reductions"]["gradients"]["histogram"]["edges"]
    np.testing.assert_array_equal(found["gradients/histogram/low"][:6], edges[:-1])
    np.testing.assert_array_equal(found["gradients/histogram/high"][:6], edges[1:])
    assert found["gradients/histogram/bin"].tolist() == [
        *"012345",
        "zero",
        "nan",
        "inf",
    ]
    for name, flags in recording.has_gradient.items():
        place = found["has_gradient/path"].tolist().index(name)
        np.testing.assert_array_equal(
            found["has_gradient/has_gradient"][:, place], flags
        )
    start = recording.fits[1].weights
    for place, name in enumerate(start):
        np.testing.assert_array_equal(found[f"fits/1/weights/{place}"], start[name])


def test_names_that_get_in_each_others_way_are_read_too(tmp_path):
    """A variable beside a layer of that name, one called as a coordinate, and so on."""
    names = ["net/a", "net/a/b", "net/A/b", "net/step", "net/a.b", "path", "net/a/path"]
    shapes = [(3,), (2,), (4, 2), (2,), (5,), (1,), (2, 2)]
    arrays = {n: noise(4, *s) + len(n) for n, s in zip(names, shapes, strict=True)}
    more = {"tiny/hidden/kernel": noise(4, 1, 3), "tiny/hidden/bias:norm": noise(4)}
    more["net/a:norm"] = noise(4, seed=3)
    histogram = {"kind": "Histogram", "edges": [0.5, 1.0]}
    more["net/a:histogram"] = noise(4, 4)
    recording = recording_of(
        arrays | more, reductions={"gradients": {"histogram": histogram}}
    )
    recording.index["gradients"] = recording.index["net/a"] = 3.0
    recording.save(tmp_path / "run.zarr")
    found = read(tmp_path / "run.zarr", tmp_path)
    stored = [
        array for name, array in found.items() if name.startswith("gradients/raw")
    ]
    for array in arrays.values():
        same = [np.array_equal(one, np.float32(array)) for one in stored]
        assert sum(same) == 1
    opened = hr.open_recording(tmp_path / "run.zarr")
    assert list(opened.index) == list(recording.index)
