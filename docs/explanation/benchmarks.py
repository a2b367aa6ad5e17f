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
# # Benchmarks
#
# [What recording costs](cost.ipynb) is measured in depth. The benchmarks here are
# short, and there to tell when something got slower. Each is a ratio of two times that
# are measured in turn in one process, so that figures from different machines can be
# compared: 1.2 takes a fifth more time than the thing it is compared with.
#
# | Benchmark | Compared with |
# |---|---|
# | recording | a whole `fit` of 100 steps without the recorder |
# | norms of raw, diagnoses | one pass of NumPy over the same numbers, in float64 |
# | replay | the `fit` that was recorded |
# | tensorboard, parquet | NumPy's histograms of the same numbers |
#
# `nox -s benchmarks` runs them with [asv](https://asv.readthedocs.io/) and adds a
# column to this table. They are not part of the tests: a busy machine must not fail a
# change.

# %% tags=["setup"]
import pandas as pd

# %%
measured = pd.read_csv("docs/data/benchmarks.csv", keep_default_na=False)
backend, version = measured.iloc[-1][["backend", "keras"]]
print(f"Keras {version} on {backend}")
measured["run"] = measured["date"].str.cat(measured["commit"], sep=" ")
table = measured.pivot_table(
    index=["benchmark", "case"], columns="run", values="ratio", sort=False
)
table.rename_axis(columns=None).round(2)
