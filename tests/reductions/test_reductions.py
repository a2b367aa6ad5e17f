"""Reductions: the same numbers as NumPy's from the raw tensors, and nothing changed."""

import contextlib
import shutil

import keras
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from training import full_state

import hrcallbacks as hr
from hrcallbacks.backends.current import backend
from hrcallbacks.quantities.wanted import Wanted
from hrcallbacks.reductions.named import NAMED

STEPS = 8

ops = backend.trace(None).ops  # Those of keras, and a few more.


def fit(model, line, *callbacks, epochs=2):
    x, y = line
    return model.fit(
        x, y, batch_size=5, epochs=epochs, shuffle=False, verbose=0, callbacks=callbacks
    )


# What NumPy makes of a raw tensor in float64.
ORACLES = {
    "norm": np.linalg.norm,
    "mean": np.mean,
    "std": np.std,
    "min": np.min,
    "max": np.max,
    "abs_max": lambda x: np.max(np.abs(x)),
    "zero_fraction": lambda x: np.mean(x == 0),
    "nonfinite": lambda x: np.sum(~np.isfinite(x)),
}


def l1(x):
    return ops.sum(ops.abs(x))


@pytest.fixture(scope="module")
def both():
    """A recording of all reductions beside the raw tensors, of one fit."""
    keras.utils.set_random_seed(7)
    model = keras.Sequential(
        [
            keras.Input((1,)),
            keras.layers.Dense(30, activation="relu", name="hidden"),
            keras.layers.Dense(1, name="output"),
        ],
        name="tiny",
    )
    model.compile("adam", loss="mse")
    x = np.linspace(-1, 1, 20, dtype="float32")[:, np.newaxis]
    everything = ["raw", *ORACLES, hr.Histogram(), hr.Sample(7, seed=3), l1]
    recorder = hr.GradientRecorder(
        record_freq=1,
        gradients=everything,
        weights=[*everything, "update_norm", "update_ratio"],
    )
    before = [ops.convert_to_numpy(v) for v in model.trainable_variables]
    fit(model, (x, 3 * x + 1), recorder)
    return recorder.recording, before


@pytest.mark.parametrize("quantity", ["gradients", "weights"])
@pytest.mark.parametrize("name", ORACLES)
def test_each_number_is_numpys_of_the_raw_tensor(both, quantity, name):
    recording, _ = both
    numbers = recording.statistic(quantity, name)
    assert numbers.index.tolist() == list(range(1, STEPS + 1))
    for path in recording.paths:
        raw = recording.arrays(quantity)[path].astype(np.float64)
        expected = [ORACLES[name](x) for x in raw]
        # Thirty float32 terms, summed in any order.
        np.testing.assert_allclose(numbers[path], expected, rtol=4e-6, atol=1e-7)


@pytest.mark.parametrize("quantity", ["gradients", "weights"])
def test_histogram_counts_every_element_once(both, quantity):
    recording, _ = both
    edges = np.array(recording.attributes["reductions"][quantity]["histogram"]["edges"])
    for path in recording.paths:
        raw = recording.arrays(quantity)[path].reshape(STEPS, -1)
        counts = recording.arrays(quantity, "histogram")[path]
        assert (counts.sum(axis=1) == raw.shape[1]).all()
        for row, x in zip(counts, raw, strict=True):
            inside = np.abs(x[x != 0])
            expected, _ = np.histogram(np.clip(inside, edges[0], edges[-2]), bins=edges)
            np.testing.assert_array_equal(row[:64], expected)
            assert row[64] == np.sum(x == 0)


def test_sample_is_the_same_elements_at_each_step(both):
    recording, _ = both
    indices = hr.Sample(7, seed=3).indices(30)
    assert len(set(indices)) == 7
    raw = recording.gradients["hidden/kernel"].reshape(STEPS, 30)
    sample = recording.arrays("gradients", "sample")["hidden/kernel"]
    np.testing.assert_array_equal(sample, raw[:, indices])
    # A smaller tensor is taken whole.
    assert recording.arrays("gradients", "sample")["output/bias"].shape == (STEPS, 1)


