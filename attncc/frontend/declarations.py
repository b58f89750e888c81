"""Declarations: a function whose arguments are symbols and typed parameters, as @pattern and @score read it."""

from __future__ import annotations

import importlib
import inspect
import math
import numbers
import operator
import typing
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass
from typing import Any, NoReturn, Self

from attncc._util.tracing import constant, shown
from attncc.errors import AttnccError, ParameterError, PatternError, nearest, told
from attncc.frontend.language import Table
from attncc.frontend.lists import Lists
from attncc.frontend.torch_names import FUNCTIONS, METHODS
from attncc.frontend.weights import Weights, check_weights
from attncc.ir.claims import Bounds, Claim
from attncc.ir.claims import check as check_claims
from attncc.ir.condition import Symbolic
from attncc.ir.placeholders import Placeholder

REQUIRED = inspect.Parameter.empty

#: Wherever functions run on symbols, these answer to torch's names.
Symbolic.torch_names, Symbolic.torch_methods = FUNCTIONS, {**FUNCTIONS, **METHODS}

_WANTED = {int: "an integer", float: "a finite number", bool: "True or False"}


@dataclass(frozen=True)
class Parameter:
    """One parameter of a declaration: its type (int, float, bool, Table, Lists or Weights), default and claims."""

    name: str
    type: type
    default: Any = REQUIRED
    claims: tuple[Claim, ...] = ()

    @property
    def required(self) -> bool:
        """Whether it can't be left out; a score's weights can, since they are given when it is used."""
        return self.default is REQUIRED and self.type is not Weights

    def checked(self, value: Any) -> Any:
        """Return `value` as the function gets it, or raise ParameterError or TableError."""
        if self.type in (Table, Lists):
            if isinstance(value, Placeholder):
                return value
            table = self.type(value, name=self.name)
            if self.claims:
                check_claims(table, self.name, self.claims)
            return table
        if self.type is Weights:
            return check_weights(value, self.name)
        if self.type is bool and isinstance(value, bool):
            return value
        if self.type is int and (number := _integer(value)) is not None:
            return self._within(number)
        if self.type is float and _is_finite(value):
            return self._within(float(value))
        raise ParameterError(
            f"{self.name}={shown(value)} ({type(value).__name__}).",
            rule=f"Parameter {self.name!r} is declared as {self.type.__name__}.",
            fix=f"Pass {_WANTED[self.type]}.",
        )

    def _within(self, value: float) -> float:
        for claim in self.claims:
            if isinstance(claim, Bounds) and not claim.allows(value):
                _refuse(self.name, value, claim)
        return value

    def __str__(self) -> str:
        suffix = "" if self.default is REQUIRED else f"={self.default!r}"
        return f"{self.name}: {self.type.__name__}{suffix}"


