"""Training programs with one known fault each, their repairs, and healthy ones.

The faults are those of published benchmarks: the subjects of AUTOTRAINER (AT) and the
Stack Overflow and synthetic programs of TheDeepChecker (SO, SYN), written anew on data
made here, and two of our own. `PROGRAMS[name](fixed)` makes the faulty program, or the
repaired one; `HEALTHY[name]()` one that has no fault.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import keras
import numpy as np
from keras import initializers, layers, losses, optimizers

# Untyped: what its functions return may be None to a type checker.
ops: Any = keras.ops
CCE = "categorical_crossentropy"
BCE = "binary_crossentropy"


@dataclass(frozen=True)
class Program:
    """What `fit` is called with."""

    model: keras.Model
    optimizer: Any
    loss: Any
    x: np.ndarray
    y: np.ndarray
    batch_size: int
    epochs: int
    metrics: tuple[str, ...] = ()


@dataclass(frozen=True)
class Fault:
    """A program with a fault, and what a diagnosis is to say of it.

    Attributes:
        make: Makes the faulty program, or, with True, the repaired one.
        fault: What is wrong, in words.
        repair: What repairs it.
        symptoms: Rules that name what is seen.
        causes: Rules whose advice leads to the repair.
    """

    make: Callable[[bool], Program]
    fault: str
    repair: str
    symptoms: tuple[str, ...]
    causes: tuple[str, ...]


PROGRAMS: dict[str, Fault] = {}
HEALTHY: dict[str, Callable[[], Program]] = {}


def fault(
    name: str, what: str, repair: str, *, symptoms: str, causes: str
) -> Callable[[Callable[[bool], Program]], Callable[[bool], Program]]:
    """Adds a program to `PROGRAMS`."""

    def keep(make: Callable[[bool], Program]) -> Callable[[bool], Program]:
        PROGRAMS[name] = Fault(
            make, what, repair, tuple(symptoms.split()), tuple(causes.split())
        )
        return make

    return keep


def healthy(make: Callable[[], Program]) -> Callable[[], Program]:
    """Adds a program to `HEALTHY`."""
    HEALTHY[make.__name__] = make
    return make


def stack(shape: tuple[int, ...], *parts: Any) -> keras.Sequential:
    """A model of these layers."""
    return keras.Sequential([keras.Input(shape), *parts])


def dense(units: int, activation: str | None = "relu", **options: Any) -> layers.Dense:
    """A dense layer."""
    return layers.Dense(units, activation, **options)


def one_hot(labels: np.ndarray, classes: int) -> np.ndarray:
    """Labels as rows with a single 1."""
    return np.eye(classes, dtype="float32")[labels]


def pictures(count: int = 1500, classes: int = 10) -> tuple[np.ndarray, np.ndarray]:
    """Pictures of 16 x 16 from 0 to 1, a coarse pattern a class, and their classes."""
    random = np.random.default_rng(11)
    patterns = np.kron(random.integers(0, 2, (classes, 4, 4)), np.ones((4, 4)))
    labels = random.integers(0, classes, count)
    light = random.uniform(0.5, 1, (count, 1, 1))
    x = patterns[labels] * light + random.normal(0, 0.15, (count, 16, 16))
    return x.clip(0, 1).astype("float32")[..., None], one_hot(labels, classes)


def clouds(count: int = 900) -> tuple[np.ndarray, np.ndarray]:
    """Points about three centres, some units apart, and their classes."""
    random = np.random.default_rng(12)
    centres = np.array([[-6.0, 2.0], [4.0, 7.0], [3.0, -5.0]])
    labels = random.integers(0, 3, count)
    x = centres[labels] + random.normal(0, 2, (count, 2))
    return x.astype("float32"), one_hot(labels, 3)


def rings(count: int = 960) -> tuple[np.ndarray, np.ndarray]:
    """Points on two rings about one another, and which of them."""
    random = np.random.default_rng(13)
    labels = random.integers(0, 2, count)
    angle = random.uniform(0, 2 * np.pi, count)
    radius = np.where(labels, 0.5, 1.2) + random.normal(0, 0.1, count)
    x = np.stack([radius * np.cos(angle), radius * np.sin(angle)], axis=1)
    return x.astype("float32"), labels[:, None].astype("float32")


def cars(*, scaled: bool = True) -> tuple[np.ndarray, np.ndarray]:
    """Eight properties, from litres to pounds, and a consumption of deviation 1."""
    random = np.random.default_rng(14)
    x = random.normal(size=(400, 8))
    y = x[:, :1] - 0.5 * x[:, 1:2] + 0.3 * np.sin(3 * x[:, 2:3])
    if not scaled:
        sizes = np.array([5.0, 200.0, 100.0, 3000.0, 15.0, 76.0, 2.0, 1.0])
        x = sizes * (1 + 0.3 * x)
    return x.astype("float32"), ((y - y.mean()) / y.std()).astype("float32")


def flat() -> tuple[np.ndarray, np.ndarray]:
    """The pictures as rows of 256 numbers."""
    x, y = pictures()
    return x.reshape(len(x), -1), y


def rings_network(
    activation: str, depth: int, kernel: Callable[[], Any]
) -> keras.Sequential:
    """Narrow layers for the rings."""
    hidden = [dense(8, activation, kernel_initializer=kernel()) for _ in range(depth)]
    return stack((2,), *hidden, dense(1, "sigmoid"))


def reader(
    activation: str = "relu",
    output: str | None = "softmax",
    *,
    kernel: str = "he_normal",
    decay: float = 0.0,
) -> keras.Sequential:
    """A small convolutional network for the pictures."""

    def options() -> dict[str, Any]:
        decayed = keras.regularizers.L2(decay) if decay else None
        return {"kernel_initializer": kernel, "kernel_regularizer": decayed}

    return stack(
        (16, 16, 1),
        layers.Conv2D(8, 3, activation=activation, **options()),
        layers.MaxPooling2D(),
        layers.Conv2D(16, 3, activation=activation, **options()),
        layers.MaxPooling2D(),
        layers.Flatten(),
        dense(48, activation, **options()),
        dense(10, output),
    )


def read(model: keras.Model, *, optimizer: Any = "adam", **changed: Any) -> Program:
    """The pictures' program, with some of it changed."""
    x, y = pictures()
    given: dict[str, Any] = {"x": x, "y": y, "loss": CCE, "batch_size": 50, "epochs": 4}
    given |= changed
    return Program(model, optimizer, metrics=("accuracy",), **given)


