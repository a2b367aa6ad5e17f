"""What the recorder promises, on models that others wrote.

Each model is trained with recorders and without, its data fed in three ways, the last
batch smaller than the others. `HRCALLBACKS_ZOO_TABLE=zoo.jsonl` has each case append
what was measured to that file, a JSON object a line.
"""

import functools
import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import keras
import numpy as np
import pytest
from training import full_state
from zoo import models
from zoo.tape import gradients_of

import hrcallbacks as hr

BATCH = 4
STEPS = -(-models.SAMPLES // BATCH)  # An epoch's; the last one of two samples.
# Float32 noise, relative to a gradient's largest element.
TOLERANCE = 2e-5
NOISE = 1e-6  # As in test_replay.py.
IN_GRAPHS = models.BACKEND == "tensorflow"
REDUCTIONS = ["norm", hr.Histogram(), hr.Sample(5, seed=1)]


def sliced(data: Any, part: slice) -> Any:
    return keras.tree.map_structure(lambda a: a if a is None else a[part], data)


def batches(data: tuple) -> list[tuple]:
    starts = range(0, models.SAMPLES, BATCH)
    return [sliced(data, slice(s, s + BATCH)) for s in starts]


def given(data: tuple) -> Any:
    """Inputs, targets and weights as a `tf.data.Dataset` yields them."""
    x, y, *_ = data
    return x if y is None else data


def arrays(zoo: models.Zoo) -> dict:
    names = (zoo.fit_input, "y", "sample_weight")
    pairs = zip(names, zoo.data(), strict=False)
    return {n: v for n, v in pairs if v is not None} | {"batch_size": BATCH}


def tf_data(zoo: models.Zoo) -> dict:
    tf = pytest.importorskip("tensorflow", reason="tf.data comes with TensorFlow")
    dataset = tf.data.Dataset.from_tensor_slices(given(zoo.data()))
    return {zoo.fit_input: dataset.batch(BATCH)}


def generator(zoo: models.Zoo) -> dict:
    steps = zoo.epochs * batches(zoo.data())
    return {
        zoo.fit_input: ((x,) if y is None else (x, y, *w) for x, y, *w in steps),
        "steps_per_epoch": STEPS,
    }


FEEDS = [arrays, tf_data, generator]


@dataclass
class Subject:
    """A model of the zoo, its state before training, and recorders kept for it."""

    zoo: models.Zoo
    model: keras.Model
    initial: list
    every: hr.GradientRecorder
    reduced: hr.GradientRecorder
    defaults: hr.GradientRecorder
    gradients: Any

    def fit(self, feed: Any, *callbacks: keras.callbacks.Callback) -> tuple:
        """Trains from the initial state; gives the state at the end, and the logs."""
        self.reset()
        history = self.library_or_keras(feed)(
            **feed(self.zoo),
            epochs=self.zoo.epochs,
            shuffle=False,
            verbose=0,
            callbacks=list(callbacks),
        )
        return full_state(self.model), history.history

    def library_or_keras(self, feed: Any) -> Any:
        """The model's own `fit`, or that of Keras where the former refuses the feed."""
        if feed.__name__ in self.zoo.refused and self.zoo.kerass_fit:
            return functools.partial(keras.Model.fit, self.model)
        return self.model.fit

    def reset(self) -> None:
        """Gives the model and its optimizer the state from before training."""
        for variable, value in zip(self.model.variables, self.initial, strict=True):
            variable.assign(value)
        optimizer = self.model.optimizer
        if optimizer.built:
            fresh = type(optimizer).from_config(optimizer.get_config())
            fresh.build(self.model.trainable_variables)
            for ours, theirs in zip(optimizer.variables, fresh.variables, strict=True):
                ours.assign(theirs)


@dataclass
class Run:
    """A subject, trained with recorders on one feed; and what was measured."""

    subject: Subject
    feed: Any
    state: list
    history: dict
    row: dict = field(default_factory=dict)


def install(zoo: models.Zoo) -> None:
    """Skips what follows if a model's library is not there."""
    reason = f"{zoo.name} needs the extra 'zoo'"
    with models.gradients_of_torch():
        pytest.importorskip(zoo.library, reason=reason)


@pytest.fixture(scope="module", params=models.ZOO, ids=lambda zoo: zoo.name)
def subject(request: pytest.FixtureRequest) -> Subject:
    zoo = request.param
    install(zoo)
    keras.utils.set_random_seed(3)
    model = zoo.build()
    return Subject(
        zoo,
        model,
        [keras.ops.convert_to_numpy(v) for v in model.variables],
        hr.GradientRecorder(record_freq=1),
        hr.GradientRecorder(record_freq=1, gradients=REDUCTIONS, weights="norm"),
        hr.GradientRecorder(),
        gradients_of(model, zoo.loss),
    )


@pytest.fixture(scope="module", params=FEEDS, ids=lambda feed: feed.__name__)
def run(subject: Subject, request: pytest.FixtureRequest) -> Iterator[Run]:
    refused = subject.zoo.refused.get(request.param.__name__)
    if refused and not subject.zoo.kerass_fit:
        pytest.skip(refused)
    recorders = subject.every, subject.reduced, subject.defaults
    for recorder in recorders:
        recorder.reset()
    run = Run(subject, request.param, *subject.fit(request.param, *recorders))
    yield run
    write(run)


def write(run: Run) -> None:
    """Appends what was measured to the table, if one was asked for."""
    path = os.environ.get("HRCALLBACKS_ZOO_TABLE")
    if path is None:
        return
    case = {
        "model": run.subject.zoo.name,
        "backend": models.BACKEND,
        "feed": run.feed.__name__,
    }
    with Path(path).open("a") as file:
        file.write(json.dumps(case | run.row) + "\n")


def test_each_step_is_a_record(run: Run) -> None:
    every, reduced = run.subject.every.recording, run.subject.reduced.recording
    epochs = run.subject.zoo.epochs
    run.row["records"] = len(every)
    steps = list(range(1, epochs * STEPS + 1))
    assert every.index["step"].tolist() == steps
    assert reduced.index["step"].tolist() == steps
    assert (
        run.subject.defaults.recording.index["step"].tolist()
        == steps[STEPS - 1 :: STEPS]
    )
    for recorder in (every, reduced, run.subject.defaults.recording):
        assert recorder.attributes["complete"]


def difference(found: list, expected: list) -> float:
    """The largest difference, relative to the variable's largest gradient."""
    whole = max(np.abs(g).max() for g in expected if g is not None)
    assert whole > 0
    worst = []
    for ours, theirs in zip(found, expected, strict=True):
        if theirs is None:
            assert np.isnan(ours).all()
            continue
        # What is zero by symmetry (a key's bias, a bias before BatchNormalization)
        # is noise of the others.
        scale = max(np.abs(theirs).max(), 1e-3 * whole)
        worst.append(np.abs(ours - theirs).max() / scale)
    assert np.isfinite(worst).all()
    return float(max(worst))


def test_gradients_are_those_of_the_backends_own_tape(run: Run) -> None:
    recording, zoo = run.subject.every.recording, run.subject.zoo
    trainable = run.subject.model.trainable_variables
    run.subject.reset()
    weights = [keras.ops.convert_to_numpy(v) for v in trainable]
    worst = 0.0
    for t, batch in enumerate(zoo.epochs * batches(zoo.data())):
        x, y, sample_weight = (*batch, None)[:3]
        expected = run.subject.gradients(weights, x, y, sample_weight)
        found = [recording.gradients[path][t] for path in recording.paths]
        worst = max(worst, difference(found, expected))
        weights = [recording.weights[path][t] for path in recording.paths]
    run.row["gradient_error"] = worst
    assert worst < TOLERANCE


def test_replay_is_exact(run: Run) -> None:
    error = run.subject.every.recording.replay().max_error
    run.row["replay_error"] = error
    assert error < NOISE


def test_training_is_the_same_without_the_recorder(run: Run) -> None:
    state, history = run.subject.fit(run.feed)
    pairs = list(zip(run.state, state, strict=True))
    same = all(np.array_equal(a, b, equal_nan=True) for a, b in pairs)
    run.row["bit_identical"] = same and history == run.history
    assert history == run.history
    for ours, theirs in pairs:
        np.testing.assert_array_equal(ours, theirs)


def test_reductions_are_those_of_the_recorded_gradients(run: Run) -> None:
    recording, reduced = run.subject.every.recording, run.subject.reduced.recording
    norms, histogram, sample = (
        reduced.arrays("gradients", name) for name in ("norm", "histogram", "sample")
    )
    for path, rows in recording.gradients.items():
        for t, gradient in enumerate(rows):
            np.testing.assert_allclose(
                norms[path][t], np.linalg.norm(gradient.astype("float64")), rtol=2e-6
            )
            expected = REDUCTIONS[1].on_host(gradient)
            np.testing.assert_array_equal(histogram[path][t], expected)
            expected = REDUCTIONS[2].on_host(gradient)
            np.testing.assert_array_equal(sample[path][t], expected)


def test_what_a_library_refuses_it_refuses_without_a_recorder(
    subject: Subject,
) -> None:
    for feed in FEEDS:
        if feed.__name__ in subject.zoo.refused:
            with pytest.raises((ValueError, TypeError)):
                subject.model.fit(**feed(subject.zoo), shuffle=False, verbose=0)


SMALL = [zoo for zoo in models.ZOO if zoo.epochs > 1]
ALONE: dict[str, dict] = {
    "defaults": {},
    "norm": {"gradients": "norm", "weights": None, "record_freq": 1},
    "raw outputs": {
        "gradients": None,
        "weights": None,
        "outputs": "raw",
        "record_freq": 1,
    },
    "reduced outputs": {
        "gradients": "norm",
        "weights": None,
        "outputs": ["norm", "zero_fraction"],
        "output_gradients": "norm",
        "record_freq": 1,
    },
    "raw gradients of outputs": {
        "gradients": None,
        "weights": None,
        "output_gradients": "raw",
        "record_freq": 1,
    },
}
# Each recorder has its own compiled step, which takes long for the large ones.
CASES = [
    (zoo, kind)
    for zoo in models.ZOO
    for kind in ALONE
    if zoo in SMALL or kind == "reduced outputs"
]


@pytest.mark.parametrize(
    ("subject", "kind"),
    CASES,
    indirect=["subject"],
    ids=lambda v: getattr(v, "name", v),
)
def test_training_is_the_same_with_one_recorder_alone(
    subject: Subject, kind: str
) -> None:
    if kind.startswith("raw") and subject.zoo.name == "BayesFlow" and IN_GRAPHS:
        pytest.skip("Of one of its layers TensorFlow does not know the shape")
    recorder = hr.GradientRecorder(**ALONE[kind])
    state, history = subject.fit(arrays, recorder)
    plain, plain_history = subject.fit(arrays)
    recording = recorder.recording
    assert recording.attributes["complete"]
    assert history == plain_history
    for ours, theirs in zip(state, plain, strict=True):
        np.testing.assert_array_equal(ours, theirs)
    for quantity in ALONE[kind].keys() & {"outputs", "output_gradients"}:
        reduction = "norm" if kind == "reduced outputs" else "raw"
        assert recording.arrays(quantity, reduction)


def added_last(model: keras.Model) -> Iterator[tuple[keras.Layer, str]]:
    """Layers that end by adding a variable, and its path."""
    linear = keras.activations.linear
    trained = {v.path for v in model.trainable_variables}
    for layer in model._flatten_layers():
        bias = getattr(layer, "bias", None)
        bias = getattr(layer, "beta", None) if bias is None else bias
        is_last = getattr(layer, "activation", linear) is linear
        if isinstance(bias, keras.Variable) and bias.path in trained and is_last:
            yield layer, bias.path


@pytest.mark.parametrize("subject", SMALL, indirect=True, ids=lambda zoo: zoo.name)
def test_gradients_of_outputs_add_up_to_those_of_what_was_added_last(
    subject: Subject,
) -> None:
    pairs = list(added_last(subject.model))
    if not pairs:
        pytest.skip("It trains nothing that is added")
    if subject.zoo.name == "BayesFlow" and IN_GRAPHS:
        pytest.skip("Of one of its layers TensorFlow does not know the shape")
    recorder = hr.GradientRecorder(weights=None, output_gradients="raw", record_freq=1)
    subject.fit(arrays, recorder)
    recording, compared = recorder.recording, 0
    for layer, bias in pairs:
        if layer.path not in recording.output_gradients:
            continue
        rows, biases = recording.output_gradients[layer.path], recording.gradients[bias]
        for seen, gradient in zip(rows, biases, strict=True):
            axes = tuple(range(seen.ndim - gradient.ndim))
            size = np.nansum(np.abs(seen), axes).max()
            np.testing.assert_allclose(
                np.nansum(seen, axes), gradient, rtol=0, atol=NOISE * size
            )
            compared += 1
    assert compared >= len(recording)
