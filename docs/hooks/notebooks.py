"""Pages from scripts: each is executed, and becomes a notebook for mkdocs-jupyter.

Why: mkdocs-jupyter would execute them one after the other, each time, with warnings in
the page and no text for who cannot see a figure.

`extra.pages` in `mkdocs.yml` names the script of each page; scripts below `docs/` are
pages by themselves. Two are executed at a time. A script that raises, or that writes to
standard error, fails the build. What a script gave is kept in `build/notebooks` until
the script, the package or a package below it changes.
"""

import concurrent.futures
import hashlib
import importlib.metadata
import logging
import math
import os
import re
from pathlib import Path

import extras
import forked
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
    "KERAS_BACKEND": "tensorflow",
    "TF_CPP_MIN_LOG_LEVEL": "3",
    "TF_ENABLE_ONEDNN_OPTS": "0",
    "CUDA_VISIBLE_DEVICES": "-1",
    "MATPLOTLIBRC": str(ROOT / "docs" / "hooks" / "matplotlibrc"),
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONPATH": os.pathsep.join(
        str(ROOT / folder) for folder in (".", "examples", "docs/hooks")
    ),
}
# What TensorFlow's native code says on import, whatever its log level is set to.
NOTICES = re.compile(
    r"^(WARNING: All log messages before absl::InitializeLog\(\) .*|I\d{4} .*)\n", re.M
)
# Run in each notebook that draws before its own cells, and not shown.
SETUP = """
import matplotlib_inline.backend_inline as inline
inline.set_matplotlib_formats("svg")
import animated  # docs/hooks/animated.py
"""


os.environ.update(ENVIRONMENT)
forked.prepare()


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
    options = {"use_directory_urls": config.use_directory_urls}
    offered = config.extra["offered"] = {}
    for page, folder in folders.items():
        files.append(File(f"{page}.ipynb", str(folder), config.site_dir, **options))
        sources = config.extra["downloads"].get(page, [scripts[page].relative_to(ROOT)])
        offered[page] = {k: v for name in sources for k, v in downloads(name).items()}
    texts = {name: text for made in offered.values() for name, text in made.items()}
    for name, text in texts.items():
        files.append(File.generated(config, f"downloads/{name}", content=text))
    return files


def on_page_markdown(markdown, page, config, **_):
    """Gives a page its downloads, and the other words that search finds it by."""
    name = page.file.src_uri.rsplit(".", 1)[0]
    page.meta["downloads"] = list(config.extra["offered"].get(name, ()))
    page.meta["tags"] = config.extra["keywords"].get(name, "").split(", ")
    return markdown


def downloads(script):
    """A script and its notebook, without outputs, by the names of their files."""
    script = ROOT / script
    text = script.read_text()
    if "pip install" not in text:
        text = text.replace("# %%", f"# {command(text)}\n\n# %%", 1)
    book = jupytext.reads(text, fmt="py:percent")
    return {
        script.name: text,
        f"{script.stem}.ipynb": jupytext.writes(book, fmt="ipynb"),
    }


def command(text):
    """What installs all that a script imports."""
    signs = {"plot": "matplotlib", "zarr": ".zarr", "jax": "backends.jax"}
    extras = ["tensorflow", *(extra for extra, sign in signs.items() if sign in text)]
    others = [name for name in ("IPython", "h5py") if f"{name}" in text]
    return " ".join([f'pip install "hrcallbacks[{",".join(extras)}]"', *others])


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
    hooks = Path(__file__).parent
    code += [hooks / "animated.py", hooks / "extras.py", hooks / "matplotlibrc"]
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
    code, backend = before(script.read_text())
    book.cells.insert(0, nbformat.v4.new_code_cell(code))
    client = nbclient.NotebookClient(
        book,
        timeout=SECONDS,
        kernel_name="python3",
        coalesce_streams=True,
        resources={"metadata": {"path": str(ROOT)}},
        extra_arguments=["--Application.log_level=ERROR"],
    )
    try:
        client.execute(env=os.environ | {"KERAS_BACKEND": backend})
    except nbclient.exceptions.CellExecutionError as error:
        raise PluginError(f"{name} raised an exception:\n{error}") from None
    del book.cells[0]
    for cell in book.cells:
        check_outputs(name, cell)
        describe_figures(name, cell)
    return book


def before(text):
    """Code that is run before a script's own, and Keras' backend.

    What a script does not tell readers to install is hidden from it.
    """
    named, others = extras.named(text) or ({"tensorflow", "plot"}, None)
    hidden = set() if others is None else extras.hidden(named, others)
    (backend,) = named & extras.BACKENDS
    hiding = f"__import__('extras').hide({hidden!r})\n"
    return hiding + SETUP * ("plot" in named), backend


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
    shown = (
        f'<svg role="img" aria-label="{text}" style="min-width: {least_width(svg)}px" '
    )
    return svg.replace("<svg ", shown, 1)


def least_width(svg):
    """In how many pixels of width no text of a figure of Matplotlib is below 10 pixels.

    Its text is outlines, drawn at 100 times the size that they are then scaled to.
    """
    width = float(re.search(r'<svg [^>]*?width="([\d.]+)pt"', svg)[1])
    scales = re.findall(r"scale\(([\d.]+) -[\d.]+\)", svg)
    smallest = min((100 * float(scale) for scale in scales), default=10)
    return math.ceil(10 * width / smallest)
