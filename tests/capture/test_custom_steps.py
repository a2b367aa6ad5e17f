"""Train steps of one's own: several optimizers, several updates, own loss trackers."""

import keras
import numpy as np
import pytest
from keras import layers, ops

import hrcallbacks as hr

BACKEND = keras.config.backend()


class Adversaries(keras.Model):
    """Two layers, each with an optimizer of its own that updates it `repeats` times.

    The loss of `a` is the mean of `(a(x) - y)^2`, that of `b` the mean of `b(x)^2`.
    """

    def __init__(self, repeats):
        super().__init__(name="adversaries")
        self.a, self.b = layers.Dense(1, name="a"), layers.Dense(1, name="b")
        self.repeats = repeats
        self.a.build((None, 2))
        self.b.build((None, 2))
        self.built = True
        self.optimizers = {
            "a": keras.optimizers.SGD(0.1),
            "b": keras.optimizers.Adam(0.2),
        }
        self.optimizers["a"].build(self.a.trainable_variables)
        self.optimizers["b"].build(self.b.trainable_variables)

    def call(self, x):
        return self.a(x) + self.b(x)

    def loss_a(self, x, y):
        return ops.mean((self.a(x) - y) ** 2)

    def loss_b(self, x, y):
        return ops.mean(self.b(x) ** 2)

    def train_step(self, data):
        x, y = data
        for _ in range(self.repeats):
            loss = self.update("a", self.a, self.loss_a, x, y)
        self.update("b", self.b, self.loss_b, x, y)
        return {"loss": loss}

    def update(self, name, layer, loss_of, x, y):
        variables = layer.trainable_variables
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = loss_of(x, y)
            self.optimizers[name].apply(tape.gradient(loss, variables), variables)
            return loss
        import torch

        self.zero_grad()
        loss = loss_of(x, y)
        loss.backward()
        with torch.no_grad():
            self.optimizers[name].apply([v.value.grad for v in variables], variables)
        return loss.detach()


needs_stateful_steps = pytest.mark.skipif(
    BACKEND == "jax", reason="Keras' trainer on JAX carries one optimizer's state"
)


@pytest.fixture
def data():
    rng = np.random.default_rng(5)
    return rng.normal(size=(12, 2)).astype("float32"), np.ones((12, 1), "float32")


def gradient_a(x, y, kernel, bias):
    error = 2 * (x @ kernel + bias - y) / len(x)
    return x.T @ error


