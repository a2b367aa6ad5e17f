"""Several recordings, as one: their parameters, tables and findings side by side."""

import glob
import os
import re
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import pandas as pd

from hrcallbacks.checks import choice
from hrcallbacks.diagnose import Findings, diagnose
from hrcallbacks.diagnose.diagnosis import chosen_rules
from hrcallbacks.diagnose.findings import SEVERITIES
from hrcallbacks.recording.alignment import aligned_paths, renamed
from hrcallbacks.recording.parameters import parameters_of
from hrcallbacks.recording.recording import Recording, open_recording
from hrcallbacks.storage.place import checked_path, is_local

RUN = "run"
# With more names than this, a message is too long to be read.
_MOST_NAMED = 10


class Runs(Mapping[str, Recording]):
    """Recordings by name: `runs["3"]` is a `Recording`.

    Tables of all runs have a column `run`. In them, and in pictures, a variable has the
    same path in each run: where Keras has counted on from model to model
    (`sequential_3/dense_7/kernel`), each run counts from 0 (`sequential/dense/kernel`).

    Args:
        recordings: Recordings by name.

    Raises:
        TypeError: If it is not a dict of recordings.
        ValueError: If it is empty.
    """

    def __init__(self, recordings: Mapping[str, Recording]) -> None:
        if not isinstance(recordings, Mapping):
            raise TypeError(
                "Expected a dict from name to hr.Recording. Received: "
                f"{type(recordings).__name__}. To open stores: "
                "hr.open_recordings('runs/*.zarr')."
            )
        for name, one in recordings.items():
            if not isinstance(one, Recording):
                hint = ": use its recording" if hasattr(one, "recording") else ""
                raise TypeError(
                    "Expected a dict from name to hr.Recording. Received as "
                    f"{name!r}: {type(one).__name__}{hint}."
                )
        if not recordings:
            raise ValueError("Received an empty dict. Give recordings by name.")
        self._recordings = {str(name): one for name, one in recordings.items()}

    def __getitem__(self, name: str) -> Recording:
        """A run, as it was recorded."""
        if name not in self._recordings:
            raise KeyError(f"There is no run {name!r}. There are: {_few(self)}.")
        return self._recordings[name]

    def __iter__(self) -> Iterator[str]:
        """The runs' names."""
        return iter(self._recordings)

    def __len__(self) -> int:
        """Number of runs."""
        return len(self._recordings)

    def __repr__(self) -> str:
        """Names the runs."""
        done = sum(bool(r.attributes["complete"]) for r in self.values())
        return f"<Runs: {len(self)}, {done} of them complete: {_few(self)}>"

    @cached_property
    def aligned(self) -> Mapping[str, Recording]:
        """The same recordings, with paths that are the same in each of them."""
        paths = [_model_paths(recording) for recording in self.values()]
        names = dict(zip(self, aligned_paths(paths), strict=True))
        return {name: renamed(r, names[name]) for name, r in self.items()}

    @property
    def paths(self) -> list[str]:
        """Paths of the variables that were recorded in any of the runs."""
        found = [path for run in self.aligned.values() for path in run.paths]
        return list(dict.fromkeys(found))

    @property
    def parameters(self) -> pd.DataFrame:
        """DataFrame, one row per run: what tells the runs apart.

        Its columns: what was passed as `metadata=`, of nested dicts as `outer.inner`;
        `optimizer`, its class, and the numbers of its config, such as `learning_rate`
        (under a schedule that of the first record); `backend`; `version.keras` and
        others; `record_freq`; `records`, how many there are; `last_step`; `complete`.
        Where metadata has a name of these, the recorded one is called
        `recorded.learning_rate`. What Keras does not tell a callback, such as the batch
        size and the seed, is there if it was passed as metadata.
        """
        return parameters_of(self)

    @property
    def index(self) -> pd.DataFrame:
        """The runs' `index` in one DataFrame, with a column `run`."""
        return self._joined(lambda recording: recording.index)

    def statistic(self, quantity: str, reduction: str) -> pd.DataFrame:
        """A number for each run, record and variable: see `Recording.statistic`.

        Args:
            quantity: `"gradients"` or `"weights"`.
            reduction: The name of a reduction that makes a number, such as `"norm"`.

        Returns:
            DataFrame with columns `run`, `step`, and one per path; NaN where a run has
            no such variable.

        Raises:
            ValueError: If a run does not have it; the message names the run.
        """
        return self._joined(
            lambda recording: recording.statistic(quantity, reduction).reset_index()
        )

    def to_frame(self, **options: Any) -> pd.DataFrame:
        """The runs' tables in one, with a column `run`.

        Args:
            **options: As for `Recording.to_frame`.

        Raises:
            ValueError: For the same reasons as `Recording.to_frame`; the message names
                the run.
        """
        return self._joined(lambda recording: recording.to_frame(**options))

    def _joined(self, table: Callable[[Recording], pd.DataFrame]) -> pd.DataFrame:
        blocks: list[pd.DataFrame] = []
        for name, recording in self.aligned.items():
            try:
                made = table(recording)
            except ValueError as error:
                raise ValueError(f"Of the run {name!r}: {error}") from error
            blocks.append(made.reset_index(drop=True))
            blocks[-1].insert(0, RUN, name)
        if all(block.empty for block in blocks):
            return blocks[0]
        # Without those that are empty, which would make whole numbers of others floats.
        return pd.concat([b for b in blocks if not b.empty], ignore_index=True)

    def diagnose(self, rules: Any = None) -> pd.DataFrame:
        """What is wrong with each run: a table of runs by rules.

        Args:
            rules: None for all of `hr.diagnose.RULES`, or those to ask: names or rules.

        Returns:
            DataFrame, a row for each run and a column for each rule that could look at
            one of them: the severity of the worst that it found (`"severe"`,
            `"warning"`, `"note"`), `"none"` if it found nothing, or `"not looked"`.

        Raises:
            TypeError: For the same reasons as `hr.diagnose.diagnose`.
            ValueError: If there is no rule of such a name.
        """
        chosen = chosen_rules(rules)
        found = {name: _findings(run, chosen) for name, run in self.aligned.items()}
        looked = {
            rule for one in found.values() if one is not None for rule in one.looked
        }
        rows = [
            {
                rule.name: _worst(one, rule.name)
                for rule in chosen
                if rule.name in looked
            }
            for one in found.values()
        ]
        return pd.DataFrame(rows, index=pd.Index(list(found), name=RUN))

    def findings(self, rules: Any = None) -> pd.DataFrame:
        """The findings of all runs in one table, with a column `run`.

        Args:
            rules: As for `diagnose`.

        Returns:
            DataFrame with the columns of `Recording.diagnose`; empty runs are left out.

        Raises:
            TypeError: For the same reasons as `hr.diagnose.diagnose`.
            ValueError: If there is no rule of such a name.
        """
        blocks: list[pd.DataFrame] = []
        for name, run in self.aligned.items():
            found = _findings(run, rules)
            if found is not None:
                blocks.append(found.to_frame())
                blocks[-1].insert(0, RUN, name)
        if not blocks:
            raise ValueError(f"Each of the runs {_few(self)} is empty.")
        there = [block for block in blocks if len(block)]
        return pd.concat(there, ignore_index=True) if there else blocks[0]


