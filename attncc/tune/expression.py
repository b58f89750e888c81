"""Expressions of constraints: a small language over named values, compiled to closures by a whitelisted walk.

Nothing of a file is ever executed: what the walk doesn't know is refused when the expression is read.
"""

from __future__ import annotations

import ast
import operator
import warnings
from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass

from attncc.errors import ConfigError, nearest

LONGEST = 500
DEEPEST = 40
#: What an expression may be made of.
LANGUAGE = (
    "A rule has names, numbers, texts, True, False, lists in brackets, + - * // %, comparisons, in, and, or, not, "
    "min(), max() and abs()."
)

Names = Mapping[str, object]
Part = Callable[[Names], object]
Number = int | float

_ARITHMETIC: dict[type[ast.operator], Callable[[Number, Number], Number]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.FloorDiv: operator.floordiv,
    ast.Mod: operator.mod,
}
_ORDER: dict[type[ast.cmpop], Callable[[Number, Number], bool]] = {
    ast.Lt: operator.lt,
    ast.LtE: operator.le,
    ast.Gt: operator.gt,
    ast.GtE: operator.ge,
}
_CALLS: dict[str, Callable[..., Number]] = {"min": min, "max": max, "abs": abs}


class _Wrong(Exception):
    """What is wrong with an expression, before it is known where it stands."""

    def __init__(self, problem: str, fix: str = "") -> None:
        super().__init__(problem)
        self.problem = problem
        self.fix = fix


@dataclass(frozen=True)
class Expression:
    """An expression that was read: its text, where it stands (a file's name), the names in it, and what computes it."""

    text: str
    where: str
    names: frozenset[str]
    compute: Part

    def __call__(self, names: Names) -> object:
        """Return the value, given its names'; raises ConfigError for a missing name, wrong types or a zero divisor."""
        try:
            return self.compute(names)
        except KeyError as error:
            raise self._error(_unknown(str(error.args[0]), names)) from None
        except (_Wrong, ArithmeticError, TypeError, ValueError) as error:
            raise self._error(error if isinstance(error, _Wrong) else _Wrong(str(error))) from None

    def check(self, known: Collection[str]) -> None:
        """Raise ConfigError for a name that isn't known."""
        for name in sorted(self.names):
            if name not in known:
                raise self._error(_unknown(name, known))

    def _error(self, wrong: _Wrong) -> ConfigError:
        return _located(self.text, self.where, wrong)


def parse(text: object, where: str) -> Expression:
    """Return an expression; `where` names its file in messages. Raises ConfigError for what isn't of the language."""
    try:
        if not isinstance(text, str):
            raise _Wrong("It is not a text.")
        if len(text) > LONGEST:
            raise _Wrong(f"It has {len(text)} characters, more than {LONGEST}.", "Part it into several constraints.")
        names: set[str] = set()
        compute = _compiled(_tree(text), names, 0)
    except _Wrong as wrong:
        raise _located(text, where, wrong) from None
    return Expression(text, where, frozenset(names), compute)


def _located(text: object, where: str, wrong: _Wrong) -> ConfigError:
    shown = repr(text) if len(repr(text)) <= LONGEST else f"{repr(text)[:60]}..."
    return ConfigError(f"{where}: rule {shown}: {wrong.problem}", rule=LANGUAGE, fix=wrong.fix)


def _unknown(name: str, known: Collection[str]) -> _Wrong:
    return _Wrong(f"Unknown name {name!r}.", nearest(name, known))


def _tree(text: str) -> ast.expr:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("error")  # a doubtful literal is an error here
            return ast.parse(f"({text}\n)", mode="eval").body  # in brackets, lines may break anywhere
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        reason = error.msg if isinstance(error, SyntaxError) else str(error) or type(error).__name__
        raise _Wrong(f"It can't be read: {reason}.") from None