def test_function_of_ones_own(both):
    recording, _ = both
    for path in recording.paths:
        raw = recording.gradients[path].reshape(STEPS, -1)
        np.testing.assert_allclose(
            recording.statistic("gradients", "l1")[path],
            np.abs(raw).sum(axis=1),
            rtol=1e-5,
        )


def test_updates_are_those_of_the_step_just_taken(both):
    recording, before = both
    norms = recording.statistic("weights", "update_norm")
    ratios = recording.statistic("weights", "update_ratio")
    for path, start in zip(recording.paths, before, strict=True):
        weights = np.concatenate([start[np.newaxis], recording.weights[path]])
        weights = weights.reshape(STEPS + 1, -1).astype(np.float64)
        moved = np.linalg.norm(np.diff(weights, axis=0), axis=1)
        np.testing.assert_allclose(norms[path], moved, rtol=1e-3)
        with np.errstate(divide="ignore"):
            expected = moved / np.linalg.norm(weights[:-1], axis=1)
        # A bias starts at zero: infinite, as division has it.
        np.testing.assert_allclose(ratios[path], expected, rtol=1e-3)


@pytest.mark.parametrize("weights_at", ["before", "after"])
def test_updates_do_not_depend_on_when_weights_are_taken(tiny, line, weights_at):
    recorder = hr.GradientRecorder(
        record_freq=1, gradients=None, weights="update_norm", weights_at=weights_at
    )
    fit(tiny, line, recorder)
    # Adam's first step is the learning rate in each element.
    first = recorder.recording.statistic("weights", "update_norm").iloc[0]
    assert first["tiny/output/bias"] == pytest.approx(1e-3, rel=1e-3)


def test_statistic_is_made_from_raw_tensors_where_it_was_not_recorded(both):
    recording, _ = both
    recorded = recording.statistic("gradients", "norm")
    del recording._arrays["gradients", "norm"]
    np.testing.assert_allclose(
        recording.statistic("gradients", "norm"), recorded, rtol=1e-6
    )


@pytest.mark.parametrize("jit_compile", [True, False])
def test_training_is_unchanged(line, jit_compile):
    """Bit for bit, with every reduction in the step."""
    states = []
    for callbacks in (
        [],
        [
            hr.GradientRecorder(
                record_freq=1,
                gradients=[*ORACLES, hr.Histogram(), hr.Sample(3)],
                weights=[*ORACLES, "update_norm", "update_ratio"],
            )
        ],
    ):
        keras.utils.set_random_seed(11)
        model = keras.Sequential(
            [
                keras.Input((1,)),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(16, activation="relu"),
                keras.layers.Dense(1),
            ]
        )
        if keras.config.backend() == "torch" and jit_compile:
            pytest.skip("torch.compile is tried elsewhere")
        model.compile("adam", loss="mse", jit_compile=jit_compile)
        history = fit(model, line, *callbacks, epochs=5)
        states.append([*full_state(model), *history.history["loss"]])
    for plain, recorded in zip(*states, strict=True):
        np.testing.assert_array_equal(plain, recorded)


@pytest.mark.parametrize("jit_compile", [True, False])
def test_training_is_unchanged_where_the_optimizer_squares_too(jit_compile):
    """Adam squares a gradient, as its norm does: XLA would do that once for both."""
    if keras.config.backend() == "torch" and jit_compile:
        pytest.skip("torch.compile is tried elsewhere")
    rng = np.random.default_rng(0)
    x = rng.normal(size=(2, 4, 64)).astype("float32")
    states = []
    for callbacks in ([], [hr.GradientRecorder(record_freq=1, gradients="norm")]):
        keras.utils.set_random_seed(3)
        model = keras.Sequential(
            [
                keras.Input((4, 64)),
                keras.layers.EinsumDense("abc,cde->abde", (4, 4, 16)),
                keras.layers.Flatten(),
                keras.layers.Dense(1),
            ]
        )
        model.compile("adam", loss="mse", jit_compile=jit_compile)
        history = fit(model, (x, x[:, 0, :1]), *callbacks, epochs=4)
        states.append([*full_state(model), *history.history["loss"]])
    for plain, recorded in zip(*states, strict=True):
        np.testing.assert_array_equal(plain, recorded)


