"""Optimizers that are run over blocks of recorded gradients."""

import contextlib
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

# By optimizer, the paths of the variables that each of its calls updates.
Calls = tuple[tuple[str, tuple[str, ...]], ...]
Values = Mapping[str, Any]
Run = Callable[[Values, Values], dict[str, np.ndarray]]


@dataclass(frozen=True)
class Block:
    """Successive steps, in each of which the same is updated.

    Attributes:
        calls: What is called in each step.
        gradients: By path, `(steps, *shape)`.
        rates: By optimizer, `(steps,)`: the learning rates of those that have no
            schedule.
        steps: How many steps there are.
    """

    calls: Calls
    gradients: Mapping[str, np.ndarray]
    rates: Mapping[str, np.ndarray]
    steps: int


class Updates:
    """Variables, and the optimizers that update them.

    A block of steps is one call of a compiled loop if training was compiled, on
    TensorFlow and JAX: most of an update's time goes into calling its operations, not
    into computing them.

    Args:
        variables: By path.
        optimizers: By name, built.
        run_eagerly: Whether training was not compiled.
    """

    def __init__(
        self,
        variables: Mapping[str, Any],
        optimizers: Mapping[str, Any],
        run_eagerly: bool,
    ) -> None:
        import keras

        self._variables = variables
        self._optimizers = optimizers
        makers = {"tensorflow": self._in_graph, "jax": self._scanned}
        make = self._one_by_one if run_eagerly else None
        make = make or makers.get(keras.config.backend(), self._one_by_one)
        self._compiled: Callable[[Calls], Run] = lru_cache(maxsize=None)(make)

    def run(self, block: Block) -> dict[str, np.ndarray]:
        """The variables after each step: by path, `(steps, *shape)`.

        They start from the values that the block before left.
        """
        if not block.calls:
            return {
                path: np.broadcast_to(_array(v), (block.steps, *v.shape))
                for path, v in self._variables.items()
            }
        return self._compiled(block.calls)(block.gradients, block.rates)

    def _step(self, calls: Calls, gradients: Values, rates: Values) -> None:
        """Makes the calls of one step."""
        import keras

        for name, paths in calls:
            optimizer = self._optimizers[name]
            if name in rates:
                optimizer.learning_rate = rates[name]
            own = [self._variables[path] for path in paths]
            dense = [
                keras.ops.convert_to_tensor(gradients[path], variable.dtype)
                for path, variable in zip(paths, own, strict=True)
            ]
            optimizer.apply(dense, own)

    def _one_by_one(self, calls: Calls) -> Run:
        def run(gradients: Values, rates: Values) -> dict[str, np.ndarray]:
            steps = len(next(iter(gradients.values())))
            made: dict[str, list[np.ndarray]] = {path: [] for path in self._variables}
            with _no_grad():
                for number in range(steps):
                    at = {path: array[number] for path, array in gradients.items()}
                    of = {name: float(rate[number]) for name, rate in rates.items()}
                    self._step(calls, at, of)
                    for path, variable in self._variables.items():
                        made[path].append(np.array(_array(variable)))
            return {path: np.stack(arrays) for path, arrays in made.items()}

        return run

    def _in_graph(self, calls: Calls) -> Run:
        import tensorflow as tf

        def loop(gradients: Any, rates: Any) -> Any:
            steps = tf.shape(next(iter(gradients.values())))[0]
            made = {
                path: tf.TensorArray(v.dtype, steps, element_shape=v.shape)
                for path, v in self._variables.items()
            }

            def body(number: Any, made: Any) -> Any:
                at = {path: array[number] for path, array in gradients.items()}
                of = {name: rate[number] for name, rate in rates.items()}
                self._step(calls, at, of)
                return number + 1, {
                    path: made[path].write(number, tf.identity(v.value))
                    for path, v in self._variables.items()
                }

            _, made = tf.while_loop(
                lambda number, _: number < steps,
                body,
                (tf.constant(0), made),
                parallel_iterations=1,
            )
            return {path: array.stack() for path, array in made.items()}

        compiled = tf.function(loop, reduce_retracing=True)
        return lambda *given: {k: v.numpy() for k, v in compiled(*given).items()}

    def _scanned(self, calls: Calls) -> Run:
        import jax  # pyright: ignore[reportMissingImports]
        import keras

        state = [*self._variables.values()]
        for optimizer in self._optimizers.values():
            state += optimizer.variables

        def body(values: Any, given: Any) -> Any:
            mapping = list(zip(state, values, strict=True))
            with keras.StatelessScope(state_mapping=mapping) as scope:
                self._step(calls, *given)
            values = [scope.get_current_value(variable) for variable in state]
            return values, values[: len(self._variables)]

        compiled = jax.jit(lambda values, given: jax.lax.scan(body, values, given))

        def run(gradients: Values, rates: Values) -> dict[str, np.ndarray]:
            values, made = compiled([v.value for v in state], (gradients, rates))
            for variable, value in zip(state, values, strict=True):
                variable.assign(value)
            return dict(zip(self._variables, map(np.asarray, made), strict=True))

        return run


def _array(variable: Any) -> np.ndarray:
    import keras

    return np.asarray(keras.ops.convert_to_numpy(variable.value))


def _no_grad() -> AbstractContextManager[Any]:
    import keras

    if keras.config.backend() != "torch":
        return contextlib.nullcontext()
    import torch  # pyright: ignore[reportMissingImports]

    return torch.no_grad()