def open_recordings(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    broken: Literal["raise", "skip"] = "raise",
) -> Runs:
    """Opens several recordings: see `open_recording`.

    Args:
        paths: A glob, such as `"runs/*.zarr"`, of paths or of an fsspec URL; a path; or
            a list of these. A run is named by the end of its path, from where the paths
            differ, without `.zarr`.
        broken: What to do with one that cannot be opened: `"raise"`, or `"skip"` it
            with a warning that names it.

    Returns:
        `Runs`, in the order of the list; those of a glob sorted, 2 before 10.

    Raises:
        FileNotFoundError: If nothing matches.
        ValueError: If a recording cannot be opened; with `broken="skip"`, if none can.
        TypeError: If `paths` has the wrong type.
        ImportError: If Zarr is not installed.
    """
    choice(broken, "broken", ("raise", "skip"))
    given = _listed(paths)
    found = list(
        dict.fromkeys(p for one in given for p in _matching(checked_path(one)))
    )
    if not found:
        raise FileNotFoundError(_nothing(given))
    opened: dict[str, Recording] = {}
    faults: list[str] = []
    for path, name in zip(found, _names(found), strict=True):
        try:
            opened[name] = open_recording(path)
        except ImportError:
            raise
        except Exception as error:  # A damaged store may fail anywhere.
            faults.append(f"{path!r}: {error}")
    _report(faults, count=len(found), skip=broken == "skip" and bool(opened))
    return Runs(opened)


