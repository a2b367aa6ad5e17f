"""Outputs of layers and their gradients, against what is computed without them."""

import keras
import numpy as np
import pytest
from keras import layers
from layered import BATCH, MODELS, ROWS, trained

import hrcallbacks as hr
from hrcallbacks.worked_example import backprop

COMPILED = {} if keras.config.backend() == "torch" else {"jit_compile": False}
EAGER = {"run_eagerly": True}
ALL = {"outputs": "raw", "output_gradients": "raw", "optimizer": "raw"}


def record(make, epochs=1, compiled=COMPILED, **kwargs):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before", **kwargs)
    model, x, y, _ = trained(make, [recorder], epochs=epochs, compiled=compiled)
    return recorder.recording, model, x, y


@pytest.fixture(scope="module")
def recorded():
    """Recordings of the models, each made once."""
    made = {}

    def of(name):
        if name not in made:
            made[name] = record(MODELS[name], **ALL)
        return made[name]

    return of


def loss_of(model, y, y_pred):
    return np.mean((y - y_pred) ** 2, dtype="float64")


def test_outputs_and_deltas_of_the_worked_example_are_those_derived_by_hand(line):
    x, y = line

    def make():
        model = keras.Sequential(
            [
                keras.Input((1,)),
                layers.Dense(6, activation="relu", name="hidden"),
                layers.Dense(1, name="output"),
            ]
        )
        return model, x

    recording, _, x, y = record(make, **ALL)
    for t in range(len(recording)):
        rows = slice(t * BATCH, (t + 1) * BATCH)
        w1, b1, w2, b2 = (recording.weights[p][t] for p in recording.paths)
        z = x[rows] @ w1 + b1
        a = np.maximum(z, 0)
        delta2 = 2 / len(z) * (a @ w2 + b2 - y[rows])
        delta1 = delta2 @ w2.T * (z > 0)
        expected = {
            ("outputs", "hidden/preactivation"): z,
            ("outputs", "hidden"): a,
            ("outputs", "output"): a @ w2 + b2,
            ("output_gradients", "output"): delta2,
            ("output_gradients", "hidden"): delta2 @ w2.T,
            ("output_gradients", "hidden/preactivation"): delta1,
        }
        for (quantity, name), value in expected.items():
            found = recording.arrays(quantity)[name][t][: len(value)]
            np.testing.assert_allclose(found, value, rtol=2e-5, atol=2e-6, err_msg=name)
        kernel = backprop.mse_gradients((w1, b1, w2, b2), x[rows], y[rows])[0]
        np.testing.assert_allclose(x[rows].T @ delta1, kernel, rtol=2e-5, atol=2e-6)


@pytest.mark.parametrize("name", MODELS)
def test_a_dense_kernels_gradient_is_its_inputs_times_the_outputs_gradient(
    recorded, name
):
    recording, *_ = recorded(name)
    before = {
        "dense": "hidden",
        "conv": "flat",
        "residual": "mean",
        "joined": "mean",
        "stored": "both",
        "calling": "mean",
        "lstm": "mean",
        "attention": "flat",
        "tower": "difference",
        "nested": "deep",
    }[name]
    inputs, deltas = recording.outputs[before], recording.output_gradients["out"]
    for t, kernel in enumerate(recording.gradients["out/kernel"]):
        rows = int(recording.output_rows.filter(like="out").iloc[t, 0])
        np.testing.assert_allclose(
            inputs[t][:rows].T @ deltas[t][:rows], kernel, rtol=2e-5, atol=2e-6
        )


# One of them draws noise, which is another in each call.
@pytest.mark.parametrize("name", [n for n in MODELS if n != "stored"])
def test_outputs_are_what_the_model_of_that_step_computes(recorded, name):
    recording, model, x, _ = recorded(name)
    weights = dict(recording.weights.items())
    for t in (0, len(recording) - 1):
        for variable in model.trainable_variables:
            variable.assign(weights[variable.path][t])
        rows = slice(t * BATCH, min((t + 1) * BATCH, ROWS))
        expected = np.asarray(keras.ops.convert_to_numpy(model(x[rows], training=True)))
        found = recording.outputs["out"][t]
        np.testing.assert_allclose(
            found[: len(expected)], expected, rtol=2e-5, atol=2e-6
        )
        assert np.isnan(found[len(expected) :]).all()