def consumption(
    kernel: Any = "he_normal", *, scaled: bool = True, loss: Any = "mse"
) -> Program:
    """The cars' program."""
    x, y = cars(scaled=scaled)

    def hidden() -> layers.Dense:
        start = kernel() if callable(kernel) else kernel
        return dense(32, "relu", kernel_initializer=start)

    model = stack((8,), hidden(), hidden(), dense(1, None))
    return Program(model, optimizers.Adam(0.003), loss, x, y, 32, 12, ("mae",))


@fault(
    "AT activation",
    "relu at the output under a categorical cross-entropy",
    "softmax",
    symptoms="output_activation no_progress silent_outputs",
    causes="output_activation",
)
def _(fixed: bool) -> Program:
    x, y = clouds()
    hidden = [dense(32, kernel_initializer="he_uniform") for _ in range(3)]
    model = stack((2,), *hidden, dense(3, "softmax" if fixed else "relu"))
    return Program(model, optimizers.Adam(0.001), CCE, x, y, 64, 15, ("accuracy",))


@fault(
    "AT vanishing, sigmoid",
    "ten sigmoid layers",
    "relu and He initialization",
    symptoms="vanishing",
    causes="hidden_activation vanishing",
)
def _(fixed: bool) -> Program:
    x, y = rings()
    model = rings_network(
        "relu" if fixed else "sigmoid", 4 if fixed else 10, initializers.HeNormal
    )
    return Program(model, optimizers.Adam(0.005), BCE, x, y, 32, 6, ("accuracy",))


@fault(
    "AT vanishing, tanh",
    "ten tanh layers that start with tiny weights",
    "Glorot or He initialization",
    symptoms="vanishing",
    causes="initial_weights vanishing",
)
def _(fixed: bool) -> Program:
    x, y = rings()
    tiny = lambda: initializers.RandomUniform(-0.05, 0.05)  # noqa: E731
    model = rings_network(
        "relu" if fixed else "tanh",
        4 if fixed else 10,
        initializers.HeNormal if fixed else tiny,
    )
    return Program(model, optimizers.Adam(0.005), BCE, x, y, 32, 6, ("accuracy",))


@fault(
    "AT exploding, exponential",
    "exponential activations",
    "relu",
    symptoms="nan exploding loss_rises",
    causes="hidden_activation",
)
def _(fixed: bool) -> Program:
    x, y = rings()
    model = rings_network(
        "relu" if fixed else "exponential", 4 if fixed else 8, initializers.HeNormal
    )
    return Program(model, optimizers.Adam(0.005), BCE, x, y, 32, 6, ("accuracy",))


