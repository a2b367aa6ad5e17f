"""Stars: catalogues are checked, published tables as printed, data as assigned."""

import numpy as np
import pandas as pd
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hrcallbacks.worked_example.stars import (
    load_catalog,
    load_initial_weights,
    load_published_table,
    training_data,
)

HEADER = "Lum,BP-RP,Teff\n"


# --- catalogues in files ---------------------------------------------------------


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def test_bundled_catalog_has_the_moments_that_the_tables_fix():
    catalog = load_catalog()
    x, y = training_data(catalog, seed=None)

    assert list(catalog) == ["Lum", "BP-RP", "Teff"]
    assert (catalog.dtypes == np.float64).all()
    assert len(catalog) == 10_000
    assert (x.min(), x.max()) == (0, 1)
    np.testing.assert_allclose(x.mean(), 0.28326, atol=1e-4)
    np.testing.assert_allclose(x.std(), 0.1361, atol=1e-3)
    np.testing.assert_allclose(y.mean(), 3.6732, atol=1e-3)
    np.testing.assert_allclose((x * y).mean(), 1.04411, atol=1e-3)
    np.testing.assert_allclose((y * y).mean(), 13.4950, atol=1e-3)


def test_docstring_says_that_the_bundled_stars_were_not_observed():
    assert "reconstructed, not observed" in load_catalog.__doc__


def test_catalog_file_gives_three_float64_columns_and_keeps_colour_gaps(tmp_path):
    path = write(
        tmp_path / "stars.csv", "Teff,x,BP-RP,Lum\n5772,a,,1\n3500,b,2.5,0.1\n"
    )
    expected = pd.DataFrame(
        {"Lum": [1.0, 0.1], "BP-RP": [np.nan, 2.5], "Teff": [5772.0, 3500.0]}
    )
    pd.testing.assert_frame_equal(load_catalog(path), expected)
    pd.testing.assert_frame_equal(load_catalog(str(path)), expected)


positive = st.floats(1e-9, 1e9)
colours = st.none() | st.floats(-10, 10, allow_subnormal=False)


@given(stars=st.lists(st.tuples(positive, colours, positive), min_size=1, max_size=20))
@settings(
    max_examples=60,
    deadline=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
def test_catalog_survives_a_csv_file(tmp_path, stars):
    catalog = pd.DataFrame(stars, columns=["Lum", "BP-RP", "Teff"], dtype=np.float64)
    catalog.to_csv(tmp_path / "stars.csv", index=False)
    # pandas before 3.1 reads the last bit carelessly.
    pd.testing.assert_frame_equal(
        load_catalog(tmp_path / "stars.csv"), catalog, rtol=1e-15, atol=0
    )


def test_missing_file_says_what_to_type(tmp_path):
    path = tmp_path / "absent.csv"
    with pytest.raises(FileNotFoundError, match=r"hr\.download_catalog\(.*absent\.csv"):
        load_catalog(path)
    with pytest.raises(FileNotFoundError, match=r"reconstruction: hr\.load_catalog\("):
        load_catalog(path)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", r"not a CSV file: No columns"),
        ("a,b\n1,2\n1,2,3,4\n", r"not a CSV file: .*Expected 2 fields"),
        (
            "Lum,Teff\n1,5772\n",
            r"lacks the columns \['BP-RP'\].*has: \['Lum', 'Teff'\]",
        ),
        ("<html>\n", r"lacks the columns \['Lum', 'BP-RP', 'Teff'\]"),
        (HEADER, r"has the columns .* but no rows"),
        (
            HEADER + "1,1,5772\n0,1,5772\n1,1,5772\n-2,1,1\n,1,1\ninf,1,1\n",
            r"4 of 6 rows whose Lum is not a positive finite.*\[1, 3, 4, 5\]",
        ),
        (HEADER + "1,1,-5\n", r"1 of 1 rows whose Teff is not a positive.*: \[0\]"),
        (HEADER + "1,1,5\n1,1,hot\n", r"1 of 2 rows whose Teff .*: \[1\]"),
        (HEADER + "1,red,5\n1,,5\n", r"1 of 2 rows whose BP-RP is neither.*: \[0\]"),
        (HEADER + "1,inf,5\n", r"1 of 1 rows whose BP-RP is neither"),
    ],
)
def test_faulty_file_is_refused(tmp_path, text, message):
    path = write(tmp_path / "stars.csv", text)
    with pytest.raises(ValueError, match=r"(?s)stars\.csv.*" + message) as caught:
        load_catalog(path)
    assert "hr.load_catalog()" in str(caught.value)
    assert "overwrite" not in str(caught.value)  # It may be nobody's download.


def test_file_that_is_not_text_is_refused(tmp_path):
    path = tmp_path / "stars.csv"
    path.write_bytes(b"\x89PNG\r\n\xff\xfe\x00")
    with pytest.raises(ValueError, match="is not a CSV file"):
        load_catalog(path)


# --- published tables ------------------------------------------------------------


@pytest.mark.parametrize(
    ("rate", "first_loss", "last_weight"),
    [(0.1, 14.034164, 0.337063), (0.3, 12.220975, 0.116645)],
)
def test_published_table_holds_what_was_printed(rate, first_loss, last_weight):
    table = load_published_table(rate)
    symbols = [
        f"{q}^{kernel}_{i}" for kernel in (1, 2) for i in range(1, 7) for q in "wg"
    ]
    assert list(table) == ["epoch", "output", "loss", *symbols]
    assert table["epoch"].tolist() == list(range(1, 11))
    assert table["loss"].iloc[0] == first_loss
    assert table["w^2_6"].iloc[-1] == last_weight


