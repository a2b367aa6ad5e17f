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
from collections.abc import (
    Callable,
    Container,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
)
from typing import Any

_CHECKPOINTS = ("checkpoint", "remat", "remat2")
_CALLS = (
    *(*_CHECKPOINTS, "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("custom_vjp_call_jaxpr", "jit", "pjit"),
)
_MOVES = ("broadcast_in_dim", "copy", "copy_p", "reshape", "squeeze", "transpose")
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
        self._mark = core.Primitive("copy_apart")
        self._mark.def_impl(lambda x, deep: x)
        self._mark.def_abstract_eval(lambda aval, deep: aval)

    def __call__(self, tensor: Any, *, deep: bool = True) -> Any:
        """Another tensor, in a step of `made_in`; the same where nothing is traced.

        Args:
            tensor: The one to be read.
            deep: Whether to make it again from what XLA stores; else from its factors,
                if it is a product, and not at all otherwise.
        """
        return self._mark.bind(tensor, deep=deep)

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
            flat = jax.make_jaxpr(functools.partial(self._flat, closed))(*leaves)
            results = self._evaluated(flat, leaves)
            return jax.tree.unflatten(jax.tree.structure(shapes), results)

        return copying

    def _flat(self, closed: Any, *args: Any) -> list[Any]:
        """What a jaxpr gives, evaluated without calls that XLA would look into."""
        jaxpr = closed.jaxpr
        values = self._given(closed, args)
        wanted = {*self._inputs(jaxpr.eqns), *self._variables(jaxpr.outvars)}
        together: list[Any] = []
        for eqn in jaxpr.eqns:
            if not self._is_looked_into(eqn):
                together.append(eqn)
                continue
            self._run(jaxpr, together, wanted, values)
            together = []
            inputs = [self._value(atom, values) for atom in eqn.invars]
            if eqn.primitive.name in _CHECKPOINTS and eqn.params["differentiated"]:
                inputs = self._kept_apart(inputs, eqn.params["prevent_cse"])
            (inner,) = self._inner(eqn.params)
            results = self._flat(inner, *inputs)
            values.update(zip(eqn.outvars, results, strict=True))
        self._run(jaxpr, together, wanted, values)
        return [self._value(result, values) for result in jaxpr.outvars]

    def _is_looked_into(self, eqn: Any) -> bool:
        """Whether XLA computes a part of a call in the loops of what follows."""
        if eqn.primitive.name not in _CALLS or self._is_cheap(eqn):
            return False
        shardings = (
            eqn.params.get(f"{side}_shardings") or () for side in ("in", "out")
        )
        sharding = self._jax.sharding.Sharding
        is_placed = any(isinstance(s, sharding) for side in shardings for s in side)
        return not is_placed and len([*self._inner(eqn.params)]) == 1

    def _kept_apart(self, inputs: Sequence[Any], which: Any) -> list[Any]:
        """The inputs of a call as JAX has it begin when it is made a second time."""
        chosen = [which] * len(inputs) if isinstance(which, bool) else which
        barred = [x for x, is_chosen in zip(inputs, chosen, strict=True) if is_chosen]
        made = iter(self._jax.lax.optimization_barrier(barred))
        pairs = zip(inputs, chosen, strict=True)
        return [next(made) if is_chosen else x for x, is_chosen in pairs]

    def _given(self, closed: Any, args: Sequence[Any]) -> dict[Any, Any]:
        """The values of a jaxpr's inputs."""
        names = [*closed.jaxpr.constvars, *closed.jaxpr.invars]
        return dict(zip(names, [*closed.consts, *args], strict=True))

    def _evaluated(self, closed: Any, args: Sequence[Any]) -> list[Any]:
        """What a jaxpr gives: first the training, then the copies and what needs them.

        No training needs one.
        """
        jaxpr = closed.jaxpr
        values = self._given(closed, args)
        training, copying, reading = self._parted(jaxpr.eqns)
        tapped: dict[Any, bool] = {}  # How deep.
        for eqn in copying:
            for x in self._inputs([eqn]):
                tapped[x] = tapped.get(x, False) or eqn.params["deep"]
        again, sources = self._made_again(training, tapped)
        results = self._variables(jaxpr.outvars)

        wanted = {*sources, *results, *self._inputs(reading)}
        self._run(jaxpr, training, wanted, values)
        inputs = {*self._inputs(again)}
        hidden = {x: self._hidden(values[x]) for x in sources if x in inputs}
        made = dict(hidden)
        self._run(jaxpr, again, tapped, made)
        # Of what is stored a barrier makes another.
        copies = made | {source: values[source] for source in sources}
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
        self, eqns: Sequence[Any], wanted: Mapping[Any, bool]
    ) -> tuple[list[Any], list[Any]]:
        """Equations that make the variables again, and the variables to start from."""
        needed = dict(wanted)
        again, products = [], self._products(eqns)
        for eqn in reversed(eqns):
            sources, made = self._inputs([eqn]), needed.keys() & {*eqn.outvars}
            is_deep = any(needed[variable] for variable in made)
            # Sums too: with one more reader they could be rounded in another way.
            is_read = self._is_cheap(eqn) if is_deep else not products.isdisjoint(made)
            if sources and made and is_read:
                again.insert(0, eqn)
                for variable in made:
                    del needed[variable]
                for variable in sources:
                    needed[variable] = needed.get(variable, False) or is_deep
        return again, list(needed)

    def _products(self, eqns: Iterable[Any]) -> set[Any]:
        """The products among what equations make, however they are moved."""
        products = set()
        for eqn in eqns:
            is_moved = eqn.primitive.name in _MOVES
            if eqn.primitive.name in ("div", "mul") or (
                is_moved and not products.isdisjoint(self._inputs([eqn]))
            ):
                products.update(eqn.outvars)
        return products

    def _is_cheap(self, eqn: Any) -> bool:
        """Whether XLA may compute it inside the loops that use it."""
        name, inner = eqn.primitive.name, [*self._inner(eqn.params)]
        if name in _CALLS:
            eqns = [eqn for closed in inner for eqn in closed.jaxpr.eqns]
            return bool(inner) and all(map(self._is_cheap, eqns))
        return not inner and name not in _STORED and not name.startswith("scatter")

    def _inner(self, params: dict[str, Any]) -> Iterator[Any]:
        """The closed jaxprs of an equation that calls others."""
        for value in params.values():
            for part in value if isinstance(value, tuple | list) else [value]:
                if isinstance(part, self._core.ClosedJaxpr):
                    yield part
                elif isinstance(part, self._core.Jaxpr):
                    yield self._core.ClosedJaxpr(part, ())

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
        return atom.val if isinstance(atom, self._core.Literal) else values[atom]

    def _inputs(self, eqns: Iterable[Any]) -> list[Any]:
        return [v for eqn in eqns for v in self._variables(eqn.invars)]

    def _variables(self, atoms: Iterable[Any]) -> list[Any]:
        return [atom for atom in atoms if not isinstance(atom, self._core.Literal)]
