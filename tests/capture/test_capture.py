"""Recorded gradients are those of the backend's own autodiff, whatever the model."""

import autodiff
import keras
import numpy as np
import pytest
from keras import layers
from training import full_state

import hrcallbacks as hr

BACKEND = keras.config.backend()
BATCH, STEPS = 4, 3
CLASS_WEIGHT = {0: 1.0, 1: 3.0, 2: 0.5}
rng = np.random.default_rng(0)


def normal(*shape):
    return rng.normal(size=(BATCH * STEPS, *shape)).astype("float32")


def tokens(length):
    return rng.integers(0, 5, size=(BATCH * STEPS, length))


def dense():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(4, "tanh")])
    model.add(layers.Dense(2))
    return model, normal(3), normal(2), {}


def two_inputs_and_outputs():
    a, b = keras.Input((3,), name="a"), keras.Input((2,), name="b")
    joined = layers.Concatenate()([layers.Dense(3)(a), b])
    model = keras.Model([a, b], [layers.Dense(2)(joined), layers.Dense(1)(joined)])
    return model, [normal(3), normal(2)], [normal(2), normal(1)], {}


def weighted_losses():
    model, x, y, _ = two_inputs_and_outputs()
    return model, x, y, {"loss": ["mse"] * 2, "loss_weights": [0.3, 2.0]}


def shared_layer():
    a, b = keras.Input((3,), name="a"), keras.Input((3,), name="b")
    shared = layers.Dense(2, "tanh")
    model = keras.Model([a, b], layers.Dense(1)(shared(a) * shared(b)))
    return model, [normal(3), normal(3)], normal(1), {}


def nested():
    inner = keras.Sequential([keras.Input((3,)), layers.Dense(4, "relu")], name="in")
    model = keras.Sequential([keras.Input((3,)), inner, layers.Dense(1)])
    return model, normal(3), normal(1), {}


class Subclassed(keras.Model):
    def __init__(self):
        super().__init__()
        self.first, self.second = layers.Dense(4, "tanh"), layers.Dense(1)

    def build(self, shape):
        self.first.build(shape)
        self.second.build((None, 4))
        self.built = True

    def call(self, x):
        hidden = self.first(x)
        self.add_loss(0.1 * keras.ops.mean(hidden**2))
        return self.second(hidden)


def subclassed_with_add_loss():
    model = Subclassed()
    model.build((None, 3))
    return model, normal(3), normal(1), {}


def regularized():
    model = keras.Sequential(
        [
            keras.Input((3,)),
            layers.Dense(4, "tanh", kernel_regularizer="l2", bias_regularizer="l1"),
            layers.Dense(1, activity_regularizer="l2"),
        ]
    )
    return model, normal(3), normal(1), {}


def sample_weighted():
    model, x, y, _ = dense()
    return model, x, y, {"sample_weight": np.linspace(0, 2, len(x), dtype="float32")}