@fault(
    "AT dying relu",
    "thirty relu layers that start with small weights",
    "He initialization, batch normalization",
    symptoms="dead_units vanishing",
    causes="initial_weights",
)
def _(fixed: bool) -> Program:
    x, y = flat()
    if fixed:
        hidden = [
            part
            for _ in range(6)
            for part in (
                dense(32, None, kernel_initializer="he_normal"),
                layers.BatchNormalization(),
                layers.ReLU(),
            )
        ]
    else:
        small = lambda: initializers.RandomUniform(-0.05, 0.05)  # noqa: E731
        hidden = [dense(32, kernel_initializer=small()) for _ in range(30)]
    model = stack((256,), *hidden, dense(10, "softmax"))
    return Program(model, "adam", CCE, x, y, 50, 4, ("accuracy",))


@fault(
    "AT oscillating",
    "Adam with a rate of 0.5",
    "a rate of 0.005",
    symptoms="update_size loss_rises",
    causes="update_size loss_rises",
)
def _(fixed: bool) -> Program:
    x, y = clouds()
    model = stack((2,), dense(32), dense(32), dense(3, "softmax"))
    rate = 0.005 if fixed else 0.5
    return Program(model, optimizers.Adam(rate), CCE, x, y, 32, 6, ("accuracy",))


@fault(
    "SO large weights",
    "weights of deviation 1 in layers of 256 inputs",
    "He initialization",
    symptoms="initial_weights",
    causes="initial_weights",
)
def _(fixed: bool) -> Program:
    x, y = flat()

    def wide() -> initializers.Initializer:
        return initializers.HeNormal() if fixed else initializers.RandomNormal(0, 1.0)

    hidden = [dense(128, kernel_initializer=wide()) for _ in range(3)]
    model = stack((256,), *hidden, dense(10, "softmax", kernel_initializer=wide()))
    return Program(model, optimizers.Adam(0.003), CCE, x, y, 50, 4, ("accuracy",))


def line(rate: float, x: np.ndarray, y: np.ndarray, **options: Any) -> Program:
    """A line, fitted to a handful of points."""
    model = stack((x.shape[1],), dense(1, None, kernel_initializer="zeros"))
    given = {"loss": "mse"} | options
    points = x.astype("float32"), y.astype("float32")
    return Program(
        model, optimizers.SGD(rate), given["loss"], *points, len(x), 40, ("mae",)
    )


@fault(
    "SO rate, inputs to 8",
    "SGD with a rate of 0.1 for inputs to 8",
    "a rate of 0.01",
    symptoms="update_size loss_rises exploding",
    causes="update_size loss_rises input_scale",
)
def _(fixed: bool) -> Program:
    random = np.random.default_rng(15)
    x = random.uniform(-8, 8, (10, 1))
    y = 5 - 3 * x + random.uniform(-1, 1, (10, 1))
    return line(0.01 if fixed else 0.1, x, y)


@fault(
    "SO rate, inputs to 100",
    "SGD with a rate of 0.5 for inputs to 100",
    "a rate of 0.0001",
    symptoms="update_size loss_rises exploding nan",
    causes="update_size loss_rises input_scale",
)
def _(fixed: bool) -> Program:
    x = np.arange(100.0)[:, None]
    return line(0.0001 if fixed else 0.5, x, 4 + 2 * x)


@fault(
    "SO sum for mean",
    "the loss is summed over the batch, at a rate of 0.01",
    "the mean, or a rate of 0.001",
    symptoms="update_size loss_rises exploding",
    causes="update_size loss_rises",
)
def _(fixed: bool) -> Program:
    x = np.array([[0, 0], [1, 1], [4, 2], [9, 3]])
    loss = "mse" if fixed else losses.MeanSquaredError(reduction="sum")
    return line(0.01 if fixed else 0.02, x, x[:, :1], loss=loss)


@fault(
    "SO logarithm of logits",
    "a cross-entropy by hand takes the logarithm of raw outputs: NaN",
    "Keras' cross-entropy with from_logits=True",
    symptoms="nan undefined_loss",
    causes="undefined_loss",
)
def _(fixed: bool) -> Program:
    x, y = flat()
    model = stack((256,), dense(64, "sigmoid"), dense(10, None))

    def by_hand(target: Any, answer: Any) -> Any:
        return -ops.mean(target * ops.log(answer) + (1 - target) * ops.log(1 - answer))

    loss = losses.BinaryCrossentropy(from_logits=True) if fixed else by_hand
    return Program(model, optimizers.Adam(0.003), loss, x, y, 50, 4, ("accuracy",))


