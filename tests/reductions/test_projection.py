"""Random projections: what they keep, how well, and that they are the step's own."""

import keras
import numpy as np
import pytest

import hrcallbacks as hr
from hrcallbacks.backends.current import backend

BLOCK = 1024  # A larger tensor is projected block by block.


@pytest.fixture(autouse=True)
def small_blocks(monkeypatch):
    monkeypatch.setattr("hrcallbacks.reductions.projection._BLOCK", BLOCK)


def unit(*shape, seed=0):
    """Random directions of length 1."""
    drawn = np.random.default_rng(seed).normal(size=shape)
    return drawn / np.linalg.norm(drawn, axis=-1, keepdims=True)


def test_each_element_goes_into_one_bucket_with_a_sign():
    matrix = np.stack([hr.Projection(8, seed=3).on_host(row) for row in np.eye(100)])
    assert matrix.shape == (100, 8)
    assert (np.abs(matrix).sum(axis=1) == 1).all()
    assert set(matrix.ravel()) == {-1, 0, 1}
    assert set(np.abs(matrix).sum(axis=0)) <= {9, 10, 11, 12, 13}
    # It is linear, and the same whatever shape the elements have.
    x = np.random.default_rng(1).normal(size=(20, 5))
    np.testing.assert_allclose(hr.Projection(8, seed=3).on_host(x), x.ravel() @ matrix)


@pytest.mark.parametrize("size", [1, 5, 8])
def test_a_small_tensor_is_taken_whole(size):
    x = np.arange(size) + 1.0
    assert hr.Projection(8).on_host(x).tolist() == x.tolist()
    other = hr.Projection(4, seed=1).on_host(np.arange(10.0))
    # The same for good, on each backend and version of NumPy.
    assert (
        other.tolist()
        == hr.Projection(4, seed=np.int64(1)).on_host(np.arange(10.0)).tolist()
    )


@pytest.mark.parametrize("size", [700, 3 * BLOCK + 11])
@pytest.mark.parametrize("cosine", [0.0, 0.9])
def test_products_are_kept_on_average_with_the_error_that_is_stated(size, cosine):
    n, seeds = 64, 120
    u, v = unit(2, size)
    v = v - (u @ v) * u
    v = cosine * u + np.sqrt(1 - cosine**2) * v / np.linalg.norm(v)
    projected = [[hr.Projection(n, s).on_host(a) for a in (u, v)] for s in range(seeds)]
    products = np.array([p @ q for p, q in projected])
    expected = np.sqrt((1 + cosine**2) / n)
    assert abs(products.mean() - cosine) < 4 * expected / np.sqrt(seeds)
    assert 0.75 < products.std() / expected < 1.25
    lengths = [np.linalg.norm(p) * np.linalg.norm(q) for p, q in projected]
    error = np.std(products / lengths)
    assert 0.7 < error / ((1 - cosine**2) / np.sqrt(n)) < 1.35


@pytest.mark.parametrize("kind", ["repeated", "one element a block", "flat"])
def test_no_tensor_is_much_worse_than_others(kind):
    """Whose blocks are alike, or that are nearly empty, or of one sign."""
    n, size, seeds = 64, 4 * BLOCK, 150
    tensors = {
        "repeated": np.tile(unit(2, BLOCK), (1, 4)),
        "one element a block": np.zeros((2, size)),
        "flat": np.ones((2, size)),
    }
    u, v = tensors[kind]
    if kind == "one element a block":
        u[5::BLOCK], v[9::BLOCK] = 1, 1
    u, v = u / np.linalg.norm(u), v / np.linalg.norm(v)
    products = [
        np.dot(*(hr.Projection(n, seed).on_host(a) for a in (u, v)))
        for seed in range(seeds)
    ]
    bound = np.sqrt(6 / n)
    assert abs(np.mean(products) - u @ v) < 4 * bound / np.sqrt(seeds)
    assert np.std(products) < bound


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("shape", [(3,), (70, 11), (2, 3 * BLOCK, 1)])
def test_in_the_step_and_on_the_host_it_is_the_same(dtype, shape):
    if dtype == "float64" and keras.config.backend() == "jax":
        pytest.skip("JAX has float64 only where it was switched on")
    x = np.random.default_rng(2).normal(size=shape).astype(dtype)
    projection, ops = hr.Projection(32, seed=5), backend.trace(None).ops
    made = projection.in_step(ops, ops.convert_to_tensor(x, dtype))
    assert keras.backend.standardize_dtype(made.dtype) == dtype
    tolerance = {"float32": 1e-4, "float64": 1e-12}[dtype]
    np.testing.assert_allclose(
        ops.convert_to_numpy(made), projection.on_host(x), rtol=0, atol=tolerance
    )


def test_it_is_recorded_as_it_is_of_the_raw_values():
    keras.utils.set_random_seed(7)
    model = keras.Sequential([keras.Input((3,)), keras.layers.Dense(40, name="d")])
    model.compile("adam", loss="mse")
    x = np.random.RandomState(0).randn(20, 3).astype("float32")
    y = np.repeat(x[:, :1], 40, axis=1)
    projection = hr.Projection(16, seed=9)
    recorder = hr.GradientRecorder(
        record_freq=1, gradients=["raw", projection], weights=["raw", projection]
    )
    model.fit(x, y, batch_size=5, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    assert len(recording) == 4
    described = {"kind": "Projection", "n": 16, "seed": 9, "nonfinite": "numbers"}
    for quantity in ("gradients", "weights"):
        about = recording.attributes["reductions"][quantity]["projection"]
        assert about == described
        for path, raw in recording.arrays(quantity).items():
            rows = recording.arrays(quantity, "projection")[path]
            expected = [projection.on_host(row) for row in raw]
            np.testing.assert_allclose(rows, expected, rtol=2e-5, atol=1e-6)


def test_nan_in_a_gradient_is_nan_in_its_projection():
    x = np.zeros(100)
    x[7] = np.nan
    assert np.isnan(hr.Projection(8).on_host(x)).sum() == 1


def test_bad_arguments_are_refused():
    with pytest.raises(ValueError, match=r"n: an int, 1 or more.*n=0"):
        hr.Projection(0)
    with pytest.raises(ValueError, match=r"seed: an int from 0\. Received: -1"):
        hr.Projection(3, seed=-1)