def _listed(paths: Any) -> list[Any]:
    if isinstance(paths, str | os.PathLike):
        return [paths]
    if not isinstance(paths, Iterable):
        raise TypeError(
            "Expected paths: a glob, such as 'runs/*.zarr', or a list of paths. "
            f"Received: {paths!r}."
        )
    return [*paths]


def _report(faults: Sequence[str], *, count: int, skip: bool) -> None:
    if not faults:
        return
    said = f"{len(faults)} of {count} recordings cannot be opened:\n" + "\n".join(
        faults
    )
    if not skip:
        raise ValueError(
            f"{said}\nopen_recordings(..., broken='skip') opens the others."
        )
    warnings.warn(said, RuntimeWarning, stacklevel=3)


def _matching(path: str) -> list[str]:
    """Where there are recordings: what a glob matches, or the path itself."""
    if not glob.has_magic(path) or (is_local(path) and Path(path).exists()):
        return [path]
    if is_local(path):
        # Path.glob takes no absolute pattern.
        found = glob.glob(path, recursive=True)  # noqa: PTH207
        return sorted(found, key=_natural)
    import fsspec

    system, place = fsspec.core.url_to_fs(path)
    return [
        system.unstrip_protocol(p) for p in sorted(system.glob(place), key=_natural)
    ]


def _natural(path: str) -> list[Any]:
    """Sorts 2 before 10."""
    parts = re.split(r"(\d+)", path)
    return [int(part) if n % 2 else part for n, part in enumerate(parts)]


def _names(paths: Sequence[str]) -> list[str]:
    """What each path has beyond that of all, without `.zarr`."""
    split = [path.replace(os.sep, "/").rstrip("/").split("/") for path in paths]
    depth = 0
    while all(len(p) > depth + 1 and p[depth] == split[0][depth] for p in split):
        depth += 1
    names = ["/".join(parts[depth:]) for parts in split]
    short = [name.removesuffix(".zarr") for name in names]
    return short if len(set(short)) == len(short) else names


def _nothing(given: Sequence[Any]) -> str:
    if not given:
        return "Received an empty list of paths. Give a glob, such as 'runs/*.zarr'."
    sought = ", ".join(repr(os.fspath(one)) for one in given)
    here = f" in {str(Path.cwd())!r}" if is_local(str(given[0])) else ""
    return f"No path matches {sought}{here}. A glob looks like this: 'runs/*.zarr'."


def _model_paths(recording: Recording) -> list[str]:
    known = [path for path, _ in recording.attributes.get("variables", ())]
    return known or recording.paths


def _findings(recording: Recording, rules: Any) -> Findings | None:
    """The findings in a run; None if it is empty."""
    return diagnose(recording, rules) if len(recording) else None


def _worst(findings: Findings | None, rule: str) -> str:
    if findings is None or rule not in findings.looked:
        return "not looked"
    found = set(findings["severity"][findings["rule"] == rule])
    return next((severity for severity in SEVERITIES if severity in found), "none")


def _few(names: Iterable[str]) -> str:
    listed = [*names]
    more = len(listed) - _MOST_NAMED
    return ", ".join(listed[:_MOST_NAMED]) + (f" and {more} more" if more > 0 else "")