@pytest.mark.parametrize(
    ("name", "layer"),
    [("conv", "pool"), ("lstm", "lstm"), ("attention", "norm"), ("attention", "mha")],
)
def test_output_gradients_are_finite_differences_of_the_loss(recorded, name, layer):
    """Of a perturbation that is added to the layer's output."""
    recording, model, x, y = recorded(name)
    for variable in model.trainable_variables:
        variable.assign(recording.weights[variable.path][0])
    found = recording.output_gradients[layer][0]
    inner = next(each for each in model.layers if each.name == layer)
    added = [np.zeros(found.shape, "float32")]
    call = inner.call

    def perturbed(*args, **kwargs):
        return call(*args, **kwargs) + keras.ops.convert_to_tensor(added[0])

    inner.call = perturbed
    direction = np.random.RandomState(1).randn(*found.shape).astype("float32")

    def loss(step):
        added[0] = step * direction
        output = keras.ops.convert_to_numpy(model(x[:BATCH], training=True))
        return loss_of(model, y[:BATCH], np.asarray(output, "float64"))

    step = 1e-3
    slope = (loss(step) - loss(-step)) / (2 * step)
    del inner.call
    np.testing.assert_allclose(np.sum(found * direction), slope, rtol=5e-3, atol=2e-4)


def test_sums_of_output_gradients_are_the_gradients_of_biases(recorded):
    recording, *_ = recorded("conv")
    for layer, bias in (("conv/preactivation", "conv/bias"), ("bn", "bn/beta")):
        deltas = np.nan_to_num(recording.output_gradients[layer])
        np.testing.assert_allclose(
            deltas.sum((1, 2, 3)), recording.gradients[bias], rtol=2e-5, atol=2e-6
        )


def test_each_call_of_a_shared_layer_has_a_name_of_its_own(recorded):
    recording, *_ = recorded("tower")
    first, second = (recording.outputs[n][0] for n in ("tower", "tower#2"))
    difference = recording.outputs["difference"][0]
    np.testing.assert_allclose(first - second, difference, rtol=1e-6, atol=1e-7)
    gradients = recording.output_gradients
    np.testing.assert_array_equal(gradients["tower"], -gradients["tower#2"])
    # In all they make the gradient of the kernel that they share.
    inputs = recorded("tower")[2][:BATCH]
    deltas = [gradients[f"{n}/preactivation"][0] for n in ("tower", "tower#2")]
    kernel = sum(inputs[:, n].T @ delta for n, delta in enumerate(deltas))
    np.testing.assert_allclose(
        kernel, recording.gradients["tower/kernel"][0], rtol=2e-5, atol=2e-6
    )


def test_layers_of_a_nested_model_are_seen(recorded):
    recording, *_ = recorded("nested")
    assert [name.split("/")[-1] for name in recording.outputs] == [
        "inner",
        "preactivation",
        "deep",
        "out",
    ]


class TwoOutputs(layers.Layer):
    """Gives a dict; what is under `unused` has no part in the loss."""

    def call(self, x):
        return {"tokens": 2 * x, "unused": 3 * x}


class TwoParts(layers.Layer):
    """Gives a list."""

    def call(self, x):
        return [x + 1, x + 2]


def several():
    x = keras.Input((2,))
    parts = TwoParts(name="parts")(layers.Dense(2, name="first")(x))
    tokens = TwoOutputs(name="enc")(layers.Add(name="sum")(parts))["tokens"]
    model = keras.Model(x, layers.Dense(1, name="out")(tokens), name="m")
    return model, np.random.RandomState(0).randn(ROWS, 2).astype("float32")


def test_several_outputs_have_names_and_flags():
    recording, *_ = record(several, **ALL)
    named = {name.rpartition("/")[2] for name in recording.outputs}
    assert {"parts.0", "parts.1", "enc.tokens", "enc.unused"} <= named
    has = recording.has_output_gradient
    assert has["enc.tokens"].all()
    assert not has["enc.unused"].any()
    assert recording.has_output["enc.unused"].all()
    assert np.isnan(recording.output_gradients["enc.unused"]).all()
    outputs = {
        n: recording.outputs[n][:2] for n in ("parts.0", "parts.1", "enc.tokens")
    }
    np.testing.assert_array_equal(outputs["parts.1"] - outputs["parts.0"] > 0.99, True)


