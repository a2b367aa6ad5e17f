r"""Back-propagation by hand: equations (1) to (12) of a 1-H-1 ReLU network.

Everything here is NumPy in float64 and shares no code with Keras, so that it can check
what was recorded from `model.fit`. `backpropagate` writes out the derivation for every
sample, `mse_gradients` gives the gradients of Keras' `"mse"` loss, and `train` repeats
a full-batch run with Adam.

Two differences between the derivation and Keras matter when numbers are compared:

- The derivation takes $L = \frac12 (y - \hat y)^2$ of one sample; Keras' mean squared
  error has no factor 1/2 and is a mean over samples. `mse_gradients` is therefore
  twice the mean of `backpropagate`'s gradients.
- Equation (12) sets $H(0) = 1$; TensorFlow, JAX and PyTorch use 0 there. Every
  function takes `heaviside_at_zero`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

BETAS = (0.9, 0.999)
EPSILON = 1e-7


class Parameters(NamedTuple):
    """Weights and biases of a 1-H-1 network, in the order of Keras' variables.

    Attributes:
        w1: Hidden kernel $w^{(1)}$, shape `(1, H)`.
        b1: Hidden bias $b^{(1)}$, shape `(H,)`.
        w2: Output kernel $w^{(2)}$, shape `(H, 1)`.
        b2: Output bias $b^{(2)}$, shape `(1,)`.
    """

    w1: np.ndarray
    b1: np.ndarray
    w2: np.ndarray
    b2: np.ndarray


class Derivation(NamedTuple):
    r"""Each quantity of equations (1) to (11), one row a sample.

    Attributes:
        z: (1) $z_i = w^{(1)}_i x + b^{(1)}_i$, shape `(N, H)`.
        hidden: (2) $y_i = \max(0, z_i)$, shape `(N, H)`.
        output: (3) $\hat y = \sum_i w^{(2)}_i y_i + b^{(2)}$, shape `(N, 1)`.
        loss: (4) $L = \frac12 (y - \hat y)^2$, shape `(N, 1)`.
        d_output: (5) $\partial L/\partial \hat y = \hat y - y$, shape `(N, 1)`.
        d_w2: (6) $\partial L/\partial w^{(2)}_i = y_i (\hat y - y)$, shape `(N, H)`.
        d_b2: (7) $\partial L/\partial b^{(2)} = \hat y - y$, shape `(N, 1)`.
        d_hidden: (8) $\partial L/\partial y_i = (\hat y - y) w^{(2)}_i$,
            shape `(N, H)`.
        d_z: (9) $\partial L/\partial z_i = (\hat y - y) w^{(2)}_i H(z_i)$,
            shape `(N, H)`.
        d_w1: (10) $\partial L/\partial w^{(1)}_i = (\hat y - y) w^{(2)}_i H(z_i) x$,
            shape `(N, H)`.
        d_b1: (11) $\partial L/\partial b^{(1)}_i = (\hat y - y) w^{(2)}_i H(z_i)$,
            shape `(N, H)`.
    """

    z: np.ndarray
    hidden: np.ndarray
    output: np.ndarray
    loss: np.ndarray
    d_output: np.ndarray
    d_w2: np.ndarray
    d_b2: np.ndarray
    d_hidden: np.ndarray
    d_z: np.ndarray
    d_w1: np.ndarray
    d_b1: np.ndarray


class Step(NamedTuple):
    """One step of `train`: gradient and loss before the update, weights after it.

    Attributes:
        output: Mean of the network's output over the samples, before the update.
        loss: Mean squared error before the update.
        gradients: `Parameters`-shaped gradients of that loss.
        parameters: The parameters after the update.
    """

    output: float
    loss: float
    gradients: Parameters
    parameters: Parameters


def heaviside(z: npt.ArrayLike, at_zero: float = 0.0) -> npt.NDArray[np.float64]:
    r"""Heaviside step $H(z)$, the derivative of ReLU: equation (12).

    Args:
        z: Numbers of any shape.
        at_zero: Value of $H(0)$. The derivation takes 1, Keras' backends 0.

    Returns:
        Float64 array of `z`'s shape.

    Example:
        >>> heaviside([-1.0, 0.0, 2.0])
        array([0., 0., 1.])
    """
    return np.heaviside(np.asarray(z, np.float64), at_zero)


def backpropagate(
    parameters: Sequence[npt.ArrayLike],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    heaviside_at_zero: float = 0.0,
) -> Derivation:
    """Equations (1) to (11) for every sample.

    Args:
        parameters: `(w1, b1, w2, b2)`, shapes `(1, H)`, `(H,)`, `(H, 1)`, `(1,)`.
        x: Inputs, shape `(N,)` or `(N, 1)`.
        y: Targets, shape `(N,)` or `(N, 1)`.
        heaviside_at_zero: `H(0)` in equation (12).

    Returns:
        A `Derivation`, float64.

    Raises:
        ValueError: If `x` or `y` is not of shape `(N,)` or `(N, 1)`, if they differ
            in length or hold no sample, or if the parameters' shapes do not fit a
            1-H-1 network.

    Example:
        >>> d = backpropagate(([[2.0]], [0.0], [[3.0]], [1.0]), [0.5], [0.0])
        >>> d.output.item(), d.d_w2.item(), d.d_w1.item()
        (4.0, 4.0, 6.0)
    """
    w1, b1, w2, b2 = _as_float64(parameters)
    x, y = _columns(x, y)
    z = x * w1 + b1  # (1)
    hidden = np.maximum(0.0, z)  # (2)
    output = hidden @ w2 + b2  # (3)
    loss = 0.5 * (y - output) ** 2  # (4)
    d_output = output - y  # (5)
    d_w2 = hidden * d_output  # (6)
    d_b2 = d_output  # (7)
    d_hidden = d_output * w2.T  # (8)
    d_z = d_hidden * heaviside(z, heaviside_at_zero)  # (9)
    d_w1 = d_z * x  # (10)
    d_b1 = d_z  # (11)
    return Derivation(
        z, hidden, output, loss, d_output, d_w2, d_b2, d_hidden, d_z, d_w1, d_b1
    )


def mse_gradients(
    parameters: Sequence[npt.ArrayLike],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    heaviside_at_zero: float = 0.0,
) -> Parameters:
    """Gradients of Keras' mean squared error over all samples.

    Twice the mean over the samples of equations (10), (11), (6) and (7).

    Args:
        parameters: As for `backpropagate`.
        x: As for `backpropagate`.
        y: As for `backpropagate`.
        heaviside_at_zero: `H(0)` in equation (12).

    Returns:
        `Parameters` of gradients, float64, in the shapes of `parameters`.

    Raises:
        ValueError: For the same reasons as `backpropagate`.
    """
    return _mse_gradients(backpropagate(parameters, x, y, heaviside_at_zero))


def adam_step_size(learning_rate: float, t: int) -> float:
    r"""Adam's bias-corrected step $\eta \sqrt{1 - \beta_2^t} / (1 - \beta_1^t)$.

    Keras computes the powers in float32, and one of these roundings is more than noise:
    with $\beta_2 = 0.999$, the $1 - \beta_2$ of a float32 is 1.3e-5 too small, so that
    each step is too short by some parts in a million. It is reproduced here.

    Args:
        learning_rate: Adam's $\eta$.
        t: Number of the step, from 1.

    Example:
        >>> f"{adam_step_size(0.1, 1) / (0.1 * 0.001**0.5 / 0.1) - 1:.1e}"
        '-6.7e-06'
    """
    beta_1, beta_2 = (float(np.float32(np.float64(np.float32(b)) ** t)) for b in BETAS)
    return learning_rate * math.sqrt(1 - beta_2) / (1 - beta_1)


def train(
    parameters: Sequence[npt.ArrayLike],
    x: npt.ArrayLike,
    y: npt.ArrayLike,
    learning_rate: float,
    epochs: int,
    *,
    heaviside_at_zero: float = 0.0,
) -> list[Step]:
    r"""Full-batch training with Adam, in float64.

    Adam as Keras writes it, $w \leftarrow w - s_t\, m / (\sqrt v + \epsilon)$ with
    $s_t$ from `adam_step_size`, $\beta_1 = 0.9$, $\beta_2 = 0.999$ and
    $\epsilon = 10^{-7}$ outside the bias correction (Kingma and Ba 2015, section 2,
    last paragraph).

    Args:
        parameters: The initial parameters, as for `backpropagate`.
        x: As for `backpropagate`.
        y: As for `backpropagate`.
        learning_rate: Adam's $\eta$.
        epochs: How many steps.
        heaviside_at_zero: `H(0)` in equation (12).

    Returns:
        A list of `epochs` `Step`s. As in the published tables, a step holds the loss
        and gradients before its update and the parameters after it.

    Raises:
        ValueError: For the same reasons as `backpropagate`.
    """
    now = _as_float64(parameters)
    first = [np.zeros_like(p) for p in now]
    second = [np.zeros_like(p) for p in now]
    steps: list[Step] = []
    for t in range(1, epochs + 1):
        d = backpropagate(now, x, y, heaviside_at_zero)
        gradients = _mse_gradients(d)
        first = [
            m + (g - m) * (1 - BETAS[0]) for m, g in zip(first, gradients, strict=True)
        ]
        second = [
            v + (g * g - v) * (1 - BETAS[1])
            for v, g in zip(second, gradients, strict=True)
        ]
        step = adam_step_size(learning_rate, t)
        now = Parameters(
            *(
                p - step * m / (np.sqrt(v) + EPSILON)
                for p, m, v in zip(now, first, second, strict=True)
            )
        )
        output, loss = float(d.output.mean()), float(2 * d.loss.mean())
        steps.append(Step(output, loss, gradients, now))
    return steps


def _mse_gradients(derivation: Derivation) -> Parameters:
    d = derivation
    return Parameters(
        w1=2 * d.d_w1.mean(axis=0, keepdims=True),
        b1=2 * d.d_b1.mean(axis=0),
        w2=2 * d.d_w2.mean(axis=0)[:, np.newaxis],
        b2=2 * d.d_b2.mean(axis=0),
    )


def _as_float64(parameters: Sequence[npt.ArrayLike]) -> Parameters:
    w1, b1, w2, b2 = (np.asarray(p, np.float64) for p in parameters)
    units = b1.size
    shapes = [p.shape for p in (w1, b1, w2, b2)]
    if shapes != [(1, units), (units,), (units, 1), (1,)]:
        raise ValueError(
            "Expected parameters (w1, b1, w2, b2) of a 1-H-1 network, with shapes "
            f"(1, H), (H,), (H, 1), (1,). Received shapes: {shapes}."
        )
    return Parameters(w1, b1, w2, b2)


def _columns(
    x: npt.ArrayLike, y: npt.ArrayLike
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    x, y = np.asarray(x, np.float64), np.asarray(y, np.float64)
    if any(a.shape not in {(a.size,), (a.size, 1)} for a in (x, y)):
        raise ValueError(
            "Expected x and y of shape (N,) or (N, 1), one number a sample. "
            f"Received shapes: x {x.shape} and y {y.shape}."
        )
    if len(x) != len(y):
        raise ValueError(
            f"x and y must have the same length. Received: {len(x)} and {len(y)}."
        )
    if not len(x):
        raise ValueError(
            "Expected at least one sample. "
            f"Received shapes: x {x.shape} and y {y.shape}."
        )
    return x.reshape(-1, 1), y.reshape(-1, 1)