def test_half_precision_is_reduced_in_float32():
    x = ops.cast(ops.full((40,), 300.0), "float16")
    # Squared, 300 is more than float16 holds.
    made = NAMED["norm"].in_step(ops, ops.cast(x, "float32"))
    assert float(made) == pytest.approx(300 * np.sqrt(40))


def test_norm_of_a_float16_model():
    keras.utils.set_random_seed(0)
    model = keras.Sequential(
        [keras.Input((2,)), keras.layers.Dense(1, dtype="float16")]
    )
    model.compile("sgd", loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, gradients=["raw", "norm"])
    x = np.full((4, 2), 60.0, "float16")
    model.fit(x, np.ones((4, 1), "float16"), verbose=0, callbacks=[recorder])
    recording = recorder.recording
    for path in recording.paths:
        raw = recording.gradients[path].astype(np.float64)
        norm = recording.statistic("gradients", "norm")[path]
        np.testing.assert_allclose(norm, np.linalg.norm(raw), rtol=1e-3)
    assert np.isfinite(recording.statistic("gradients", "norm").to_numpy()).all()


@pytest.mark.parametrize("bad", [np.nan, np.inf])
def test_nan_and_infinity_are_not_hidden(tiny, bad):
    x = np.ones((4, 1), "float32")
    x[2] = bad
    recorder = hr.GradientRecorder(
        record_freq=1, gradients=[*ORACLES, hr.Histogram()], weights=None
    )
    tiny.fit(x, x, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    path = "tiny/output/bias"
    for name in ("norm", "mean", "max", "abs_max"):
        value = recording.statistic("gradients", name)[path].iloc[0]
        assert not np.isfinite(value), name
    assert recording.statistic("gradients", "nonfinite")[path].iloc[0] == 1
    assert recording.arrays("gradients", "histogram")[path][0, -2:].sum() == 1
    assert recording.has_nonfinite[path].tolist() == [True]


@pytest.mark.parametrize("name", ["min", "max", "abs_max"])
def test_extremes_of_a_tensor_with_nan_are_nan(name):
    x = ops.convert_to_tensor(np.array([3.0, np.nan, -5.0], "float32"))
    assert np.isnan(float(NAMED[name].in_step(ops, x)))


FLOATS = st.floats(width=32, allow_nan=True, allow_infinity=True)


@settings(deadline=None, max_examples=60)
@given(
    arrays(np.float32, (17,), elements=FLOATS),
    st.integers(1, 30),
    st.integers(1, 4),
)
def test_in_the_step_and_on_the_host_a_histogram_is_the_same(x, bins, octaves):
    histogram = hr.Histogram(bins=bins, octaves=octaves)
    made = histogram.in_step(ops, ops.convert_to_tensor(x))
    expected = histogram.on_host(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(made), expected)
    assert expected.sum() == 17


# What lies at an edge or beside it, and what has no exponent of its own.
EDGE_CASES = [0.0, -0.0, np.nan, np.inf, -np.inf, 1e-40, -1e-44, 1e30, 3e-7]
EDGE_CASES += [np.nextafter(2.0**-5, 1), 2.0**-5, -(2.0**-5), np.nextafter(2.0**-5, 0)]


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_histogram_of_either_precision(dtype):
    if dtype == "float64" and keras.backend.backend() == "jax":
        pytest.skip("JAX has float64 only where it is switched on")
    histogram = hr.Histogram()
    x = np.array(EDGE_CASES, dtype)
    made = histogram.in_step(ops, ops.convert_to_tensor(x, dtype))
    expected = histogram.on_host(x)
    np.testing.assert_array_equal(ops.convert_to_numpy(made), expected)
    assert expected[-3:].tolist() == [2, 1, 2]


@settings(deadline=None, max_examples=20)
@given(arrays(np.float32, (17,), elements=FLOATS), st.integers(-20, 20))
def test_scaling_by_powers_of_two_shifts_a_histogram(x, k):
    # Away from the open bins at both ends.
    x = np.where(np.abs(x) < 1e-5, 0, x)
    x = np.where(np.abs(x) > 1, 1, x)
    x = np.nan_to_num(x).astype(np.float32)
    histogram = hr.Histogram()
    plain, scaled = histogram.on_host(x), histogram.on_host(x * np.float32(2.0**k))
    np.testing.assert_array_equal(np.roll(plain[:64], k), scaled[:64])


def test_function_that_returns_a_part_of_its_argument(line):
    # On PyTorch such a part lies in the variable's memory, which later steps change;
    # it is so large that it leaves the step by itself.
    x, y = line
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(6000)])
    model.compile("adam", loss="mse", jit_compile=False)
    part = hr.Reduction("part", lambda x: ops.reshape(x, (-1,))[:5000])
    what = ["raw", part]
    recorder = hr.GradientRecorder(record_freq=1, gradients=what, weights=what)
    fit(model, (x, np.repeat(y, 6000, axis=1)), recorder)
    for quantity in ("gradients", "weights"):
        raw, parts = (recorder.recording.arrays(quantity, n) for n in ("raw", "part"))
        for path in recorder.recording.paths:
            values = raw[path].reshape(STEPS, -1)
            np.testing.assert_array_equal(parts[path], values[:, :5000])
            assert (values[1:] != values[:-1]).any(axis=1).all()


