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
# made by a course notebook, *Assignment 4*, dated 18 October 2025. It asked VizieR for
# the first 10,000 rows of table
# [I/345](https://vizier.cds.unistra.fr/viz-bin/VizieR?-source=I/345) that have a
# luminosity and a temperature. That table is Gaia DR2
# ([Gaia Collaboration 2018](https://doi.org/10.1051/0004-6361/201833051)); its
# temperatures and luminosities are described by
# [Andrae et al. 2018](https://doi.org/10.1051/0004-6361/201732516). The rows themselves
# were not published with the tables.
#
# **The stars in this package are reconstructed from the two tables. Nobody observed
# them.** They are a synthetic sample, solved for so that training on it gives the
# published numbers. [The reconstruction](reconstruction.ipynb) shows how.

# %% tags=["setup"]
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import matplotlib.pyplot as plt
import numpy as np
import pandas as pd

import hrcallbacks as hr
from hrcallbacks import backprop

# %%
catalog = hr.load_catalog()
catalog.describe().loc[["count", "min", "50%", "max"]]

# %% [markdown]
# `Lum` is the luminosity in units of the Sun's, `Teff` the effective temperature in
# kelvin, and `BP-RP` a colour in magnitudes, which the network never sees.
#
# ## The Hertzsprung-Russell diagram
#
# Astronomers plot luminosity against temperature, with hot stars on the left. The main
# sequence and the giant branch are there because the reconstruction starts from a
# sample that has them; fitting the tables only adjusts it.

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
# `training_data` takes logarithms, scales the luminosity's to run from 0 to 1, and
# shuffles with the seed of the published runs.

# %%
x, y = hr.training_data(catalog, seed=1453)

print(f"x: {x.shape}, {x.dtype}, {x.min():.0f} to {x.max():.0f}")
print(f"y: {y.shape}, {y.dtype}, mean {y.mean():.4f}, that is {10 ** y.mean():.0f} K")

# %% [markdown]
# ## What training sees of them
#
# A hidden unit switches on or off at its *kink*, $x = -b_i / w_i$. Between kinks the
# network's output is a straight line in $x$. So the loss and its gradients depend on
# the stars only through sums of $1$, $x$, $x^2$, $y$, $xy$ and $y^2$ between the kinks:
# any sample with the same sums gives the same tables.
#
# Where are the kinks? In the first epoch they are all at $x = 0$, since the biases
# start at zero, and only the faintest stars lie there. After that, few lie among the
# stars:

# %%
kinks = {}
for rate in (0.1, 0.3):
    before = hr.load_initial_weights(rate)
    for epoch, step in enumerate(
        backprop.train(before, x, y, rate, epochs=10), start=1
    ):
        w, b = np.ravel(before[0]), np.ravel(before[1])
        for unit in np.flatnonzero((-b / w > 0) & (-b / w < 1)):
            kinks[f"rate {rate}, epoch {epoch}, unit {unit + 1}"] = -b[unit] / w[unit]
        before = step.parameters

for where, kink in kinks.items():
    print(f"{where}: kink at x = {kink:.5f}")
print(f"{len(kinks)} kinks between the stars, and {np.sum(x == 0)} stars at x = 0")

# %% [markdown]
# So these sums are all that the twenty rows of the tables say about the stars:

# %%
sums = {"all stars": np.full(x.shape, True)}
sums |= {f"x above {kink:.5f}": x > kink for kink in sorted(kinks.values())}

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
# Does that make the stars right? [The audit](audit.ipynb) makes two tests that could
# have failed. Do the printed gradients explain the printed weights? That needs no star
# at all. And do stars reconstructed from the table at 0.1 alone predict the table at
# 0.3?
#
# ## Stars that were observed
#
# With a network connection, this downloads the first 10,000 rows of I/345 and keeps
# them in a file, so that they are the same next time:
#
# ```python
# catalog = hr.download_catalog("catalog.csv")
# ```
#
# And this makes the tables from them:
#
# ```bash
# python examples/lr_tables.py --catalog catalog.csv
# ```
#
# (Neither is run here, because this page is built without a network.) Look first at the
# deviation that it prints. If VizieR returns the same rows as it did then, the
# deviation from the published tables is as small as with the reconstructed stars, and
# you should use the observed ones from then on. If the deviation is larger, the rows
# are different; then compare the sums above. Both samples share the catalogue's own
# systematic errors, such as reddening.
