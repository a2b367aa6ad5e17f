"""Tests of `examples/reconstruct_catalog.py` and of the catalogue that it wrote."""

import numpy as np
import pandas as pd
import pytest
import reconstruct_catalog as script

from hrcallbacks import backprop


@pytest.fixture(scope="module")
def bundled():
    return pd.read_csv(script.DATA / "catalog.csv")


@pytest.fixture(scope="module")
def from_one_table():
    return script.reconstruct(tables=(0.1,))


def prepare(catalog):
    """The assignment's preparation, written a second time."""
    log_l, y = np.log10(catalog["Lum"]), np.log10(catalog["Teff"])
    x = (log_l - log_l.min()) / (log_l.max() - log_l.min())
    order = np.random.RandomState(1453).permutation(len(x))
    return x.to_numpy()[order], y.to_numpy()[order]


def train(catalog, learning_rate):
    w1, b1, w2, b2 = script.initial_parameters(learning_rate)
    start = (w1[None, :], b1, w2[:, None], b2)
    return backprop.train(start, *prepare(catalog), learning_rate, 10)


def table(steps):
    """The steps of `backprop.train` in the columns of the published tables."""
    rows = []
    for step in steps:
        row = [step.output, step.loss]
        for kernel in ("w1", "w2"):
            weights = getattr(step.parameters, kernel)
            gradients = getattr(step.gradients, kernel)
            row += (
                np.column_stack([weights.ravel(), gradients.ravel()]).ravel().tolist()
            )
        rows.append(row)
    return np.array(rows)


def moments_of(catalog):
    x, y = prepare(catalog)
    return script.moments(x, y, y**2, np.full(len(x), 1 / len(x)))


def assert_meets(actual, learning_rate, largest, rms):
    misses = actual - script.published_table(learning_rate)
    assert misses.shape == (10, 26)
    assert np.abs(misses).max() < largest
    assert np.sqrt(np.mean(misses**2)) < rms


def test_rerunning_gives_the_same_bytes_and_the_bundled_catalogue(tmp_path, bundled):
    paths = [tmp_path / "first.csv", tmp_path / "second.csv"]
    for path in paths:
        script.write(script.reconstruct(), path)
    assert paths[0].read_bytes() == paths[1].read_bytes()
    assert [p.name for p in tmp_path.iterdir() if "partial" in p.name] == []
    # Another processor may round a last printed digit differently.
    difference = (pd.read_csv(paths[0]) - bundled).abs().max()
    assert list(difference.index) == ["Lum", "BP-RP", "Teff"]
    assert (difference < [2e-6, 2e-4, 2e-2]).all()
    assert (script.DATA / "catalog.csv").stat().st_size < 400_000


@pytest.mark.parametrize("learning_rate", [0.1, 0.3])
def test_closed_form_on_the_bundled_catalogue_gives_the_tables(bundled, learning_rate):
    assert_meets(table(train(bundled, learning_rate)), learning_rate, 1e-5, 1e-6)


def test_the_lr_0_1_table_alone_predicts_the_lr_0_3_table(from_one_table):
    assert_meets(table(train(from_one_table, 0.3)), 0.3, 1e-5, 1.5e-6)


@pytest.mark.parametrize("learning_rate", [0.1, 0.3])
def test_moments_are_all_that_training_sees(bundled, learning_rate):
    np.testing.assert_allclose(
        script.train_on_moments(moments_of(bundled), learning_rate),
        table(train(bundled, learning_rate)),
        rtol=0,
        atol=1e-10,
    )


def test_no_star_lies_near_a_kink(bundled, from_one_table):
    for catalog in (bundled, from_one_table):
        x, _ = prepare(catalog)
        kinks = [
            -bias / weight
            for learning_rate in (0.1, 0.3)
            for step in train(catalog, learning_rate)[:-1]
            for weight, bias in zip(
                step.parameters.w1.ravel(), step.parameters.b1, strict=True
            )
            if 0 < -bias / weight < 1
        ]
        np.testing.assert_allclose(sorted(kinks), script.EDGES[1:-1], atol=1e-5)
        assert np.abs(x[:, None] - kinks).min() > 1e-4
        # In epoch 1 the kinks are at 0, with the two faintest stars and no other.
        assert np.count_nonzero(x == 0) == 2
        assert x[x > 0].min() > 1e-4


def test_the_sample_looks_like_stars(bundled):
    luminosity, colour, temperature = (bundled[c] for c in ("Lum", "BP-RP", "Teff"))
    assert len(bundled) == 10_000
    assert bundled.notna().all(axis=None)
    assert (luminosity.min(), luminosity.max()) == (0.015, 1500.0)
    assert temperature.between(2300, 9800).all()
    assert temperature.between(3300, 8000).mean() > 0.99
    assert np.corrcoef(colour, np.log10(temperature))[0, 1] < -0.97
    # A main sequence rises, giants cool with luminosity, the clump is one.
    log_l = np.log10(luminosity)
    mean = np.log10(temperature).groupby(np.floor(log_l * 2) / 2).mean()
    assert (np.diff(mean[-2.0:0.0]) > 0).all()
    assert (np.diff(mean[0.5:2.5]) < 0).all()
    assert log_l.between(1.6, 1.8).sum() > 2 * log_l.between(1.1, 1.3).sum()


@pytest.mark.parametrize("learning_rate", [0.1, 0.3])
def test_keras_fit_on_the_bundled_catalogue_gives_the_tables(bundled, learning_rate):
    keras = pytest.importorskip("keras")
    w1, b1, w2, b2 = script.initial_parameters(learning_rate)
    model = keras.Sequential(
        [
            keras.layers.Input((1,)),
            keras.layers.Dense(6, activation="relu"),
            keras.layers.Dense(1),
        ]
    )
    model.set_weights([w1[None, :], b1, w2[:, None], b2])
    weights = []
    note = keras.callbacks.LambdaCallback(
        on_epoch_end=lambda epoch, logs: weights.append(model.get_weights())
    )
    model.compile(keras.optimizers.Adam(learning_rate), loss="mse")
    x, y = (values[:, None] for values in prepare(bundled))
    loss = model.fit(
        *(x, y),
        batch_size=len(x),
        epochs=10,
        shuffle=False,
        verbose=0,
        callbacks=[note],
    ).history["loss"]
    published = script.published_table(learning_rate)
    np.testing.assert_allclose(loss, published[:, 1], rtol=0, atol=1e-4)
    kernels = [np.concatenate([w[0].ravel(), w[2].ravel()]) for w in weights]
    np.testing.assert_allclose(kernels, published[:, 2::2], rtol=0, atol=1e-4)