@fault(
    "SO relu on logits",
    "relu on what the loss takes for logits",
    "no activation",
    symptoms="output_activation silent_outputs",
    causes="output_activation",
)
def _(fixed: bool) -> Program:
    loss = losses.CategoricalCrossentropy(from_logits=True)
    return read(reader(output=None if fixed else "relu"), loss=loss)


@fault(
    "SO underflow",
    "a cross-entropy by hand, summed over the batch: the softmax underflows",
    "Keras' cross-entropy with from_logits=True",
    symptoms="nan undefined_loss",
    causes="undefined_loss",
)
def _(fixed: bool) -> Program:
    x, y = flat()
    wide = initializers.RandomNormal(0, 1.0)
    output = dense(10, None if fixed else "softmax", kernel_initializer=wide)

    def by_hand(target: Any, answer: Any) -> Any:
        return -ops.sum(target * ops.log(answer))

    loss = losses.CategoricalCrossentropy(from_logits=True) if fixed else by_hand
    rate = 0.1 if fixed else 0.5
    return Program(
        stack((256,), output), optimizers.SGD(rate), loss, x, y, 50, 5, ("accuracy",)
    )


@fault(
    "SYN weights of 0",
    "hidden weights that start as 0",
    "He initialization",
    symptoms="initial_weights dead_units no_progress",
    causes="initial_weights",
)
def _(fixed: bool) -> Program:
    return read(reader(kernel="he_normal" if fixed else "zeros"))


@fault(
    "SYN weights alike",
    "hidden weights that all start as 0.1",
    "He initialization",
    symptoms="identical_units initial_weights",
    causes="initial_weights identical_units",
)
def _(fixed: bool) -> Program:
    return consumption("he_normal" if fixed else lambda: initializers.Constant(0.1))


@fault(
    "SYN sign of the loss",
    "the loss is maximised",
    "the other sign",
    symptoms="negative_loss",
    causes="negative_loss",
)
def _(fixed: bool) -> Program:
    def turned(target: Any, answer: Any) -> Any:
        return (1 if fixed else -1) * ops.mean(ops.square(target - answer))

    return consumption(loss=turned)


@fault(
    "SYN regularization",
    "an L2 penalty of 10",
    "one of 1e-5",
    symptoms="regularization no_progress metric_stuck",
    causes="regularization",
)
def _(fixed: bool) -> Program:
    return read(reader(decay=1e-5 if fixed else 10.0))


@fault(
    "SYN wrong labels",
    "the inputs are shuffled, the labels are not",
    "both shuffled alike",
    symptoms="no_progress",
    causes="no_progress",
)
def _(fixed: bool) -> Program:
    x, _ = pictures()
    order = np.random.default_rng(16).permutation(len(x))
    return read(reader(), x=x if fixed else x[order])


@fault(
    "SYN low rate",
    "Adam with a rate of 1e-7",
    "a rate of 0.001",
    symptoms="update_size no_progress",
    causes="update_size",
)
def _(fixed: bool) -> Program:
    return read(reader(), optimizer=optimizers.Adam(0.001 if fixed else 1e-7))


@fault(
    "SYN high rate",
    "Adam with a rate of 0.1",
    "a rate of 0.001",
    symptoms="update_size loss_rises",
    causes="update_size loss_rises",
)
def _(fixed: bool) -> Program:
    return read(reader(), optimizer=optimizers.Adam(0.001 if fixed else 0.1))


@fault(
    "SYN softmax twice",
    "softmax at the output and in the loss",
    "softmax once",
    symptoms="output_activation",
    causes="output_activation",
)
def _(fixed: bool) -> Program:
    loss = losses.CategoricalCrossentropy(from_logits=True)
    return read(reader(output=None if fixed else "softmax"), loss=loss)


@fault(
    "SYN no softmax",
    "no softmax under a categorical cross-entropy",
    "softmax",
    symptoms="output_activation loss_rises no_progress",
    causes="output_activation",
)
def _(fixed: bool) -> Program:
    return read(reader(output="softmax" if fixed else None))


@fault(
    "SYN hidden softmax",
    "softmax in hidden layers",
    "relu",
    symptoms="hidden_activation no_progress vanishing",
    causes="hidden_activation",
)
def _(fixed: bool) -> Program:
    return read(reader("relu" if fixed else "softmax"))


@fault(
    "SYN inputs not scaled",
    "inputs to some thousands",
    "inputs of deviation 1",
    symptoms="input_scale",
    causes="input_scale",
)
def _(fixed: bool) -> Program:
    return consumption(scaled=fixed)


