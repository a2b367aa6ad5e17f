# %% [markdown]
# # Command line
#
# `hrcallbacks` looks at recordings from the shell; `python -m hrcallbacks` is the same.
# A recording is a store, as `GradientRecorder(store="run.zarr")` or
# `recording.save("run.zarr")` writes it. No command needs Keras. The rest of this page
# is what `--help` says. [Look at a run in a browser](../how-to/report.ipynb) shows what
# `report` makes.

# %% tags=["setup"]
import contextlib
import os

os.environ["COLUMNS"] = "80"

from hrcallbacks.cli.parser import main


def show_help(*command):
    """Prints what `hrcallbacks COMMAND --help` does."""
    with contextlib.suppress(SystemExit):
        main([*command, "--help"])


# %%
show_help()

# %% [markdown]
# ## show

# %%
show_help("show")

# %% [markdown]
# ## plot

# %%
show_help("plot")

# %% [markdown]
# ## table

# %%
show_help("table")

# %% [markdown]
# ## report

# %%
show_help("report")

# %% [markdown]
# ## convert

# %%
show_help("convert")