# Which reductions of which variables.


def test_the_first_glob_that_matches_decides(tiny, line):
    recorder = hr.GradientRecorder(
        record_freq=1,
        gradients={"*/kernel": "raw", "*": ["norm", hr.Histogram(bins=8)]},
        weights=None,
    )
    fit(tiny, line, recorder)
    recording = recorder.recording
    assert list(recording.gradients) == ["tiny/hidden/kernel", "tiny/output/kernel"]
    assert list(recording.arrays("gradients", "norm")) == [
        "tiny/hidden/bias",
        "tiny/output/bias",
    ]
    # Of kernels it is made from what was recorded.
    assert list(recording.statistic("gradients", "norm")) == recording.paths
    assert recording.paths[1] == "tiny/hidden/bias"
    assert recording.has_gradient.to_numpy().all()
    text = repr(recording)
    assert "gradients (raw, norm, histogram); complete" in text


@pytest.mark.parametrize(
    ("what", "error", "text"),
    [
        ("nrom", ValueError, r"'raw'.*'norm'.*Histogram.*'nrom'"),
        (["norm", 3], TypeError, "Received: 3"),
        ({3: "norm"}, TypeError, "keys.*globs.*3"),
        ("norms", ValueError, "'norms'.* Did you mean 'norm'[?] Or is that a glob"),
        ("block_1", ValueError, r"'block_1'[.] Or is that a glob.*'block_1': 'norm'}"),
        (lambda x: x, TypeError, r"Give it a name.*hr\.Reduction"),
        (hr.Histogram, TypeError, r"the class Histogram.*hr\.Histogram\("),
        ("update_norm", ValueError, "weights='update_norm'"),
        ([hr.Histogram(8), hr.Histogram(9)], ValueError, "'histogram'.*another name"),
    ],
)
def test_bad_reductions_are_refused_at_once(what, error, text):
    with pytest.raises(error, match=text):
        hr.GradientRecorder(gradients=what)


