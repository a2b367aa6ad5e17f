import json
import re
import runpy
import subprocess
import sys
from pathlib import Path

import keras
import pytest

ROOT = Path(__file__).resolve().parents[1]


def run(script, *arguments, folder):
    """Runs an example in `folder`, as a user would type it."""
    return subprocess.run(
        [sys.executable, ROOT / "examples" / script, *arguments],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def refusal(monkeypatch, tmp_path, capsys):
    """Runs an example in this process, which has Keras already; gives what it says."""
    monkeypatch.chdir(tmp_path)

    def of(script, *arguments):
        monkeypatch.setattr(sys, "argv", [script, *arguments])
        with pytest.raises(SystemExit) as stop:
            runpy.run_path(str(ROOT / "examples" / script), run_name="__main__")
        assert stop.value.code == 2
        printed = capsys.readouterr()
        assert not printed.out
        return printed.err

    return of


@pytest.fixture(scope="module")
def lr_tables(tmp_path_factory):
    folder = tmp_path_factory.mktemp("lr_tables")
    result = run("lr_tables.py", folder=folder)
    assert result.returncode == 0, result.stderr
    return result.stdout, folder


def test_lr_tables_prints_every_column_and_row(lr_tables):
    printed, _ = lr_tables
    blocks = re.findall(r"^epoch +(.*?) *\\?$\n((?:\d+ .*\n){10})", printed, re.M)
    columns = [name for header, _ in blocks for name in header.split()]
    elements = [f"{q}^{k}_{i}" for k in (1, 2) for i in range(1, 7) for q in "wg"]
    assert columns == ["output", "loss", *elements] * 2
    numbers = [line.rstrip("\\ ").split() for _, b in blocks for line in b.splitlines()]
    assert sum(len(row) - 1 for row in numbers) == 520


def test_lr_tables_says_how_far_it_is_from_the_published_tables(lr_tables):
    printed, _ = lr_tables
    deviations = re.findall(r"(\d+) numbers: largest (\S+), rms (\S+)", printed)
    assert len(deviations) == 2
    for count, largest, rms in deviations:
        assert int(count) == 260
        assert float(largest) < 1e-4
        assert float(rms) < 2e-5


def test_lr_tables_computes_what_the_loss_does(lr_tables):
    printed, _ = lr_tables
    assert "Learning rate 0.1: the loss falls monotonically." in printed
    assert "Learning rate 0.3: the loss rises in epochs [4, 5, 9, 10]." in printed


def test_lr_tables_saves_its_picture_and_says_where(lr_tables):
    printed, folder = lr_tables
    path = re.search(r"the loss curves are in (\S+)", printed).group(1)
    assert (folder / path).read_bytes().startswith(b"\x89PNG")


def test_lr_tables_takes_another_catalogue(tmp_path):
    rows = "".join(f"{10 ** (k / 50 - 1)},1.0,{4000 + 20 * k}\n" for k in range(100))
    (tmp_path / "mine.csv").write_text(f"Lum,BP-RP,Teff\n{rows}")
    result = run("lr_tables.py", "--catalog", "mine.csv", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    assert "100 stars, mine.csv" in result.stdout


@pytest.mark.parametrize(
    ("content", "text"),
    [(None, "no catalogue file"), ("Lum,Teff\n1,5000\n", "lacks the columns")],
)
def test_lr_tables_refuses_a_bad_catalogue(tmp_path, refusal, content, text):
    if content:
        (tmp_path / "mine.csv").write_text(content)
    said = refusal("lr_tables.py", "--catalog", "mine.csv")
    assert text in said
    assert "Traceback" not in said


def test_audit_explains_the_printed_weights_and_predicts_the_other_table(tmp_path):
    result = run("audit_tables.py", folder=tmp_path)
    assert result.returncode == 0, result.stderr
    misses = re.findall(r"120 printed weights, furthest off by (\S+)", result.stdout)
    assert len(misses) == 2
    assert max(map(float, misses)) < 1e-5
    drawn = re.findall(r"as drawn here: (\w+)", result.stdout)
    assert drawn == [str(keras.config.backend() == "tensorflow")] * 2
    predicted = re.findall(
        r"LR 0.3, predicted, .*260 numbers, largest deviation (\S+),", result.stdout
    )
    assert len(predicted) == 2
    assert max(map(float, predicted)) < 2e-4


def test_folder_that_cannot_be_made_is_named_before_training(tmp_path, refusal):
    (tmp_path / "file").touch()
    assert "--pictures" in refusal("lr_tables.py", "--pictures", "file")


def test_reconstruction_is_not_written_where_it_cannot_be(refusal):
    said = refusal("reconstruct_catalog.py", "--output", "no/file.csv")
    assert "folder that exists" in said


def test_overhead_prints_a_ratio_for_each_case_and_saves_them(tmp_path):
    result = run(
        "overhead.py",
        *("--rounds", "1", "--steps", "5", "--models", "1-6-1", "--json", "all.json"),
        folder=tmp_path,
    )
    assert result.returncode == 0, result.stderr
    figures = json.loads((tmp_path / "all.json").read_text())
    cases = {row["case"]: row for row in figures["rows"]}
    assert {"plain fit", "every step, norms", "every step, raw, to Zarr"} <= set(cases)
    for name, row in cases.items():
        assert row["ratio"] > 0
        assert re.search(rf"^{re.escape(name)} +[\d.]+ +[\d.]+", result.stdout, re.M)
    assert figures["jit_compile"] in (True, False)
    assert "bytes to plain files added" in result.stdout
