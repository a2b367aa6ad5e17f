"""Reports and the worked example's figures, opened from disk in a real browser."""

import importlib.util
import json

import numpy as np
import pytest
import synthetic
from hostile import HOSTILE
from test_site import CHROMIUM, NARROW, SCHEMES, Reader, browser  # noqa: F401

import hrcallbacks as hr
from hrcallbacks.report import figures
from hrcallbacks.report.inlined import script

PACKAGES = ("playwright", "axe_playwright_python")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]
pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs the extra site-test: {MISSING} are not installed"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]


def norms(count, *, bad):
    paths = [f"net/layer_{n}/{kind}" for n in range(3) for kind in ("kernel", "bias")]
    arrays = {f"{p}:norm": np.full(count, 0.5 + n) for n, p in enumerate(paths)}
    arrays[f"{paths[0]}:norm"][bad] = np.nan
    arrays[f"{paths[1]}:norm"][bad + 1] = np.inf
    return synthetic.recording_of(arrays, shapes=dict.fromkeys(paths, (3, 4)))


def unfinished():
    recording = synthetic.published(0.1)
    recording.attributes |= {"complete": False, "fault": "the disk is full"}
    return recording


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Reports and pages of figures, by name."""
    folder = tmp_path_factory.mktemp("reports")
    hostile = {f"net/{HOSTILE}/kernel": synthetic.noise(4, 3, 2)}
    reports = {
        "one": synthetic.published(0.1),
        "two": {f"rate {rate}": synthetic.published(rate) for rate in (0.1, 0.3)},
        "norms": norms(5000, bad=1234),
        "unfinished": unfinished(),
        "empty": synthetic.recording_of(loss=[], gradients={}),
        "hostile": {HOSTILE: synthetic.recording_of(hostile)},
    }
    found = {
        name: hr.report(recording, folder / f"{name}.html")
        for name, recording in reports.items()
    }
    for name, figure in worked_example().items():
        found[name] = folder / f"{name}.html"
        head = (
            '<!doctype html><html lang="en"><title>Figure</title>'
            '<body class="hrc-page"><main class="hrc"><h1>Page</h1>'
        )
        found[name].write_text(head + figure._repr_html_(), encoding="utf-8")
    return {name: path.as_uri() for name, path in found.items()}


def worked_example():
    x, y = hr.training_data(seed=1453)
    starts = {"A": hr.load_initial_weights(0.1), "B": hr.load_initial_weights(0.3)}
    published = {
        name: (rate, hr.load_published_table(rate))
        for name, rate in (("A", 0.1), ("B", 0.3))
    }
    return {
        "tables": figures.tables(
            {rate: synthetic.published(rate) for rate in (0.1, 0.3)}
        ),
        "stepper": figures.stepper(starts["A"], x[0].item(), y[0].item()),
        "trainer": figures.trainer(starts, published, x, y),
    }


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_load_nothing_and_fit_a_phone(files, browser, scheme):  # noqa: F811
    with Reader(browser, scheme=scheme, width=NARROW) as reader:
        for name, address in files.items():
            page = reader.read(address)
            page.wait_for_selector(".hrc p")
            assert reader.faults == [], name
            assert reader.requests == [address], name
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= NARROW, name


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_no_serious_violation(files, browser, scheme):  # noqa: F811
    from axe_playwright_python.sync_playwright import Axe

    with Reader(browser, scheme=scheme) as reader:
        # Axe is a script of its own, which the page's policy would refuse.
        context = browser.new_context(bypass_csp=True, color_scheme=scheme)
        page = context.new_page()
        for name, address in files.items():
            page.goto(address)
            for details in page.locator("details").all():
                details.evaluate("e => { e.open = true }")
            # Describing what is in order would take it most of its time.
            options = {"resultTypes": ["violations"]}
            found = Axe().run(page, options=options).response["violations"]
            serious = [
                (v["id"], [node["html"][:150] for node in v["nodes"][:3]])
                for v in found
                if v["impact"] in ("serious", "critical")
            ]
            assert serious == [], name
        context.close()
        assert reader.faults == []


def test_names_of_a_recording_are_text(files, browser):  # noqa: F811
    with Reader(browser) as reader:
        page = reader.read(files["hostile"])
        assert page.locator("img").count() == 0
        legend = page.locator(".hrc details summary", has_text="1 variable").first
        legend.click()
        shown = page.locator(".hrc table").first.inner_text()
        assert 'onerror="alert(1)"' in shown
        assert reader.faults == []


def test_slider_goes_through_the_records_by_keyboard(files, browser):  # noqa: F811
    table = hr.load_published_table(0.1)
    with Reader(browser) as reader:
        page = reader.read(files["one"])
        slider = page.get_by_role("slider", name="Record")
        slider.focus()
        for _ in range(9):
            page.keyboard.press("ArrowLeft")
        assert slider.get_attribute("aria-valuetext") == "Step 1"
        picture = page.locator(".hrc-network")
        assert "Units 4, 6 have no gradient." in picture.get_attribute("aria-label")
        page.get_by_role("button", name="One forward").click()
        assert slider.get_attribute("aria-valuetext") == "Step 2"
        box = page.locator(".hrc-section:has(.hrc-network)")
        box.get_by_text("Numbers").click()
        row = box.get_by_role("row").nth(3).inner_text().split()
        assert row[0] == "hidden/kernel[0,2]"
        assert float(row[1]) == pytest.approx(table["w^1_3"][1], rel=1e-3)
        assert float(row[2]) == pytest.approx(table["g^1_3"][1], rel=1e-3)


def test_chart_is_read_zoomed_and_filtered_by_keyboard(files, browser):  # noqa: F811
    with Reader(browser) as reader:
        page = reader.read(files["norms"])
        panel = page.locator(".hrc-panel", has=page.get_by_text("Frobenius norm"))
        panel.scroll_into_view_if_needed()
        page.wait_for_selector(".hrc-panel:nth-of-type(1) canvas")
        chart = panel.get_by_role("group", name="Gradients")
        chart.focus()
        page.keyboard.press("Home")
        said = panel.locator(".hrc-readout").first
        assert "Steps 1 to 5" in said.inner_text()
        assert "net/layer_0/kernel 0.5" in said.inner_text()
        page.keyboard.press("+")
        page.keyboard.press("0")
        legend = panel.get_by_role("button", name="net/layer_0/kernel")
        legend.press("Enter")
        assert legend.get_attribute("aria-pressed") == "false"
        page.keyboard.press("Tab")
        log = panel.get_by_role("button", name="Log scale")
        log.press("Enter")
        assert log.get_attribute("aria-pressed") == "false"
        assert "NaN or infinite" in panel.inner_text()
        panel.get_by_text("Numbers").click()
        panel.get_by_role("row").nth(1).wait_for()  # It is made once it is asked for.
        rows = panel.get_by_role("row").all_inner_texts()
        assert rows[1].split() == ["net/layer_0/kernel", *["0.5"] * 4, "1"]
        assert reader.faults == []


def test_what_is_missing_or_wrong_is_said_first(files, browser):  # noqa: F811
    with Reader(browser) as reader:
        page = reader.read(files["empty"])
        assert "There is no record" in page.inner_text("main")
        page = reader.read(files["unfinished"])
        warning = page.locator(".hrc-warning")
        assert warning.inner_text() == "Incomplete. the disk is full"
        page = reader.read(files["norms"])
        assert "drawn as two points" in page.inner_text("main")


def test_one_of_several_recordings_is_chosen(files, browser):  # noqa: F811
    with Reader(browser) as reader:
        page = reader.read(files["two"])
        legend = page.locator(".hrc-legend").first
        assert legend.inner_text().split("\n") == ["rate 0.1", "rate 0.3"]
        page.get_by_label("Recording in detail").select_option("rate 0.3")
        assert page.locator(".hrc-name").inner_text() == "rate 0.3"
        page.get_by_label("Shown").first.select_option(
            "Gradients: Frobenius norm: hidden/kernel".replace(": Frobenius norm", "")
        )
        assert reader.faults == []


def test_theme_can_be_switched(files, browser):  # noqa: F811
    background = "getComputedStyle(document.body).backgroundColor"
    with Reader(browser) as reader:
        page = reader.read(files["one"])
        assert page.evaluate(background) == "rgb(255, 255, 255)"
        page.get_by_role("button", name="Dark").click()
        assert page.evaluate(background) == "rgb(30, 33, 41)"


@pytest.fixture
def javascript(browser):  # noqa: F811
    """Calls a function of the script with arguments, in an empty page."""
    with Reader(browser) as reader:
        reader.page.add_script_tag(content=script())

        def call(name, *arguments):
            listed = json.dumps([convert(a) for a in arguments])
            return reader.page.evaluate(f"hrcallbacks.{name}(...{listed})")

        yield call
        assert reader.faults == []


def convert(value):
    if hasattr(value, "_asdict"):
        return {
            name: np.ravel(array).tolist() for name, array in value._asdict().items()
        }
    return np.ravel(value).tolist() if isinstance(value, np.ndarray) else value


def parameters(seed):
    rng = np.random.default_rng(seed)
    shapes = ((1, 6), (6,), (6, 1), (1,))
    return hr.backprop.Parameters(*(rng.normal(size=shape) for shape in shapes))


def flat(result):
    return np.concatenate([np.ravel(result[name]) for name in ("w1", "b1", "w2", "b2")])


@pytest.mark.parametrize("at_zero", [0.0, 1.0])
def test_each_equation_is_that_of_backprop(javascript, at_zero):
    start = parameters(0)
    start.b1[2] = 0.0
    for x, y in ((0.3, 3.7), (0.0, 3.5), (0.9, -1.0)):
        expected = hr.backprop.backpropagate(start, [x], [y], at_zero)
        found = javascript("backpropagate", start, x, y, at_zero)
        names = {"d_output": "dOutput", "d_w2": "dW2", "d_b2": "dB2", "d_w1": "dW1"}
        names |= {"d_hidden": "dHidden", "d_z": "dZ", "d_b1": "dB1"}
        for name, array in expected._asdict().items():
            assert np.allclose(found[names.get(name, name)], array.ravel(), atol=1e-12)


@pytest.mark.parametrize("rate", [0.001, 0.1, 1.0])
def test_training_is_that_of_backprop(javascript, rate):
    rng = np.random.default_rng(3)
    x, y = rng.uniform(size=50), rng.normal(3.7, 0.1, size=50)
    start = parameters(1)
    expected = hr.backprop.train(start, x, y, rate, epochs=30)
    found = javascript("train", start, x, y, rate, 30)
    for step, ours in zip(expected, found, strict=True):
        assert ours["loss"] == pytest.approx(step.loss, abs=1e-6)
        assert ours["output"] == pytest.approx(step.output, abs=1e-6)
        for name in ("gradients", "parameters"):
            rows = flat(getattr(step, name)._asdict())
            assert np.allclose(flat(ours[name]), rows, rtol=0, atol=1e-6)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_training_on_the_bundled_stars_gives_the_published_table(javascript, rate):
    # As the page has them: in float32.
    x, y = (a.astype("float32").astype(float) for a in hr.training_data(seed=1453))
    start = hr.backprop.Parameters(*map(np.asarray, hr.load_initial_weights(rate)))
    steps = javascript("train", start, x, y, rate, 10)
    rows = [javascript("tableRow", step) for step in steps]
    published = hr.load_published_table(rate).drop(columns="epoch")
    assert np.abs(np.array(rows) - published.to_numpy()).max() < 1e-4


def test_stepper_shows_each_equations_numbers(files, browser):  # noqa: F811
    x, y = (a[0].item() for a in hr.training_data(seed=1453))
    d = hr.backprop.backpropagate(hr.load_initial_weights(0.1), [x], [y], 1.0)
    by_equation = (d.z, d.hidden, d.output, d.loss, d.d_output, d.d_w2, d.d_b2)
    by_equation += (d.d_hidden, d.d_z, d.d_w1, d.d_b1)
    with Reader(browser) as reader:
        page = reader.read(files["stepper"])
        for number, values in enumerate(by_equation, 1):
            assert page.locator(".hrc-equation a").inner_text() == f"({number})"
            cells = page.locator(".hrc-beside td .hrc-number").all_inner_texts()
            assert np.allclose([float(c) for c in cells], values.ravel(), atol=6e-7)
            page.get_by_role("button", name="One forward").click()
        assert reader.faults == []


def test_trainer_says_how_far_it_is_from_the_published_table(files, browser):  # noqa: F811
    with Reader(browser) as reader:
        page = reader.read(files["trainer"])
        said = page.locator("[aria-live]").first
        assert "rate 0.1: the loss falls in each epoch." in said.inner_text()
        assert "differs by" in said.inner_text()
        page.get_by_label("or exactly").fill("0.3")
        page.get_by_label("or exactly").press("Enter")
        page.get_by_label("Start").select_option(index=1)
        assert "rises in epochs 4, 5, 9, 10." in said.inner_text()
        page.get_by_label("or exactly").fill("-1")
        page.get_by_label("or exactly").press("Enter")
        assert "above 0" in said.inner_text()
        assert reader.faults == []


def test_tables_show_the_published_numbers_of_an_epoch(files, browser):  # noqa: F811
    table = hr.load_published_table(0.3)
    with Reader(browser) as reader:
        page = reader.read(files["tables"])
        page.get_by_role("slider", name="Epoch").fill("4")
        row = page.get_by_role("table").nth(1).get_by_role("row").nth(2)
        numbers = [float(text) for text in row.inner_text().split()[1:]]
        columns = ["w^1_2", "g^1_2", "w^2_2", "g^2_2"]
        assert np.allclose(numbers, table[columns].iloc[4], atol=1e-6)
        assert reader.faults == []