class FirstRow(layers.Layer):
    """Gives the first sample of a batch; of how many the model does not know."""

    def call(self, x):
        rows = keras.ops.shape(x)[0]
        return x[: rows // rows]

    def compute_output_spec(self, x):
        return keras.KerasTensor((None, *x.shape[1:]), x.dtype)


def beside_the_first():
    x = keras.Input((3, 2))
    y = layers.Conv1D(2, 1, activation="hard_swish", name="conv")(x)
    y = layers.Multiply(name="product")([y, FirstRow(name="first")(y)])
    y = layers.GlobalAveragePooling1D(name="mean")(y)
    model = keras.Model(x, layers.Dense(1, name="out")(y), name="m")
    return model, np.random.RandomState(0).randn(ROWS, 3, 2).astype("float32")


def test_of_a_row_that_meets_a_whole_batch_the_gradient_is_the_sum():
    recording, model, *_ = record(beside_the_first, **ALL)
    deltas, conv = recording.output_gradients, recording.outputs["conv"]
    for t in range(len(recording)):
        expected = np.nansum(deltas["product"][t] * conv[t], axis=0)
        found = deltas["first"][t]
        np.testing.assert_allclose(found[0], expected, rtol=2e-6, atol=1e-8)
        assert np.isnan(found[1:]).all()
    plain, *_ = trained(beside_the_first, epochs=1, compiled=COMPILED)
    for ours, theirs in zip(model.get_weights(), plain.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


class OwnStep(keras.Model):
    """Trains by a step of its own, which calls the model twice."""

    def __init__(self):
        super().__init__(name="own")
        self.hidden = layers.Dense(3, activation="relu", name="hidden")
        self.last = layers.Dense(1, name="last")

    def call(self, x, training=None):
        return self.last(self.hidden(x))

    def _loss(self, x, y):
        return keras.ops.mean(keras.ops.square(self(x) - y)) + keras.ops.mean(
            keras.ops.square(self(-x) - y)
        )

    def train_step(self, *args):
        return getattr(self, f"_{keras.config.backend()}_step")(*args)

    def _tensorflow_step(self, data):
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = self._loss(*data)
        gradients = tape.gradient(loss, self.trainable_variables)
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}

    def _torch_step(self, data):
        self.zero_grad()
        loss = self._loss(*data)
        loss.backward()
        gradients = [v.value.grad for v in self.trainable_variables]
        self.optimizer.apply(gradients, self.trainable_variables)
        return {"loss": loss}

    def _jax_step(self, state, data):
        import jax

        trainable, other, optimizer, metrics = state

        def loss_of(trainable):
            pairs = [
                *zip(self.trainable_variables, trainable, strict=True),
                *zip(self.non_trainable_variables, other, strict=True),
            ]
            with keras.StatelessScope(state_mapping=pairs):
                return self._loss(*data)

        loss, gradients = jax.value_and_grad(loss_of)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(
            optimizer, gradients, trainable
        )
        return {"loss": loss}, (trainable, other, optimizer, metrics)


def test_behind_more_additions_than_python_may_call_outputs_are_recorded():
    def make():
        x = y = keras.Input((1,))
        for _ in range(300):
            y = y + keras.ops.relu(y)
        y = layers.Rescaling(0.1, name="second")(layers.Rescaling(0.3, name="first")(y))
        model = keras.Model(x, layers.Dense(1, name="out")(y), name="m")
        return model, np.zeros((ROWS, 1), "float32")

    recording, *_ = record(make, outputs={"first": "norm"})
    assert len(recording) == 3
    assert recording.attributes["complete"]


def test_a_custom_train_step_is_seen_into():
    def make():
        model = OwnStep()
        model(np.zeros((1, 2), "float32"))
        return model, np.random.RandomState(0).randn(ROWS, 2).astype("float32")

    recording, _, x, _ = record(make, **ALL)
    deltas = recording.output_gradients
    inputs = {"hidden": x[:BATCH], "hidden#2": -x[:BATCH]}
    kernel = sum(
        rows.T @ deltas[f"{name}/preactivation"][0] for name, rows in inputs.items()
    )
    np.testing.assert_allclose(
        kernel, recording.gradients["hidden/kernel"][0], rtol=2e-5, atol=2e-6
    )


def test_reductions_in_the_step_are_those_of_the_raw_outputs(recorded):
    whole, *_ = recorded("conv")
    wanted = ["norm", "mean", "std", "max", "zero_fraction", hr.PerUnit("mean")]
    wanted += [hr.PerUnit("zero_fraction"), hr.Rows(3), hr.Histogram(8)]
    recording, *_ = record(MODELS["conv"], outputs=wanted, output_gradients=wanted)
    for quantity in ("outputs", "output_gradients"):
        for reduction in wanted:
            named = reduction if not isinstance(reduction, str) else None
            name = named.name if named else reduction
            for path, rows in recording.arrays(quantity, name).items():
                for t, row in enumerate(rows):
                    count = int(whole.output_rows[path].iloc[t])
                    tensor = whole.arrays(quantity)[path][t][:count]
                    made = _on_host(reduction, tensor)
                    np.testing.assert_allclose(row, made, rtol=2e-5, atol=1e-7)


def _on_host(reduction, tensor):
    from hrcallbacks.reductions.named import NAMED

    return NAMED.get(reduction, reduction).on_host(tensor)


def test_a_larger_batch_keeps_its_first_rows_and_says_how_many_it_had():
    recorder = hr.GradientRecorder(record_freq=1, outputs="raw")
    model, x, y, _ = trained(MODELS["dense"], [recorder], epochs=1, compiled=COMPILED)
    model.fit(x, y, batch_size=ROWS, verbose=0, callbacks=[recorder], shuffle=False)
    recording = recorder.recording
    rows = recording.output_rows["m/out"].tolist()
    assert rows == [8, 8, 4, 20]
    hidden = recording.outputs["m/hidden"]
    assert hidden.shape == (4, BATCH, 4)
    assert np.isnan(hidden[2, 4:]).all()
    assert not np.isnan(hidden[3]).any()


def test_statistics_leave_out_the_rows_that_a_batch_did_not_have(recorded):
    recording, *_ = recorded("dense")
    last, rows = recording.outputs["out"][-1], ROWS % BATCH
    assert np.isnan(last[rows:]).all()
    norm = recording.statistic("outputs", "norm")["m/out"].iloc[-1]
    np.testing.assert_allclose(norm, np.linalg.norm(last[:rows]), rtol=1e-6)


def test_the_optimizers_variables_are_those_after_the_step(recorded):
    recording, model, *_ = recorded("dense")
    state = {v.path: keras.ops.convert_to_numpy(v) for v in model.optimizer.variables}
    assert set(recording.optimizer) == set(state)
    for path, rows in recording.optimizer.items():
        np.testing.assert_array_equal(rows[-1], state[path])
    count = next(p for p in state if p.endswith("iteration"))
    assert recording.optimizer[count].tolist() == [1, 2, 3]
    # Adam's own formula, of the recorded gradients.
    first = recording.gradients["m/out/kernel"][0]
    momentum = next(p for p in state if p.endswith("out_kernel_momentum"))
    np.testing.assert_allclose(recording.optimizer[momentum][0], 0.1 * first, rtol=1e-5)


def test_a_recording_on_disk_has_the_same(tmp_path, recorded):
    kept, *_ = recorded("dense")
    recording, *_ = record(MODELS["dense"], store=tmp_path / "run.zarr", **ALL)
    stored = hr.open_recording(tmp_path / "run.zarr")
    kept.save(tmp_path / "saved.zarr")
    for other in (stored, hr.open_recording(tmp_path / "saved.zarr")):
        for quantity in ("outputs", "output_gradients", "optimizer"):
            for path, rows in kept.arrays(quantity).items():
                if quantity != "optimizer":
                    np.testing.assert_array_equal(other.arrays(quantity)[path][:], rows)
            assert len(other.arrays(quantity)) == len(kept.arrays(quantity))
        np.testing.assert_array_equal(other.output_rows, kept.output_rows)
        assert other.has_output.equals(kept.has_output)
        norms = other.statistic("outputs", "abs_max")
        np.testing.assert_array_equal(norms, kept.statistic("outputs", "abs_max"))
    assert recording.attributes["complete"]


def test_what_shows_gradients_and_weights_shows_them_as_before(recorded, figures):
    recording, *_ = recorded("dense")
    tidy = recording.to_frame(layout="tidy")
    assert list(tidy["path"].unique()) == recording.paths
    assert len(recording.paths) == 4
    recording.plot.gradient_flow()
    recording.plot.loss()
    recording.diagnose()
    assert "outputs" in repr(recording)


def test_float16_gradients_are_unscaled():
    if keras.config.backend() == "torch":
        pytest.skip("mixed_float16 needs a GPU on torch")
    keras.config.set_dtype_policy("mixed_float16")
    try:
        recording, *_ = record(MODELS["dense"], **ALL)
    finally:
        keras.config.set_dtype_policy("float32")
    inputs, deltas = recording.outputs["hidden"], recording.output_gradients["out"]
    assert inputs.dtype == "float16"
    assert deltas.dtype == "float32"
    np.testing.assert_allclose(
        inputs[0].astype("float32").T @ deltas[0],
        recording.gradients["m/out/kernel"][0],
        rtol=5e-3,
        atol=1e-3,
    )
