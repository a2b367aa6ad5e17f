"""A look at a recording from the shell: `hrcallbacks show | plot | table`.

What a command needs is imported when it runs, so that `--help` does not wait for it.
No command needs Keras.
"""

import argparse
import contextlib
import difflib
import os
import re
import shutil
import sys
from pathlib import Path

import hrcallbacks

_EXAMPLES = """\
examples:
  hrcallbacks show run.zarr
  hrcallbacks plot run.zarr --what gradient_flow -o flow.png
  hrcallbacks table run.zarr --names symbol --format latex -o table.tex
  hrcallbacks COMMAND --help

A recording is written by GradientRecorder(store="run.zarr") while fit runs, or by
recording.save("run.zarr").
"""
_SHOW = """\
examples:
  hrcallbacks show run.zarr
  hrcallbacks show run.zarr | less

Of a run that goes on, it shows what was flushed to the disk until now.
"""
_PLOT = """\
examples:
  hrcallbacks plot run.zarr --what                 what there is
  hrcallbacks plot run.zarr --what loss            writes loss.png
  hrcallbacks plot run.zarr --what gradient_flow -o flow.pdf
"""
_TABLE = """\
examples:
  hrcallbacks table run.zarr | head
  hrcallbacks table run.zarr --variables '*/bias' -o biases.csv
  hrcallbacks table run.zarr --layout tidy -o tidy.csv
  hrcallbacks table run.zarr --names symbol -o table.tex       to \\input
  hrcallbacks table run.zarr --names symbol --standalone -o table.tex
  pdflatex table.tex

A CSV has every digit; LaTeX and Markdown have six decimals, and with --names symbol
the columns of the published tables: epoch, metrics, loss, w^1_1, g^1_1, ...
"""
_SUFFIXES = {".csv": "csv", ".tex": "latex", ".md": "markdown"}


def main(arguments=None):
    """Runs a command.

    Args:
        arguments: What stands behind the program's name; None: `sys.argv`'s.

    Returns:
        The exit status: 0; 2 for an error, which standard error names; 130 after
        Ctrl-C; 141 where the reader of standard output went away, as SIGPIPE gives.
    """
    try:
        try:
            return _run(_parser().parse_args(arguments))
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush again when it ends, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _run(options):
    try:
        options.run(options)
    except BrokenPipeError:
        raise
    except Exception as error:  # A person reads this, who wrote none of the code.
        if options.traceback:
            raise
        print(f"hrcallbacks: error: {_in_shell_words(error)}", file=sys.stderr)
        return 2
    return 0


def _in_shell_words(error):
    expected = isinstance(error, ValueError | OSError | ImportError | MemoryError)
    text = str(error) if expected else f"{type(error).__name__}: {error}"
    # What Python says names arguments; here they are options.
    text = re.sub(r"\b(layout|names|variables)=('[^']*')", r"--\1 \2", text)
    text = text.replace("biases=True", "--biases")
    return text if expected else f"{text} (--traceback shows where)"


def _parser():
    parser = argparse.ArgumentParser(
        prog="hrcallbacks",
        description="Looks at recordings of training gradients and weights.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"hrcallbacks {hrcallbacks.__version__}"
    )
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    def command(run, name, about, epilog):
        part = commands.add_parser(
            name,
            help=about,
            description=f"{about[0].upper()}{about[1:]}.",
            epilog=epilog,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        part.add_argument(
            "recording", metavar="RECORDING", help="a store, such as run.zarr"
        )
        part.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
        part.set_defaults(run=run)
        return part

    command(_show, "show", "what was recorded, and what is wrong with the run", _SHOW)
    _add_plot(command)
    _add_table(command)
    return parser


def _add_plot(command):
    plot = command(_plot, "plot", "draw a recording into a file", _PLOT)
    plot.add_argument(
        "--what",
        nargs="?",
        const="",
        metavar="NAME",
        help="what to draw; without NAME: list what there is",
    )
    plot.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the picture; its end says the format: png, pdf, svg, ... "
        "(default: NAME.png)",
    )


