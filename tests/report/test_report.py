"""What a report's file holds, read back without the code that wrote it."""

import base64
import dataclasses
import json
import re
import struct
import subprocess
import sys
from html.parser import HTMLParser

import numpy as np
import pytest
import synthetic
from hostile import HOSTILE
from plot_recordings import recording_of

import hrcallbacks as hr
from hrcallbacks.report import figures


def test_runs_show_a_variable_under_one_path(tmp_path):
    values = np.ones((3, 2))
    runs = hr.Runs(
        {
            "a": recording_of({"sequential/dense/kernel": values}),
            "b": recording_of({"sequential_1/dense_1/kernel": values}),
        }
    )
    text = hr.report(runs, tmp_path / "runs.html").read_text()
    assert "sequential/dense/kernel" in text
    assert "sequential_1" not in text


class Elements(HTMLParser):
    """The page's elements, and the text of its scripts, as a browser splits them."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.scripts, self._open = [], [], False
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        self._open = tag == "script"
        if self._open:
            self.scripts.append("")

    def handle_data(self, data):
        if self._open:
            self.scripts[-1] += data

    def handle_endtag(self, tag):
        self._open = False


def written(recording, folder):
    """The text of a report, and its data."""
    path = hr.report(recording, folder / "run.html")
    text = path.read_text(encoding="utf-8")
    return text, json.loads(Elements(text).scripts[0])


def floats(text):
    raw = base64.b64decode(text)
    return np.array(struct.unpack(f"<{len(raw) // 4}f", raw))


def panel_of(run, key):
    (found,) = [panel for panel in run["panels"] if panel["key"] == key]
    return found


def test_norms_of_raw_gradients_are_those_of_linalg(tmp_path):
    gradients = synthetic.network(records=9)
    _, data = written(synthetic.recording_of(gradients), tmp_path)
    series = panel_of(data["runs"][0], "gradients")["series"]
    assert [s["name"] for s in series] == list(gradients)
    for s in series:
        expected = [np.linalg.norm(row.ravel()) for row in gradients[s["name"]]]
        assert np.allclose(floats(s["y"]), expected, rtol=1e-6)
        assert s["first"] == pytest.approx(expected[0])
        assert s["max"] == pytest.approx(max(expected))


def test_norms_read_in_pieces_are_the_same(tmp_path, monkeypatch):
    from hrcallbacks.report import tracks

    monkeypatch.setattr(tracks, "_BLOCK_BYTES", 100)
    array = np.random.default_rng(0).normal(size=(23, 3, 4))
    expected = np.sqrt((array**2).sum(axis=(1, 2)))
    assert np.allclose(tracks.norms(array), expected)
    every = tracks.norms(array, every=5)
    assert np.allclose(every[::5], expected[::5])
    assert np.isnan(np.delete(every, np.arange(0, 23, 5))).all()


@pytest.mark.parametrize("weights_at", ["after", "before"])
def test_update_ratios_are_those_of_consecutive_steps(tmp_path, weights_at):
    weights = np.array([[1.0, 0], [2, 0], [2, 1], [5, 5]])
    recording = synthetic.recording_of(
        weights={"a/kernel": weights}, steps=[3, 4, 5, 9], weights_at=weights_at
    )
    _, data = written(recording, tmp_path)
    (series,) = panel_of(data["runs"][0], "update_ratio")["series"]
    # From (1, 0) to (2, 0), and from (2, 0) to (2, 1): lengths 1 and 1, of 1 and 2.
    rows = (
        [np.nan, 1, 0.5, np.nan] if weights_at == "after" else [1, 0.5] + [np.nan] * 2
    )
    assert np.array_equal(floats(series["y"]), rows, equal_nan=True)


def test_update_ratio_of_the_first_step_starts_from_the_fits_weights(tmp_path):
    from hrcallbacks.types import Fit

    recording = synthetic.recording_of(weights={"a/kernel": np.array([[3.0], [6.0]])})
    recording.fits = [Fit(ended=True, weights={"a/kernel": np.array([2.0])})]
    _, data = written(recording, tmp_path)
    (series,) = panel_of(data["runs"][0], "update_ratio")["series"]
    assert floats(series["y"]).tolist() == [0.5, 1.0]


def test_thinning_keeps_every_blocks_extremes_and_flags():
    from hrcallbacks.report.blocks import Blocks

    rng = np.random.default_rng(1)
    values = rng.normal(size=1234).astype("float32")
    values[[100, 700]] = 50, -60
    values[5], values[900] = np.nan, np.inf
    absent = np.zeros(1234, bool)
    absent[1200:] = True
    blocks = Blocks.of(1234, 100)
    thinned = blocks.thin(values, absent=absent)
    pairs = thinned.values.reshape(-1, 2)
    for number, start in enumerate(range(0, 1234, blocks.size)):
        rows = slice(start, start + blocks.size)
        finite = [v for v in values[rows][~absent[rows]] if np.isfinite(v)]
        flag = int(np.isnan(values[rows]).any()) + 2 * int(np.isinf(values[rows]).any())
        flag += 4 * int(absent[rows].any())
        assert thinned.flags[number] == flag
        if finite:
            assert sorted(pairs[number]) == [min(finite), max(finite)]
            falls = finite.index(max(finite)) < finite.index(min(finite))
            assert (pairs[number][0] > pairs[number][1]) == falls
        else:
            assert np.isnan(pairs[number]).all()
    times = blocks.times(np.arange(1, 1235))
    assert times[[0, 1, -1]].tolist() == [1, blocks.size, 1234]
    assert len(times) == pairs.size


def test_short_series_are_not_thinned():
    from hrcallbacks.report.blocks import Blocks

    values = np.array([1.0, np.nan, -np.inf, 4.0])
    thinned = Blocks.of(4, 2).thin(values)
    assert np.array_equal(thinned.values, [1, np.nan, np.nan, 4], equal_nan=True)
    assert thinned.flags.tolist() == [0, 1, 2, 0]


def test_long_recording_keeps_its_peak_and_its_nan_and_stays_small(tmp_path):
    count, paths = 30_000, [f"net/layer_{n}/kernel" for n in range(40)]
    norms = {path: np.ones(count, "float32") for path in paths}
    norms[paths[7]][12_345] = 1e6
    norms[paths[8]][23_456] = np.nan
    recording = recording_of(
        reduced={("gradients", "norm"): norms}, loss=np.linspace(2, 1, count)
    )
    text, data = written(recording, tmp_path)
    run = data["runs"][0]
    assert run["blockSize"] == 30
    series = panel_of(run, "gradients")["series"]
    assert floats(series[7]["y"])[2 * (12_345 // 30) :][:2].max() == np.float32(1e6)
    assert base64.b64decode(series[8]["flags"])[23_456 // 30] == 1
    assert series[8]["broken"] == 1
    assert len(text) < 2_000_000


def test_names_from_a_recording_are_never_markup(tmp_path):
    gradients = {f"net/{HOSTILE}/kernel": synthetic.noise(4, 3, 2)}
    recording = synthetic.recording_of(
        gradients, optimizer={"class_name": HOSTILE, "config": {HOSTILE: HOSTILE}}
    )
    plain, _ = written(synthetic.recording_of(synthetic.network(4)), tmp_path)
    text, data = written({HOSTILE: recording}, tmp_path)
    assert Elements(text).tags == Elements(plain).tags
    (script,) = [s for s in re.findall(r"<script[^>]*>", text) if "json" in s]
    inside = text.partition(script)[2].partition("</script>")[0]
    assert not set("<>&\u2028") & set(inside)
    assert data["runs"][0]["name"] == HOSTILE
    assert f"net/{HOSTILE}/kernel" in json.dumps(data, ensure_ascii=False).replace(
        "\\", ""
    )


def test_page_loads_nothing_and_allows_its_own_script_alone(tmp_path):
    text, _ = written(synthetic.published(0.1), tmp_path)
    elements = Elements(text)
    sources = {name for _, attrs in elements.tags for name in attrs}
    assert not sources & {"src", "href", "srcset", "data"}
    (policy,) = [a["content"] for _, a in elements.tags if a.get("http-equiv")]
    assert policy.startswith("default-src 'none'; script-src 'sha256-")
    assert re.search(r"uPlot.*MIT|leeoniya", text)


@pytest.mark.parametrize(
    ("recording", "missing"),
    [
        (synthetic.recording_of(loss=[], gradients={}), ["There is no record"]),
        (
            synthetic.recording_of(
                {"a/kernel:norm": np.ones(3)}, shapes={"a/kernel": (2, 2)}
            ),
            [
                "norm of the weights",
                "no update ratios",
                "link by link",
                "no histograms",
            ],
        ),
        (
            recording_of(
                reduced={("gradients", "histogram"): {"a/kernel": np.ones((3, 7))}},
                reductions={
                    "gradients": {
                        "histogram": {
                            "kind": "Histogram",
                            "edges": [1.0, 2.0, 4.0, 8.0, 16.0],
                        }
                    }
                },
                loss=np.full(3, np.nan),
            ),
            [
                "No loss",
                "norm of the gradients: of them, histogram",
                "no update ratios",
            ],
        ),
    ],
    ids=["empty", "norms", "histograms"],
)
def test_what_is_not_there_is_named(tmp_path, recording, missing):
    _, data = written(recording, tmp_path)
    said = "\n".join(data["runs"][0]["missing"])
    for part in missing:
        assert part in said


def test_recorded_histograms_are_shown_by_their_bins(tmp_path):
    counts = np.array([[0, 4, 2, 0, 1, 0, 0], [0, 1, 8, 0, 0, 0, 1]], float)
    recording = recording_of(
        reduced={("gradients", "histogram"): {"a/kernel": counts}},
        reductions={
            "gradients": {
                "histogram": {"kind": "Histogram", "edges": [1.0, 2.0, 4.0, 8.0, 16.0]}
            }
        },
    )
    _, data = written(recording, tmp_path)
    (item,) = data["runs"][0]["distributions"]["items"]
    assert item["edges"] == [1, 2, 4, 8, 16]
    shares = np.frombuffer(base64.b64decode(item["shares"]), np.uint8).reshape(2, 4)
    assert shares.tolist() == [[0, 255, 128, 0], [0, 32, 255, 0]]
    assert item["others"] == {"zero": [0.1429, 0.0], "inf": [0.0, 0.1]}


def test_unfinished_recording_says_so(tmp_path):
    recording = synthetic.published(0.1)
    recording.fits = [dataclasses.replace(fit, ended=False) for fit in recording.fits]
    recording.attributes |= {"complete": False, "fault": None}
    _, data = written(recording, tmp_path)
    assert "going on, or it broke off" in data["runs"][0]["about"]["fault"]
    recording.attributes |= {"fault": "the disk is full"}
    _, data = written(recording, tmp_path)
    assert data["runs"][0]["about"]["fault"] == "the disk is full"


def test_network_has_the_weights_and_gradients_of_each_record(tmp_path):
    table = hr.load_published_table(0.1)
    _, data = written(synthetic.published(0.1), tmp_path)
    network = data["runs"][0]["network"]
    assert network["sizes"] == [1, 6, 1]
    for letter, name in (("w", "weights"), ("g", "gradients")):
        columns = [f"{letter}^{k}_{i}" for k in (1, 2) for i in range(1, 7)]
        expected = table[columns].to_numpy()
        assert np.allclose(floats(network[name]).reshape(10, 12), expected, atol=1e-6)


def test_store_gives_the_same_page_without_keras(tmp_path):
    pytest.importorskip("zarr")
    recording = synthetic.recording_of(synthetic.network(), synthetic.network(seed=9))
    recording.save(tmp_path / "run.zarr")
    _, expected = written(recording, tmp_path)
    code = (
        "import sys; sys.modules['keras'] = sys.modules['matplotlib'] = None\n"
        "import hrcallbacks as hr\n"
        "hr.report(hr.open_recording('run.zarr'), 'stored.html')\n"
    )
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, check=True)
    text = (tmp_path / "stored.html").read_text(encoding="utf-8")
    (run,) = json.loads(Elements(text).scripts[0])["runs"]
    for part in ("panels", "network", "distributions", "findings", "missing"):
        assert run[part] == expected["runs"][0][part], part


def test_what_cannot_be_reported_is_refused(tmp_path):
    recording = synthetic.published(0.1)
    with pytest.raises(TypeError, match=r"hr\.open_recording\('run\.zarr'\)"):
        hr.report("run.zarr", tmp_path / "run.html")
    with pytest.raises(TypeError, match="Received: int as 'b'"):
        hr.report({"a": recording, "b": 3}, tmp_path / "run.html")
    with pytest.raises(ValueError, match="at least one recording"):
        hr.report({}, tmp_path / "run.html")
    with pytest.raises(FileNotFoundError, match="no folder"):
        hr.report(recording, tmp_path / "no" / "run.html")


def test_shell_writes_a_page_of_several_stores(tmp_path, monkeypatch, capsys):
    from hrcallbacks.cli.parser import main

    pytest.importorskip("zarr")
    monkeypatch.chdir(tmp_path)
    for rate in (0.1, 0.3):
        synthetic.published(rate).save(f"rate_{rate}.zarr")
    assert main(["report", "rate_0.1.zarr", "rate_0.3.zarr", "-o", "both.html"]) == 0
    assert capsys.readouterr().out == "Wrote both.html\n"
    text = (tmp_path / "both.html").read_text(encoding="utf-8")
    runs = json.loads(Elements(text).scripts[0])["runs"]
    assert [run["name"] for run in runs] == ["rate_0.1", "rate_0.3"]


def test_a_frame_holds_the_page_as_it_is(tmp_path):
    path = hr.report(synthetic.published(0.1), tmp_path / "run.html")
    markup = figures.frame(path, 'one run, "A"')._repr_html_()
    found = []
    parser = HTMLParser()
    parser.handle_starttag = lambda tag, attributes: found.append((tag, attributes))
    parser.feed(markup)
    ((tag, attributes),) = found
    assert tag == "iframe"
    assert dict(attributes)["title"] == 'one run, "A"'
    assert dict(attributes)["srcdoc"] == path.read_text(encoding="utf-8")


def test_one_recording_is_called_what_its_page_is(tmp_path):
    text = hr.report(synthetic.published(0.1), tmp_path / "rate 0.1.html").read_text()
    assert "<title>Recording: rate 0.1</title>" in text


def test_explore_says_what_to_install(monkeypatch):
    monkeypatch.setitem(sys.modules, "anywidget", None)
    with pytest.raises(ImportError, match=r'"hrcallbacks\[notebook\]".*hr\.report'):
        synthetic.published(0.1).explore()


def test_explore_hands_the_widget_the_same_data(tmp_path):
    pytest.importorskip("anywidget")
    recording = synthetic.published(0.1)
    widget = recording.explore()
    _, data = written(recording, tmp_path)
    assert json.loads(widget.data) == data


def test_licence_of_the_charts_is_shipped():
    from importlib import resources

    folder = resources.files("hrcallbacks.report") / "assets"
    assert "Leon Sorokin" in (folder / "uPlot.LICENSE").read_text(encoding="utf-8")
