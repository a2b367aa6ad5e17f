"""Recordings in the shell: `hrcallbacks show | plot | table | report | convert`.

What can be typed, and how errors are reported. Nothing else is imported for `--help`.
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

import hrcallbacks
from hrcallbacks.cli import commands
from hrcallbacks.terminal import say

_EXAMPLES = """\
examples:
  hrcallbacks show run.zarr
  hrcallbacks plot run.zarr --what gradient_flow -o flow.png
  hrcallbacks table run.zarr --names symbol --format latex -o table.tex
  hrcallbacks report run.zarr -o run.html
  hrcallbacks COMMAND --help

A recording is written by GradientRecorder(store="run.zarr") while fit runs, or by
recording.save("run.zarr").
"""
_SHOW = """\
examples:
  hrcallbacks show run.zarr
  hrcallbacks show run.zarr | less
  hrcallbacks show runs/*.zarr                     side by side

Of a run that is still training, it shows what was flushed to the disk so far.
"""
_PLOT = """\
examples:
  hrcallbacks plot --what                          what there is
  hrcallbacks plot run.zarr --what loss            writes loss.png
  hrcallbacks plot run.zarr --what gradient_flow -o flow.pdf
  hrcallbacks plot runs/*.zarr --what loss --by learning_rate
"""
_TABLE = """\
examples:
  hrcallbacks table run.zarr | head
  hrcallbacks table run.zarr --variables '*/bias' -o biases.csv
  hrcallbacks table run.zarr --layout tidy -o tidy.csv
  hrcallbacks table a.zarr b.zarr -o both.csv      with a column for the run
  hrcallbacks table run.zarr --names symbol -o table.tex       to \\input
  hrcallbacks table run.zarr --names symbol --standalone -o table.tex
  pdflatex table.tex

A CSV has every digit; LaTeX and Markdown have six decimals, and with --names symbol
the columns of the published tables: epoch, metrics, loss, w^1_1, g^1_1, ...
"""
_REPORT = """\
examples:
  hrcallbacks report run.zarr
  hrcallbacks report run.zarr -o run.html
  hrcallbacks report low.zarr high.zarr -o both.html    compares them

The file is opened in a browser. It needs no server and loads nothing.
"""
_CONVERT = """\
examples:
  hrcallbacks convert old.zarr new.zarr
  hrcallbacks convert runs/3.zarr s3://bucket/3.zarr

The new store has all that the old one has, in the latest format, which Zarr, xarray and
other tools read. A run that is to be resumed goes on in the new one.
"""


if TYPE_CHECKING:
    # argparse gives what add_subparsers returns no public name.
    _Parts: TypeAlias = argparse._SubParsersAction[  # pyright: ignore[reportPrivateUsage]
        argparse.ArgumentParser
    ]


# Arguments of functions that are options of commands too.
_OPTIONS = ("layout", "names", "variables", "biases")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command.

    Args:
        arguments: What follows the program's name; None for those of `sys.argv`.

    Returns:
        The exit status: 0; 2 for an error, which is named on standard error; 130 after
        Ctrl-C; 141 if the reader of standard output went away, as after SIGPIPE.
    """
    try:
        try:
            return _run(_parser(), arguments)
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python would flush again when it exits, and complain.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 141
    except KeyboardInterrupt:
        return 130


def _run(parser: argparse.ArgumentParser, arguments: Sequence[str] | None) -> int:
    options = parser.parse_args(arguments)
    if options.run is None:
        parser.print_help(sys.stderr)
        return 2
    try:
        options.run(options)
    except BrokenPipeError:
        raise
    except Exception as error:  # Its reader has not seen the code.
        if options.traceback:
            raise
        say(f"hrcallbacks: error: {_in_shell_words(error)}", file=sys.stderr)
        return 2
    return 0