@needs_stateful_steps
@pytest.mark.parametrize("repeats", [1, 3])
def test_each_optimizers_gradients_are_told_apart(data, repeats):
    keras.utils.set_random_seed(1)
    model = Adversaries(repeats)
    model.compile(jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    index = recording.index
    # Three steps, each of them as many records as it has updates of the same layer.
    assert index["step"].tolist() == np.repeat([1, 2, 3], repeats).tolist()
    if repeats > 1:
        assert index["call"].tolist() == [1, 2, 3] * 3
    for t, step in enumerate(index["step"]):
        rows = slice(4 * step - 4, 4 * step)
        x, y = (a[rows] for a in data)
        kernel, bias = recording.weights["a/kernel"][t], recording.weights["a/bias"][t]
        np.testing.assert_allclose(
            recording.gradients["a/kernel"][t],
            gradient_a(x, y, kernel, bias),
            rtol=1e-5,
            atol=1e-6,
        )
    # b is updated once a step, with the last of a's updates.
    (path,) = (p for p in recording.paths if p.endswith("b/kernel"))
    updated = recording.has_gradient[path].tolist()
    assert updated == [r == repeats - 1 for r in range(repeats)] * 3
    assert recording.replay().max_error < 1e-6


class Averaged(keras.Model):
    """Keras' own step, written out, with a loss tracker of its own."""

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.tracker = keras.metrics.Mean(name="loss")

    @property
    def metrics(self):
        return [self.tracker]

    def train_step(self, *args):
        if BACKEND == "jax":
            return self.jax_step(*args)
        x, y = args[0]
        variables = self.trainable_variables
        if BACKEND == "tensorflow":
            import tensorflow as tf

            with tf.GradientTape() as tape:
                loss = ops.mean((self(x) - y) ** 2)
            self.optimizer.apply(tape.gradient(loss, variables), variables)
        else:
            import torch

            self.zero_grad()
            loss = ops.mean((self(x) - y) ** 2)
            loss.backward()
            with torch.no_grad():
                self.optimizer.apply([v.value.grad for v in variables], variables)
        self.tracker.update_state(loss)
        return {"loss": self.tracker.result()}

    def jax_step(self, state, data):
        import jax

        trainable, others, optimizer, metrics = state
        x, y = data

        def loss_of(values):
            output, updated = self.stateless_call(values, others, x)
            return ops.mean((output - y) ** 2), updated

        (loss, others), grads = jax.value_and_grad(loss_of, has_aux=True)(trainable)
        trainable, optimizer = self.optimizer.stateless_apply(
            optimizer, grads, trainable
        )
        metrics = self.tracker.stateless_update_state(metrics, loss)
        logs = {"loss": self.tracker.stateless_result(metrics)}
        return logs, (trainable, others, optimizer, metrics)


def test_own_train_step_and_loss_tracker(data):
    inputs = keras.Input((2,))
    model = Averaged(inputs, layers.Dense(1, name="line")(inputs))
    model.compile("sgd", jit_compile=BACKEND == "jax")
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    for t in range(3):
        x, y = (a[4 * t : 4 * t + 4] for a in data)
        kernel, bias = (w[t] for w in recording.weights.values())
        np.testing.assert_allclose(
            recording.gradients["line/kernel"][t],
            gradient_a(x, y, kernel, bias),
            rtol=1e-5,
            atol=1e-6,
        )
        loss = np.mean((x @ kernel + bias - y) ** 2)
        assert recording.index["loss"][t] == pytest.approx(loss, rel=1e-5)


def line_model(optimizer):
    keras.utils.set_random_seed(2)
    model = keras.Sequential([keras.Input((2,)), layers.Dense(1, name="line")])
    model.compile(optimizer, loss="mse", jit_compile=False)
    return model


def record(optimizer, data, epochs=2):
    recorder = hr.GradientRecorder(record_freq=1)
    line_model(optimizer).fit(
        *data,
        batch_size=4,
        epochs=epochs,
        shuffle=False,
        verbose=0,
        callbacks=[recorder],
    )
    return recorder.recording


def scaled_optimizers():
    return {
        "LossScaleOptimizer": keras.optimizers.LossScaleOptimizer(
            keras.optimizers.Adam(), initial_scale=1024.0
        ),
        "loss_scale_factor": keras.optimizers.Adam(loss_scale_factor=64.0),
    }


@pytest.mark.parametrize("name", ["LossScaleOptimizer", "loss_scale_factor"])
def test_scaled_gradients_are_recorded_unscaled(data, name):
    plain = record(keras.optimizers.Adam(), data)
    scaled = record(scaled_optimizers()[name], data)
    for path in plain.paths:
        # Scaling by a power of two changes no bit of the mantissa.
        np.testing.assert_allclose(
            scaled.gradients["line/" + path.rsplit("/")[-1]],
            plain.gradients[path],
            rtol=1e-6,
        )
    assert scaled.replay().max_error < 1e-6


def test_skipped_step_is_recorded_as_non_finite_and_leaves_the_weights(data):
    x, y = data
    x = x.copy()
    x[5] = np.inf  # In the second of three batches.
    recording = record(scaled_optimizers()["LossScaleOptimizer"], (x, y), epochs=1)
    gradients = recording.gradients["line/kernel"]
    weights = recording.weights["line/kernel"]
    assert np.isfinite(gradients[[0, 2]]).all()
    assert not np.isfinite(gradients[1]).all()
    np.testing.assert_array_equal(weights[1], weights[0])
    assert not np.array_equal(weights[2], weights[1])
    assert recording.replay().max_error < 1e-6


@pytest.mark.parametrize(
    "limit", [{"clipnorm": 0.01}, {"clipvalue": 0.01}, {"global_clipnorm": 0.01}]
)
def test_gradients_are_recorded_before_clipping(data, limit):
    plain = record(keras.optimizers.SGD(0.0), data)
    clipped = record(keras.optimizers.SGD(0.0, **limit), data)
    for path in ("line/kernel", "line/bias"):
        np.testing.assert_array_equal(clipped.gradients[path], plain.gradients[path])
        assert np.abs(plain.gradients[path]).max() > 0.01


@pytest.mark.skipif(
    not hasattr(keras.optimizers, "MultiOptimizer"), reason="this Keras has none"
)
def test_multi_optimizer_is_seen_once_and_replays(data):
    optimizers = keras.optimizers
    by_path = optimizers.OptimizerMap(
        optimizers.SGD(0.1), {".*bias": optimizers.Adam(0.2)}
    )
    recording = record(optimizers.MultiOptimizer(by_path), data)
    plain = record(optimizers.SGD(0.1), data)
    assert len(recording) == len(plain) == 6
    np.testing.assert_array_equal(
        recording.gradients["line/kernel"][0], plain.gradients["line/kernel"][0]
    )
    assert recording.replay().max_error < 1e-6


# Two optimizers that the model holds, and closed forms for what they get.


class Gan(keras.Model):
    """A linear critic and a linear generator, with an optimizer each.

    With noise z, g(z) = zG + h and d(x) = xD + e, the critic's loss is
    mean d(g(z)) - mean d(x), the generator's is -mean d(g(z)).
    """

    def __init__(self, critic_updates):
        super().__init__(name="gan")
        limit = keras.constraints.MaxNorm(0.5)
        self.critic = layers.Dense(1, kernel_constraint=limit, name="critic")
        self.generator = layers.Dense(2, name="generator")
        self.critic_updates = critic_updates
        self.critic.build((None, 2))
        self.generator.build((None, 3))
        self.d_optimizer = keras.optimizers.Adam(0.1)
        self.g_optimizer = keras.optimizers.RMSprop(0.05)
        self.d_optimizer.build(self.critic.trainable_variables)
        self.g_optimizer.build(self.generator.trainable_variables)
        # Keras' trainer on JAX carries the state of what the model tracks.
        self.optimizer_states = [
            *self.d_optimizer.variables,
            *self.g_optimizer.variables,
        ]
        self.built = True

    def call(self, z):
        return self.critic(self.generator(z))

    def d_loss(self, x, z):
        fake = self.critic(self.generator(z))
        return ops.mean(fake) - ops.mean(self.critic(x))

    def g_loss(self, x, z):
        return -ops.mean(self.critic(self.generator(z)))

    def train_step(self, *args):
        turns = [(self.d_optimizer, self.critic, self.d_loss)] * self.critic_updates
        turns.append((self.g_optimizer, self.generator, self.g_loss))
        if BACKEND == "jax":
            return self.jax_step(turns, *args)
        ((x, z),) = args[0]
        for optimizer, layer, loss_of in turns:
            loss = update(self, optimizer, layer.trainable_variables, loss_of, x, z)
        return {"loss": loss}

    def jax_step(self, turns, state, data):
        import jax

        trainable, others, compiled, metrics = state
        ((x, z),) = data
        variables = [*self.trainable_variables, *self.non_trainable_variables]
        held = dict(zip(map(id, variables), [*trainable, *others], strict=True))
        for optimizer, layer, loss_of in turns:
            own = layer.trainable_variables

            def loss_with(values, own=own, loss_of=loss_of):
                now = held | dict(zip(map(id, own), values, strict=True))
                mapping = [(v, now[id(v)]) for v in variables]
                with keras.StatelessScope(state_mapping=mapping):
                    return loss_of(x, z)

            loss, grads = jax.value_and_grad(loss_with)([held[id(v)] for v in own])
            new = optimizer.stateless_apply(
                [held[id(v)] for v in optimizer.variables],
                grads,
                [held[id(v)] for v in own],
            )
            for keys, values in zip((own, optimizer.variables), new, strict=True):
                held.update(zip(map(id, keys), values, strict=True))
        trainable = [held[id(v)] for v in self.trainable_variables]
        others = [held[id(v)] for v in self.non_trainable_variables]
        return {"loss": loss}, (trainable, others, compiled, metrics)


def update(model, optimizer, variables, loss_of, *batch):
    """One update on the backends whose variables change in place."""
    if BACKEND == "tensorflow":
        import tensorflow as tf

        with tf.GradientTape() as tape:
            loss = loss_of(*batch)
        optimizer.apply(tape.gradient(loss, variables), variables)
        return loss
    import torch

    model.zero_grad()
    loss = loss_of(*batch)
    loss.backward()
    with torch.no_grad():
        optimizer.apply([v.value.grad for v in variables], variables)
    return loss.detach()


def train_gan(critic_updates, callbacks):
    keras.utils.set_random_seed(4)
    model = Gan(critic_updates)
    model.compile("sgd", jit_compile=BACKEND == "jax")
    rng = np.random.default_rng(6)
    x, z = (rng.normal(size=(12, n)).astype("float32") for n in (2, 3))
    model.fit(
        [x, z],
        batch_size=4,
        epochs=2,
        shuffle=False,
        verbose=0,
        callbacks=callbacks,
    )
    return model, x, z


@pytest.mark.parametrize("critic_updates", [1, 2])
def test_gan_with_two_optimizers(critic_updates):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model, x, z = train_gan(critic_updates, [recorder])
    recording = recorder.recording
    assert recording.index["step"].tolist() == sorted([*range(1, 7)] * critic_updates)
    if critic_updates > 1:
        assert recording.index["call"].tolist() == [1, 2] * 6
    critic, generator = model.critic.kernel.path, model.generator.kernel.path
    bias = model.generator.bias.path
    for t, batch in enumerate(recording.index["batch"]):
        rows = slice(4 * batch - 4, 4 * batch)
        # The generator stays as it is until its own turn, the step's last.
        turn = t - t % critic_updates + critic_updates - 1
        kernel, shift = (recording.weights[p][turn] for p in (generator, bias))
        fake = z[rows] @ kernel + shift
        np.testing.assert_allclose(
            recording.gradients[critic][t][:, 0],
            fake.mean(axis=0) - x[rows].mean(axis=0),
            atol=2e-6,
        )
        last = (t + 1) % critic_updates == 0
        assert recording.has_gradient[generator][t] == last
    plain, _, _ = train_gan(critic_updates, [])
    for ours, theirs in zip(plain.variables, model.variables, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs)
        )


