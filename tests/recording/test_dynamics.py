"""Cosines, distances and curvature: NumPy's, and those of a loss known in full."""

import keras
import numpy as np
import pytest
from synthetic import network, noise, recording_of

import hrcallbacks as hr

SHAPES = {path: array.shape[1:] for path, array in network().items()}
PATHS = list(SHAPES)
OF = {"cosine": "gradients", "update_cosine": "weights", "distance": "weights"}


def flat(arrays):
    """Rows of one long vector."""
    rows = [np.reshape(a, (len(a), -1)).astype("float64") for a in arrays]
    return np.concatenate(rows, axis=1)


def cosines(rows):
    """Of each row with the one before it."""
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return np.concatenate([[np.nan], np.sum(unit[1:] * unit[:-1], axis=1)])


def expected(name, rows):
    if name == "cosine":
        return cosines(rows)
    if name == "update_cosine":
        return np.concatenate([[np.nan], cosines(np.diff(rows, axis=0))])
    return np.linalg.norm(rows - rows[0], axis=1)


@pytest.fixture(scope="module")
def walk():
    """Gradients and weights of some records, to the digits that are kept."""
    return tuple(
        {path: array.astype("float32") for path, array in arrays.items()}
        for arrays in (network(12), network(12, seed=50))
    )


@pytest.mark.parametrize("name", OF)
def test_of_raw_values_they_are_numpys(walk, name):
    recording = recording_of(*walk)
    arrays = walk[OF[name] == "weights"]
    found = recording.statistic(OF[name], name)
    assert [*found] == PATHS
    assert found.index.tolist() == list(range(1, 13))
    for path in PATHS:
        rows = flat([arrays[path]])
        np.testing.assert_allclose(found[path], expected(name, rows), rtol=1e-6)
    together = recording.statistic(OF[name], f"global_{name}")
    assert [*together] == [f"global_{name}"]
    rows = expected(name, flat(arrays.values()))
    np.testing.assert_allclose(together[f"global_{name}"], rows, rtol=1e-6)


def projected(arrays, projection, but=()):
    """Arrays as a recorder with that projection records them."""
    return {
        path if path in but else f"{path}:{projection.name}": (
            array if path in but else np.stack([projection.on_host(a) for a in array])
        )
        for path, array in arrays.items()
    }


def told(*projections):
    """What a recording says of its projections."""
    about = {p.name: p.describe() for p in projections}
    return {"reductions": {"gradients": about, "weights": about}, "shapes": SHAPES}


@pytest.mark.parametrize("name", OF)
def test_of_projections_they_are_near(name):
    rng = np.random.default_rng(0)
    n, size = 400, 20_000
    turning = rng.normal(size=(6, size)).cumsum(axis=0)
    shapes = {"big/kernel": (size,)}
    projection = hr.Projection(n, seed=2)
    arrays = projected({"big/kernel": turning}, projection)
    recording = recording_of(arrays, arrays, **told(projection) | {"shapes": shapes})
    found = recording.statistic(OF[name], name)["big/kernel"]
    exact = expected(name, turning)
    error = 4 / np.sqrt(n) * (exact.max() if name == "distance" else 1)
    np.testing.assert_allclose(found, exact, rtol=0, atol=error)
    assert np.nanmax(np.abs(found - exact)) > 0


def test_raw_values_and_projections_make_one_long_vector(walk):
    gradients, _ = walk
    # So many numbers that each variable is whole.
    projection = hr.Projection(100)
    arrays = projected(gradients, projection, but=PATHS[:1])
    recording = recording_of(arrays, **told(projection))
    found = recording.statistic("gradients", "global_cosine")["global_cosine"]
    rows = cosines(flat(gradients.values()))
    np.testing.assert_allclose(found, rows, rtol=1e-6)


def test_where_they_are_not_defined_they_are_nan():
    gradients = network(5)
    gradients[PATHS[0]][2] = 0
    gradients[PATHS[1]][3, 0] = np.inf
    recording = recording_of(gradients, lacking=[PATHS[3]])
    found = recording.statistic("gradients", "cosine")
    assert np.isnan(found[PATHS[0]]).tolist() == [True, False, True, True, False]
    assert np.isnan(found[PATHS[1]]).tolist() == [True, False, False, True, True]
    assert found[PATHS[3]].isna().all()
    # One without a gradient adds nothing.
    finite = {path: gradients[path] for path in (PATHS[0], PATHS[2])}
    lacking = recording_of(finite | {PATHS[3]: gradients[PATHS[3]]}, lacking=PATHS[3:])
    together = lacking.statistic("gradients", "global_cosine")["global_cosine"]
    rows = cosines(flat(finite.values()))
    np.testing.assert_allclose(together, rows, rtol=1e-6)
    single = recording_of({"a/kernel": noise(1, 3)})
    assert single.statistic("gradients", "cosine").isna().all(axis=None)


def test_what_was_not_recorded_is_refused_with_what_to_record():
    gradients = network(3)
    gradients["net/output/bias:norm"] = gradients.pop("net/output/bias").max(axis=1)
    recording = recording_of(gradients, shapes=SHAPES)
    assert [*recording.statistic("gradients", "cosine")] == PATHS[:3]
    message = r"'global_cosine' of gradients needs 'raw' or hr\.Projection\(n\) of each"
    with pytest.raises(ValueError, match=message) as error:
        recording.statistic("gradients", "global_cosine")
    assert "['net/output/bias']" in str(error.value)
    with pytest.raises(ValueError, match="'distance' of weights needs"):
        recording.statistic("weights", "distance")
    with pytest.raises(ValueError, match="curvature along updates needs gradients and"):
        recording.statistic("gradients", "curvature")
    mean = recording_of(network(3), network(3), epoch_gradient="mean")
    with pytest.raises(ValueError, match="epoch_gradient='mean'"):
        mean.statistic("gradients", "curvature")


