"""Type checkers have nothing to say of what the README and the how-to pages show.

Not among the tests that are collected: `nox -s types` runs it where the package is
installed as a wheel, with pyright and mypy.
"""

import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(ROOT.glob("docs/how-to/*.py"))
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
    """A folder with a script of the README's snippets, and one for each page."""
    stub = tmp_path / "typings" / "keras" / "__init__.pyi"
    stub.parent.mkdir(parents=True)
    stub.write_text(KERAS)
    (tmp_path / "pyrightconfig.json").write_text(PYRIGHT)
    readme = (ROOT / "README.md").read_text()
    blocks = re.findall(r"^```python\n(.*?)^```", readme, re.M | re.S)
    (tmp_path / "readme.py").write_text("\n".join(blocks))
    for page in PAGES:
        (tmp_path / f"page_{page.name}").write_text(page.read_text())
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
    (folder / "readme.py").write_text(
        "import hrcallbacks as hr\n"
        "hr.GradientRecorder(recordfreq=1)\n"
        "hr.open_recording(3)\n"
        "hr.open_recording('a').plot.loss(smooth='much')\n"
    )
    command = CHECKERS[checker] + (["readme.py"] if checker == "mypy" else [])
    run = subprocess.run(command, cwd=folder, capture_output=True, text=True)
    for line in (2, 3, 4):
        assert f"readme.py:{line}:" in run.stdout, run.stdout