@pytest.mark.parametrize("weights_at", ["before", "after"])
@pytest.mark.parametrize("critic_updates", [1, 2])
def test_gan_replays(critic_updates, weights_at, monkeypatch):
    recorder = hr.GradientRecorder(record_freq=1, weights_at=weights_at)
    train_gan(critic_updates, [recorder])
    whole = recorder.recording.replay()
    assert whole.max_error < 1e-6
    # Cut between the critic's calls of a step, and between them and the generator's.
    monkeypatch.setattr("hrcallbacks.recording.replay._MOST_STEPS", 5)
    in_blocks = recorder.recording.replay()
    assert in_blocks.max_error < 1e-6
    assert in_blocks.errors.index.equals(whole.errors.index)


@pytest.mark.parametrize("critic_updates", [1, 2])
def test_generators_gradient_is_that_of_the_critic_just_updated(critic_updates):
    recorder = hr.GradientRecorder(record_freq=1, weights_at="after")
    model, _, z = train_gan(critic_updates, [recorder])
    recording = recorder.recording
    for t, batch in enumerate(recording.index["batch"]):
        if (t + 1) % critic_updates:
            continue  # The generator's turn is the step's last.
        noise = z[4 * batch - 4 : 4 * batch].mean(axis=0)
        critic = recording.weights[model.critic.kernel.path][t][:, 0]
        np.testing.assert_allclose(
            recording.gradients[model.generator.kernel.path][t],
            -np.outer(noise, critic),
            atol=2e-6,
        )


