"""What is read of layers on JAX adds no reader to what XLA need not store.

Whether one more reader changes a rounding depends on the processor. Whether there is
one more does not.
"""

import importlib
from collections import Counter

import keras
import numpy as np
import pytest

from hrcallbacks.backends.jaxprs import JaxCopies

if keras.config.backend() != "jax":
    pytest.skip("for JAX", allow_module_level=True)

jax = importlib.import_module("jax")
Literal = importlib.import_module("jax.extend.core").Literal

X = np.random.RandomState(0).randn(4, 3).astype("float32")
W = np.random.RandomState(1).randn(3, 3).astype("float32")
STORED = ("dot_general", "optimization_barrier")


def twice(function):
    return jax.jit(jax.checkpoint(function))


def ruled(function):
    """With a rule of its own for its gradient."""
    made = jax.custom_vjp(function)
    made.defvjp(
        lambda x, w: (function(x, w), (x, w)),
        lambda rest, d: jax.vjp(function, *rest)[1](d),
    )
    return made


WAYS = [lambda function: function, jax.jit, jax.checkpoint, twice, ruled]


def step_of(way, copy):
    """A step with a product, what is made of it, its gradient, and what is read."""

    @way
    def layer(x, w):
        return jax.nn.soft_sign(x + x @ w)

    def step(x, w):
        h = layer(x @ w, w)
        y, back = jax.vjp(lambda h, w: layer(h, w), h, w)
        dh, dw = back(y * 0.3)
        read = [jax.numpy.sum(copy(t) ** 2) for t in (h, y, dh)] if copy else []
        return (jax.numpy.mean(h * y), dw + h.sum()), read

    return step


def readers(jaxpr, count):
    """Of the first equations, each one's kind, and how many more read its results."""
    named = [v for e in jaxpr.eqns for v in e.invars] + jaxpr.outvars
    reading = Counter(v for v in named if not isinstance(v, Literal))
    return [
        (e.primitive.name, [reading[v] for v in e.outvars]) for e in jaxpr.eqns[:count]
    ]


@pytest.mark.parametrize("way", WAYS)
def test_only_what_is_stored_has_one_reader_more(way):
    copies = JaxCopies()
    plainly = jax.make_jaxpr(copies.made_in(step_of(way, None)))(X, W)
    reading = jax.make_jaxpr(copies.made_in(step_of(way, copies)))(X, W)
    count = len(plainly.eqns)
    before, after = readers(plainly.jaxpr, count), readers(reading.jaxpr, count)
    assert [name for name, _ in before] == [name for name, _ in after]
    more = {b[0] for b, a in zip(before, after, strict=True) if b != a}
    assert more <= set(STORED)
    assert more


def test_a_gradient_that_is_a_product_has_no_reader_more():
    copies = JaxCopies()

    def step_of(copy):
        def step(x, w):
            gradient = jax.numpy.copy((x.T @ x) * w)
            read = [jax.numpy.sum(copy(gradient, deep=False) ** 2)] if copy else []
            return w - 0.1 * gradient, read

        return step

    plainly, reading = (
        jax.make_jaxpr(copies.made_in(step_of(copy)))(X, W) for copy in (None, copies)
    )
    count = len(plainly.eqns)
    before, after = readers(plainly.jaxpr, count), readers(reading.jaxpr, count)
    more = {b[0] for b, a in zip(before, after, strict=True) if b != a}
    assert more == {"dot_general"}


@pytest.mark.parametrize("way", WAYS)
def test_what_is_read_is_what_was_made(way):
    copies = JaxCopies()
    made = jax.jit(copies.made_in(step_of(way, copies)))(X, W)
    true = step_of(lambda function: function, lambda t: t)(X, W)
    for a, b in zip(jax.tree.leaves(made), jax.tree.leaves(true), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-6, atol=1e-7)
