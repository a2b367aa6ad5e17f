import ast
import graphlib
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import hrcallbacks as hr

# The pipeline's folders, from top to bottom: what is in one imports only what stands
# below it.
LAYERS = [
    "__main__",
    "cli",
    "recorder",
    "session",
    "sinks",
    "recording",
    "report",
    "plot",
    "capture",
    "export",
    "quantities",
    "storage",
    "backends",
    "reductions",
    "selection",
    "diagnose",
    "worked_example",
    "types",
    "blocks",
    "names",
    "progress",
    "terminal",
    "optional",
    "checks",
]
ROOT = Path(hr.__file__).parent


def test_every_public_name_is_there_and_documented():
    for name in hr.__all__:
        assert getattr(hr, name).__doc__
    assert set(hr.__all__) <= set(dir(hr))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="GradientTape"):
        _ = hr.GradientTape


def modules():
    """Each module's name without that of the package, and its file."""
    for path in ROOT.rglob("*.py"):
        parts = path.relative_to(ROOT).with_suffix("").parts
        if path != ROOT / "__init__.py":
            yield ".".join(parts).removesuffix(".__init__"), path


def imports_of(path):
    """Modules of ours that a file imports when it runs, also inside functions."""
    tree = ast.parse(path.read_text())
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    known = dict(modules())
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in for_types:
            continue
        module = (node.module or "").removeprefix("hrcallbacks").removeprefix(".")
        if not (node.module or "").startswith("hrcallbacks"):
            continue
        for alias in node.names:
            inner = f"{module}.{alias.name}".removeprefix(".")
            yield inner if inner in known else module


def graph():
    return {name: set(imports_of(path)) - {name, ""} for name, path in modules()}


def test_imports_of_modules_go_one_way():
    order = graphlib.TopologicalSorter(graph()).static_order()
    assert len(list(order)) == len(dict(modules()))


def test_imports_of_folders_go_one_way():
    assert {name.split(".")[0] for name in graph()} == set(LAYERS)
    for name, imported in graph().items():
        below = LAYERS[LAYERS.index(name.split(".")[0]) :]
        assert {other.split(".")[0] for other in imported} <= set(below), name


def test_files_and_classes_are_of_a_size_that_one_can_read():
    for name, path in modules():
        tree = ast.parse(path.read_text())
        assert len(path.read_text().splitlines()) <= 400, name
        for node in ast.walk(tree):
            if isinstance(node, ast.ClassDef):
                assert node.end_lineno - node.lineno < 300, (name, node.name)


def test_every_function_is_annotated():
    """Also that of a test that does not run pyright."""
    for name, path in modules():
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.FunctionDef):
                arguments = [*node.args.posonlyargs, *node.args.args]
                arguments += node.args.kwonlyargs
                bare = [a.arg for a in arguments if a.annotation is None]
                assert set(bare) <= {"self", "cls"}, (name, node.name)
                assert node.returns is not None, (name, node.name)


def test_reading_needs_no_keras():
    script = (
        "import sys; sys.modules['keras'] = sys.modules['matplotlib'] = None\n"
        "import hrcallbacks as hr\n"
        "hr.backprop\n"
        "hr.training_data(); hr.Recording; hr.load_published_table(0.1)\n"
        "hr.load_initial_weights(0.1); hr.report\n"
        "assert not {'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_typed_marker_and_data_are_shipped():
    files = resources.files("hrcallbacks")
    assert (files / "py.typed").is_file()
    for name in ("catalog.csv", "initial_weights.csv", "lr_0.1.csv", "lr_0.3.csv"):
        assert (files / "data" / name).is_file()
