"""What a page shows runs where it is pasted, with no more installed than it names."""

import importlib.metadata
import re
import subprocess
import sys
import tomllib

import pytest
import snippets

PYPROJECT = tomllib.loads((snippets.ROOT / "pyproject.toml").read_text())
EXTRAS = PYPROJECT["project"]["optional-dependencies"]
# What users install on request; the docs and the tests have packages of their own.
OFFERED = {*EXTRAS} - {"all", "docs", "examples", "site-test", "test", "zoo"}
# Hides packages that happen to be here from whatever looks for them.
HIDING = """
import importlib.machinery as machinery
find = machinery.PathFinder.find_spec
def find_but(name, path=None, target=None):
    return None if name in {hidden!r} else find(name, path, target)
machinery.PathFinder.find_spec = find_but
"""


def name_of(requirement):
    return re.match(r"[\w.-]+", requirement)[0].lower().replace("_", "-")


def packages(extra):
    """Names of the packages of an extra, without those of backends it brings."""
    names = {name_of(requirement) for requirement in EXTRAS[extra]}
    return names - {"hrcallbacks"}


def brought_by(names):
    """These packages, and all that they require in turn."""
    found, waiting = set(), set(names)
    while waiting:
        name = waiting.pop()
        found.add(name)
        try:
            required = importlib.metadata.requires(name) or []
        except importlib.metadata.PackageNotFoundError:
            continue
        plain = {name_of(r) for r in required if "extra ==" not in r}
        waiting |= plain - found
    return found


def modules_of(names):
    """Top-level modules of these packages."""
    modules = importlib.metadata.packages_distributions()
    return {m for m, dists in modules.items() if {name_of(d) for d in dists} & names}


def hidden(page):
    """Modules of the extras that a page does not name."""
    core = {name_of(r) for r in PYPROJECT["project"]["dependencies"]}
    named = set().union(*(packages(extra) for extra in page.extras))
    there = brought_by(core | named | page.more)
    return modules_of(set().union(*map(packages, OFFERED)) - there)


def run(code, page, folder):
    return subprocess.run(
        [sys.executable, "-c", HIDING.format(hidden=hidden(page)) + code],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )


def test_each_page_names_what_to_install():
    for path in snippets.PAGES:
        page = snippets.read(path)
        assert page.extras, path.name
        assert page.extras <= OFFERED, path.name
        assert page.extras & {"tensorflow", "jax", "torch"}, path.name


@pytest.mark.parametrize("path", snippets.PAGES, ids=lambda path: path.stem)
def test_the_snippets_of_a_page_run_where_they_are_pasted(path, tmp_path, monkeypatch):
    page = snippets.read(path)
    for package in page.more:
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            pytest.skip(f"{package} is not installed")
    (backend,) = page.extras & {"tensorflow", "jax", "torch"}
    if not modules_of({name_of(r) for r in EXTRAS[backend]}):
        pytest.skip(f"{backend} is not installed")
    monkeypatch.setenv("KERAS_BACKEND", backend)
    monkeypatch.setenv("MPLBACKEND", "agg")
    result = run(page.script, page, tmp_path)
    assert result.returncode == 0, result.stderr
    if path == snippets.README:
        check_readme(result.stdout, tmp_path)


def check_readme(printed, folder):
    assert "<Recording: 24 records of 2 variables" in printed
    assert "(24, 1, 1)" in printed
    assert "<Findings: " in printed
    assert (folder / "loss.png").is_file()
    assert [*(folder / "logs" / "gradients" / "train").iterdir()]
    assert (folder / "run.zarr" / "zarr.json").is_file()


def test_the_readme_and_the_start_page_begin_with_the_same_lines():
    first = [snippets.read(path).code[0].strip() for path in snippets.PAGES[:2]]
    assert first[0] == first[1]


def test_a_package_that_a_page_does_not_name_is_not_there(tmp_path):
    page = snippets.read(snippets.ROOT / "docs" / "how-to" / "sinks.py")
    result = run("import matplotlib", page, tmp_path)
    assert "ModuleNotFoundError: No module named 'matplotlib'" in result.stderr
