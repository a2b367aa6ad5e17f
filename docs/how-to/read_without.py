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
# # Read a recording without hrcallbacks
#
# A store outlives the program that wrote it. It is a [Zarr 3](https://zarr.dev) group
# with named dimensions, coordinates and units, so whoever receives one can read it with
# Zarr or xarray, from any language that has a Zarr library. Tables go to Parquet, which
# DuckDB and most other databases query.
#
# Install: `pip install "hrcallbacks[tensorflow,zarr,xarray,parquet]" duckdb`

# %% tags=["setup"]
import tempfile
from pathlib import Path

import keras
import numpy as np

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %% [markdown]
# This makes a store to read. After that, only the section on DuckDB uses hrcallbacks.

# %%
import hrcallbacks as hr

keras.utils.set_random_seed(1)
model = keras.Sequential(name="net")
model.add(keras.Input((3,)))
model.add(keras.layers.Dense(4, activation="relu", name="hidden"))
model.add(keras.layers.Dense(1, name="output"))
model.compile("adam", "mse")
x = np.random.default_rng(0).normal(size=(64, 3)).astype("float32")
path = folder / "run.zarr"
recorder = hr.GradientRecorder(
    record_freq=1, gradients=["raw", "norm", hr.Histogram(8, octaves=4)], store=path
)
model.fit(x, x[:, :1], batch_size=16, epochs=3, verbose=0, callbacks=[recorder])
print(*sorted(file.name for file in path.iterdir()))

# %% [markdown]
# ## xarray
#
# This needs xarray 2025.3 or later. The top of the store is the index: one row for each
# recorded step.

# %%
import xarray as xr

print(xr.open_zarr(path))

# %% [markdown]
# Everything else is in groups, which `open_datatree` opens together. Paths of variables
# keep their slashes, so a variable's gradients are an array in its layer's group:

# %%
tree = xr.open_datatree(path, engine="zarr")
kernel = tree["gradients/raw/net/hidden/kernel"]
kernel.sel(step=5).values

# %% [markdown]
# A statistic is one array for all variables, with their paths as a coordinate:

# %%
norms = tree["gradients/norm/norm"]
norms.sel(path="net/hidden/kernel").to_series().head()

# %% [markdown]
# The bins of a histogram lie from `low` to below `high`. The last three count zeros,
# NaN and infinities.

# %%
histogram = tree["gradients/histogram"].to_dataset()
one = histogram.sel(path="net/output/kernel", step=12)
one.to_dataframe()[["low", "high", "histogram"]]

# %% [markdown]
# ## Zarr
#
# Zarr alone gives arrays and their attributes:

# %%
import zarr

array = zarr.open_array(path, path="weights/raw/net/output/bias", mode="r")
print(array.metadata.to_dict()["dimension_names"], array.attrs["units"], array[-1])

# %% [markdown]
# The attributes of the group are JSON: the versions of what wrote it, the optimizer,
# the layers, how each fit ended.

# %%
import json

described = json.loads((path / "zarr.json").read_text())["attributes"]
print(described["attributes"]["versions"], described["fits"][0]["ended"])

# %% [markdown]
# ## DuckDB
#
# `to_parquet` writes the tidy table, one row for each step and element. DuckDB reads
# the file in place:

# %%
import duckdb

table = folder / "run.parquet"
hr.open_recording(path).to_parquet(table)
duckdb.sql(
    f"""
    SELECT path, count(*) AS numbers, max(abs(gradient)) AS largest
    FROM '{table}'
    GROUP BY path
    ORDER BY largest DESC
    """
).df()

# %% [markdown]
# ## What to rely on
#
# A store that is still being written, or whose run was killed, has no consolidated
# metadata, and its arrays may be longer than the run. The attribute `records` of the
# group `index` says how many rows count. `hrcallbacks convert run.zarr whole.zarr`
# writes such a store again, cut to its records. It does the same for stores of format
# 1, which xarray does not open.
#
# Each chunk ends in a checksum, which Zarr verifies when it reads the chunk. But Zarr
# fills in NaN for a chunk that is missing, while `hr.open_recording` says which one it
# is. [The layout](../reference/store.md) is described in full.

# %% tags=["setup"]
temporary.cleanup()