@pytest.mark.parametrize(
    ("rules", "text"),
    [
        ({"*/gamma": "raw"}, r"'\*/gamma'.*matches none.*tiny/hidden/kernel"),
        (
            {"*": "norm", "*/kernel": "raw"},
            r"'\*/kernel'.*earlier glob.*Put it\s+first",
        ),
    ],
)
def test_globs_that_take_nothing_are_refused_before_training(tiny, line, rules, text):
    with pytest.raises(ValueError, match=text):
        fit(tiny, line, hr.GradientRecorder(gradients=rules))
    assert int(tiny.optimizer.iterations) == 0


def test_function_that_fails_is_refused_before_training(tiny, line):
    def broken(x):
        return ops.reshape(x, (7, 11))

    with pytest.raises(ValueError, match=r"'broken' in gradients=.*fails on.*\(1, 3\)"):
        fit(tiny, line, hr.GradientRecorder(gradients=broken))
    assert int(tiny.optimizer.iterations) == 0


@pytest.mark.parametrize(
    ("make", "text"),
    [
        (lambda: hr.Histogram(0), "bins"),
        (lambda: hr.Histogram(300), "float32"),
        (lambda: hr.Sample(0), "n: an int"),
        (lambda: hr.Sample(3, seed="a"), "seed: an int"),
        (lambda: hr.Reduction("norm", l1), "'norm' is a built-in reduction"),
        (lambda: hr.Reduction("", l1), "name: a word"),
    ],
)
def test_bad_arguments_of_reductions(make, text):
    with pytest.raises(ValueError, match=text):
        make()


def test_what_was_not_recorded_says_what_was(tiny, line):
    recorder = hr.GradientRecorder(gradients="norm", weights=None)
    fit(tiny, line, recorder)
    recording = recorder.recording
    said = r"No raw gradients were .*gradients 'norm'.*statistic"
    with pytest.raises(KeyError, match=said):
        recording.gradients["hidden/kernel"]
    with pytest.raises(
        ValueError, match=r"'std' of gradients.*from what was: gradients 'norm'.*'std'"
    ):
        recording.statistic("gradients", "std")
    with pytest.raises(ValueError, match=r"none was recorded 'raw'.*statistic"):
        recording.to_frame(of="elements")
    assert list(recording.weights) == []


def test_statistic_that_is_no_number_says_where_its_arrays_are(both):
    recording, _ = both
    with pytest.raises(ValueError, match=r"not a single number.*recording\.arrays"):
        recording.statistic("gradients", "histogram")


