import ast
import subprocess
import sys
from importlib import resources
from pathlib import Path

import pytest

import hrcallbacks as hr

# From top to bottom: a module imports only those that stand below it.
LAYERS = [
    "__main__",
    "cli",
    "commands",
    "__init__",
    "recorder",
    "metrics",
    "session",
    "attachment",
    "norm_log",
    "contents",
    "memory_limit",
    "live",
    "alert",
    "train_step",
    "snapshot",
    "packing",
    "backends",
    "tensorboard",
    "event_file",
    "recording",
    "plot",
    "summary",
    "typeset",
    "zarr_store",
    "zarr_reader",
    "store_checks",
    "storage",
    "diagnose",
    "replay",
    "revive",
    "export",
    "tables",
    "reductions",
    "numerics",
    "selection",
    "cadence",
    "backprop",
    "vizier",
    "bounded_answer",
    "stars",
    "terminal",
    "progress",
    "optional",
    "checks",
    "arguments",
]
PACKAGES = {
    "session": [
        "session",
        "intake",
        "epoch_mean",
        "worker",
        "speaker",
        "settings",
        "clock",
        "caller",
        "arming",
        "kin",
        "__init__",
    ],
    "diagnose": [
        "__init__",
        "diagnosis",
        "unit_rules",
        "idle_rules",
        "gradient_rules",
        "outlier_rules",
        "training_rules",
        "rules",
        "units",
        "survey",
        "tracks",
        "findings",
    ],
    "plot": [
        "__init__",
        "accessor",
        "animation",
        "network",
        "picture",
        "captions",
        "chain",
        "trajectories",
        "heatmap",
        "histograms",
        "curves",
        "lines",
        "source",
        "style",
    ],
}


def test_every_public_name_is_there_and_documented():
    for name in hr.__all__:
        assert getattr(hr, name).__doc__
    assert set(hr.__all__) <= set(dir(hr))


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="GradientTape"):
        _ = hr.GradientTape


def test_imports_go_one_way():
    package = Path(hr.__file__).parent
    assert modules_of(package) == set(LAYERS)
    for position, module in enumerate(LAYERS):
        lower = set(LAYERS[position + 1 :])
        if (package / module).is_dir():
            for path in (package / module).glob("*.py"):
                assert imported_from("hrcallbacks", path) <= {module, *lower}, path
        else:
            path = package / f"{module}.py"
            assert imported_from("hrcallbacks", path) <= lower, path


@pytest.mark.parametrize("name", PACKAGES)
def test_imports_inside_a_package_go_one_way(name):
    package = Path(hr.__file__).parent / name
    layers = PACKAGES[name]
    assert modules_of(package) == set(layers)
    for position, module in enumerate(layers):
        path = package / f"{module}.py"
        imported = imported_from(f"hrcallbacks.{name}", path)
        assert imported <= set(layers[position + 1 :]), path


def modules_of(package):
    inner = {path.parent.name for path in package.glob("*/__init__.py")}
    return inner | {path.stem for path in package.glob("*.py")}


def imported_from(package, path):
    """Modules directly in `package` that a file imports when it runs."""
    tree = ast.parse(path.read_text())
    for_types = {
        node
        for block in ast.walk(tree)
        if isinstance(block, ast.If) and ast.unparse(block.test) == "TYPE_CHECKING"
        for node in ast.walk(block)
    }
    found = set()
    for node in ast.walk(tree):
        if not isinstance(node, ast.ImportFrom) or node in for_types:
            continue
        if node.module == package:
            found |= {alias.name for alias in node.names}
        elif node.module and node.module.startswith(f"{package}."):
            found.add(node.module.removeprefix(f"{package}.").split(".")[0])
    return found


def test_reading_needs_no_keras():
    script = (
        "import sys; sys.modules['keras'] = sys.modules['matplotlib'] = None\n"
        "import hrcallbacks as hr\n"
        "import hrcallbacks.backprop\n"
        "hr.training_data(); hr.Recording; hr.load_published_table(0.1)\n"
        "hr.load_initial_weights(0.1)\n"
        "assert not {'tensorflow', 'jax', 'torch'} & set(sys.modules)\n"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


def test_typed_marker_and_data_are_shipped():
    files = resources.files("hrcallbacks")
    assert (files / "py.typed").is_file()
    for name in ("catalog.csv", "initial_weights.csv", "lr_0.1.csv", "lr_0.3.csv"):
        assert (files / "data" / name).is_file()