def _in_shell_words(error: Exception) -> str:
    if not isinstance(error, ValueError | OSError | ImportError | MemoryError):
        return f"{type(error).__name__}: {error} (--traceback shows where)"
    # Messages name Python's arguments; here they are options.
    named = [name for name in _OPTIONS if f"{name}=" in str(error)]
    hints = "".join(f" Here {name}= is the option --{name}." for name in named)
    return f"{error}{hints}"


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="hrcallbacks",
        description="Looks at recordings of training gradients and weights.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "--version", action="version", version=f"hrcallbacks {hrcallbacks.__version__}"
    )
    parser.set_defaults(run=None)
    parts = parser.add_subparsers(metavar="COMMAND")
    _add_show(parts)
    _add_plot(parts)
    _add_table(parts)
    _add_report(parts)
    _add_convert(parts)
    return parser


def _add(
    parts: _Parts,
    run: Callable[[argparse.Namespace], None],
    about: str,
    epilog: str,
    *,
    nargs: Literal["?", "*", "+"] | None = None,
) -> argparse.ArgumentParser:
    part = parts.add_parser(
        run.__name__,
        help=about,
        description=f"{about[0].upper()}{about[1:]}.",
        epilog=epilog,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    part.add_argument(
        "recording",
        metavar="RECORDING",
        nargs=nargs,
        help="a store, such as run.zarr"
        + (", or several to compare" if nargs in ("*", "+") else ""),
    )
    part.add_argument("--traceback", action="store_true", help=argparse.SUPPRESS)
    part.set_defaults(run=run)
    return part


def _add_show(parts: _Parts) -> None:
    about = "what was recorded, and what is wrong with it"
    _add(parts, commands.show, about, _SHOW, nargs="+")


def _add_plot(parts: _Parts) -> None:
    plot = _add(parts, commands.plot, "draw a recording into a file", _PLOT, nargs="*")
    plot.add_argument(
        "--what",
        nargs="?",
        const="",
        metavar="NAME",
        help="what to draw; without NAME: list what there is",
    )
    plot.add_argument(
        "--variables",
        metavar="GLOB",
        action="append",
        help="variables whose path matches, such as '*/kernel'; may be repeated",
    )
    plot.add_argument(
        "--record",
        type=int,
        metavar="N",
        help="of network, which record: 0 the first, -1 the last (default)",
    )
    plot.add_argument(
        "--smooth",
        type=int,
        metavar="N",
        help="of curves, the mean over N records",
    )
    plot.add_argument(
        "--by",
        metavar="NAME",
        help="of several, a parameter such as learning_rate: draws median and middle "
        "half of those that have the same (show lists the parameters)",
    )
    plot.add_argument(
        "--theme",
        choices=("light", "dark", "transparent"),
        help="colours of paper and text (default: Matplotlib's)",
    )
    plot.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        help="the picture; its end says the format: png, pdf, svg, ... "
        "(default: NAME.png)",
    )


def _add_table(parts: _Parts) -> None:
    about = "every weight and gradient as a table"
    table = _add(parts, commands.table, about, _TABLE, nargs="+")
    table.add_argument(
        "--format",
        choices=("csv", "latex", "markdown"),
        help="default: what FILE ends in (.csv, .tex, .md), else csv",
    )
    table.add_argument(
        "--layout",
        choices=("wide", "tidy"),
        default="wide",
        help="a row per record (wide, the default), or per record and element",
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


def _add_report(parts: _Parts) -> None:
    report = _add(
        parts,
        commands.report,
        "an interactive page of one or several",
        _REPORT,
        nargs="+",
    )
    report.add_argument(
        "-o",
        "--output",
        metavar="FILE",
        type=Path,
        default=Path("report.html"),
        help="the HTML file (default: report.html)",
    )


def _add_convert(parts: _Parts) -> None:
    about = "write a store again, in the latest format"
    convert = _add(parts, commands.convert, about, _CONVERT)
    convert.add_argument(
        "target", metavar="NEW", help="the new store, where nothing exists yet"
    )
