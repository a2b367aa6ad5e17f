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

jax: Any = importlib.import_module("jax")
core: Any = importlib.import_module("jax.extend.core")

_CALLS = (
    *("checkpoint", "closed_call", "core_call", "custom_jvp_call", "custom_vjp_call"),
    *("custom_vjp_call_jaxpr", "jit", "pjit", "remat", "remat2"),
)
_STORED = (
    *("all_gather", "all_to_all", "cholesky", "conv_general_dilated", "custom_call"),
    *("dot_general", "eig", "eigh", "ffi_call", "fft", "gather", "io_callback", "lu"),
    *("optimization_barrier", "ppermute", "psum", "pure_callback", "qr"),
    *("ragged_dot_general", "reduce_window", "scatter", "select_and_gather_add"),
    *("select_and_scatter_add", "sort", "svd", "top_k", "triangular_solve"),
)

copy_p = core.Primitive("copy_apart")
copy_p.def_impl(lambda x: x)
copy_p.def_abstract_eval(lambda aval: aval)


def with_copies(step: Callable[..., Any]) -> Callable[..., Any]:
    """A step that makes again, when it is traced, what `copy_p` was bound to.

    Args:
        step: Takes arrays and returns arrays, nested.
    """

    @functools.wraps(step)
    def copying(*args: Any) -> Any:
        leaves = jax.tree.leaves(args)
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            return step(*args)
        closed, shapes = jax.make_jaxpr(step, return_shape=True)(*args)
        results = _evaluated(closed, leaves)
        return jax.tree.unflatten(jax.tree.structure(shapes), results)

    return copying


def _evaluated(closed: Any, args: Sequence[Any]) -> list[Any]:
    """What a jaxpr gives: first the training, then the copies and what is of them."""
    jaxpr = closed.jaxpr
    given = zip([*jaxpr.constvars, *jaxpr.invars], [*closed.consts, *args], strict=True)
    values = dict(given)
    training, copying, reading = _parted(jaxpr.eqns)
    tapped = dict.fromkeys(v for eqn in copying for v in _variables(eqn.invars))
    again, sources = _made_again(training, tapped)
    results = _variables(jaxpr.outvars)
    wanted = {*sources, *results, *(v for e in reading for v in _variables(e.invars))}

    _run(jaxpr, training, wanted, values)
    copies = {source: _hidden(values[source]) for source in sources}
    _run(jaxpr, again, tapped, copies)
    for eqn in copying:
        copy = _value(eqn.invars[0], copies)
        values[eqn.outvars[0]] = jax.lax.optimization_barrier(copy)
    _run(jaxpr, reading, results, values)
    return [_value(result, values) for result in jaxpr.outvars]


def _parted(eqns: Iterable[Any]) -> tuple[list[Any], list[Any], list[Any]]:
    """Equations of the training, those that copy, and those that need a copy."""
    training, copying, reading = [], [], []
    behind = set()
    for eqn in eqns:
        if eqn.primitive is copy_p:
            part = copying
        else:
            part = training if behind.isdisjoint(_variables(eqn.invars)) else reading
        part.append(eqn)
        if part is not training:
            behind.update(eqn.outvars)
    return training, copying, reading


def _made_again(
    eqns: Sequence[Any], wanted: Iterable[Any]
) -> tuple[list[Any], list[Any]]:
    """Equations that make the variables again, and the variables to start from."""
    needed = dict.fromkeys(wanted)
    again = []
    for eqn in reversed(eqns):
        sources = _variables(eqn.invars)
        # Sums too: with one more reader they could be rounded in another way.
        if sources and not needed.keys().isdisjoint(eqn.outvars) and _is_cheap(eqn):
            again.insert(0, eqn)
            needed.update(dict.fromkeys(sources))
            for variable in eqn.outvars:
                needed.pop(variable, None)
    return again, list(needed)


def _is_cheap(eqn: Any) -> bool:
    """Whether XLA may compute it inside the loops that use it."""
    name = eqn.primitive.name
    inner = [*_jaxprs(eqn.params)]
    if name in _CALLS:
        return bool(inner) and all(_is_cheap(e) for jaxpr in inner for e in jaxpr.eqns)
    return not inner and name not in _STORED and not name.startswith("scatter")


def _jaxprs(params: dict[str, Any]) -> Iterator[Any]:
    for value in params.values():
        for part in value if isinstance(value, tuple | list) else [value]:
            if isinstance(part, core.ClosedJaxpr | core.Jaxpr):
                yield getattr(part, "jaxpr", part)


def _run(
    jaxpr: Any, eqns: Sequence[Any], wanted: Container[Any], values: dict[Any, Any]
) -> None:
    """Evaluates equations, and adds those of their results that are wanted."""
    made = dict.fromkeys(v for eqn in eqns for v in eqn.outvars)
    used = dict.fromkeys(v for eqn in eqns for v in _variables(eqn.invars))
    given = [variable for variable in used if variable not in made]
    results = [variable for variable in made if variable in wanted]
    part = jaxpr.replace(constvars=(), invars=given, outvars=results, eqns=eqns)
    function = core.jaxpr_as_fun(core.ClosedJaxpr(part, ()))
    made_now = function(*(values[variable] for variable in given))
    values.update(zip(results, made_now, strict=True))


def _hidden(tensor: Any) -> Any:
    """An equal tensor, of which XLA does not know that it is equal."""
    numpy = jax.numpy
    if not (tensor.dtype == bool or numpy.issubdtype(tensor.dtype, numpy.number)):
        return tensor  # A key to random numbers.
    is_on = jax.lax.optimization_barrier(numpy.array(True))
    return numpy.where(is_on, tensor, numpy.zeros_like(tensor))


def _value(atom: Any, values: dict[Any, Any]) -> Any:
    return atom.val if isinstance(atom, core.Literal) else values[atom]


def _variables(atoms: Iterable[Any]) -> list[Any]:
    return [atom for atom in atoms if not isinstance(atom, core.Literal)]