def class_weighted():
    model = keras.Sequential([keras.Input((3,)), layers.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    classes = np.arange(BATCH * STEPS) % 3
    return model, normal(3), classes, {"loss": loss, "class_weight": CLASS_WEIGHT}


def convolution_with_batch_norm():
    model = keras.Sequential(
        [
            keras.Input((6, 6, 1)),
            layers.Conv2D(2, 3),
            layers.BatchNormalization(),
            layers.ReLU(),
            layers.GlobalAveragePooling2D(),
            layers.Dense(1),
        ]
    )
    return model, normal(6, 6, 1), normal(1), {}


def embedding_with_repeated_tokens():
    model = keras.Sequential(
        [
            keras.Input((6,), dtype="int32"),
            layers.Embedding(5, 3),
            layers.GlobalAveragePooling1D(),
            layers.Dense(1),
        ]
    )
    return model, tokens(6), normal(1), {}


def masked_lstm():
    model = keras.Sequential(
        [
            keras.Input((5,), dtype="int32"),
            layers.Embedding(5, 3, mask_zero=True),
            layers.LSTM(3),
            layers.Dense(1),
        ]
    )
    return model, tokens(5), normal(1), {}


# Keras' nightly build of October 2026 warns so for any LSTM behind a mask.
with_mask = pytest.param(
    masked_lstm,
    marks=pytest.mark.skipif(
        not layers.LSTM(3).supports_masking, reason="this Keras' LSTM loses its mask"
    ),
)


def gru():
    model = keras.Sequential([keras.Input((4, 2)), layers.GRU(3), layers.Dense(1)])
    return model, normal(4, 2), normal(1), {}


def attention():
    x = keras.Input((4, 3))
    attended = layers.MultiHeadAttention(2, 2)(x, x)
    model = keras.Model(x, layers.Dense(1)(layers.Flatten()(attended)))
    return model, normal(4, 3), normal(1), {}


def frozen_layer():
    model, x, y, _ = dense()
    model.layers[0].trainable = False
    return model, x, y, {}


class Pair(layers.Layer):
    def __init__(self):
        super().__init__(name="pair")
        self.a, self.b = (layers.Dense(3, name="same") for _ in "ab")

    def build(self, shape):
        self.a.build(shape)
        self.b.build(shape)

    def call(self, x):
        return self.a(x) - self.b(2 * x)


def colliding_paths():
    if BACKEND == "torch":
        pytest.skip("Keras lets the gradient of one of two such variables accumulate")
    model = keras.Sequential([keras.Input((3,)), Pair(), layers.Dense(1)])
    paths = [v.path for v in model.trainable_variables]
    assert len(set(paths)) < len(paths)
    return model, normal(3), normal(1), {}


CASES = [
    dense,
    two_inputs_and_outputs,
    weighted_losses,
    shared_layer,
    nested,
    subclassed_with_add_loss,
    regularized,
    sample_weighted,
    class_weighted,
    convolution_with_batch_norm,
    embedding_with_repeated_tokens,
    with_mask,
    gru,
    attention,
    frozen_layer,
    colliding_paths,
]


def train(model, x, y, options, callbacks, jit_compile=False):
    compiled = {"loss": "mse", "loss_weights": None}
    compiled["optimizer"] = keras.optimizers.Adam(0.01)
    compiled |= {key: options[key] for key in compiled.keys() & options}
    options = {key: options[key] for key in options.keys() - compiled}
    model.compile(jit_compile=jit_compile, **compiled)
    history = model.fit(
        x,
        y,
        batch_size=BATCH,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
        **options,
    )
    return history.history


def weights_of_samples(y, options):
    """What Keras multiplies each sample's loss by, or None."""
    if "class_weight" in options:
        return np.array([options["class_weight"][c] for c in y], "float32")
    return options.get("sample_weight")


def assert_gradients_are_those_of_autodiff(
    recording, records, model, x, y, weight=None, paths=None
):
    paths = paths or recording.paths  # In the order of the model's variables.
    for t in records:
        batch = recording.index["batch"][t] - 1
        rows = slice(BATCH * batch, BATCH * batch + BATCH)
        parts = [
            keras.tree.map_structure(lambda a, rows=rows: a[rows], part)
            for part in (x, y, weight)
            if part is not None
        ]
        assert len(paths) == len(model.trainable_variables)
        weights = [recording.weights[path][t] for path in paths]
        expected = autodiff.gradients(model, weights, *parts)
        for path, gradient in zip(paths, expected, strict=True):
            # A few roundings of float32, against the largest of the elements.
            np.testing.assert_allclose(
                recording.gradients[path][t],
                gradient,
                rtol=0,
                atol=2e-6 * max(1.0, np.abs(gradient).max()),
            )


def values(model):
    return [keras.ops.convert_to_numpy(v) for v in model.variables]


def assert_trains_the_same(model, start, x, y, options, history, state):
    """Without a recorder, from the same start, bit for bit."""
    for variable, value in zip(model.variables, start, strict=True):
        variable.assign(value)
    assert train(model, x, y, options, []) == history
    for plain, recorded in zip(full_state(model), state, strict=True):
        np.testing.assert_array_equal(plain, recorded)


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.__name__)
def test_recorded_gradients_are_those_of_autodiff(case):
    keras.utils.set_random_seed(3)
    model, x, y, options = case()
    start = values(model)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    history = train(model, x, y, options, [recorder])
    state = full_state(model)
    recording = recorder.recording
    assert len(recording) == STEPS
    assert len(recording.paths) == len(model.trainable_variables)
    weight = weights_of_samples(y, options)
    assert_gradients_are_those_of_autodiff(recording, range(STEPS), model, x, y, weight)
    assert_trains_the_same(model, start, x, y, options, history, state)


@pytest.mark.skipif(BACKEND == "torch", reason="no XLA")
@pytest.mark.parametrize(
    "case",
    [dense, convolution_with_batch_norm, with_mask],
    ids=lambda case: case.__name__,
)
def test_training_is_unchanged_under_xla(case):
    keras.utils.set_random_seed(3)
    model, x, y, options = case()
    start = [keras.ops.convert_to_numpy(v) for v in model.variables]
    ends = []
    for callbacks in ([], [hr.GradientRecorder(record_freq=1)]):
        for variable, value in zip(model.variables, start, strict=True):
            variable.assign(value)
        history = train(model, x, y, options | {"epochs": 3}, callbacks, True)
        ends.append((history, full_state(model)))
    assert ends[0][0] == ends[1][0]
    for plain, recorded in zip(ends[0][1], ends[1][1], strict=True):
        np.testing.assert_array_equal(plain, recorded)


def gated_product():
    """A gradient that is a product of products, as that of a scale is."""
    inputs = keras.Input((4,))
    gate = layers.Dense(4, "sigmoid", name="gate")(inputs)
    scaled = layers.LayerNormalization(name="norm")(layers.Dense(4)(inputs))
    outputs = layers.Dense(1)(layers.PReLU()(gate * scaled))
    return keras.Model(inputs, outputs), normal(4), normal(1), {}


@pytest.mark.parametrize(
    "case",
    [convolution_with_batch_norm, gated_product],
    ids=lambda case: case.__name__,
)
def test_training_is_unchanged_where_an_update_is_a_product(case):
    """TensorFlow's graph optimizer reorders `rate * gradient` if nobody else looks."""
    for seed in range(3):
        keras.utils.set_random_seed(seed)
        model, x, y, options = case()
        start = values(model)

        def optimizer():
            return keras.optimizers.SGD(0.05, momentum=0.9)

        recorder = hr.GradientRecorder(record_freq=1)
        options |= {"epochs": 5}
        history = train(model, x, y, options | {"optimizer": optimizer()}, [recorder])
        state = full_state(model)
        options |= {"optimizer": optimizer()}
        assert_trains_the_same(model, start, x, y, options, history, state)


def classifier():
    model = keras.Sequential(
        [keras.Input((3,)), layers.Dense(8, "relu"), layers.Dropout(0.5)]
    )
    model.add(layers.Dense(3, "softmax", name="classes"))
    return model, normal(3), np.arange(BATCH * STEPS) % 3


def test_class_weights_are_in_the_gradient():
    model, x, y = classifier()
    start = model.get_weights()
    recorded = []
    for weights in ({0: 1.0, 1: 1.0, 2: 1.0}, {0: 0.0, 1: 0.0, 2: 1.0}):
        keras.utils.set_random_seed(4)
        model.set_weights(start)
        model.compile("sgd", loss="sparse_categorical_crossentropy", jit_compile=False)
        recorder = hr.GradientRecorder(record_freq=1)
        model.fit(
            x,
            y,
            batch_size=BATCH,
            shuffle=False,
            verbose=0,
            class_weight=weights,
            callbacks=[recorder],
        )
        recorded.append(recorder.recording.gradients["classes/bias"][0])
    # Where only class 2 counts, the logits of 0 and 1 can only be pushed down.
    assert (recorded[1][:2] >= 0).all()
    assert recorded[1][2] < 0
    assert not np.allclose(*recorded)


def test_dropout_trains_and_replays_as_recorded():
    keras.utils.set_random_seed(4)
    model, x, y = classifier()
    model.compile("adam", loss="sparse_categorical_crossentropy", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(x, y, batch_size=BATCH, epochs=5, verbose=0, callbacks=[recorder])
    assert recorder.recording.replay().max_error < 1e-6


def test_layer_that_is_unfrozen_between_two_fits():
    model, x, y, _ = dense()
    model.layers[0].trainable = False
    recorder = hr.GradientRecorder(record_freq=1)
    train(model, x, y, {}, [recorder])
    assert len(recorder.recording.paths) == 2
    model.layers[0].trainable = True
    train(model, x, y, {}, [recorder])
    recording = recorder.recording
    assert len(recording.paths) == 4
    assert len(recording) == 2 * STEPS
    thawed = [v.path for v in model.layers[0].trainable_variables]
    assert recording.has_gradient[thawed].to_numpy().tolist() == (
        [[False, False]] * STEPS + [[True, True]] * STEPS
    )
    for path in thawed:
        assert np.isnan(recording.gradients[path][:STEPS]).all()
        assert np.isfinite(recording.gradients[path][STEPS:]).all()


@pytest.mark.parametrize("policy", ["mixed_float16", "mixed_bfloat16"])
def test_mixed_precision_is_recorded_unscaled_in_float32(policy):
    before = keras.config.dtype_policy()
    keras.config.set_dtype_policy(policy)
    try:
        keras.utils.set_random_seed(3)
        model, x, y, _ = dense()
    finally:
        keras.config.set_dtype_policy(before)
    keras.utils.set_random_seed(3)
    reference, *_ = dense()
    reference.set_weights(model.get_weights())
    recordings = []
    for each in (model, reference):
        recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
        each.compile("sgd", loss="mse", jit_compile=False)
        each.fit(x, y, batch_size=BATCH, shuffle=False, verbose=0, callbacks=[recorder])
        recordings.append(recorder.recording)
    mixed, full = recordings
    for ours, theirs in zip(
        mixed.gradients.values(), full.gradients.values(), strict=True
    ):
        assert ours.dtype == np.float32
        # Half precision has 8 to 11 bits; a scale left in would be 2^15.
        scale = np.abs(theirs[0]).max()
        np.testing.assert_allclose(ours[0], theirs[0], atol=0.03 * scale)
    assert mixed.replay().max_error < 1e-6


def test_autodiff_on_another_batch_is_told_apart():
    model, x, y, options = dense()
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    train(model, x, y, options, [recorder])
    x = np.roll(x, BATCH, axis=0)
    with pytest.raises(AssertionError, match="Not equal to tolerance"):
        assert_gradients_are_those_of_autodiff(
            recorder.recording, range(STEPS), model, x, y
        )


def test_dropout_training_is_unchanged():
    keras.utils.set_random_seed(3)
    model = keras.Sequential([keras.Input((3,)), layers.Dense(8, "tanh")])
    model.add(layers.Dropout(0.8))
    model.add(layers.Dense(1))
    x, y = normal(3), normal(1)
    start = values(model)  # The state of the random numbers with them.
    keras.utils.set_random_seed(4)  # On PyTorch, dropout draws from the global one.
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    history = train(model, x, y, {}, [recorder])
    state = full_state(model)
    # The units that were dropped have no gradient: the mask is the step's own.
    kernel = recorder.recording.gradients[model.layers[-1].kernel.path]
    assert (kernel == 0).any()
    assert recorder.recording.replay().max_error < 1e-6
    keras.utils.set_random_seed(4)
    assert_trains_the_same(model, start, x, y, {}, history, state)


def test_gradients_after_unfreezing_are_those_of_autodiff():
    keras.utils.set_random_seed(3)
    model, x, y, _ = dense()
    first = model.layers[0]
    first.trainable = False
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    train(model, x, y, {}, [recorder])
    first.trainable = True
    train(model, x, y, {}, [recorder])
    recording = recorder.recording
    assert recording.index["step"].tolist() == [*range(1, 2 * STEPS + 1)]
    late = recording.has_gradient[first.kernel.path].tolist()
    assert late == [False] * STEPS + [True] * STEPS
    paths = [v.path for v in model.trainable_variables]
    assert_gradients_are_those_of_autodiff(
        recording, range(STEPS, 2 * STEPS), model, x, y, paths=paths
    )