class Vae(keras.Model):
    """A variational autoencoder of linear layers, with trackers of its own."""

    def __init__(self):
        super().__init__(name="vae")
        self.encoder = layers.Dense(4, name="encoder")
        self.decoder = layers.Dense(2, name="decoder")
        self.seeds = keras.random.SeedGenerator(8)
        self.trackers = [keras.metrics.Mean(name=n) for n in ("loss", "kl_loss")]
        self.encoder.build((None, 2))
        self.decoder.build((None, 2))
        self.built = True

    @property
    def metrics(self):
        return self.trackers

    def call(self, x):
        mean, log_var = ops.split(self.encoder(x), 2, axis=-1)
        noise = keras.random.normal(ops.shape(mean), seed=self.seeds)
        kl = ops.mean(ops.exp(log_var) + mean**2 - 1 - log_var) / 2
        return self.decoder(mean + ops.exp(log_var / 2) * noise), kl

    def losses_of(self, x, output):
        return ops.mean((output[0] - x) ** 2) + output[1], output[1]

    def train_step(self, *args):
        if BACKEND == "jax":
            return self.jax_step(*args)
        kl = []

        def loss_of(x):
            loss, part = self.losses_of(x, self(x))
            kl.append(part)
            return loss

        x, _, _ = keras.utils.unpack_x_y_sample_weight(args[0])
        loss = update(self, self.optimizer, self.trainable_variables, loss_of, x)
        for tracker, value in zip(self.trackers, (loss, kl[0]), strict=True):
            tracker.update_state(value)
        return {t.name: t.result() for t in self.trackers}

    def jax_step(self, state, data):
        import jax

        trainable, others, optimizer, metrics = state
        x, _, _ = keras.utils.unpack_x_y_sample_weight(data)

        def loss_of(values):
            output, updated = self.stateless_call(values, others, x)
            loss, kl = self.losses_of(x, output)
            return loss, (kl, updated)

        (loss, (kl, others)), grads = jax.value_and_grad(loss_of, has_aux=True)(
            trainable
        )
        trainable, optimizer = self.optimizer.stateless_apply(
            optimizer, grads, trainable
        )
        logs, updated = {}, []
        for n, (tracker, value) in enumerate(
            zip(self.trackers, (loss, kl), strict=True)
        ):
            own = tracker.stateless_update_state(metrics[2 * n : 2 * n + 2], value)
            logs[tracker.name] = tracker.stateless_result(own)
            updated += own
        return logs, (trainable, others, optimizer, updated)