def test_published_table_is_found_for_a_float32_rate():
    pd.testing.assert_frame_equal(
        load_published_table(np.float32(0.3)), load_published_table(0.3)
    )


@pytest.mark.parametrize("rate", [0.2, 1e-3, "0.1", None])
@pytest.mark.parametrize("load", [load_initial_weights, load_published_table])
def test_unpublished_rate_lists_the_published_ones(load, rate):
    text = rf"learning_rate={rate!r}.*\[0\.1, 0\.3\]. Try hr\.{load.__name__}\(0\.1\)"
    with pytest.raises(ValueError, match=text):
        load(rate)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_units_that_never_had_a_gradient_keep_their_initial_weights(rate):
    w1, b1, w2, b2 = load_initial_weights(np.float32(rate))
    assert [a.shape for a in (w1, b1, w2, b2)] == [(1, 6), (6,), (6, 1), (1,)]
    assert not b1.any()
    assert not b2.any()
    last = load_published_table(rate).iloc[-1]
    dead = w1.ravel() < 0  # x >= 0, and the biases start at zero.
    assert dead.any()
    for number, kernel in (("1", w1), ("2", w2)):
        printed = np.array([last[f"w^{number}_{i}"] for i in range(1, 7)])
        np.testing.assert_allclose(kernel.ravel()[dead], printed[dead], atol=5.1e-7)


# --- training data ---------------------------------------------------------------


@pytest.fixture
def random_stars():
    rng = np.random.default_rng(0)
    return pd.DataFrame(
        {
            "Lum": rng.lognormal(0, 2, 500),
            "BP-RP": np.nan,
            "Teff": rng.uniform(3000, 9000, 500),
        }
    )


def assigned_data(path):
    """The assignment's cell "Data Preparation", as published."""
    data = pd.read_csv(path)
    data["logL"] = np.log10(data["Lum"])
    data["logT"] = np.log10(data["Teff"])
    x = data["logL"].values
    y = data["logT"].values
    x = (x - np.min(x, axis=0)) / (np.max(x, axis=0) - np.min(x, axis=0))
    # The assignment seeds the legacy global generator.
    np.random.seed(1453)  # noqa: NPY002
    shuffle_index = np.random.permutation(len(x))  # noqa: NPY002
    return x[shuffle_index], y[shuffle_index]


def test_training_data_are_those_of_the_assignment(random_stars, tmp_path):
    path = tmp_path / "catalog.csv"
    random_stars.to_csv(path, index=False)
    x, y = training_data(load_catalog(path))
    expected_x, expected_y = assigned_data(path)

    assert x.shape == y.shape == (500, 1)
    assert x.dtype == y.dtype == np.float64
    np.testing.assert_array_equal(x.ravel(), expected_x)
    np.testing.assert_array_equal(y.ravel(), expected_y)


def test_training_data_without_seed_keep_the_order_of_the_catalog(random_stars):
    x, y = training_data(random_stars, seed=None)
    assert (np.argsort(x.ravel()) == np.argsort(random_stars["Lum"])).all()
    np.testing.assert_array_equal(y.ravel(), np.log10(random_stars["Teff"]))
    assert (
        training_data(random_stars, seed=1)[0] != training_data(random_stars, seed=2)[0]
    ).any()


def test_training_data_default_to_the_bundled_catalog():
    for default, bundled in zip(
        training_data(), training_data(load_catalog(), seed=1453), strict=True
    ):
        np.testing.assert_array_equal(default, bundled)


def test_training_data_take_integers_and_leave_their_catalog_alone():
    catalog = pd.DataFrame({"Lum": [1, 100, 10], "Teff": [1000, 10, 100]})
    untouched = catalog.copy()
    x, y = training_data(catalog, seed=None)
    assert x.ravel().tolist() == [0, 1, 0.5]
    assert y.ravel().tolist() == [3, 1, 2]
    pd.testing.assert_frame_equal(catalog, untouched)


def test_training_data_leave_the_global_random_state_alone(random_stars):
    # The global state is the legacy generator's.
    before = np.random.get_state()  # noqa: NPY002
    training_data(random_stars)
    after = np.random.get_state()  # noqa: NPY002
    assert before[0] == after[0]
    np.testing.assert_array_equal(before[1], after[1])
    assert before[2:] == after[2:]


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"Lum": [1.0]}, r"catalog lacks the columns \['Teff'\].*has: \['Lum'\]"),
        ({"Lum": [], "Teff": []}, r"catalog has the columns .* but no rows"),
        ({"Lum": [1, 0, 2], "Teff": [1, 1, 1]}, r"1 of 3 rows whose Lum.*: \[1\]"),
        ({"Lum": [1, 2], "Teff": [np.nan, 1]}, r"1 of 2 rows whose Teff.*: \[0\]"),
        ({"Lum": [1, np.inf], "Teff": [1, 1]}, r"1 of 2 rows whose Lum.*: \[1\]"),
        ({"Lum": [10, 10], "Teff": [1, 2]}, r"All 2 luminosities .* \(log10 Lum=1\)"),
        ({"Lum": [10], "Teff": [1]}, r"at least two stars"),
    ],
)
def test_unusable_catalog_is_refused(columns, message):
    with pytest.raises(ValueError, match=message):
        training_data(pd.DataFrame(columns))


@pytest.mark.parametrize("catalog", ["catalog.csv", np.ones((3, 3)), {"Lum": [1, 2]}])
def test_catalog_that_is_no_dataframe_is_refused(catalog):
    with pytest.raises(TypeError, match=r"Received: .*hr\.load_catalog\(path\)"):
        training_data(catalog)