@fault(
    "SYN inputs scaled twice",
    "pictures divided by 255 twice",
    "once",
    symptoms="input_scale",
    causes="input_scale",
)
def _(fixed: bool) -> Program:
    x, _ = pictures()
    return read(reader(), x=x / np.float32(1 if fixed else 255))


@fault(
    "own: exploding RNN",
    "a relu SimpleRNN over 100 steps with large recurrent weights",
    "an LSTM, clipnorm",
    symptoms="exploding nan loss_rises initial_weights",
    causes="initial_weights exploding",
)
def _(fixed: bool) -> Program:
    x = np.random.default_rng(17).normal(size=(256, 100, 3)).astype("float32")
    y = 3 * x[:, :20, :1].mean(axis=1)
    wide: Any = initializers.RandomNormal(0, 0.5)
    rnn = layers.SimpleRNN(16, activation="relu", recurrent_initializer=wide)
    cell = layers.LSTM(16) if fixed else rnn
    optimizer = optimizers.Adam(0.01, clipnorm=1.0) if fixed else optimizers.SGD(0.01)
    return Program(stack((100, 3), cell, dense(1, None)), optimizer, "mse", x, y, 32, 5)


@fault(
    "own: frozen",
    "all layers but the last are frozen, with random weights",
    "trainable",
    symptoms="frozen_share",
    causes="frozen_share",
)
def _(fixed: bool) -> Program:
    model = reader()
    for layer in model.layers[:-1]:
        layer.trainable = fixed
    return read(model)


@healthy
def autoencoder() -> Program:
    """Pictures through a narrow layer and back."""
    x, _ = flat()
    model = stack((256,), dense(64), dense(16), dense(64), dense(256, "sigmoid"))
    return Program(model, optimizers.Adam(0.003), BCE, x, x, 50, 6)


@healthy
def words() -> Program:
    """An embedding, and a mean over it."""
    random = np.random.default_rng(18)
    x = np.minimum(random.zipf(1.4, (960, 20)), 299)
    score = random.normal(size=300)[x].mean(axis=1)
    y = (score > np.median(score)).astype("float32")
    parts = [layers.Embedding(300, 16), layers.GlobalAveragePooling1D()]
    model = stack((20,), *parts, dense(16), dense(1, "sigmoid"))
    return Program(model, optimizers.Adam(0.01), BCE, x, y, 32, 8, ("accuracy",))


@healthy
def deep_gelu() -> Program:
    """Four layers of gelu for a smooth function."""
    x = np.random.default_rng(19).normal(size=(900, 8)).astype("float32")
    y = np.sin(2 * x[:, :1]) + x[:, 1:2] * x[:, 2:3]
    model = stack((8,), *[dense(32, "gelu") for _ in range(4)], dense(1, None))
    return Program(model, optimizers.Adam(0.003), "mse", x, y, 32, 8)


@healthy
def large_targets() -> Program:
    """A regression whose targets are in the hundreds."""
    x = np.random.default_rng(20).normal(size=(640, 5)).astype("float32")
    y = 250 + 60 * x[:, :1] - 30 * x[:, 1:2] ** 2
    model = stack((5,), dense(48), dense(48), dense(1, None))
    return Program(model, optimizers.Adam(0.01), "mse", x, y, 32, 12, ("mae",))


@healthy
def pairs() -> Program:
    """Noisy labels, two samples a batch."""
    random = np.random.default_rng(21)
    x = random.normal(size=(400, 10)).astype("float32")
    y = (x[:, 0] + x[:, 1] + random.normal(0, 0.8, 400) > 0).astype("float32")
    model = stack((10,), dense(16, "tanh"), dense(1, "sigmoid"))
    return Program(model, optimizers.SGD(0.03), BCE, x, y, 2, 3, ("accuracy",))


@healthy
def logistic() -> Program:
    """A softmax, and nothing before it."""
    x, y = clouds()
    x = (x - x.mean(axis=0)) / x.std(axis=0)
    model = stack((2,), dense(3, "softmax"))
    return Program(model, optimizers.SGD(0.2), CCE, x, y, 32, 8, ("accuracy",))


def every() -> Mapping[tuple[str, str], Callable[[], Program]]:
    """All programs, by name and kind: faulty, repaired or healthy."""
    made: dict[tuple[str, str], Callable[[], Program]] = {}
    for name, about in PROGRAMS.items():
        made[name, "faulty"] = lambda about=about: about.make(False)
        made[name, "repaired"] = lambda about=about: about.make(True)
    for name, make in HEALTHY.items():
        made[name, "healthy"] = make
    return made
