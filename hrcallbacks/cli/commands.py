"""The shell's commands: `show`, `plot`, `table`, `report` and `convert`.

Each takes the parsed options, and imports what it needs when it runs. None needs Keras.
"""

from __future__ import annotations

import contextlib
import difflib
import inspect
import shutil
import sys
import textwrap
from argparse import Namespace
from collections.abc import Callable, Generator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TextIO

from hrcallbacks.terminal import Terminal, say

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording
    from hrcallbacks.recording.runs import Runs

# Pictures of several recordings.
_OF_RUNS = ("loss", "gradient_flow", "update_ratio", "histograms")
_Format = Literal["csv", "latex", "markdown"]
_SUFFIXES: dict[str, _Format] = {".csv": "csv", ".tex": "latex", ".md": "markdown"}


def _found(path: str) -> Recording:
    from hrcallbacks.recording.recording import open_recording

    try:
        return open_recording(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} {_nearby(path)}") from error


def _opened(path: str) -> Recording:
    recording = _found(path)
    if not len(recording):
        from hrcallbacks.recording.description import in_a_line

        raise ValueError(
            f"The recording at {path!r} is {in_a_line(recording)}. No step that it was "
            f"to record (record_freq={recording.attributes.get('record_freq')!r}) was "
            "trained, or none has been written to the disk yet."
        )
    return recording


def _nearby(path: str) -> str:
    folder = Path(path).parent
    found = sorted(str(p.parent) for p in folder.glob("*/zarr.json"))
    if not found:
        return f"In {str(folder.absolute())!r} there is none."
    return f"There {'are' if len(found) > 1 else 'is'}: {', '.join(found[:10])}"


def _opened_all(paths: Sequence[str]) -> Recording | Runs:
    """The recording of one path, or the runs of several."""
    if len(paths) == 1:
        return _opened(paths[0])
    from hrcallbacks.recording.runs import open_recordings

    return open_recordings(paths)


def _show_runs(runs: Runs) -> None:
    from hrcallbacks.recording.description import in_a_line

    for name, recording in runs.items():
        say(f"{name}\n  {in_a_line(recording)}")
    parameters = runs.parameters
    counts: dict[str, int] = parameters.nunique(dropna=False).to_dict()
    same = [column for column, count in counts.items() if count == 1]
    say(f"\nParameters\n{parameters.drop(columns=same).to_string()}")
    shared = [f"{c}={parameters[c].iloc[0]}" for c in same]
    say(textwrap.fill(f"The same in all: {', '.join(shared)}.", 88))
    say(f"\nDiagnosis, the worst of each rule\n{runs.diagnose().T.to_string()}")


def show(options: Namespace) -> None:
    """Prints what was recorded, and the diagnosis."""
    from hrcallbacks.recording.summary import head_text, summary_text

    if len(options.recording) > 1:
        from hrcallbacks.recording.runs import open_recordings

        _show_runs(open_recordings(options.recording))
        return
    (path,) = options.recording
    recording = _opened(path)
    # Piped, paths stay whole, so that grep finds them.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    say(path)
    say(head_text(recording, width=columns or 80))
    findings = recording.diagnose()  # Reads what the summaries need, too.
    of_layers = ("outputs", "output_gradients")
    recorded = [q for q in of_layers if recording.reductions_of(q)]
    for quantity in ("gradients", "weights", *recorded):
        say(f"\n{summary_text(recording, quantity, width=columns)}")
    say(f"\nDiagnosis\n{findings!r}")