@dataclass(frozen=True, eq=False)
class Declaration:
    """A declared function, its name, first-line documentation, symbols and parameters.

    Subclasses say what is declared (`kind`), with which symbols and types of parameters, and what to raise.
    """

    kind: typing.ClassVar[str]
    error: typing.ClassVar[type[AttnccError]]
    known_symbols: typing.ClassVar[Mapping[str, Any]]
    known_types: typing.ClassVar[Collection[type]]

    #: What the function returns, for messages.
    returns: typing.ClassVar[str]

    function: Callable[..., Any]
    name: str
    doc: str
    symbols: tuple[str, ...]
    parameters: tuple[Parameter, ...]

    @classmethod
    def of(cls, function: Callable[..., Any]) -> Self:
        """Read a function's signature; raises `error` for a parameter without a usable annotation."""
        if not inspect.isroutine(function):
            raise cls.error(
                f"{function!r} was declared as a {cls.kind}.",
                rule="The decorator stands on a function.",
                fix=f"Write @attncc.{cls.kind} above a def.",
            )
        declared = inspect.signature(function).parameters.values()
        hints = cls._hints(function)
        parameters = tuple(
            cls._parameter(function.__name__, p, hints.get(p.name)) for p in declared if p.name not in cls.known_symbols
        )
        symbols = tuple(p.name for p in declared if p.name in cls.known_symbols)
        for p in declared:
            if p.name in symbols and p.kind is p.KEYWORD_ONLY:
                cls._check_symbol(function.__name__, p.name, hints.get(p.name))
        return cls(function, function.__name__, inspect.getdoc(function) or "", symbols, parameters)

    def __reduce__(self) -> tuple[object, ...]:
        """A declaration is pickled by its place, as a function is; raises `error` where nothing finds it there."""
        place = self.function.__module__, self.function.__qualname__
        try:
            found = _declared_at(*place)
        except (ImportError, AttributeError):
            found = None
        if found is not self:
            raise self.error(
                f"{self._title} {self.name!r} can't be pickled: it isn't {'.'.join(place)}.",
                rule="A declaration is pickled by the name of its function in its module.",
                fix="Declare it at the top of a module, or pickle what it makes with its parameters.",
            )
        return _declared_at, place

    def __copy__(self) -> Self:
        return self

    def __deepcopy__(self, memo: object) -> Self:
        return self

    def evaluated(self, values: Mapping[str, Any]) -> Any:
        """Return what the function makes of the symbols and of parameters that `checked` has returned."""
        try:
            return self.function(**{name: self.known_symbols[name] for name in self.symbols}, **values)
        except PatternError as error:
            raise self.error(error.problem, rule=error.rule, fix=error.fix) from error
        except AttnccError:
            raise
        except (Exception, SystemExit) as error:
            code = self.function.__code__
            raise self.error(
                f"{self._title} {self.name!r} raised {told(error)}.",
                rule=f"Its function, at {code.co_filename}:{code.co_firstlineno}, returns {self.returns}.",
                fix="In it, look data up through attncc.Table and choose with attncc.where; "
                "positions are not tensors or arrays.",
            ) from error

    def checked(self, values: Mapping[str, Any], later: Collection[str] = ()) -> dict[str, Any]:
        """Return the parameters, defaults included, but for those that come `later`, and weights that aren't there yet.

        Raises ParameterError or TableError.
        """
        for name in values:
            self.parameter(name)
        given, missing = [], []
        for p in self.parameters:
            if p.name in later:
                continue
            if p.name in values or p.default is not REQUIRED:
                given.append((p, values.get(p.name, p.default)))
            elif p.required:
                missing.append(p.name)
        if missing:
            raise ParameterError(
                f"{self._title} {self.name!r} needs {', '.join(missing)}.",
                rule=f"It is declared as {self.signature}.",
                fix=f"Write {self.name}({', '.join(f'{name}=...' for name in missing)}).",
            )
        found = {}
        for p, value in given:
            found[p.name] = p.checked(value)
        return found

    def parameter(self, name: str) -> Parameter:
        """Return the parameter of this name; raises ParameterError if there is none."""
        for parameter in self.parameters:  # a cached mapping couldn't be made under torch.compile
            if parameter.name == name:
                return parameter
        raise ParameterError(
            f"{self._title} {self.name!r} has no parameter {name!r}.",
            rule=f"It is declared as {self.signature}.",
            fix=nearest(name, [parameter.name for parameter in self.parameters]),
        )

    @property
    def signature(self) -> str:
        """The declaration, for messages and lists: `strided(l: int)`."""
        return f"{self.name}({', '.join(map(str, self.parameters))})"

    @property
    def _title(self) -> str:
        return self.kind.capitalize()

    @classmethod
    def _types(cls) -> str:
        names = [t.__name__ if t.__module__ == "builtins" else f"attncc.{t.__name__}" for t in cls.known_types]
        return f"{', '.join(names[:-1])} or {names[-1]}"

    @classmethod
    def _hints(cls, function: Callable[..., Any]) -> dict[str, Any]:
        try:
            return typing.get_type_hints(function, include_extras=True)
        except NameError as error:
            raise cls.error(
                f"{cls.kind.capitalize()} {function.__name__!r} has an annotation that can't be resolved: {error}.",
                rule=f"Parameters are annotated with {cls._types()}.",
                fix="Use one of these, and import it at the top of the module that declares it.",
            ) from error

    @classmethod
    def _check_symbol(cls, owner: str, name: str, hint: Any) -> None:
        """Raise `error` where a symbol's name is annotated as that of a parameter."""
        kind = typing.get_args(hint)[0] if typing.get_origin(hint) is typing.Annotated else hint
        if kind in cls.known_types:
            raise cls.error(
                f"{cls.kind.capitalize()} {owner!r} declares {name!r} as {kind.__name__}.",
                rule=f"{', '.join(cls.known_symbols)} are symbols, never parameters.",
                fix="Give the parameter another name.",
            )

    @classmethod
    def _parameter(cls, owner: str, declared: inspect.Parameter, hint: Any) -> Parameter:
        kind, *extras = typing.get_args(hint) if typing.get_origin(hint) is typing.Annotated else [hint]
        claims = tuple(extra for extra in extras if isinstance(extra, Claim))
        if kind not in cls.known_types or declared.kind in (declared.VAR_POSITIONAL, declared.VAR_KEYWORD):
            declared_as = "without a type" if kind is None else f"as {getattr(kind, '__name__', kind)}"
            raise cls.error(
                f"{cls.kind.capitalize()} {owner!r} declares {declared.name!r} {declared_as}.",
                rule=f"Symbols are {', '.join(cls.known_symbols)}; other parameters are annotated with {cls._types()}.",
                fix=f"Write `*, {declared.name}: int`, or use one of the symbols.",
            )
        if kind is not Table and any(not isinstance(claim, Bounds) for claim in claims):
            raise cls.error(
                f"{cls.kind.capitalize()} {owner!r} claims of {declared.name!r}, {kind.__name__}, what tables may be.",
                rule="Sorted and Distinct are claims of an attncc.Table; Bounds is one of numbers and Lists, too.",
                fix=f"Leave the claim out, or write `{declared.name}: Annotated[attncc.Table, ...]`.",
            )
        return Parameter(declared.name, kind, declared.default, claims)

    def __repr__(self) -> str:
        return f"<{self.kind} {self.signature}>"


@constant
def _refuse(name: str, value: float, bounds: Bounds) -> NoReturn:
    """Raise ParameterError for a number out of bounds; torch.compile can't put the numbers into words."""
    low, high = bounds.minimum, bounds.maximum
    raise ParameterError(
        f"{name}={value}.",
        rule=f"Parameter {name!r} is {bounds}.",
        fix=f"Pass {low if low is not None and value < low else high}, or another number within that.",
    )


def _integer(value: Any) -> int | None:
    """Return what counts as an integer as one: not True or False, nor an array of several."""
    try:
        return None if isinstance(value, bool) else operator.index(value)
    except TypeError:
        return None


def _is_finite(value: object) -> bool:
    return isinstance(value, numbers.Real) and not isinstance(value, bool) and math.isfinite(value)


def _declared_at(module: str, name: str) -> object:
    """Return what a dotted name stands for in a module; raises ImportError or AttributeError."""
    return operator.attrgetter(name)(importlib.import_module(module))
