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
# # The stars
#
# Where do the 10,000 stars of the worked example come from? The published tables were
# made from the first 10,000 rows with a luminosity and a temperature that VizieR gave
# of its table I/345, Gaia DR2. That download was not published with the tables.
#
# **The stars that come with this package are reconstructed from the two tables. Nobody
# observed them.** They are a synthetic sample, solved for so that training on it gives
# the published numbers. [The reconstruction](reconstruction.ipynb) shows how.

# %% tags=["setup"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hrcallbacks as hr

# %%
catalog = hr.load_catalog()
catalog.describe().loc[["count", "min", "50%", "max"]]

# %% [markdown]
# `Lum` is the luminosity in units of the Sun's, `Teff` the effective temperature in
# kelvin, and `BP-RP` a colour in magnitudes, which the network never sees.
#
# ## The Hertzsprung-Russell diagram
#
# Astronomers plot luminosity over temperature, hot stars on the left. Main sequence and
# giant branch are there because the reconstruction starts from a sample that looks so;
# the tables only bend it.

# %%
# Figure: Hertzsprung-Russell diagram of the reconstructed stars, log luminosity over
# temperature falling to the right. A main sequence runs from faint and cool to bright
# and hot; a giant branch turns off it towards cool and bright.
figure, ax = plt.subplots(figsize=(6, 5), layout="constrained")
ax.scatter("Teff", "Lum", data=catalog, s=2, alpha=0.4, linewidths=0, rasterized=True)
ax.set(
    xscale="log",
    yscale="log",
    xlabel="Effective temperature in K",
    ylabel="Luminosity in solar luminosities",
    title="Reconstructed from the published tables, not observed",
)
ticks = [3000, 4000, 5000, 6000, 8000]
ax.set_xticks(ticks, labels=map(str, ticks))
ax.minorticks_off()
ax.invert_xaxis()
ax.grid(alpha=0.3)
plt.show()

# %% [markdown]
# ## From catalogue to training data
#
# `training_data` takes logarithms, scales that of the luminosity so that it runs from 0
# to 1, and shuffles with the seed of the published runs.

# %%
x, y = hr.training_data(catalog, seed=1453)

print(f"x: {x.shape}, {x.dtype}, {x.min():.0f} to {x.max():.0f}")
print(f"y: {y.shape}, {y.dtype}, mean {y.mean():.4f}, that is {10 ** y.mean():.0f} K")

# %% [markdown]
# ## What training sees of them
#
# Between two kinks of its six rectifiers the network's output is a straight line in
# $x$. So the loss and its gradients contain the stars only through sums of $1$, $x$,
# $x^2$, $y$, $xy$ and $y^2$ between the kinks: any sample with the same sums gives the
# same tables. In all twenty epochs just three kinks lie among the stars.

# %%
kinks = [0.28293, 0.60099, 0.72864]
sums = {"all stars": np.full(x.shape, True)}
sums |= {f"x above {kink}": x > kink for kink in kinks}

pd.DataFrame(
    {
        name: {
            "share of the stars": chosen.mean(),
            "mean of x": x[chosen].mean(),
            "mean of y": y[chosen].mean(),
            "mean of x y": (x * y)[chosen].mean(),
            "mean of y squared": (y**2)[chosen].mean(),
        }
        for name, chosen in sums.items()
    }
).round(5)

# %% [markdown]
# Does that make them right? [The audit](audit.ipynb) asks two questions that could have
# failed: whether the printed gradients explain the printed weights, which needs no star
# at all; and whether stars reconstructed from the table at 0.1 alone predict the table
# at 0.3.
#
# ## Stars that were observed
#
# With a network connection, this fetches the first 10,000 rows of I/345, and keeps them
# in a file, so that they are the same the next time:
#
# ```python
# catalog = hr.download_catalog("catalog.csv")
# ```
#
# and this makes the tables from them:
#
# ```bash
# python examples/lr_tables.py --catalog catalog.csv
# ```
#
# (Neither is run here: this page is built without a network.) The first thing to
# compare is the deviation that it prints. If VizieR gives the rows that it once gave,
# the deviation from the published tables is as small as that of the reconstructed
# stars, and the observed ones are to be used from then on. If it is larger, the rows
# are others; then compare the sums above. The catalogue's own systematics, reddening
# for one, are in both.
