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
# # Tune with KerasTuner or scikit-learn
#
# A tuner trains many models and hands each a *copy* of the callbacks. A copy of a
# recorder has the same settings and nothing recorded; the recorder that you made stays
# empty. Let each copy write its own store, and open the stores afterwards.
#
# Install:
# `pip install "hrcallbacks[tensorflow,tensorboard,plot,zarr]" keras-tuner scikit-learn`

# %% tags=["setup"]
import copy
import tempfile
from pathlib import Path

import keras
import keras_tuner
import numpy as np
import pandas as pd
from sklearn.model_selection import GridSearchCV

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

# %% [markdown]
# Points inside and outside a circle, and a small network that tells them apart:

# %%
rng = np.random.default_rng(0)
x = rng.uniform(-1, 1, size=(240, 2)).astype("float32")
inside = (np.sum(x**2, axis=1) < 0.6).astype("int32")
y = keras.utils.to_categorical(inside)


def network(learning_rate):
    """A compiled network, its first weights always the same."""
    keras.utils.set_random_seed(1)
    model = keras.Sequential(name="net")
    model.add(keras.Input((2,)))
    model.add(keras.layers.Dense(8, activation="relu", name="hidden"))
    model.add(keras.layers.Dense(2, activation="softmax", name="output"))
    model.compile(
        keras.optimizers.SGD(learning_rate),
        loss="categorical_crossentropy",
        metrics=["accuracy"],
    )
    return model


# %% [markdown]
# ## KerasTuner
#
# In `store=`, `{n}` stands for a number: each fit of a copy takes the next one that is
# free, from 0. Four learning rates are four trials, each trained once.

# %%
recorder = hr.GradientRecorder(record_freq=1, store=folder / "trials" / "{n}.zarr")


def build(hyperparameters):
    """The network of one trial."""
    return network(hyperparameters.Choice("learning_rate", [0.001, 0.1, 1.0, 100.0]))


tuner = keras_tuner.GridSearch(
    build, objective="val_accuracy", directory=folder, project_name="tuner"
)
tuner.search(
    *(x[:160], y[:160]),
    validation_data=(x[160:], y[160:]),
    epochs=5,
    verbose=0,
    callbacks=[recorder],
)
sorted(path.name for path in (folder / "trials").iterdir())

# %% [markdown]
# ## Compare the trials
#
# Trials run one after the other, so the stores count them in the order in which the
# tuner started them. With `executions_per_trial=2` each trial would take two numbers.

# %%
recordings = [
    hr.open_recording(folder / "trials" / f"{n}.zarr")
    for n in range(len(tuner.oracle.start_order))
]

rows = []
for trial_id, recording in zip(tuner.oracle.start_order, recordings, strict=True):
    trial = tuner.oracle.get_trial(trial_id)
    rows.append(
        trial.hyperparameters.values
        | {
            "recorded rate": recording.index["learning_rate"].iloc[0],
            "val_accuracy": trial.score,
            "median gradient norm": recording.statistic("gradients", "norm")
            .median()
            .max(),
            "findings": ", ".join(sorted(set(recording.diagnose()["rule"]))),
        }
    )
pd.DataFrame(rows)

# %% [markdown]
# The score says which trial did best; the recordings show what happened in each. With
# many trials, [Compare many runs](runs.ipynb) draws medians and makes tables of all.

# %%
# Figure: Loss of each step, a line for each trial. At the smallest rate it hardly
# moves; at the two in the middle it falls; at the largest it jumps.
curves = {
    f"{row['learning_rate']:g}": recording
    for row, recording in zip(rows, recordings, strict=True)
}
ax = hr.plot.loss(curves, log=True)

# %% [markdown]
# ## scikit-learn
#
# `keras.wrappers` makes a Keras model an estimator, and scikit-learn clones estimators
# for each fold of a cross-validation. But Keras' clones forget `fit_kwargs`, callbacks
# and all, and an argument of `search.fit` is one recorder for every fold. So copy the
# recorder where each model is trained:

# %%
recorder = hr.GradientRecorder(store=folder / "folds" / "{n}.zarr")


class Recorded(keras.wrappers.SKLearnClassifier):
    """A classifier, each fit of which writes a store of its own."""

    def fit(self, X, y, **options):
        """Trains with a copy of the recorder."""
        callbacks = [copy.deepcopy(recorder)]
        return super().fit(X, y, epochs=5, verbose=0, callbacks=callbacks, **options)


def fold_network(X, y, learning_rate):
    """The network of one fit; the wrapper passes the data too."""
    return network(learning_rate)


def accuracy(classifier, X, y):
    """The share of points on the right side."""
    scores = keras.ops.convert_to_numpy(classifier.model_(X))
    return np.mean(scores.argmax(axis=1) == y)


search = GridSearchCV(
    Recorded(fold_network),
    {"model_kwargs": [{"learning_rate": rate} for rate in (0.1, 1.0)]},
    scoring=accuracy,
    cv=3,
)
search.fit(x, inside)
search.cv_results_["mean_test_score"]

# %% [markdown]
# Two rates and three folds are six fits; the seventh trains with the better rate on all
# the data, in more steps.

# %%
fits = []
for n in range(7):
    index = hr.open_recording(folder / "folds" / f"{n}.zarr").index
    last = index.iloc[-1]
    fits.append({"steps": int(last["step"]), "rate": last["learning_rate"]})
pd.DataFrame(fits).rename_axis("n")

# %% [markdown]
# With `n_jobs=2` fits run at the same time. Each still takes a number of its own, but
# in no fixed order; the recorded learning rates tell which is which.
#
# ## Without a store
#
# A recorder without `store=` is copied too, and what its copies record is lost with
# them. To keep one run in memory, train it yourself, with the best hyperparameters:

# %%
recorder = hr.GradientRecorder(record_freq=1)
model = build(tuner.get_best_hyperparameters()[0])
model.fit(x, y, epochs=5, verbose=0, callbacks=[recorder])
recorder.recording
