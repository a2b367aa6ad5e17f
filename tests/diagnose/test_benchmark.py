import json
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def benchmark():
    """The two scripts of the benchmark, as modules."""
    sys.path.insert(0, str(ROOT / "examples"))
    import diagnosis_benchmark
    import faulty_programs

    sys.path.remove(str(ROOT / "examples"))
    return diagnosis_benchmark, faulty_programs


def test_the_stored_result_is_of_the_programs_that_there_are(benchmark):
    stored = json.loads((ROOT / "docs/data/diagnosis.json").read_text())
    seeds = {row["seed"] for row in stored["rows"]}
    found = sorted((r["name"], r["kind"], r["seed"]) for r in stored["rows"])
    programs = benchmark[1].every()
    assert found == sorted((*key, seed) for key in programs for seed in seeds)


@pytest.mark.parametrize("fixed", [False, True])
def test_a_program_and_its_repair(benchmark, fixed):
    scripts, programs = benchmark
    name = "SO rate, inputs to 8"
    about = programs.PROGRAMS[name]
    recording = scripts.record(lambda: about.make(fixed), seed=0)
    row = scripts.row(name, "repaired" if fixed else "faulty", 0, recording)
    assert (row["symptom"], row["advice"]) == (not fixed, not fixed)
    assert row["learns"] is fixed
    assert row["lines"] <= 40