def plot(options: Namespace) -> None:
    """Draws a picture into a file, or lists what there is."""
    from hrcallbacks import plot

    names = [name for name in vars(plot.Plots) if not name.startswith("_")]
    drawings = {name: getattr(plot, name) for name in names}
    if options.what == "":
        say(_listed(drawings))
        return
    if options.what not in drawings:
        close = difflib.get_close_matches(options.what or "", drawings, n=1)
        unknown = f"There is no {options.what!r}. " if options.what else ""
        raise ValueError(
            f"{unknown}{f'Did you mean {close[0]}? ' if close else ''}Type --what and "
            f"one of these:\n{_listed(drawings)}"
        )
    if not options.recording:
        raise ValueError(
            f"Which recording? Type: hrcallbacks plot run.zarr --what {options.what}"
        )
    takes = ("variables", "record", "smooth", "by")
    asked = {name: getattr(options, name) for name in takes}
    given = {name: value for name, value in asked.items() if value is not None}
    for name in given.keys() - inspect.signature(drawings[options.what]).parameters:
        raise ValueError(f"--what {options.what} takes no --{name}.")
    moves = options.what == "network_animation"
    output: Path = options.output or Path(f"{options.what}.{'gif' if moves else 'png'}")
    output = (_animatable if moves else _writable)(output)
    opened = _opened_all(options.recording)
    if not hasattr(opened, "plot") and options.what not in _OF_RUNS:
        raise ValueError(
            f"--what {options.what} draws one recording. Of several there are: "
            f"{', '.join(_OF_RUNS)}."
        )
    drawing = partial(drawings[options.what], opened)
    _draw(drawing, given, options.theme, output)
    say(f"Wrote {output}")


def _listed(drawings: Mapping[str, Callable[..., Any]]) -> str:
    indent = max(map(len, drawings)) + 4
    return "\n".join(
        textwrap.fill(
            (inspect.getdoc(drawing) or "").partition("\n")[0],
            width=80,
            initial_indent=f"  {name}".ljust(indent),
            subsequent_indent=" " * indent,
        )
        for name, drawing in drawings.items()
    )


def _animatable(path: Path) -> Path:
    from hrcallbacks.plot.animation import check_ending

    check_ending(_writable(path))
    return path


def _draw(
    drawing: Callable[..., Any],
    given: Mapping[str, Any],
    theme: Literal["light", "dark", "transparent"] | None,
    output: Path,
) -> None:
    from hrcallbacks.plot import save_animation, style

    plt = style.pyplot()
    plt.switch_backend("agg")  # A file needs no display.
    with plt.style.context(style.theme(theme) if theme else {}):
        axes = drawing(**given)
        if hasattr(axes, "to_jshtml"):
            save_animation(axes, output)
            return
        axes.figure.savefig(output, dpi=150)


def table(options: Namespace) -> None:
    """Writes every weight and gradient as text."""
    from hrcallbacks.export.typeset import page_layout, write_table

    suffix = _writable(options.output).suffix if options.output else ""
    form: _Format = options.format or _SUFFIXES.get(suffix, "csv")
    if options.standalone and form != "latex":
        raise ValueError(f"--standalone is for --format latex, not {form}.")
    frame = _opened_all(options.recording).to_frame(
        layout=options.layout,
        names=options.names,
        variables=options.variables,
        biases=options.biases,
    )
    if options.names == "symbol" and len(options.recording) == 1 and form != "csv":
        frame = page_layout(frame)
    with _file(options.output) as file:
        write_table(frame, file, form=form, standalone=options.standalone)


def report(options: Namespace) -> None:
    """Writes recordings as one interactive HTML file."""
    from hrcallbacks.recording.runs import Runs
    from hrcallbacks.report.write import report as write

    output = _writable(options.output)
    paths: list[str] = options.recording
    names = [Path(path).name.removesuffix(".zarr") for path in paths]
    if len(set(names)) < len(names):
        names = paths
    # One without a record has a page that says so.
    found = {name: _found(p) for name, p in zip(names, paths, strict=True)}
    write(Runs(found), output)
    say(f"Wrote {output}")


def convert(options: Namespace) -> None:
    """Writes a store again, in the latest format."""
    from hrcallbacks.storage.saving import convert as write

    count = write(options.recording, options.target)
    say(f"Wrote {options.target} ({count:,} records)")


def _writable(path: Path) -> Path:
    """A path that can be written to: checked before anything slow is read."""
    if path.is_dir():
        raise IsADirectoryError(f"-o {path}: expected a file; this is a folder.")
    if not path.parent.is_dir():
        raise FileNotFoundError(
            f"-o {path}: there is no folder {str(path.parent)!r}. Make it, or choose "
            "another."
        )
    return path


@contextlib.contextmanager
def _file(path: Path | None) -> Generator[TextIO | Terminal, None, None]:
    if path is None:
        # A file gets every character, so that what is read back is equal.
        yield Terminal(sys.stdout) if sys.stdout.isatty() else sys.stdout
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file
    say(f"Wrote {path}")
