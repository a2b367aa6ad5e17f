import ast
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import hrcallbacks as hr

# From top to bottom: a module imports only those that stand below it.
LAYERS = [
    "__init__",
    "recorder",
    "metrics",
    "attachment",
    "intake",
    "train_step",
    "snapshot",
    "packing",
    "backends",
    "recording",
    "zarr_store",
    "storage",
    "replay",
    "export",
    "tables",
    "reductions",
    "selection",
    "cadence",
    "backprop",
    "vizier",
    "stars",
]


def test_every_public_name_is_there_and_documented():
    for name in hr.__all__:
        assert getattr(hr, name).__doc__
    assert set(hr.__all__) <= set(dir(hr))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="GradientTape"):
        _ = hr.GradientTape


def test_imports_go_one_way():
    package = Path(hr.__file__).parent
    assert {path.stem for path in package.glob("*.py")} == set(LAYERS)
    for position, module in enumerate(LAYERS):
        tree = ast.parse((package / f"{module}.py").read_text())
        imported = {
            name
            for node in ast.walk(tree)
            if isinstance(node, ast.ImportFrom) and node.module
            for name in imports_of(node)
        }
        assert imported <= set(LAYERS[position + 1 :]), module


def imports_of(node):
    if node.module == "hrcallbacks":
        return [alias.name for alias in node.names]
    if node.module.startswith("hrcallbacks."):
        return [node.module.split(".")[1]]
    return []


def test_reading_needs_no_keras():
    script = (
        "import sys; sys.modules['keras'] = None\n"
        "import hrcallbacks as hr\n"
        "import hrcallbacks.backprop\n"
        "hr.training_data(); hr.Recording; hr.load_published_table(0.1)\n"
        "assert not {'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_typed_marker_and_data_are_shipped():
    files = resources.files("hrcallbacks")
    assert (files / "py.typed").is_file()
    for name in ("catalog.csv", "lr_0.1.csv", "lr_0.3.csv"):
        assert (files / "data" / name).is_file()