def train_vae(data, callbacks):
    keras.utils.set_random_seed(4)
    model = Vae()
    model.compile("adam", jit_compile=BACKEND == "jax")
    history = model.fit(
        data[0], batch_size=4, shuffle=False, epochs=2, verbose=0, callbacks=callbacks
    )
    return model, history.history


def test_vae_with_trackers_of_its_own(data):
    recorder = hr.GradientRecorder(record_freq=1)
    model, history = train_vae(data, [recorder])
    recording = recorder.recording
    assert len(recording) == 6
    # Each row has its own batch's loss: their mean is what the epoch's tracker says.
    losses = recording.index["loss"].to_numpy().reshape(2, 3)
    np.testing.assert_allclose(losses.mean(axis=1), history["loss"], rtol=1e-6)
    assert "kl_loss" in recording.index
    assert recording.has_gradient.to_numpy().all()
    assert recording.replay().max_error < 1e-6
    plain, plain_history = train_vae(data, [])
    assert plain_history == history
    for ours, theirs in zip(plain.variables, model.variables, strict=True):
        np.testing.assert_array_equal(
            ops.convert_to_numpy(ours), ops.convert_to_numpy(theirs)
        )


# What an optimizer does with a gradient leaves the recorded one alone.

SETTINGS = {
    "accumulation": {"gradient_accumulation_steps": 2},
    "clipnorm": {"clipnorm": 0.1},
    "clipvalue": {"clipvalue": 0.1},
    "global_clipnorm": {"global_clipnorm": 0.1},
    "weight decay": {"weight_decay": 0.1},
    "moving average": {"use_ema": True, "ema_overwrite_frequency": 2},
}


