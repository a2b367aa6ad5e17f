# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     name: python3
# ---

# %% [markdown]
# # How good is the diagnosis?
#
# A diagnosis is useful if it names the fault, if its advice repairs it, and if it stays
# silent when there is none. This page measures that on programs with one known fault
# each, on their repairs, and on programs without a fault.
#
# The faults are those of published benchmarks: the subjects of AUTOTRAINER (`AT`), and
# the Stack Overflow and synthetic programs of TheDeepChecker (`SO`, `SYN`); two are our
# own. The programs were written anew, on data that they make themselves:
# `examples/faulty_programs.py`. `examples/diagnosis_benchmark.py` trains them, asks
# `recording.diagnose()`, and writes the file that this page reads.

# %% tags=["setup"]
import json
from pathlib import Path

import pandas as pd
from IPython.display import HTML, display

# %%
measured = json.loads(Path("docs/data/diagnosis.json").read_text())
rows = pd.DataFrame(measured["rows"])
faulty = rows[rows["kind"] == "faulty"]
repaired = rows[(rows["kind"] == "repaired") & rows["learns"]]
healthy = rows[rows["kind"] == "healthy"]

# %% [markdown]
# ## What was found
#
# *Symptom*: a finding that is more than a note names what is seen. *Advice*: the advice
# of the first cause is the repair. Which rules count was written down with each
# program. *False alarm*: a warning, or worse, in a program that learns and has no
# fault.


# %%
def count(table, column):
    """How many of them, and of how many."""
    return f"{int(table[column].sum())} of {len(table)}"


seeds = rows["seed"].nunique()
print(f"Keras {measured['keras']} on {measured['backend']}, {seeds} seeds")
print("symptom named:          ", count(faulty, "symptom"))
print("advice that repairs:    ", count(faulty, "advice"))
for name, table in (("repaired, learning", repaired), ("healthy", healthy)):
    alarms = table.assign(alarm=table["worst"].notna())
    print(f"{f'false alarms, {name}:':33}", count(alarms, "alarm"))
print("longest text:           ", rows["lines"].max(), "lines")

# %% [markdown]
# ## Each program

# %% tags=["picture"]
each = faulty.fillna({"cause": "nothing"}).groupby("name", sort=False)
table = each[["fault", "repair"]].first()
table["first cause"] = each["cause"].agg(lambda causes: ", ".join(sorted({*causes})))
for column in ("symptom", "advice"):
    table[column] = each[column].sum().map(lambda n: f"{n} of {seeds}")


def show(table):
    """A table of texts, which are not cut off."""
    with pd.option_context("display.max_colwidth", None):
        display(HTML(table.to_html(index=False, classes="text")))


show(table.reset_index())

# %% [markdown]
# ## What was missed, and what was said without need

# %%
missed = faulty[~(faulty["symptom"] & faulty["advice"])]
for row in missed.itertuples():
    said = ", ".join(row.found) or "nothing"
    print(f"missed: {row.name}, seed {row.seed} ({row.fault}); found: {said}")
for row in pd.concat([repaired, healthy]).query("worst.notna()").itertuples():
    where = f"{row.name}, seed {row.seed} ({row.kind})"
    print(f"false alarm: {where}: {row.worst}, {', '.join(row.found)}")
if not len(missed):
    print("No program was missed.")

# %% [markdown]
# ## How far to trust this
#
# - [The rules](rules.ipynb) were written with faults like these in mind. A high share
#   here says that known faults are found, not that an unknown one will be.
# - Each program has one fault, in a small network. A real one may have several.
# - Faults that leave no trace in gradients, loss or structure cannot be seen: wrong
#   metrics, data that leak from training to validation, a task that cannot be learnt.
#
# ## What other tools claim
#
# These figures are quoted, not measured here. They were counted on other programs, so
# no row can be compared with the table above; only the first three can be compared with
# each other.

# %% tags=["picture"]
claims = [
    {
        "tool": tool,
        "claim": claim,
        "programs": programs,
        "source": source,
    }
    for tool, claim, programs, source in (
        (
            "DeepDiagnosis",
            "symptom named in 22",
            "27 posts and issues",
            "Wardat et al., ICSE 2022",
        ),
        (
            "DeepLocalize",
            "symptom named in 14",
            "the same, as DeepDiagnosis reports",
            "Wardat et al., ICSE 2021",
        ),
        (
            "AUTOTRAINER",
            "symptom named in 12",
            "the same, as DeepDiagnosis reports",
            "Zhang et al., ICSE 2021",
        ),
        (
            "the best of several tools",
            "recall 0.55, precision 0.37",
            "an independent comparison",
            "Humbatova et al., 2025",
        ),
    )
]
show(pd.DataFrame(claims))
