"""Patterns: connectivity sets A_i^(m), declared as predicates over query position i and key position j."""

from __future__ import annotations

import inspect
import itertools
import typing
import weakref
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import sympy

from attncc.errors import AttnccError, ParameterError, PatternError, nearest
from attncc.ir.language import Index, Table, position, predicate_of
from attncc.ir.normal import comparison, digest, normalised
from attncc.ir.predicate import Predicate, conjunction, disjunction
from attncc.ir.symbols import BY_NAME, H, I, J

REQUIRED = inspect.Parameter.empty


@dataclass(frozen=True)
class Bounds:
    """Limits of an integer parameter: `l: Annotated[int, attncc.Bounds(minimum=1)]`."""

    minimum: int | None = None
    maximum: int | None = None


@dataclass(frozen=True)
class Parameter:
    """One parameter of a pattern: its type (int, bool or Table), default and limits."""

    name: str
    type: type
    default: Any = REQUIRED
    bounds: Bounds = Bounds()

    @property
    def required(self) -> bool:
        return self.default is REQUIRED

    def checked(self, value: Any) -> Any:
        """Return `value` as the pattern's function gets it, or raise ParameterError or TableError."""
        if self.type is Table:
            return Table(value, name=self.name)
        if self.type is bool and isinstance(value, bool):
            return value
        if self.type is int and not isinstance(value, bool) and hasattr(value, "__index__"):
            return self._within(value.__index__())
        raise ParameterError(
            f"{self.name}={value!r} ({type(value).__name__}).",
            rule=f"Parameter {self.name!r} is declared as {self.type.__name__}.",
            fix=f"Pass {'an integer' if self.type is int else 'True or False'}.",
        )

    def _within(self, value: int) -> int:
        low, high = self.bounds.minimum, self.bounds.maximum
        if (low is not None and value < low) or (high is not None and value > high):
            limits = " and ".join([f"at least {low}"] * (low is not None) + [f"at most {high}"] * (high is not None))
            raise ParameterError(f"{self.name}={value}.", rule=f"Parameter {self.name!r} is {limits}.")
        return value

    def __str__(self) -> str:
        suffix = "" if self.required else f"={self.default!r}"
        return f"{self.name}: {self.type.__name__}{suffix}"


_registry: weakref.WeakValueDictionary[str, Pattern] = weakref.WeakValueDictionary()
_serial = itertools.count()


class Pattern:
    """An attention pattern: one or several connectivity sets; used as it is, it means their union.

    `name` and `parameters` say where it came from; the identity is `key`, a hash of the sets themselves.
    """

    def __init__(
        self,
        subsets: Sequence[Predicate],
        name: str,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.subsets = tuple(subsets)
        self.name = name
        self.parameters = dict(parameters or {})
        #: Names this object within the process, for compiled graphs that can only carry strings.
        self.handle = f"{name}#{next(_serial)}"
        _registry[self.handle] = self

    @cached_property
    def predicate(self) -> Predicate:
        """The union of the subsets, in normal form: equal keys mean equal predicates, free symbols included."""
        return normalised(disjunction(self.subsets))

    @cached_property
    def key(self) -> str:
        """SHA-256 of the canonical predicate, the same in every process; equal sets have equal keys
        as far as the normal form can tell."""
        return digest(self.predicate)

    def union(self) -> Pattern:
        """Every head sees all subsets (Child et al. 2019, section 4.2, merged heads)."""
        return Pattern([self.predicate], self.name, self.parameters)

    def heads(self) -> Pattern:
        """Head h sees subset h mod p (Child et al. 2019, section 4.2, one pattern a head)."""
        return _by_head(self.subsets, f"{self.name}.heads()", self.parameters)

    def layers(self, n: int) -> Pattern:
        """The subset of residual block n, that is n mod p (Child et al. 2019, section 4.2, interleaved)."""
        return Pattern(
            [self.subsets[n % len(self.subsets)]],
            f"{self.name}.layers({n})",
            self.parameters,
        )

    def causal(self) -> Pattern:
        """Every subset without the keys after the query, j <= i."""
        past = comparison("ge", I - J)
        return Pattern(
            [subset & past for subset in self.subsets],
            f"{self.name}.causal()",
            self.parameters,
        )

    def __and__(self, other: Pattern) -> Pattern:
        return Pattern([self.predicate & other.predicate], f"({self.name} & {other.name})")

    def __or__(self, other: Pattern) -> Pattern:
        return Pattern([self.predicate | other.predicate], f"({self.name} | {other.name})")

    def __invert__(self) -> Pattern:
        return Pattern([~self.predicate], f"~{self.name}")

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Pattern) and (self is other or self.key == other.key)

    def __hash__(self) -> int:
        return hash(self.key)

    def __repr__(self) -> str:
        arguments = ", ".join(f"{name}={value!r}" for name, value in self.parameters.items())
        return f"{self.name}({arguments})"


