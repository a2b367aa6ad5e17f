"""Adds the latest results of asv to the table that the page on benchmarks shows."""

import itertools
import json
from pathlib import Path

import keras
import pandas as pd

ROOT = Path(__file__).resolve().parents[2]
TABLE = ROOT / "docs" / "data" / "benchmarks.csv"


def latest() -> Path:
    """The file that asv wrote last."""
    found = (ROOT / "build" / "asv" / "results").glob("*/*-existing-*.json")
    return max(found, key=lambda path: path.stat().st_mtime)


def rows(path: Path) -> pd.DataFrame:
    """A row for each ratio."""
    measured = json.loads(path.read_text())
    made = []
    for name, (values, params, *_) in measured["results"].items():
        cases = itertools.product(*params)
        for case, value in zip(cases, values or [], strict=True):
            about = ", ".join(text.strip("'") for text in case)
            made.append(
                {
                    "date": pd.Timestamp(measured["date"], unit="ms").date(),
                    "commit": measured["commit_hash"][:8],
                    "keras": keras.__version__,
                    "backend": keras.config.backend(),
                    "benchmark": name.rpartition("track_")[2].replace("_", " "),
                    "case": about,
                    "ratio": round(value, 3) if value is not None else None,
                }
            )
    return pd.DataFrame(made)


def main() -> None:
    """Replaces what the table has of the same commit."""
    new = rows(latest())
    if TABLE.is_file():
        old = pd.read_csv(TABLE, keep_default_na=False)
        kept = old[old["commit"] != new["commit"].iloc[0]]
        new = pd.concat([kept, new], ignore_index=True)
    new.to_csv(TABLE, index=False)
    print(new.to_string(index=False))


if __name__ == "__main__":
    main()
