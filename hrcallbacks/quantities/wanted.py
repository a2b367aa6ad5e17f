"""Which reductions are recorded of which variables."""

import difflib
import inspect
from collections.abc import Callable, Iterable, Mapping
from typing import Any

from hrcallbacks.reductions.named import NAMED, names_for
from hrcallbacks.reductions.reduction import RAW, WHOLE, Reduction
from hrcallbacks.selection.variables import pattern_of
from hrcallbacks.types import Key, Spec

OneReduction = str | Reduction | Callable[[Any], Any] | None
SeveralReductions = OneReduction | list[OneReduction] | tuple[OneReduction, ...]
Reductions = SeveralReductions | Mapping[str, SeveralReductions]


class Wanted:
    """Which reductions are recorded of which variables.

    Args:
        quantity: Its name, which is that of the argument.
        what: None, `"raw"`, the name of a reduction, a `Reduction`, a callable, a list
            of these, or a dict from glob to any of them, the first glob that matches
            a path deciding.
        of: What globs are on, for messages.

    Attributes:
        quantity: Its name.
        reductions: All the reductions, by name.

    Raises:
        TypeError: If `what` has the wrong type.
        ValueError: If a name is unknown, or two reductions have the same name.
    """

    def __init__(
        self,
        quantity: str,
        what: Reductions,
        *,
        of: str = "Variable.path, such as '*/kernel'",
    ) -> None:
        self.quantity: str = quantity
        self._on = of
        rules = what if isinstance(what, Mapping) else {"*": what}
        self._rules = {self._glob(g): self._reductions(w) for g, w in rules.items()}
        self._patterns = {glob: pattern_of(glob) for glob in self._rules}
        self.reductions: dict[str, Reduction] = {}
        for reduction in [r for chosen in self._rules.values() for r in chosen]:
            known = self.reductions.setdefault(reduction.name, reduction)
            if known is not reduction and known.describe() != reduction.describe():
                raise ValueError(
                    f"Two different reductions in {quantity}= are called "
                    f"{reduction.name!r}. Give one of them another name."
                )

    def __bool__(self) -> bool:
        """Whether anything is recorded."""
        return bool(self.reductions)

    @property
    def is_raw(self) -> bool:
        """Whether every element of every variable is recorded."""
        return all(WHOLE in chosen for chosen in self._rules.values())

    def describe(self) -> dict[str, dict[str, Any]]:
        """By name, what a reader needs to know about the reductions."""
        return {
            name: r.describe() | ({"nonfinite": r.nonfinite} if r.nonfinite else {})
            for name, r in self.reductions.items()
        }

    @property
    def globs(self) -> list[str]:
        """The globs, in turn; none where nothing is recorded."""
        return list(self._rules) if self else []

    def glob_of(self, *names: str) -> str | None:
        """The first glob that matches one of several names of the same thing."""
        found = (g for g, p in self._patterns.items() if any(map(p.match, names)))
        return next(found, None)

    def unmatched(self, names: Iterable[str]) -> str | None:
        """The first glob that matches none of these names."""
        names = list(names)
        asked = self._patterns.items() if self else ()
        return next((g for g, p in asked if not any(map(p.match, names))), None)

    def of_glob(self, glob: str | None) -> tuple[Reduction, ...]:
        """The reductions that a glob asks for."""
        return self._rules[glob] if glob is not None else ()

    def of(self, paths: Iterable[str]) -> dict[str, tuple[Reduction, ...]]:
        """The reductions of each variable.

        Args:
            paths: Paths of the recorded variables.

        Returns:
            Dict from path to a tuple of reductions.

        Raises:
            ValueError: If a glob matches no path, or none that earlier globs left.
        """
        chosen = {path: self.glob_of(path) for path in paths}
        for glob in self._rules:
            if glob not in chosen.values() and glob != "*":
                raise self._unused(glob, list(chosen))
        return {p: self._rules[g] if g else () for p, g in chosen.items()}

    def _unused(self, glob: str, paths: list[str]) -> ValueError:
        taken = list(filter(self._patterns[glob].match, paths))
        return ValueError(
            f"{self.quantity}= has the glob {glob!r}, which "
            + (
                f"matches {taken[:5]}, but an earlier glob already took those. Put it "
                "first."
                if taken
                else f"matches none of the recorded variables: {paths[:20]}."
            )
        )

    def specs(
        self,
        chosen: Mapping[str, tuple[Reduction, ...]],
        variables: Mapping[str, Any],
        dtypes: Mapping[str, str],
    ) -> dict[Key, Spec]:
        """What a record holds.

        Args:
            chosen: What `of` returned.
            variables: The variables, by path.
            dtypes: The dtypes in which they are recorded, by path.

        Raises:
            ValueError: If a reduction fails.
        """
        return {
            Key(self.quantity, reduction.name, path): self.spec(
                reduction, path, Spec(tuple(variables[path].shape), dtypes[path])
            )
            for path, reductions in chosen.items()
            for reduction in reductions
        }

    def spec(self, reduction: Reduction, path: str, spec: Spec) -> Spec:
        """What a reduction makes of a tensor.

        Raises:
            ValueError: If it fails.
        """
        # A function of the user's own is tried before training.
        try:
            return reduction.spec(spec)
        except Exception as error:
            raise ValueError(
                f"The reduction {reduction.name!r} in {self.quantity}= fails on "
                f"{path!r}, a tensor of shape {spec.shape} and dtype {spec.dtype}: "
                f"{error!r}."
            ) from error

    def _glob(self, glob: object) -> str:
        if not isinstance(glob, str):
            raise TypeError(
                f"Expected the keys of {self.quantity}= to be globs on {self._on}. "
                f"Received: {glob!r}."
            )
        return glob

    def _reductions(self, what: SeveralReductions) -> tuple[Reduction, ...]:
        if what is None:
            return ()
        items = what if isinstance(what, list | tuple) else [what]
        return tuple(dict.fromkeys(self._reduction(item) for item in items))

    def _reduction(self, item: Any) -> Reduction:
        found = NAMED.get(item, item) if isinstance(item, str) else item
        if isinstance(found, str) and found == RAW:
            return WHOLE
        if inspect.isclass(found):
            name = found.__name__
            raise TypeError(
                f"Received the class {name} in {self.quantity}=. Pass an instance: "
                f"hr.{name}(...)."
            )
        if isinstance(found, Callable) and not isinstance(found, Reduction):
            found = self._own(found)
        if not isinstance(found, Reduction):
            kind = ValueError if isinstance(item, str) else TypeError
            raise kind(
                f"Expected {self.quantity} to be None, 'raw', one of "
                f"{names_for(self.quantity)}, "
                "hr.Histogram(), hr.Sample(n), hr.Projection(n), hr.Rows(n), "
                "hr.PerUnit('mean'), hr.Reduction(name, function), a list of "
                f"these, or a dict from glob to these. Received: {item!r}."
                + (self._perhaps(item) if isinstance(item, str) else "")
            )
        if found.of_update and self.quantity != "weights":
            raise ValueError(
                f"{found.name!r} describes the weights: use weights={found.name!r}."
            )
        return found

    def _own(self, function: Callable[[Any], Any]) -> Reduction:
        name = getattr(function, "__name__", "")
        if not name.isidentifier():
            raise TypeError(
                f"Received {function!r} in {self.quantity}=. Give it a name: "
                "hr.Reduction('my_name', function)."
            )
        return Reduction(name, function)

    def _perhaps(self, name: str) -> str:
        """What was meant by a name that there is not, for the end of a message."""
        close = difflib.get_close_matches(name, [RAW, *names_for(self.quantity)], n=1)
        meant = f" Did you mean {close[0]!r}?" if close else ""
        return f"{meant} Or is that a glob? {self.quantity}={{{name!r}: 'norm'}}."
