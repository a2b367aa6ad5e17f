"""Reading tensors of a step in XLA without a change to how others are rounded.

XLA computes a tensor inside the loop that uses it, if that is cheap or nothing else
uses it. A recorder is one more user: then a quotient or a sine on the way is stored
first, and rounded in another way. So what is recorded is made a second time, from
tensors that are stored anyway, such as products of matrices. A flag whose value XLA
does not know keeps it from seeing that both are the same.

From what a tensor was made is read in the step's jaxpr.
"""

import functools
import importlib
from collections.abc import Callable, Container, Iterable, Iterator, Sequence
from typing import Any

_CALLS = (
    *("checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("custom_vjp_call_jaxpr", "jit", "pjit", "remat", "remat2"),
)
_STORED = (
    *("all_gather", "all_to_all", "cholesky", "conv_general_dilated", "custom_call"),
    *("dot_general", "eig", "eigh", "ffi_call", "fft", "gather", "io_callback", "lu"),
    *("optimization_barrier", "ppermute", "psum", "pure_callback", "qr"),
    *("ragged_dot_general", "reduce_window", "reduce_window_max", "reduce_window_min"),
    *("reduce_window_sum", "scatter", "select_and_gather_add"),
    *("select_and_scatter_add", "sort", "svd", "top_k", "triangular_solve"),
)


class JaxCopies:
    """Makes of tensors of a traced step others with the same numbers, to be read."""

    def __init__(self) -> None:
        self._jax = importlib.import_module("jax")
        self._core = core = importlib.import_module("jax.extend.core")
        self._literal, self._kinds = core.Literal, (core.ClosedJaxpr, core.Jaxpr)
        self._mark = core.Primitive("copy_apart")
        self._mark.def_impl(lambda x: x)
        self._mark.def_abstract_eval(lambda aval: aval)

    def __call__(self, tensor: Any) -> Any:
        """Another tensor, in a step of `made_in`; the same where nothing is traced."""
        return self._mark.bind(tensor)

    def made_in(self, step: Callable[..., Any]) -> Callable[..., Any]:
        """A step in which copies are made.

        Args:
            step: Takes arrays and returns arrays, nested.
        """
        jax = self._jax

        @functools.wraps(step)
        def copying(*args: Any) -> Any:
            leaves = jax.tree.leaves(args)
            if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
                return step(*args)
            closed, shapes = jax.make_jaxpr(step, return_shape=True)(*args)
            results = self._evaluated(closed, leaves)
            return jax.tree.unflatten(jax.tree.structure(shapes), results)

        return copying

    def _evaluated(self, closed: Any, args: Sequence[Any]) -> list[Any]:
        """What a jaxpr gives: first the training, then the copies and what needs them.

        No training needs one.
        """
        jaxpr = closed.jaxpr
        names, given = [*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args]
        values = dict(zip(names, given, strict=True))
        training, copying, reading = self._parted(jaxpr.eqns)
        tapped = dict.fromkeys(self._inputs(copying))
        again, sources = self._made_again(training, tapped)
        results = self._variables(jaxpr.outvars)

        wanted = {*sources, *results, *self._inputs(reading)}
        self._run(jaxpr, training, wanted, values)
        copies = {source: self._hidden(values[source]) for source in sources}
        self._run(jaxpr, again, tapped, copies)
        for eqn in copying:
            copy = self._value(eqn.invars[0], copies)
            values[eqn.outvars[0]] = self._jax.lax.optimization_barrier(copy)
        self._run(jaxpr, reading, results, values)
        return [self._value(result, values) for result in jaxpr.outvars]

    def _parted(self, eqns: Iterable[Any]) -> tuple[list[Any], list[Any], list[Any]]:
        """Equations of the training, those that copy, and those that need a copy."""
        training, copying, reading = [], [], []
        behind = set()
        for eqn in eqns:
            if eqn.primitive is self._mark:
                part = copying
            else:
                part = training if behind.isdisjoint(self._inputs([eqn])) else reading
            part.append(eqn)
            if part is not training:
                behind.update(eqn.outvars)
        return training, copying, reading

    def _made_again(
        self, eqns: Sequence[Any], wanted: Iterable[Any]
    ) -> tuple[list[Any], list[Any]]:
        """Equations that make the variables again, and the variables to start from."""
        needed = dict.fromkeys(wanted)
        again = []
        for eqn in reversed(eqns):
            sources = self._inputs([eqn])
            is_needed = not needed.keys().isdisjoint(eqn.outvars)
            # Sums too: with one more reader they could be rounded in another way.
            if sources and is_needed and self._is_cheap(eqn):
                again.insert(0, eqn)
                needed.update(dict.fromkeys(sources))
                for variable in eqn.outvars:
                    needed.pop(variable, None)
        return again, list(needed)

    def _is_cheap(self, eqn: Any) -> bool:
        """Whether XLA may compute it inside the loops that use it."""
        name, inner = eqn.primitive.name, [*self._inner(eqn.params)]
        if name in _CALLS:
            return bool(inner) and all(self._is_cheap(e) for j in inner for e in j.eqns)
        return not inner and name not in _STORED and not name.startswith("scatter")

    def _inner(self, params: dict[str, Any]) -> Iterator[Any]:
        """The jaxprs of an equation that calls others."""
        for value in params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                if isinstance(part, self._kinds):
                    yield getattr(part, "jaxpr", part)

    def _run(
        self,
        jaxpr: Any,
        eqns: Sequence[Any],
        wanted: Container[Any],
        values: dict[Any, Any],
    ) -> None:
        """Evaluates equations, and adds those of their results that are wanted."""
        made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
        given = [v for v in dict.fromkeys(self._inputs(eqns)) if v not in made]
        results = [variable for variable in made if variable in wanted]
        part = jaxpr.replace(constvars=(), invars=given, outvars=results, eqns=eqns)
        function = self._core.jaxpr_as_fun(self._core.ClosedJaxpr(part, ()))
        made_now = function(*(values[variable] for variable in given))
        values.update(zip(results, made_now, strict=True))

    def _hidden(self, tensor: Any) -> Any:
        """An equal tensor, of which XLA does not know that it is equal."""
        lax, numpy = self._jax.lax, self._jax.numpy
        is_number = numpy.issubdtype(tensor.dtype, numpy.number)
        if not (is_number or tensor.dtype == bool):
            return tensor  # A key to random numbers.
        is_on = lax.optimization_barrier(numpy.array(True))
        return numpy.where(is_on, tensor, numpy.zeros_like(tensor))

    def _value(self, atom: Any, values: dict[Any, Any]) -> Any:
        return atom.val if isinstance(atom, self._literal) else values[atom]

    def _inputs(self, eqns: Iterable[Any]) -> list[Any]:
        return [v for eqn in eqns for v in self._variables(eqn.invars)]

    def _variables(self, atoms: Iterable[Any]) -> list[Any]:
        return [atom for atom in atoms if not isinstance(atom, self._literal)]
