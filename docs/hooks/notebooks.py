"""Pages from scripts: each is executed, and becomes a notebook for mkdocs-jupyter.

`extra.pages` in `mkdocs.yml` names the script of each page; scripts below `docs/` are
pages by themselves. Two are executed at a time. A script that raises, or that writes to
standard error, fails the build. What a script gave is kept in `build/notebooks` until
the script, the package or a package below it changes.
"""

import concurrent.futures
import hashlib
import importlib.metadata
import logging
import os
import re
from pathlib import Path

import jupytext
import nbclient
import nbformat
from mkdocs.exceptions import PluginError
from mkdocs.plugins import event_priority
from mkdocs.structure.files import File

ROOT = Path(__file__).resolve().parents[2]
KEPT = ROOT / "build" / "notebooks"
SECONDS = 300  # For one cell.

log = logging.getLogger("mkdocs.hooks.notebooks")

# What a kernel needs to be quiet, to draw for this site, and to find the examples.
ENVIRONMENT = {
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "MATPLOTLIBRC": str(ROOT / "docs" / "hooks" / "matplotlibrc"),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "examples")]),
}
# What TensorFlow's native code says on import, whatever its log level is set to.
NOTICES = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog\(\) .*|I\d{4} .*)\n", re.M
)
# Run in each notebook before its own cells, and not shown.
SETUP = """
import matplotlib_inline.backend_inline as inline
inline.set_matplotlib_formats("svg")
"""


@event_priority(100)  # Before mkdocs-jupyter looks for notebooks.
def on_files(files, config):
    """Executes the scripts, and adds their notebooks to the site."""
    scripts = {page: ROOT / script for page, script in config.extra["pages"].items()}
    for file in list(files):
        if file.src_uri.endswith(".py"):
            files.remove(file)
            if not file.src_uri.startswith("hooks/"):
                page = file.src_uri.removesuffix(".py")
                scripts[page] = Path(file.abs_src_path)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        folders = dict(zip(scripts, pool.map(executed, scripts.items()), strict=True))
    for page, folder in folders.items():
        files.append(
            File(
                f"{page}.ipynb",
                src_dir=str(folder),
                dest_dir=config.site_dir,
                use_directory_urls=config.use_directory_urls,
            )
        )
    return files


def executed(item):
    """The folder that holds the executed notebook of a page and its script."""
    page, script = item
    folder = KEPT / fingerprint(script)
    notebook = folder / f"{page}.ipynb"
    if not notebook.exists():
        log.info("Executing %s", script.relative_to(ROOT))
        book = execute(script)
        notebook.parent.mkdir(parents=True, exist_ok=True)
        nbformat.write(book, notebook)
    return folder


def fingerprint(script):
    """Changes with whatever a script's output depends on."""
    digest = hashlib.sha256()
    code = [*ROOT.glob("hrcallbacks/**/*.py"), *ROOT.glob("hrcallbacks/data/*")]
    code += ROOT.glob("hrcallbacks/report/assets/*")  # Put into pages.
    text = script.read_text()
    imported = re.findall(r"^(?:from|import) (\w+)", text, re.M)
    code += [ROOT / "examples" / f"{module}.py" for module in imported]
    code += [path for path in ROOT.glob("docs/data/*") if path.name in text]
    code += [Path(ENVIRONMENT["MATPLOTLIBRC"])]
    for path in filter(Path.exists, [script, Path(__file__), *sorted(code)]):
        digest.update(path.read_bytes())
    packages = importlib.metadata.distributions()
    digest.update(str(sorted(f"{p.name} {p.version}" for p in packages)).encode())
    return digest.hexdigest()[:16]


def execute(script):
    """Runs a script as a notebook, from the project's root.

    Args:
        script: Path of a script in jupytext's percent format.

    Returns:
        The notebook with its outputs.

    Raises:
        PluginError: If a cell raises, or writes to standard error.
    """
    name = script.relative_to(ROOT)
    book = jupytext.read(script)
    book.metadata["kernelspec"] = {
        "name": "python3",
        "display_name": "Python 3",
        "language": "python",
    }
    book.cells.insert(0, nbformat.v4.new_code_cell(SETUP))
    client = nbclient.NotebookClient(
        book,
        timeout=SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT)}},
        extra_arguments=["--Application.log_level=ERROR"],
    )
    try:
        client.execute(env=os.environ | ENVIRONMENT)
    except nbclient.exceptions.CellExecutionError as error:
        raise PluginError(f"{name} raised an exception:\n{error}") from None
    del book.cells[0]
    for cell in book.cells:
        check_outputs(name, cell)
        describe_figures(name, cell)
    return book


def check_outputs(name, cell):
    """Refuses what no reader is meant to see: warnings, and the like."""
    for output in list(cell.get("outputs", ())):
        if output.output_type == "stream" and output.name == "stderr":
            if text := NOTICES.sub("", output.text).strip():
                raise PluginError(f"{name} wrote to standard error:\n{text}")
            cell.outputs.remove(output)


def describe_figures(name, cell):
    """Gives a cell's figures the text of its `# Figure:` comment as their alt text."""
    figures = [
        output.data
        for output in cell.get("outputs", ())
        if "image/svg+xml" in output.get("data", {})
    ]
    if cell.cell_type != "code":
        return
    found = re.search(r"^# Figure: ((?:.*\n)(?:# .*\n)*)", cell.source + "\n", re.M)
    if bool(found) != bool(figures):
        missing = (
            "draws a figure, and has no" if figures else "draws nothing, but has a"
        )
        raise PluginError(f"{name}: a cell {missing} '# Figure: ...':\n{cell.source}")
    if found:
        text = " ".join(found[1].replace("\n# ", " ").split())
        cell.source = (cell.source + "\n").replace(found[0], "").strip("\n")
        cell.metadata["figure"] = text
        for data in figures:
            data["image/svg+xml"] = accessible(data["image/svg+xml"], text)
            data.pop("text/plain", None)


def accessible(svg, text):
    """An SVG with a name, in colours that follow the page's."""
    text = text.replace("&", "&amp;").replace('"', "&quot;").replace("<", "&lt;")
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>", "", svg, flags=re.S)
    # What `matplotlibrc` draws text, axes and grids in.
    svg = svg.replace("#010203", "currentColor").replace("#fdfeff", "var(--figure)")
    return svg.replace("<svg ", f'<svg role="img" aria-label="{text}" ', 1)
