"""Type checkers have nothing to say of what the README and the pages show.

Not among the tests that are collected: `nox -s types` runs it where the package is
installed as a wheel, with pyright and mypy.
"""

import subprocess

import pytest
import snippets

# Keras' own annotations contradict its documentation (`verbose: str`, and None for what
# is built later): what it gives may be anything.
KERAS = "from typing import Any\ndef __getattr__(name: str) -> Any: ...\n"
CHECKERS = {
    "pyright": ["pyright", "--project", "pyrightconfig.json"],
    "mypy": ["mypy", "--ignore-missing-imports", "--no-incremental"],
}
PYRIGHT = """{
    "stubPath": "typings", "exclude": ["typings"],
    "reportMissingImports": "none", "reportMissingModuleSource": "none"
}"""


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder with a script of the snippets of each page."""
    stub = tmp_path / "typings" / "keras" / "__init__.pyi"
    stub.parent.mkdir(parents=True)
    stub.write_text(KERAS)
    (tmp_path / "pyrightconfig.json").write_text(PYRIGHT)
    for page in snippets.PAGES:
        script = tmp_path / f"page_{page.stem.lower()}.py"
        script.write_text(snippets.read(page).script)
    monkeypatch.setenv("MYPYPATH", str(tmp_path / "typings"))
    return tmp_path


@pytest.mark.parametrize("checker", CHECKERS)
def test_nothing_is_found(folder, checker):
    scripts = sorted(path.name for path in folder.glob("*.py"))
    command = CHECKERS[checker] + (scripts if checker == "mypy" else [])
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    assert run.returncode == 0, run.stdout + run.stderr


@pytest.mark.parametrize("checker", CHECKERS)
def test_a_mistake_is_found(folder, checker):
    (folder / "page_readme.py").write_text(
        "import hrcallbacks as hr\n"
        "hr.GradientRecorder(recordfreq=1)\n"
        "hr.open_recording(3)\n"
        "hr.open_recording('a').plot.loss(smooth='much')\n"
    )
    command = CHECKERS[checker] + (["page_readme.py"] if checker == "mypy" else [])
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    for line in (2, 3, 4):
        assert f"page_readme.py:{line}:" in run.stdout, run.stdout
