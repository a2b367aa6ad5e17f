# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # How this code is organised
#
# The folders of the package are the stages of a pipeline. A plan says which quantities
# are recorded. Inside a training step, each of them is captured and reduced. The
# results are packed, leave the step and become a record, which goes to the sinks and to
# a store. A recording is read from the store, and becomes a table, a picture or a
# finding.
#
# The picture is drawn from the imports in the code. An arrow points from the module
# that imports to the one that is imported.

# %% tags=["picture"]
# Figure: The package's folders and top-level modules, one row for each step that they
# are away from the bottom; arrows go from what imports down to what is imported.
import ast
import collections
from pathlib import Path

import matplotlib.pyplot as plt
import pandas as pd
from IPython.display import HTML, display

import hrcallbacks

ROOT = Path(hrcallbacks.__file__).parent
SHARED = {"types", "checks", "optional", "progress", "terminal", "__init__", "__main__"}


def folder_of(path):
    return path.relative_to(ROOT).with_suffix("").parts[0]


def imported_by(path):
    """Folders that a file imports from when it runs."""
    tree = ast.parse(path.read_text())
    blocks = [n for n in ast.walk(tree) if isinstance(n, ast.If)]
    types = [n for n in blocks if ast.unparse(n.test) == "TYPE_CHECKING"]
    skipped = {inner for block in types for inner in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and node not in skipped:
            parts = (node.module or "").split(".")
            if parts[0] == "hrcallbacks" and len(parts) > 1:
                yield parts[1]


edges = collections.defaultdict(set)
for path in ROOT.rglob("*.py"):
    edges[folder_of(path)] |= set(imported_by(path)) - {folder_of(path)}
edges = {name: found - SHARED for name, found in edges.items() if name not in SHARED}


def height(name):
    """How many imports lie between it and what imports nothing of ours."""
    return max((1 + height(other) for other in edges[name]), default=0)


rows = collections.defaultdict(list)
for name in sorted(edges):
    rows[height(name)].append(name)
places = {
    name: ((number + 0.5) / len(names), level)
    for level, names in rows.items()
    for number, name in enumerate(names)
}
line = plt.rcParams["text.color"]
figure, ax = plt.subplots(figsize=(7.6, 6.4), layout="constrained")
for name, found in edges.items():
    for other in found:
        ax.annotate(
            "",
            places[other],
            places[name],
            arrowprops={
                "arrowstyle": "->",
                "color": line,
                "alpha": 0.35,
                "shrinkA": 14,
                "shrinkB": 14,
            },
        )
box = {"boxstyle": "round,pad=0.35", "fc": plt.rcParams["figure.facecolor"], "ec": line}
for name, (x, y) in places.items():
    ax.text(x, y, name, ha="center", va="center", fontsize=9, bbox=box)
ax.set(xlim=(-0.03, 1.03), ylim=(-0.4, max(rows) + 0.4))
ax.axis("off")
plt.show()

# %% [markdown]
# ## What lives where

# %% tags=["picture"]
contents = [
    {
        "folder": name,
        "what": (ast.get_docstring(ast.parse(file.read_text())) or "")
        .split("\n")[0]
        .replace("`", ""),
        "files": len(list(ROOT.glob(f"{name}/*.py"))) or 1,
    }
    for name in sorted(edges, key=lambda name: -height(name))
    for file in [ROOT / name / "__init__.py", ROOT / f"{name}.py"]
    if file.exists()
]
with pd.option_context("display.max_colwidth", None):
    display(HTML(pd.DataFrame(contents).to_html(index=False, classes="text")))

# %% [markdown]
# Besides the folders there are small modules that all of them may use: `types`, the
# frozen values that pass from part to part; `checks` of arguments; `optional`, for
# packages that are loaded only when they are used; `progress` and `terminal`.
#
# The pipeline can be extended at four abstract classes: `Quantity`, `Sink`, `Store` and
# `Backend`. The docstring of each says what an implementation must do, and for stores
# and backends there is a suite of tests that every implementation must pass.
# `CONTRIBUTING.md` says which file to write, and where to register it.
#
# [How gradients leave a compiled step](capture.ipynb) follows a single step in detail.
