"""Diagnoses the programs of `faulty_programs.py`, and writes what was found.

    python examples/diagnosis_benchmark.py --seeds 3 -o diagnosis.json

The page "How good is the diagnosis?" makes its tables of such a file.
"""

import argparse
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import keras
from faulty_programs import PROGRAMS, Program, every

import hrcallbacks as hr


def record(make: Callable[[], Program], seed: int) -> hr.Recording:
    """Trains a program, and records each step."""
    keras.utils.set_random_seed(seed)
    program = make()
    model = program.model
    model.compile(
        program.optimizer,
        program.loss,
        metrics=list(program.metrics),
        jit_compile=False,
    )
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(
        program.x,
        program.y,
        batch_size=program.batch_size,
        epochs=program.epochs,
        verbose=0,
        callbacks=[recorder],
    )
    keras.backend.clear_session()
    return recorder.recording


def row(name: str, kind: str, seed: int, recording: hr.Recording) -> dict[str, Any]:
    """What was found in a recording, and whether that is right."""
    found = recording.diagnose()
    text = repr(found).splitlines()
    table = found.to_frame()
    first = table.loc[table["cause"].isna()]
    grave = table.loc[table["severity"] != "note"]
    cause = first["rule"].iloc[0] if len(grave) else None
    loss = recording.index["loss"].to_numpy(float)
    about = PROGRAMS.get(name)
    return {
        "name": name,
        "kind": kind,
        "seed": seed,
        "fault": about.fault if about else None,
        "repair": about.repair if about else None,
        "loss": [f"{loss[0]:.4g}", f"{loss[-10:].mean():.4g}"],
        "learns": bool(loss[-10:].mean() < 0.7 * loss[0]),
        "cause": cause,
        "worst": grave["severity"].iloc[0] if len(grave) else None,
        "found": sorted(set(grave["rule"])),
        "lines": len(text),
        "symptom": bool(about and set(grave["rule"]) & set(about.symptoms)),
        "advice": bool(about and cause in about.causes),
    }


def main(arguments: Sequence[str] | None = None) -> None:
    """Runs the programs that were asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=1)
    parser.add_argument("--only", default="", help="names with this in them")
    parser.add_argument("-o", "--output", type=Path, default=Path("diagnosis.json"))
    options = parser.parse_args(arguments)
    rows: list[dict[str, Any]] = []
    for seed in range(options.seeds):
        for (name, kind), make in every().items():
            if options.only not in name:
                continue
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # Keras sees some of the faults too.
                rows.append(row(name, kind, seed, record(make, seed)))
            print(*(rows[-1][k] for k in ("seed", "name", "kind", "cause", "loss")))
            about = {"backend": keras.backend.backend(), "keras": keras.__version__}
            options.output.write_text(json.dumps(about | {"rows": rows}, indent=1))


if __name__ == "__main__":
    main()
