"""Writes recordings as one interactive HTML file."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hrcallbacks.progress import progress
from hrcallbacks.report.contents import contents
from hrcallbacks.report.page import page

if TYPE_CHECKING:
    from hrcallbacks.recording.recording import Recording


def report(
    recording: Recording | Mapping[str, Recording], path: str | os.PathLike[str]
) -> Path:
    """Writes recordings as one interactive HTML file.

    The file opens from disk, in any recent browser: it needs no server and makes no
    request. It shows what was recorded and whether all of it; the loss, the metrics,
    the norms of gradients and weights and the update ratios, to zoom into; a heat map
    of all variables; histograms; what `recording.diagnose()` finds; and, of a small
    dense network, each weight and gradient, with a slider over the records. What was
    not recorded is named. Long series are thinned to the smallest and the largest
    number of each block of records, so that no peak is lost; the page says so.

    Args:
        recording: A recording, finished or not, in memory or on disk; or several of
            them by name, a dict or `hr.Runs`, which the page compares.
        path: The file to write. One that is there is replaced.

    Returns:
        The file's path.

    Raises:
        TypeError: If `recording` is not a recording, nor a mapping of recordings.
        ValueError: If the mapping is empty.
        OSError: If the file cannot be written.

    Example:
        >>> hr.report(recorder.recording, "run.html")  # doctest: +SKIP
        >>> hr.report({"0.1": a, "0.3": b}, "runs.html")  # doctest: +SKIP
    """
    target = Path(path)
    if not target.parent.is_dir():
        raise FileNotFoundError(
            f"There is no folder {str(target.parent)!r} for {target.name!r}. Make it, "
            "or choose another."
        )
    runs = named(recording, target.stem)
    title = "Recording" if len(runs) == 1 else "Recordings"
    text = page(data_of(runs), title=f"{title}: {', '.join(runs)}"[:120])
    target.write_text(text, encoding="utf-8")
    return target


def named(
    recording: Recording | Mapping[str, Recording], name: str = "run"
) -> dict[str, Recording]:
    """Recordings by name, of whatever was passed.

    Args:
        recording: One, or several by name.
        name: That of a single one.

    Raises:
        TypeError: If it is not a recording, nor a mapping of recordings.
        ValueError: If it is empty.
    """
    runs: Any = recording if isinstance(recording, Mapping) else {name: recording}
    # In hr.Runs a variable has the same path in each.
    runs = getattr(runs, "aligned", runs)
    if not runs:
        raise ValueError("Expected at least one recording. Received an empty mapping.")
    for name, run in runs.items():
        if not hasattr(run, "statistic"):
            raise TypeError(_refused(name, run, isinstance(recording, Mapping)))
    return {str(name): run for name, run in runs.items()}


def _refused(name: Any, run: Any, of_several: bool) -> str:
    where = f" as {name!r}" if of_several else ""
    if isinstance(run, str | os.PathLike):
        path = os.fspath(run)
        return (
            f"Received the path {path!r}{where}. Open the recording first: "
            f"hr.open_recording({path!r})."
        )
    hint = (
        " Use its recording: recorder.recording." if hasattr(run, "recording") else ""
    )
    return (
        "Expected a recording, or recordings by name: {'0.1': a, '0.3': b}. Received: "
        f"{type(run).__name__}{where}.{hint}"
    )


def data_of(runs: Mapping[str, Recording]) -> dict[str, Any]:
    """What the script draws of recordings, by name: data for JSON."""
    shown = progress(runs.items(), of="Reading", unit="recording")
    return {
        "runs": [
            {"name": name, **contents(run, share=1 / len(runs))} for name, run in shown
        ]
    }
