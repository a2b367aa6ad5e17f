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
# # Questions, warnings and errors
#
# Did you get a warning or an error? Search this page for a few words of it. Each
# warning is listed with what to do; an error says that itself.
#
# Install: `pip install "hrcallbacks[tensorflow,zarr]"`

# %% tags=["setup"]
import ast
import html
import tempfile
import textwrap
import warnings
from pathlib import Path

import keras
import numpy as np
from IPython.display import HTML, display

import hrcallbacks as hr

temporary = tempfile.TemporaryDirectory()
folder = Path(temporary.name)

x = np.linspace(0, 1, 64)[:, np.newaxis]


def new_model():
    """A line, compiled."""
    model = keras.Sequential([keras.Input((1,)), keras.layers.Dense(1, name="line")])
    model.compile("sgd", loss="mse", run_eagerly=True)
    return model


def fit(recorder, model=None, **options):
    """Trains, and prints what the recorder warns of or refuses."""
    model = new_model() if model is None else model
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        try:
            model.fit(x, 2 * x, verbose=0, callbacks=[recorder], **options)
        except (TypeError, ValueError, FileExistsError) as error:
            print(textwrap.fill(f"{type(error).__name__}: {error}", 80))
    for warning in caught:
        print(textwrap.fill(f"{warning.category.__name__}: {warning.message}", 80))
    return recorder


# %% [markdown]
# ## Questions
#
# ### Why is my recording empty?
#
# Either `record_freq` selected none of the steps that were run, or the recorder was not
# passed to `fit`. In the first case a warning says so:

# %%
recorder = fit(hr.GradientRecorder(record_freq=1000))

# %% [markdown]
# ### Why do I have one record per epoch, and not one per step?
#
# That is the default, `record_freq="epoch"`: the last step of each epoch. Pass
# `record_freq=1` for every step, or `record_freq=100` for every hundredth.
#
# ### Why is the loss not the one that Keras prints?
#
# `recording.index["loss"]` is the loss of the recorded step's batch. Keras prints the
# mean over the epoch so far.
#
# ### Is this the gradient before or after clipping?
#
# Before. It is what the optimizer was given: before clipping, accumulation and weight
# decay, and without a loss scale. [Which gradient is
# recorded?](explanation/which_gradient.ipynb) has all of them side by side.
#
# ### Are the weights those before or after the step?
#
# After it, unless you pass `weights_at="before"`.
#
# ### Why are there NaNs, though training is fine?
#
# A variable that gets no gradient in a step has NaN there, and `False` in
# `recording.has_gradient`. A gradient that is itself NaN has `True` there.
#
# ### Does it change or slow down my training?
#
# It does not change it; [here is the proof](explanation/unchanged.ipynb). [What it
# costs](explanation/cost.ipynb) depends on what you record. Steps that are not recorded
# cost nothing that we could measure.
#
# ### My model is too large for memory. What can I do?
#
# The recorder refuses before training starts, and says how much it would need:

# %%
recorder = fit(hr.GradientRecorder(record_freq=1, max_bytes=100), epochs=5)

# %% [markdown]
# Record a reduction such as `gradients="norm"`, fewer steps or fewer variables, or
# write to disk with `store="run.zarr"`: see [Large models](how-to/large_models.ipynb).
#
# ### No variable matches my pattern. What are they called?
#
# The message lists their paths:

# %%
recorder = fit(hr.GradientRecorder("hidden/*"))

# %% [markdown]
# ### Can I use one recorder for two models?
#
# No. Use one for each, or call `reset()` in between:

# %%
recorder = fit(hr.GradientRecorder())
fit(recorder)
recorder.reset()
print(len(fit(recorder).recording), "record of the second model")

# %% [markdown]
# ### Why is my store refused?
#
# A recorder never overwrites a recording:

# %%
recorder = fit(hr.GradientRecorder(store=folder / "run.zarr"))
recorder = fit(hr.GradientRecorder(store=folder / "run.zarr"))

# %% [markdown]
# ### Why did KerasTuner leave my recorder empty?
#
# Tuners train with copies of their callbacks: see [Tune with KerasTuner or
# scikit-learn](how-to/tuning.ipynb).
#
# ### Why does `replay()` find a large error?
#
# A replay needs every step (`record_freq=1`), all variables and raw values. Its error
# is then float32 noise. If something else changed the weights, such as a callback or a
# second optimizer that the recorder did not see, it says so.
#
# ### Which backends and versions does it work with?
#
# Keras 3.10 or newer on TensorFlow, JAX and PyTorch; see [Use JAX or
# PyTorch](how-to/backends.ipynb).
#
# ## Warnings
#
# Each warning of the package, and what to do. An ellipsis stands for what differs from
# case to case.