def _compiled(node: ast.expr, names: set[str], depth: int) -> Part:
    """Return what computes a node, and add the names in it to `names`."""
    if depth > DEEPEST:
        raise _Wrong(f"It is nested more than {DEEPEST} deep.", "Part it into several constraints.")

    def inner(part: ast.expr) -> Part:
        return _compiled(part, names, depth + 1)

    match node:
        case ast.Constant(value=bool() | int() | float() | str() as value):
            return lambda _: value
        case ast.Name() | ast.Attribute():
            name = _dotted(node)
            names.add(name)
            return operator.itemgetter(name)
        case ast.Tuple(elts=parts) | ast.List(elts=parts) if parts:
            listed = [inner(part) for part in parts]
            return lambda given: tuple([part(given) for part in listed])
        case ast.UnaryOp(op=ast.Not(), operand=part):
            negated = inner(part)
            return lambda given: not _truth(negated(given))
        case ast.UnaryOp(op=ast.USub(), operand=part):
            positive = inner(part)
            return lambda given: -_number(positive(given))
        case ast.BinOp(left=left, op=op, right=right) if type(op) in _ARITHMETIC:
            return _arithmetic(_ARITHMETIC[type(op)], inner(left), inner(right))
        case ast.BoolOp(op=op, values=values):
            return _connected(isinstance(op, ast.Or), [inner(part) for part in values])
        case ast.Compare(left=left, ops=ops, comparators=others):
            return _chain([inner(left), *map(inner, others)], [_comparison(op) for op in ops])
        case ast.Call(func=ast.Name(id=called), args=args, keywords=[]) if called in _CALLS and args:
            return _call(called, [inner(part) for part in args])
    raise _Wrong(f"{_shown(node)} is not part of the language.")


def _dotted(node: ast.expr) -> str:
    match node:
        case ast.Name(id=name):
            return name
        case ast.Attribute(value=owner, attr=name):
            return f"{_dotted(owner)}.{name}"
    raise _Wrong(f"{_shown(node)} is not a name.")


def _shown(node: ast.expr) -> str:
    try:
        return repr(ast.unparse(node)[:60])
    except RecursionError:  # it is nested as deep as its length allows
        return type(node).__name__


def _arithmetic(apply: Callable[[Number, Number], Number], left: Part, right: Part) -> Part:
    return lambda given: apply(_number(left(given)), _number(right(given)))


def _connected(stops_at: bool, parts: list[Part]) -> Part:
    """`or` stops at the first part that is true, `and` at the first that is false."""

    def compute(given: Names) -> bool:
        return stops_at if any(_truth(part(given)) is stops_at for part in parts) else not stops_at

    return compute


def _chain(parts: list[Part], comparisons: list[Callable[[object, object], bool]]) -> Part:
    """a < b < c: each part is computed once, and none after the first comparison that fails."""
    if len(comparisons) == 1:  # nearly all are, and 20,000 candidates are tried
        [left, right], [compare] = parts, comparisons
        return lambda given: compare(left(given), right(given))

    def compute(given: Names) -> bool:
        value = parts[0](given)
        for compare, part in zip(comparisons, parts[1:], strict=True):
            before, value = value, part(given)
            if not compare(before, value):
                return False
        return True

    return compute


def _comparison(op: ast.cmpop) -> Callable[[object, object], bool]:
    match op:
        case ast.Eq():
            return _equal
        case ast.NotEq():
            return lambda left, right: not _equal(left, right)
        case ast.In():
            return _contained
        case ast.NotIn():
            return lambda left, right: not _contained(left, right)
        case _ if type(op) in _ORDER:
            order = _ORDER[type(op)]
            return lambda left, right: order(_number(left), _number(right))
    raise _Wrong("'is' is not part of the language.", "Compare with ==.")


def _equal(left: object, right: object) -> bool:
    if _kind(left) != _kind(right):
        raise _Wrong(f"{left!r} is compared with {right!r}, which is of another kind.")
    return left == right


def _contained(value: object, listed: object) -> bool:
    if not isinstance(listed, tuple):
        raise _Wrong(f"`in` looks into {listed!r}.", "Write a list: in [16, 32].")
    return any(_kind(each) == _kind(value) and each == value for each in listed)


def _call(called: str, parts: list[Part]) -> Part:
    if called == "abs" and len(parts) != 1:
        raise _Wrong("abs() takes one number.")
    apply, alone = _CALLS[called], called == "abs"

    def compute(given: Names) -> Number:
        numbers = [_number(part(given)) for part in parts]
        return apply(numbers[0]) if alone else apply(numbers)

    return compute


def _kind(value: object) -> type:
    return float if isinstance(value, int | float) and not isinstance(value, bool) else type(value)


def _number(value: object) -> Number:
    if type(value) is int or type(value) is float:  # not isinstance: a bool is an int
        return value
    raise _Wrong(f"{value!r} is not a number.")


def _truth(value: object) -> bool:
    if value is True or value is False:
        return value
    raise _Wrong(f"{value!r} is neither True nor False.")
