"""The reference names what is public, and code in the documentation is code that runs.

Needs no MkDocs: it reads the pages' sources.
"""

import ast
import importlib
import re
import subprocess
import sys
from pathlib import Path

import pytest
import snippets

import hrcallbacks as hr

ROOT = Path(__file__).resolve().parents[1]
PAGES = sorted(ROOT.glob("docs/**/*.md"))
MODULES = sorted(ROOT.glob("hrcallbacks/**/*.py"))
# Functions that share the name of their module, which hides them from the reference.
PLOT_FILES = ["heatmap", "histograms", "network", "trajectories"]
# Documented as whole modules, or as what a public function returns.
BESIDE_ALL = [
    "hrcallbacks.worked_example.backprop",
    "hrcallbacks.recording.replay.Replay",
    "hrcallbacks.recording.restore.Restored",
    *(f"hrcallbacks.plot.{name}.{name}" for name in PLOT_FILES),
]
# A fenced block, with a comment right before it that names a test or a reason.
BLOCK = re.compile(
    r"(?:<!-- (?P<mark>run|not run): (?P<why>[^>]+) -->\n)?"
    r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<code>.*?)^ *```$",
    re.M | re.S,
)


def documented_names():
    pages = ROOT.glob("docs/reference/*.md")
    return [
        name
        for page in sorted(pages)
        for name in re.findall(r"^::: (\S+)$", page.read_text(), re.M)
    ]


def blocks(page, language):
    return [b for b in BLOCK.finditer(page.read_text()) if b["language"] == language]


def test_each_public_name_is_documented_once():
    # `backprop` is a module of the worked example: see BESIDE_ALL.
    public = [f"hrcallbacks.{name}" for name in hr.__all__ if name != "backprop"]
    assert sorted(documented_names()) == sorted({*public, *BESIDE_ALL})


def test_documented_names_are_there():
    for name in documented_names():
        module, _, attribute = name.rpartition(".")
        if name.removeprefix("hrcallbacks.") in hr.__all__:
            assert hasattr(hr, attribute)
        elif (ROOT / name.replace(".", "/")).with_suffix(".py").is_file():
            assert importlib.import_module(name).__doc__
        else:
            assert getattr(importlib.import_module(module), attribute).__doc__


def test_reference_pages_are_in_the_navigation():
    configuration = (ROOT / "mkdocs.yml").read_text()
    pages = [p.name for p in ROOT.glob("docs/reference/*.md")]
    assert pages
    for page in pages:
        assert f"- reference/{page}\n" in configuration


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.stem)
def test_python_blocks_of_a_page_run(page, tmp_path):
    code = [b["code"] for b in blocks(page, "python") if b["mark"] != "not run"]
    if not code:
        return
    result = subprocess.run(
        [sys.executable, "-c", "".join(code)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=False,
    )
    assert result.returncode == 0, f"{page.relative_to(ROOT)}\n{result.stderr}"


@pytest.mark.parametrize("page", [*PAGES, ROOT / "README.md"], ids=lambda p: p.stem)
def test_commands_of_a_page_are_run_or_say_why_not(page):
    shell = [b for name in ("bash", "sh", "console") for b in blocks(page, name)]
    for block in shell:
        assert block["mark"], f"{page.name}: no '<!-- run: ... -->' before\n{block[0]}"
    for block in BLOCK.finditer(page.read_text()):
        assert block["language"], f"{page.name}: name the language of\n{block[0]}"


def test_no_python_block_of_the_readme_is_left_out():
    # tests/test_snippets.py runs what its own pattern finds.
    found = snippets.read(snippets.README).code
    assert len(found) == len(blocks(snippets.README, "python"))


def docstrings(module):
    kinds = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
    for node in ast.walk(ast.parse(module.read_text())):
        if isinstance(node, kinds):
            yield getattr(node, "name", module.stem), ast.get_docstring(node) or ""


@pytest.mark.parametrize("module", MODULES, ids=lambda module: module.stem)
def test_examples_in_docstrings_are_doctests(module):
    for name, text in docstrings(module):
        assert "```" not in text, f"{name}: a fenced block is not run; use >>>"
        if re.search(r"^ *Examples?:$", text, re.M):
            assert re.search(r"^ *>>> ", text, re.M), f"{name}: no doctest in Example"


def warned_texts():
    """What the package warns with, as far as it is written out in the call."""
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.Call) and ast.unparse(node.func) == "warnings.warn":
                parts = [getattr(n, "value", None) for n in ast.walk(node.args[0])]
                if text := " ".join(part for part in parts if isinstance(part, str)):
                    yield module, text


def test_each_warning_has_advice_on_the_page_of_questions():
    page = ast.parse((ROOT / "docs" / "faq.py").read_text())
    advice = next(
        ast.literal_eval(node.value)
        for node in page.body
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "WARNINGS"
    )
    warned = list(warned_texts())
    assert len(warned) > 8
    for module, text in warned:
        known = [phrase for phrase in advice if phrase in text]
        assert known, f"docs/faq.py has no advice on {text!r} of {module.name}"