@pytest.mark.parametrize("setting", [*SETTINGS, "constraint"])
def test_recorded_is_the_loss_gradient_whatever_the_optimizer_makes_of_it(
    data, setting
):
    keras.utils.set_random_seed(2)
    constraint = "unit_norm" if setting == "constraint" else None
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(1, kernel_constraint=constraint, name="line"),
        ]
    )
    optimizer = keras.optimizers.Adam(0.1, **SETTINGS.get(setting, {}))
    model.compile(optimizer, loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(
        *data, batch_size=4, epochs=2, shuffle=False, verbose=0, callbacks=[recorder]
    )
    recording = recorder.recording
    for t, batch in enumerate(recording.index["batch"]):
        x, y = (a[4 * batch - 4 : 4 * batch] for a in data)
        kernel, bias = (recording.weights[path][t] for path in recording.paths)
        np.testing.assert_allclose(
            recording.gradients[recording.paths[0]][t],
            gradient_a(x, y, kernel, bias),
            rtol=1e-5,
            atol=1e-6,
        )
    assert recording.replay().max_error < 1e-6


# Mixed precision.


def record_in_float16(data):
    keras.utils.set_random_seed(2)
    model = keras.Sequential(
        [
            keras.Input((2,)),
            layers.Dense(4, "tanh", dtype="mixed_float16", name="hidden"),
            layers.Dense(1, dtype="mixed_float16", name="line"),
            layers.Activation("linear", dtype="float32"),
        ]
    )
    optimizer = keras.optimizers.LossScaleOptimizer(
        keras.optimizers.Adam(0.01), initial_scale=1024.0
    )
    model.compile(optimizer, loss="mse", jit_compile=False)
    recorder = hr.GradientRecorder(record_freq=1)
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
    return recorder.recording


def test_overflow_in_float16_is_recorded_and_skipped(data):
    x, y = data
    y = y.copy()
    y[5] = 1e4  # The scaled gradient passes 65504 in the second of three batches.
    recording = record_in_float16((x, y))
    finite = [
        all(np.isfinite(recording.gradients[path][t]).all() for path in recording.paths)
        for t in range(3)
    ]
    assert finite == [True, False, True]
    for path in recording.paths:
        w = recording.weights[path]
        np.testing.assert_array_equal(w[1], w[0])
        assert not np.array_equal(w[2], w[1])
    assert recording.replay().max_error < 1e-6


class TwoOptimizersOnJax(keras.Model):
    """Two layers, each with an optimizer of its own.

    Keras' trainer on JAX carries the state of `self.optimizer` alone; the other one is
    plain SGD, whose state no step needs.
    """

    def __init__(self):
        super().__init__(name="pair")
        self.a, self.b = layers.Dense(1, name="a"), layers.Dense(1, name="b")
        self.a.build((None, 2))
        self.b.build((None, 2))
        self.built = True
        self.plain = keras.optimizers.SGD(0.1)
        self.plain.build(self.a.trainable_variables)

    def call(self, x):
        return self.a(x) + self.b(x)

    def train_step(self, state, data):
        import jax

        values, others, optimizer_state, metrics = state
        x, y = data

        def loss_of(values):
            outputs, _ = self.stateless_call(values, others, x)
            return ops.mean((outputs - y) ** 2)

        loss, grads = jax.value_and_grad(loss_of)(values)
        constants = [v.value for v in self.plain.variables]
        a, _ = self.plain.stateless_apply(constants, grads[:2], values[:2])
        b, optimizer_state = self.optimizer.stateless_apply(
            optimizer_state, grads[2:], values[2:]
        )
        return {"loss": loss}, ([*a, *b], others, optimizer_state, metrics)


@pytest.mark.skipif(BACKEND != "jax", reason="its train step is of other words")
def test_two_optimizers_in_a_train_step_on_jax(data):
    model = TwoOptimizersOnJax()
    adam = keras.optimizers.Adam(0.2)
    adam.build(model.b.trainable_variables)
    model.compile(adam)
    recorder = hr.GradientRecorder(record_freq=1, weights_at="before")
    model.fit(*data, batch_size=4, shuffle=False, verbose=0, callbacks=[recorder])
    recording = recorder.recording
    assert recording.index["step"].tolist() == [1, 2, 3]
    assert recording.has_gradient.to_numpy().all()
    x, y = data
    for t in range(3):
        rows = slice(4 * t, 4 * t + 4)
        error = y[rows] - sum(
            x[rows] @ recording.weights[f"{n}/kernel"][t]
            + recording.weights[f"{n}/bias"][t]
            for n in "ab"
        )
        for name in "ab":
            np.testing.assert_allclose(
                recording.gradients[f"{name}/kernel"][t],
                -2 * x[rows].T @ error / 4,
                rtol=1e-5,
                atol=1e-6,
            )
    assert recording.replay().max_error < 1e-6
