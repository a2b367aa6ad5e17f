"""The documentation site, built and read in a real browser."""

import functools
import http.server
import importlib.util
import os
import re
import shutil
import string
import subprocess
import sys
import threading
from pathlib import Path
from urllib.parse import unquote, urldefrag, urlsplit

import numpy as np
import pandas as pd
import pytest

import hrcallbacks as hr

ROOT = Path(__file__).resolve().parents[1]
CHROMIUM = shutil.which("chromium")
PACKAGES = ("mkdocs", "mkdocs_jupyter", "playwright", "axe_playwright_python")
MISSING = [name for name in PACKAGES if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.skipif(
        bool(MISSING), reason=f"needs the extra site-test: {MISSING} are not installed"
    ),
    pytest.mark.skipif(CHROMIUM is None, reason="no Chromium is installed"),
]

WIDE, NARROW = 1280, 390
SCHEMES = ("light", "dark")
# Colours are the slowest to check. Each page's are from the same style sheet, and these
# pages have all kinds of elements, and all that has colours of its own.
COLOURS = {"runOnly": ["color-contrast"]}
# Describing what is in order would take axe most of its time.
AXE = {"resultTypes": ["violations"]}
COLOURFUL = (
    "index",
    "explanation/cost",
    "explanation/rules",
    "faq",
    "how-to/diagnose",
    "how-to/report",
    "reference/plots",
    "reference/recorder",
    "tutorials/derivation",
    "tutorials/learning-rates",
    "tutorials/tables",
)
PAGE_BYTES = 2_000_000


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """The folder of the built site: built here, or already, as SITE_DIR says."""
    if built := os.environ.get("SITE_DIR"):
        return Path(built).resolve()
    folder = tmp_path_factory.mktemp("site")
    result = subprocess.run(
        [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    return folder


@pytest.fixture(scope="module")
def pages(site):
    """Paths of all pages, below the site's folder."""
    found = sorted(path.relative_to(site).as_posix() for path in site.rglob("*.html"))
    found.remove("404.html")
    assert len(found) > 20
    return found


@pytest.fixture(scope="module")
def browser():
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        )
        yield browser
        browser.close()


@pytest.fixture(scope="module")
def server(site):
    """Address of a server of the site on this machine."""
    handler = functools.partial(_Quiet, directory=site)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


class _Quiet(http.server.SimpleHTTPRequestHandler):
    def log_message(self, format, *args):
        """Says nothing."""


class Reader:
    """A browser's page that notes what went wrong and what was loaded."""

    def __init__(self, browser, *, scheme="light", width=WIDE):
        self.context = browser.new_context(
            viewport={"width": width, "height": 900}, color_scheme=scheme
        )
        self.page = self.context.new_page()
        self.faults, self.requests, self.bytes = [], [], 0
        self.page.on("requestfailed", self._fail)
        self.page.on("pageerror", lambda error: self.faults.append(f"error {error}"))
        self.page.on("console", self._hear)
        self.page.on("request", lambda r: self.requests.append(r.url))
        self.page.on("response", self._weigh)

    def _fail(self, request):
        # What still loads when the page is left is broken off, and has not failed.
        if request.failure != "net::ERR_ABORTED":
            self.faults.append(f"failed {request.url}: {request.failure}")

    def _hear(self, message):
        if message.type in ("error", "warning"):
            self.faults.append(f"{message.type} {message.text}")

    def _weigh(self, response):
        self.bytes += int(response.headers.get("content-length", 0))
        if response.status >= 400:
            self.faults.append(f"{response.status} {response.url}")

    def read(self, address):
        self.faults.clear()
        self.requests.clear()
        self.bytes = 0
        self.page.goto(address)
        self.page.evaluate("document.fonts.ready.then(() => true)")
        return self.page

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.context.close()


# What tests ask of each page, in one go: loading a page takes longer than asking.
ASKED = """() => {
    const all = (what) => [...document.querySelectorAll(what)];
    const outlines = (svg) => [...svg.querySelectorAll("g")].filter(
        (g) => /scale\\([\\d.]+ -/.test(g.getAttribute("transform") || ""));
    // Text is outlines, drawn at 100 times the size that they are then scaled to.
    const height = (g) => 100 * Math.hypot(g.getScreenCTM().c, g.getScreenCTM().d);
    return {
        ids: all("[id]").map((e) => e.id),
        links: all("a[href]").map((e) => e.href),
        figures: all("article svg[role=img], article img").map(
            (e) => e.getAttribute("aria-label") || e.getAttribute("alt") || ""),
        unnamed: all("article .output svg:not([role=img])").length,
        headings: all("article :is(h1, h2, h3, h4, h5)").map(
            (e) => Number(e.tagName[1])),
        width: document.documentElement.scrollWidth,
        texts: all(".figure svg").flatMap(outlines).map(height),
    };
}"""


@pytest.fixture(scope="module")
def wide(site, pages, browser):
    """By path, what is in a page that was opened as a file; see `asked`."""
    return asked(site.as_uri(), pages, browser, WIDE)


@pytest.fixture(scope="module")
def narrow(site, pages, browser):
    """The same on a phone."""
    return asked(site.as_uri(), pages, browser, NARROW)


def ask(reader, address):
    """What a page answers to `ASKED`, its faults, its requests and their bytes."""
    said = reader.read(address).evaluate(ASKED)
    said |= {"faults": [*reader.faults], "requests": [*reader.requests]}
    return said | {"bytes": reader.bytes}


def asked(root, pages, browser, width):
    """By path, what `ask` found."""
    with Reader(browser, width=width) as reader:
        return {path: ask(reader, f"{root}/{path}") for path in pages}


def test_pages_load_from_a_server_and_ask_nothing_of_others(pages, browser, server):
    for path in pages:
        # A visitor who comes to this page first. Later ones load less, and the browser
        # fetches ahead what it has seen other pages need.
        with Reader(browser) as reader:
            page = ask(reader, f"{server}/{path}")
        assert page["faults"] == [], path
        own = server, "data:"
        assert [r for r in page["requests"] if not r.startswith(own)] == [], path
        assert 0 < page["bytes"] < PAGE_BYTES, (path, page["bytes"])


def test_pages_load_as_files_and_ask_nothing_of_others(site, wide, narrow):
    own = f"{site.as_uri()}/", "data:", "blob:", "about:"
    for path, page in [*wide.items(), *narrow.items()]:
        assert page["faults"] == [], path
        assert [r for r in page["requests"] if not r.startswith(own)] == [], path


def test_the_twelve_equations_are_numbered(site, browser):
    with Reader(browser) as reader:
        page = reader.read(f"{site.as_uri()}/tutorials/derivation.html")
        numbers = page.locator(".equation-number").all_inner_texts()
        assert numbers == [f"({n})" for n in range(1, 13)]
        for n in range(1, 13):
            formula = page.locator(f"#eq-{n} math")
            assert formula.count() == 1
            box = formula.bounding_box()
            assert box["width"] > 40
            assert box["height"] > 10
        # The font that came with the site, not whatever the system has.
        assert page.evaluate("document.fonts.check('16px \"Latin Modern Math\"')")
        assert page.locator("text=/\\\\(frac|partial|hat)/").count() == 0


def table_numbers(table):
    """What the cells of a table's body say."""
    rows = table.locator("tbody tr").all()
    cells = [row.locator("th, td").all_inner_texts() for row in rows]
    return np.array(cells, dtype=float)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_csv_of_a_table_is_the_table(site, browser, rate):
    with Reader(browser) as reader:
        page = reader.read(f"{site.as_uri()}/tutorials/tables.html")
        with page.expect_download() as download:
            page.locator(f"a[download*='{rate}']").click()
        table = pd.read_csv(download.value.path())
        published = hr.load_published_table(rate)
        assert list(table) == list(published)
        np.testing.assert_allclose(table, published, atol=1e-4, rtol=0)


@pytest.mark.parametrize("rate", [0.1, 0.3])
def test_the_tables_have_all_columns_and_the_published_numbers(site, browser, rate):
    with Reader(browser) as reader:
        page = reader.read(f"{site.as_uri()}/tutorials/tables.html")
        heading = page.locator(f"h3:has-text('Learning rate {rate}')")
        tables = [heading.locator(f"xpath=following::table[{n}]") for n in (1, 2)]
        names = (
            "all => all.map(e => e.firstChild.getAttribute?.('alttext') ?? e.innerText)"
        )
        columns = [t.locator("thead th").evaluate_all(names) for t in tables]
        published = hr.load_published_table(rate)
        assert [first for first, *_ in columns] == ["epoch", "epoch"]
        assert columns[0][1:] + columns[1][1:] == list(published)[1:]
        numbers = np.hstack([table_numbers(table) for table in tables])
        assert numbers[:, 0].tolist() == list(published["epoch"])
        numbers = np.delete(numbers, [0, len(columns[0])], axis=1)
        np.testing.assert_allclose(numbers, published.iloc[:, 1:], atol=1e-5, rtol=0)


# What people type, and the page that should come first.
SEARCHES = {
    "backpropagation": "tutorials/derivation",
    "back-propagation": "tutorials/derivation",
    "chain rule": "tutorials/derivation",
    "Heaviside": "tutorials/derivation",
    "record gradients": "index",
    "gradients model.fit": "index",
    "wandb": "explanation/comparison",
    "vanishing gradient": "how-to/diagnose",
    "dead relu": "how-to/diagnose",
    "nan loss": "how-to/nan",
    "heatmap": "reference/plots",
    "trajectories": "reference/plots",
    "pytorch": "how-to/backends",
    "jax": "how-to/backends",
    "tensorboard": "how-to/to_tensorboard",
    "save gradients to disk": "how-to/large_models",
    "train_step": "how-to/custom_steps",
    "learning rate": "tutorials/learning-rates",
    "Adam": "tutorials/learning-rates",
}


def found_by(page, query):
    """Pages in the order in which the site's own search lists them."""
    results = page.locator(".md-search-result__item")
    box = page.locator("input.md-search__input")
    if not page.locator("#__search").is_checked():
        page.keyboard.press("/")
    box.fill("")  # What an earlier query found must not pass for an answer.
    results.first.wait_for(state="detached")
    box.press_sequentially(query)
    results.first.wait_for()
    count = page.locator(".md-search-result__meta", has_text=re.compile(r"matching"))
    count.wait_for()
    links = results.evaluate_all("all => all.map(e => e.querySelector('a').pathname)")
    return ["/".join(link.removesuffix(".html").split("/")[-2:]) for link in links]


def test_search_lists_the_right_page_first_without_a_server(site, browser):
    ranks = {}
    with Reader(browser) as reader:
        start = reader.read(f"{site.as_uri()}/index.html")
        for query, page in SEARCHES.items():
            found = found_by(start, query)
            names = [f if (site / f"{f}.html").is_file() else "index" for f in found]
            ranks[query] = names.index(page) + 1 if page in names else None
            print(f"{query:24} {page:26} {ranks[query]}")
        assert reader.faults == []
    assert ranks == dict.fromkeys(SEARCHES, 1)


def test_search_knows_a_word_with_each_letter(site, browser):
    """Looks at all words of the index: if one was lost, the search fails and warns."""
    with Reader(browser) as reader:
        start = reader.read(f"{site.as_uri()}/index.html")
        for letter in set(string.ascii_lowercase) - set("qxyz"):
            assert found_by(start, letter), letter
        assert reader.faults == []


def test_titles_keep_their_code(site, browser):
    with Reader(browser) as reader:
        page = reader.read(f"{site.as_uri()}/how-to/custom_steps.html")
        title = "GANs, and a train_step of your own"
        assert page.title() == f"{title} - hrcallbacks"
        active = page.locator(".md-nav--primary a.md-nav__link--active")
        assert active.last.inner_text().strip() == title
        assert found_by(page, "GANs")[0] == "how-to/custom_steps"
        result = page.locator(".md-search-result__item h1").first
        assert result.inner_text().strip() == title


def test_pages_offer_what_they_were_made_from_to_those_who_have_the_wheel(site):
    written = {path: path.read_text() for path in site.rglob("*.html")}
    offering = [path for path, text in written.items() if 'class="downloads"' in text]
    assert len(offering) > 20
    for path in offering:
        links = re.findall(r'href="([^"]+)" download>', path.read_text())
        files = [(path.parent / link).resolve() for link in links]
        assert {file.suffix for file in files} == {".py", ".ipynb"}, path
        beside = {file.stem for file in files}
        for file in files:
            text = file.read_text()
            assert "pip install" in text, file
            imported = set(re.findall(r"^(?:from|import) (\w+)", text, re.M))
            examples = {example.stem for example in ROOT.glob("examples/*.py")}
            assert imported & examples <= beside, file


def test_the_reference_shows_what_is_public_and_nothing_else(site):
    text = "".join(path.read_text() for path in site.glob("reference/*.html"))
    shown = set(re.findall(r'<h\d id="hrcallbacks\.([\w.]+)"', text))
    public = {f"plot.{name}" for name in hr.plot.__all__ if name != "Plots"}
    public |= {f"diagnose.{name}" for name in hr.diagnose.__all__ if name != "RULES"}
    doubled = {name for name in public if f"{name}.{name.split('.')[1]}" in shown}
    assert public <= shown | doubled
    internal = [name for name in shown if re.search(r"(^|\.)_|misses_steps", name)]
    assert internal == []


def test_the_moving_picture_can_be_stopped_and_stands_still_on_request(site, browser):
    state = "e => ['Name', 'PlayState'].map(k => getComputedStyle(e)[`animation${k}`])"
    with Reader(browser) as reader:
        page = reader.read(f"{site.as_uri()}/index.html")
        frame = page.locator(".frame").first
        assert frame.evaluate(state) == ["frame", "running"]
        page.get_by_label("Pause").check()
        assert frame.evaluate(state) == ["frame", "paused"]
        page.emulate_media(reduced_motion="reduce")
        assert frame.evaluate(state)[0] == "none"
        opacity = "all => all.map(e => Number(getComputedStyle(e).opacity))"
        frames = page.locator(".frame").evaluate_all(opacity)
        assert frames == [0] * 9 + [1]


def test_the_toggle_makes_the_page_dark(site, browser):
    background = "getComputedStyle(document.body).backgroundColor"
    with Reader(browser) as reader:
        page = reader.read(f"{site.as_uri()}/index.html")
        light = page.evaluate(background)
        page.locator("label[title='Switch to dark mode']").click()
        dark = page.evaluate(background)
        brightness = [sum(map(int, re.findall(r"\d+", c)[:3])) for c in (light, dark)]
        assert brightness[0] > 700
        assert brightness[1] < 200
        figure = page.locator("figure svg, .figure svg").first
        text = figure.evaluate("e => getComputedStyle(e).color")
        assert sum(map(int, re.findall(r"\d+", text)[:3])) > 500


def test_nothing_overflows_a_phone(narrow):
    widths = {path: page["width"] for path, page in narrow.items()}
    assert {path: width for path, width in widths.items() if width > NARROW} == {}


def test_text_in_figures_can_be_read_on_a_phone(narrow):
    for path, page in narrow.items():
        assert min(page["texts"], default=10) >= 9.99, path
    assert sum(bool(page["texts"]) for page in narrow.values()) > 5


def test_wide_tables_scroll_inside_a_phones_page(site, browser):
    with Reader(browser, width=NARROW) as reader:
        page = reader.read(f"{site.as_uri()}/tutorials/tables.html")
        frame = page.locator(".output:has(table.dataframe)").nth(1)
        inside, shown = frame.evaluate("e => [e.scrollWidth, e.clientWidth]")
        assert inside > 2 * shown
        frame.evaluate("e => { e.scrollLeft = 300 }")
        assert frame.evaluate("e => e.scrollLeft") == 300


def test_axe_finds_no_serious_violation(site, pages, browser):
    options = {"rules": {"color-contrast": {"enabled": False}}}
    assert violations(site, pages, browser, options) == {}


@pytest.mark.parametrize("scheme", SCHEMES)
def test_axe_finds_text_that_stands_out(site, browser, scheme):
    pages, options = [f"{name}.html" for name in COLOURFUL], COLOURS
    assert violations(site, pages, browser, options, scheme=scheme) == {}


def violations(site, pages, browser, options, *, scheme="light"):
    """What axe calls serious, by path."""
    from axe_playwright_python.sync_playwright import Axe

    axe, serious = Axe(), {}
    with Reader(browser, scheme=scheme) as reader:
        for path in pages:
            page = reader.read(f"{site.as_uri()}/{path}")
            for found in axe.run(page, options=options | AXE).response["violations"]:
                if found["impact"] in ("serious", "critical"):
                    nodes = [node["html"][:200] for node in found["nodes"][:3]]
                    serious.setdefault(path, []).append((found["id"], nodes))
    return serious


def test_figures_have_alt_texts_and_headings_are_in_order(wide):
    for path, page in wide.items():
        assert all(len(text) > 20 for text in page["figures"]), (path, page["figures"])
        assert page["unnamed"] == 0, path
        levels = page["headings"]
        assert levels.count(1) == 1, path
        assert (np.diff(levels) <= 1).all(), (path, levels)
    assert sum(len(page["figures"]) for page in wide.values()) > 10


def test_links_within_the_site_lead_somewhere(site, wide):
    anchors = {path: {*page["ids"]} for path, page in wide.items()}
    links = [(path, href) for path, page in wide.items() for href in page["links"]]
    for path, href in links:
        address, anchor = urldefrag(href)
        if not address.startswith("file:"):
            continue
        target = Path(unquote(urlsplit(address).path)).relative_to(site).as_posix()
        target = f"{target}/index.html".removeprefix("./") if target == "." else target
        assert (site / target).is_file(), (path, href)
        if anchor and target in anchors:
            assert unquote(anchor) in anchors[target], (path, href)