def test_variable_without_gradient_has_nan():
    plan = Wanted("gradients", ["norm", hr.Histogram(8)])
    assert plan
    assert not plan.is_raw
    x = keras.Input((2,))
    used = keras.layers.Dense(1, name="used")(x)
    unused = keras.layers.Dense(1, name="unused")(x)
    model = keras.Model(x, [used, unused])
    model.compile("sgd", loss=["mse", None])
    recorder = hr.GradientRecorder(
        record_freq=1, gradients=["norm", hr.Histogram(8)], weights=None
    )
    data = np.ones((4, 2), "float32"), np.ones((4, 1), "float32")
    jax = keras.config.backend() == "jax"
    says = contextlib.nullcontext() if jax else pytest.warns(UserWarning, match="exist")
    with says:
        model.fit(*data, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    if jax:  # Its autodiff gives zeros.
        assert recording.statistic("gradients", "norm")["unused/kernel"].tolist() == [0]
        return
    (path,) = (p for p in recording.paths if p.endswith("unused/kernel"))
    assert not recording.has_gradient[path].any()
    assert recording.statistic("gradients", "norm")[path].isna().all()
    assert np.isnan(recording.arrays("gradients", "histogram")[path]).all()


# One gradient an epoch.


def test_mean_over_the_epochs_steps(tiny, line):
    start = tiny.get_weights()
    each = hr.GradientRecorder(record_freq=1)
    fit(tiny, line, each)
    tiny.set_weights(start)
    tiny.compile("adam", loss="mse", jit_compile=False)
    mean = hr.GradientRecorder(
        epoch_gradient="mean", gradients=["raw", "norm", hr.Histogram(8)]
    )
    fit(tiny, line, mean)
    recording = mean.recording
    assert recording.index["step"].tolist() == [4, 8]
    assert recording.attributes["epoch_gradient"] == "mean"
    for path in recording.paths:
        steps = each.recording.gradients[path].astype(np.float64)
        expected = steps.reshape(2, 4, *steps.shape[1:]).mean(axis=1)
        np.testing.assert_allclose(
            recording.gradients[path], expected, rtol=1e-6, atol=1e-7
        )
        np.testing.assert_allclose(
            recording.statistic("gradients", "norm")[path],
            np.linalg.norm(expected.reshape(2, -1), axis=1),
            rtol=1e-6,
        )
        np.testing.assert_array_equal(
            recording.weights[path], each.recording.weights[path][[3, 7]]
        )


@pytest.mark.filterwarnings("ignore:Your input ran out of data")  # Up to Keras 3.15.
def test_mean_where_an_epochs_length_is_unknown(tiny, line):
    def batches():
        for start in range(0, 20, 5):
            yield tuple(a[start : start + 5] for a in line)

    recorder = hr.GradientRecorder(epoch_gradient="mean")
    each = hr.GradientRecorder(record_freq=1)
    tiny.fit(batches(), shuffle=False, verbose=0, callbacks=[recorder, each])
    steps = each.recording.gradients["hidden/kernel"]
    assert len(steps) == 4
    np.testing.assert_allclose(
        recorder.recording.gradients["hidden/kernel"][0], steps.mean(axis=0), rtol=1e-5
    )


def test_mean_belongs_to_an_epoch():
    with pytest.raises(ValueError, match="needs record_freq='epoch'"):
        hr.GradientRecorder(epoch_gradient="mean", record_freq=1)


@pytest.mark.parametrize("in_xla", [False, True])
@pytest.mark.parametrize("size", [1, 63, 64, 127, 128, 129, 2049, 5000, 2**20 + 3])
def test_norm_of_any_size(size, in_xla):
    if in_xla and keras.backend.backend() != "tensorflow":
        pytest.skip("TensorFlow alone has it in two ways")
    model = keras.Sequential([keras.layers.Dense(1)])
    model.compile(jit_compile=in_xla)
    ops = backend.trace(model).ops
    x = np.random.default_rng(size).normal(size=size).astype("float32")
    made = NAMED["norm"].in_step(ops, ops.convert_to_tensor(x))
    expected = np.linalg.norm(x.astype("float64"))
    assert float(made) == pytest.approx(expected, rel=2e-7)
    assert NAMED["norm"].on_host(x) == pytest.approx(expected, rel=1e-12)
    x[size // 2] = np.nan
    assert np.isnan(float(NAMED["norm"].in_step(ops, ops.convert_to_tensor(x))))


@pytest.mark.skipif(
    keras.backend.backend() != "torch" or not shutil.which("g++"),
    reason="torch.compile needs PyTorch and a C++ compiler",
)
def test_in_a_step_that_torch_compiles(line):
    what = ["raw", "norm", "histogram", "projection"]
    recordings = []
    for jit_compile in (True, False):
        keras.utils.set_random_seed(3)
        model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(3000)])
        model.compile("sgd", loss="mse", jit_compile=jit_compile)
        recorder = hr.GradientRecorder(
            record_freq=1,
            gradients=[*what[:2], hr.Histogram(), hr.Projection(16)],
            weights=None,
        )
        x, y = line
        fit(model, (x, np.repeat(y, 3000, axis=1)), recorder, epochs=1)
        recordings.append(recorder.recording)
    compiled, eager = recordings
    assert len(compiled) == len(eager) == 4
    for name in what:
        pairs = zip(
            compiled.arrays("gradients", name).values(),
            eager.arrays("gradients", name).values(),
            strict=True,
        )
        for one, other in pairs:
            np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-7)