@dataclass(frozen=True, eq=False)
class PatternFactory:
    """What `@attncc.pattern` makes of a function: call it with parameters to get a Pattern."""

    function: Callable[..., Any]
    name: str
    doc: str
    symbols: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    def __call__(self, **values: Any) -> Pattern:
        """Return the pattern for these parameters; raises ParameterError, TableError or PatternError."""
        checked = self._checked(values)
        arguments = {name: position(BY_NAME[name]) for name in self.symbols}
        result = self._declared(**arguments, **checked)
        subsets = result if isinstance(result, tuple | list) else (result,)
        if not subsets:
            raise PatternError(
                f"Pattern {self.name!r} returned no set.",
                rule="A pattern returns one comparison, or a tuple of them, one for each subset.",
                fix="Return the predicate, as in `return (j <= i) & (i - j < window)`.",
            )
        return Pattern([predicate_of(subset) for subset in subsets], self.name, checked)

    def _declared(self, **arguments: Any) -> Any:
        try:
            return self.function(**arguments)
        except AttnccError:
            raise
        except Exception as error:
            code = self.function.__code__
            raise PatternError(
                f"Pattern {self.name!r} raised {type(error).__name__}: {error}.",
                rule=f"Its function, at {code.co_filename}:{code.co_firstlineno}, returns conditions on positions.",
            ) from error

    def _checked(self, values: Mapping[str, Any]) -> dict[str, Any]:
        known = {parameter.name: parameter for parameter in self.parameters}
        for name in values:
            if name not in known:
                raise ParameterError(
                    f"Pattern {self.name!r} has no parameter {name!r}.",
                    rule=f"It is declared as {self.signature}.",
                    fix=nearest(name, known),
                )
        missing = [p.name for p in self.parameters if p.required and p.name not in values]
        if missing:
            raise ParameterError(
                f"Pattern {self.name!r} needs {', '.join(missing)}.",
                rule=f"It is declared as {self.signature}.",
            )
        return {name: p.checked(values.get(name, p.default)) for name, p in known.items()}

    @property
    def signature(self) -> str:
        """The declaration, for messages and lists: `strided(l: int)`."""
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    def __repr__(self) -> str:
        return f"<pattern {self.signature}>"


def pattern(function: Callable[..., Any]) -> PatternFactory:
    """Declare an attention pattern (decorator).

    The function names the symbols it uses among i, j, h, b, n_q, n_k; every other parameter is annotated with
    int (limits: `Annotated[int, Bounds(minimum=1)]`), bool or `attncc.Table`. It returns one condition, or a
    tuple of them, one for each subset A^(m).

    Raises PatternError for a parameter without a usable annotation.
    """
    name = function.__name__
    declared = inspect.signature(function).parameters.values()
    hints = _hints(function)
    parameters = tuple(_parameter(name, p, hints.get(p.name)) for p in declared if p.name not in BY_NAME)
    symbols = tuple(p.name for p in declared if p.name in BY_NAME)
    doc = inspect.getdoc(function) or ""
    return PatternFactory(function, name, doc, symbols, parameters)


def per_head(patterns: Sequence[Pattern | PatternFactory]) -> Pattern:
    """Return the pattern in which head h sees patterns[h mod len(patterns)]."""
    chosen = [as_pattern(p) for p in patterns]
    if not chosen:
        raise PatternError(
            "per_head([]) has no pattern.",
            rule="It takes one pattern for each head, at least one.",
        )
    return _by_head(
        [p.predicate for p in chosen],
        f"per_head([{', '.join(p.name for p in chosen)}])",
        {},
    )


def as_pattern(value: object) -> Pattern:
    """Return `value` as a pattern: a Pattern, or a declared pattern that needs no parameters."""
    if isinstance(value, Pattern):
        return value
    if isinstance(value, PatternFactory):
        return value()
    raise PatternError(
        f"{value!r} ({type(value).__name__}) is not a pattern.",
        rule="A pattern is made by a function under @attncc.pattern, or by attncc.load(name, ...).",
        fix="Call the declared pattern with its parameters, as in strided(l=128).",
    )


def by_handle(handle: str) -> Pattern:
    """Return the living pattern with this handle; raises PatternError if it is gone."""
    found = _registry.get(handle)
    if found is None:
        raise PatternError(
            f"Pattern {handle!r} no longer exists.",
            rule="A compiled graph refers to its pattern by handle and doesn't keep it alive.",
            fix="Keep the pattern in a variable or module attribute as long as the graph is used.",
        )
    return found


def _by_head(predicates: Sequence[Predicate], name: str, parameters: Mapping[str, Any]) -> Pattern:
    turn = sympy.Mod(H, len(predicates))
    parts = [conjunction([comparison("eq", turn - m), predicate]) for m, predicate in enumerate(predicates)]
    return Pattern([disjunction(parts)], name, parameters)


def _hints(function: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(function, include_extras=True)
    except NameError as error:
        raise PatternError(
            f"Pattern {function.__name__!r} has an annotation that can't be resolved: {error}.",
            rule="Parameters are annotated with int, bool or attncc.Table.",
        ) from error


def _parameter(pattern_name: str, declared: inspect.Parameter, hint: Any) -> Parameter:
    bounds, kind = Bounds(), hint
    if typing.get_origin(hint) is typing.Annotated:
        kind, *extras = typing.get_args(hint)
        bounds = next((extra for extra in extras if isinstance(extra, Bounds)), bounds)
    if kind not in (int, bool, Table) or declared.kind in (
        declared.VAR_POSITIONAL,
        declared.VAR_KEYWORD,
    ):
        raise PatternError(
            f"Pattern {pattern_name!r} declares {declared.name!r} as {getattr(kind, '__name__', kind)}.",
            rule=f"Symbols are {', '.join(BY_NAME)}; other parameters are annotated with int, bool or attncc.Table.",
            fix=f"Write `*, {declared.name}: int`, or use one of the symbols. {nearest(declared.name, BY_NAME)}",
        )
    return Parameter(declared.name, kind, declared.default, bounds)


__all__ = [
    "Bounds",
    "Index",
    "Parameter",
    "Pattern",
    "PatternFactory",
    "Table",
    "as_pattern",
    "by_handle",
    "pattern",
    "per_head",
]
