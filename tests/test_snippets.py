"""What a page shows runs where it is pasted, with no more installed than it names.

The README's code is run here. That of the start page and the how-to pages is run when
the site is built, with the rest hidden in the same way.
"""

import os
import subprocess
import sys

import extras
import pytest
import snippets

SINKS = snippets.ROOT / "docs" / "how-to" / "sinks.py"


def run(code, page, folder):
    hide = f"import extras; extras.hide({extras.hidden(page.extras, page.more)!r})"
    return subprocess.run(
        [sys.executable, "-c", f"{hide}\n{code}"],
        cwd=folder,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("path", snippets.PAGES, ids=lambda path: path.stem)
def test_each_page_names_what_to_install(path):
    page = snippets.read(path)
    assert page.extras
    assert page.extras <= extras.OFFERED
    assert len(page.extras & extras.BACKENDS) == 1
    if path != snippets.README:
        assert extras.named(path.read_text()) == (page.extras, page.more)


def test_the_snippets_of_the_readme_run_where_they_are_pasted(tmp_path, monkeypatch):
    monkeypatch.setenv("KERAS_BACKEND", "tensorflow")
    monkeypatch.setenv("MPLBACKEND", "agg")
    page = snippets.read(snippets.README)
    result = run(page.script, page, tmp_path)
    assert result.returncode == 0, result.stderr
    assert "<Recording: 24 records of 2 variables" in result.stdout
    assert "(24, 1, 1)" in result.stdout
    assert "<Findings: " in result.stdout
    assert (tmp_path / "loss.png").is_file()
    assert [*(tmp_path / "logs" / "gradients" / "train").iterdir()]
    assert (tmp_path / "run.zarr" / "zarr.json").is_file()


def test_the_readme_and_the_start_page_begin_with_the_same_lines():
    first = [snippets.read(path).code[0].strip() for path in snippets.PAGES[:2]]
    assert first[0] == first[1]


def test_a_package_that_a_page_does_not_name_is_not_there(tmp_path):
    result = run("import matplotlib", snippets.read(SINKS), tmp_path)
    assert "ModuleNotFoundError: No module named 'matplotlib'" in result.stderr