# %% tags=["picture"]
# A phrase of each warning, and what to do. tests/test_docs.py finds warnings without.
WARNINGS = {
    "Recording stopped in epoch": "Something failed while recording: the disk is full, "
    "say, or max_bytes was reached. Training was not affected. The message names the "
    "fault. What was recorded until then can be used.",
    "No optimizer was called in the training steps": "Your train_step updates the "
    "weights with an optimizer that the model does not hold, or by itself. Store the "
    "optimizer as an attribute of the model.",
    "which the training step did not call": "outputs= or output_gradients= asks for a "
    "layer that is used in evaluate and predict alone, or whose weights the model's "
    "call takes without calling it. Leave it out, or record the layer around it.",
    "Nothing was recorded": "record_freq selected none of the steps, or fit broke off "
    "before an epoch's last step. Use record_freq=1 or a smaller number.",
    "Nothing was seen to train the model": "Between the beginning and the end of "
    "recorder.attached(model) no optimizer of the model was called. Pass those that "
    "train it: recorder.attached(model, optimizer).",
    "inside a compiled function of your own": "Your loop calls the optimizer in a "
    "tf.function, jax.jit or torch.compile of yours, and nothing can be taken out of "
    "there. Call it outside of that, or train with fit.",
    "copies of it have": "A tuner trained with copies of the recorder. Give it a store "
    "with {n} in its name, and open the stores afterwards.",
    "from elsewhere already": "Two sources add gradient_norm to Keras' logs. Remove "
    "one, or rename your metric.",
    "is incomplete:": "The run that you resume broke off between two records, or went "
    "on without the recorder. The message names the steps that are missing.",
    "NaN or infinity, which no histogram shows": "TensorBoard's histograms leave out "
    "what is not finite. It is counted under the tag that the message names.",
    "were sparse, and are recorded as the sums": "Only the replay differs, the "
    "recording is right. Nothing needs to be done.",
    "no optimizer was seen to update them": "Something other than an optimizer changed "
    "these variables during training, such as a callback. The replay cannot repeat it.",
    "… failed, and ": "A sink raised an exception. Training and "
    "recording went on without it. Correct the sink; the message has the exception.",
    "Training …": "An hr.Alert found something: see the page on finding out why "
    "training fails.",
}


def in_words(node):
    """The text of an expression, with an ellipsis for what is filled in."""
    if isinstance(node, ast.JoinedStr):
        return "".join(in_words(part) for part in node.values)
    if isinstance(node, ast.Constant):
        return str(node.value)
    if isinstance(node, ast.BinOp):
        return in_words(node.left) + in_words(node.right)
    return "…"


def calls(tree):
    """Texts that are warned with: of `warn`, of `say`, and of sinks that failed."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            failed = "_failures.append" in ast.unparse(node.func)
            if (node.func.attr in ("warn", "say") or failed) and node.args:
                yield in_words(node.args[0])


def listed(entries):
    """Messages and what to do, as a list of definitions."""
    rows = [
        f"<dt><strong>{html.escape(text)}</strong></dt><dd>{html.escape(advice)}</dd>"
        for text, advice in entries
    ]
    display(HTML(f"<dl>{''.join(rows)}</dl>"))


package = Path(hr.__file__).parent
trees = {path: ast.parse(path.read_text()) for path in sorted(package.rglob("*.py"))}
texts = [text for tree in trees.values() for text in calls(tree)]
listed(
    (text, advice)
    for phrase, advice in WARNINGS.items()
    for text in texts
    if phrase in text
)

# %% [markdown]
# ## Errors
#
# Bad arguments are refused before training starts. Each message says what it received,
# what there is, and what to type. Here they are, by the part of the package that raises
# them. Messages without a fixed text are left out.

# %% tags=["picture"]
PARTS = {
    "What to record": ("selection", "quantities", "reductions"),
    "When fit starts": ("session", "capture", "backends", "recorder.py", "checks.py"),
    "Sinks": ("sinks",),
    "Stores and recordings": ("storage", "recording"),
    "Tables and TensorBoard": ("export",),
    "Pictures": ("plot",),
    "Diagnosis": ("diagnose",),
    "The shell and optional packages": ("cli", "optional.py"),
    "The worked example": ("worked_example",),
}


def raised(tree):
    """Class and text of each error that is raised with a text."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Raise) and isinstance(node.exc, ast.Call):
            name, arguments = ast.unparse(node.exc.func), node.exc.args
            text = in_words(arguments[0]) if arguments else ""
            if name.endswith("Error") and len(text.replace("…", "")) > 20:
                yield name, text


for title, places in PARTS.items():
    found = {
        item
        for path, tree in trees.items()
        if path.relative_to(package).parts[0] in places
        for item in raised(tree)
    }
    rows = "".join(
        f"<li>{html.escape(name)}: {html.escape(text)}</li>"
        for name, text in sorted(found)
    )
    summary = f"<summary>{title}: {len(found)} errors</summary>"
    display(HTML(f"<details>{summary}<ul>{rows}</ul></details>"))

# %% [markdown]
# Something else? Look at [Find out why training fails](how-to/diagnose.ipynb), or open
# an issue with the output of `print(recording)` and of `hrcallbacks show run.zarr`.