def _add_table(command):
    table = command(_table, "table", "every weight and gradient as a table", _TABLE)
    table.add_argument(
        "--format",
        choices=("csv", "latex", "markdown"),
        help="default: what FILE ends in (.csv, .tex, .md), else csv",
    )
    table.add_argument(
        "--layout",
        choices=("wide", "tidy"),
        default="wide",
        help="a row a record (wide, the default), or a row a record and element",
    )
    table.add_argument(
        "--names",
        choices=("path", "symbol"),
        default="path",
        help="columns called weight:hidden/kernel[0,2] (path, the default), or w^1_3 "
        "as in the published tables, kernels alone",
    )
    table.add_argument(
        "--biases", action="store_true", help="with --names symbol: biases too"
    )
    table.add_argument(
        "--variables",
        metavar="GLOB",
        action="append",
        help="variables whose path matches, such as '*/kernel'; may be repeated",
    )
    table.add_argument(
        "--standalone",
        action="store_true",
        help="of LaTeX, a whole document in place of what a document inputs",
    )
    table.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="where to write it (default: standard output)",
    )


def _open(path):
    from hrcallbacks.recording import open_recording

    try:
        recording = open_recording(path)
    except FileNotFoundError as error:
        raise FileNotFoundError(f"{error} {_nearby(path)}") from error
    if not len(recording):
        from hrcallbacks.summary import in_a_line

        raise ValueError(
            f"The recording at {path!r} is {in_a_line(recording)}. No step that it was "
            f"to record (record_freq={recording.attributes.get('record_freq')!r}) was "
            "trained, or none has been written to the disk yet."
        )
    return recording


def _nearby(path):
    folder = Path(path).parent
    found = sorted(str(p.parent) for p in folder.glob("*/zarr.json"))
    if not found:
        return f"In {str(folder.absolute())!r} there is none."
    return f"There {'are' if len(found) > 1 else 'is'}: {', '.join(found[:10])}"


def _show(options):
    from hrcallbacks.summary import head_text, summary_text

    recording = _open(options.recording)
    # Where nobody looks, so that grep finds it, paths stay whole.
    columns = shutil.get_terminal_size().columns if sys.stdout.isatty() else None
    print(options.recording)
    print(head_text(recording, width=columns or 80), flush=True)
    for quantity in ("gradients", "weights"):
        print(f"\n{summary_text(recording, quantity, width=columns)}", flush=True)
    print(f"\nDiagnosis\n{recording.diagnose()!r}")


def _plot(options):
    from hrcallbacks import plot

    listing = "\n".join(f"  {name:<18} {_first_line(plot, name)}" for name in _plots())
    if options.what == "":
        print(listing)
        return
    if options.what not in plot.__all__:
        close = difflib.get_close_matches(options.what or "", plot.__all__, n=1)
        raise ValueError(
            f"Expected --what NAME. Received: {options.what or 'none'}.\n"
            f"{f'Did you mean {close[0]}? ' if close else ''}There are:\n{listing}"
        )


def _table(options):
    from hrcallbacks.typeset import page_layout, write_table

    suffix = options.output.suffix if options.output else ""
    form = options.format or _SUFFIXES.get(suffix, "csv")
    if options.standalone and form != "latex":
        raise ValueError(f"--standalone is for --format latex, not {form}.")
    frame = _open(options.recording).to_frame(
        layout=options.layout,
        names=options.names,
        variables=options.variables,
        biases=options.biases,
    )
    if options.names == "symbol" and form != "csv":
        frame = page_layout(frame)
    with _file(options.output) as file:
        write_table(frame, file, form=form, standalone=options.standalone)


@contextlib.contextmanager
def _file(path):
    if path is None:
        yield sys.stdout
        return
    with path.open("w", encoding="utf-8", newline="") as file:
        yield file
    print(f"Wrote {path}")