def quadratic(weights_at, *, epochs=5, fits=1, **options):
    """A recording of full batches of a quadratic loss, and its Hessian.

    The loss of a linear model without bias, w to mean((x w - y)^2), has the Hessian
    2 / N x^T x, the same for each output.
    """
    keras.utils.set_random_seed(4)
    x = np.random.RandomState(0).randn(12, 3).astype("float32")
    y = np.random.RandomState(1).randn(12, 2).astype("float32")
    first = keras.layers.Dense(2, use_bias=False, name="line")
    model = keras.Sequential([keras.Input((3,)), first], name="net")
    how = {} if keras.config.backend() == "torch" else {"jit_compile": False}
    model.compile(keras.optimizers.SGD(0.1, momentum=0.5), "mse", **how)
    recorder = hr.GradientRecorder(weights_at=weights_at, **options)
    for _ in range(fits):
        model.fit(x, y, batch_size=12, epochs=epochs, verbose=0, callbacks=[recorder])
        model.set_weights([0.3 * w + 1 for w in model.get_weights()])
    return recorder.recording, x.T.astype("float64") @ x / 12


def along(hessian, moved):
    """The curvature of the quadratic loss along each direction."""
    return np.einsum("tio,ij,tjo->t", moved, hessian, moved) / np.sum(
        np.square(moved), axis=(1, 2)
    )


@pytest.mark.parametrize("weights_at", ["before", "after"])
def test_the_curvature_of_a_quadratic_loss_is_that_of_its_hessian(weights_at):
    recording, hessian = quadratic(weights_at, record_freq=1, fits=2)
    found = recording.statistic("gradients", "curvature")
    assert [*found] == ["curvature"]
    weights = recording.weights["line/kernel"].astype("float64")
    if weights_at == "after":
        starts = [fit.weights["net/line/kernel"] for fit in recording.fits]
        weights = np.concatenate([starts[:1], weights[:4], starts[1:], weights[5:-1]])
    curvature = along(hessian, np.diff(weights, axis=0))
    assert curvature.std() > 0.01
    assert np.isnan(found["curvature"].iloc[0])
    np.testing.assert_allclose(found["curvature"].iloc[1:], curvature, rtol=2e-4)


def test_with_gaps_it_is_known_only_of_the_weights_before():
    before, hessian = quadratic("before", record_freq=2, epochs=8)
    moved = np.diff(before.weights["line/kernel"].astype("float64"), axis=0)
    found = before.statistic("gradients", "curvature")["curvature"]
    np.testing.assert_allclose(found.iloc[1:], along(hessian, moved), rtol=2e-4)
    after, _ = quadratic("after", record_freq=2, epochs=8)
    assert after.statistic("gradients", "curvature").isna().all(axis=None)


def test_what_a_later_fit_starts_from_is_not_taken_for_known():
    projection = hr.Projection(50)  # Whole, but no replay is possible.
    recording, _ = quadratic(
        "after", record_freq=1, fits=2, gradients=projection, weights=projection
    )
    found = recording.statistic("gradients", "curvature")["curvature"]
    assert np.flatnonzero(np.isnan(found)).tolist() == [0, 1, 5, 6]


@pytest.mark.parametrize("raw", ["gradients", "weights", "neither"])
def test_of_projections_the_curvature_is_that_of_whole_tensors(raw):
    """Of so many numbers that nothing is lost, whichever is projected on the host."""
    gradients, weights = network(6), network(6, seed=9)
    exact = recording_of(gradients, weights, weights_at="before")
    projection = hr.Projection(8)  # The kernels have 12 and 8 elements.
    made = {"gradients": gradients, "weights": weights}
    made = {n: a if n == raw else projected(a, projection) for n, a in made.items()}
    recording = recording_of(**made, weights_at="before", **told(projection))
    found = recording.statistic("gradients", "curvature")["curvature"]
    vectors = [
        flat([np.stack([projection.on_host(a) for a in b]) for b in arrays.values()])
        for arrays in (gradients, weights)
    ]
    bends, moved = (np.diff(rows, axis=0) for rows in vectors)
    curvature = np.sum(bends * moved, axis=1) / np.sum(moved * moved, axis=1)
    np.testing.assert_allclose(found.iloc[1:], curvature, rtol=1e-5)
    whole = exact.statistic("gradients", "curvature")["curvature"].iloc[1:]
    assert not np.allclose(curvature, whole, rtol=1e-3)


def test_in_a_step_with_several_updates_it_is_nan():
    arrays = {"a/kernel": noise(5, 3)}
    recording = recording_of(arrays, arrays, steps=[1, 2, 2, 3, 4], weights_at="before")
    recording.index["step"] = [1, 2, 2, 3, 4]
    found = recording.statistic("gradients", "curvature")["curvature"]
    assert np.isnan(found).tolist() == [True, True, True, True, False]


def test_a_store_gives_the_same(walk, tmp_path):
    recording = recording_of(*walk)
    recording.save(tmp_path / "run.zarr")
    stored = hr.open_recording(tmp_path / "run.zarr")
    for quantity, name in [
        *[(q, n) for n, q in OF.items()],
        ("gradients", "curvature"),
    ]:
        one, other = (r.statistic(quantity, name) for r in (recording, stored))
        np.testing.assert_array_equal(one, other)
