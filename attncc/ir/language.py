"""What the body of a pattern or score sees: `Index` for positions, `Condition` for comparisons, and `Table`.

An Index is a list of guarded cases, (guard, expression), whose guards are disjoint and cover everything: that
is how `where` and conditions inside index arithmetic disappear before anything else looks at the predicate.
Arithmetic that leaves the integers gives a Real.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any, NoReturn, overload

import sympy

from attncc.errors import PatternError
from attncc.ir import size
from attncc.ir.functions import AsReal
from attncc.ir.normal import comparison
from attncc.ir.notation import expression
from attncc.ir.predicate import FALSE, TRUE, Comparator, Predicate, conjunction, disjunction
from attncc.ir.real import Real, Symbolic, chosen, is_real, larger, real_of, smaller
from attncc.ir.remainder import Mod
from attncc.ir.symbols import B, H, I, J
from attncc.ir.tables import Read, TableData, TableSymbol

#: A nest of `where` that splits an expression into more cases than this is refused.
MAX_CASES = 64

Case = tuple[Predicate, sympy.Expr]


class Condition(Symbolic):
    """A predicate in the making; combine with `& | ~ ^`, compare with `==` and `!=`."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, predicate: Predicate) -> None:
        size.check_condition(predicate)
        self.predicate = predicate

    def __and__(self, other: object) -> Condition:
        return Condition(self.predicate & predicate_of(other))

    def __or__(self, other: object) -> Condition:
        return Condition(self.predicate | predicate_of(other))

    def __xor__(self, other: object) -> Condition:
        return Condition(self.predicate ^ predicate_of(other))

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Condition:
        return Condition(~self.predicate)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return ~(self ^ other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return self ^ other

    def real(self) -> NoReturn:
        """Refuse: a comparison is not a number."""
        index_of(self)
        raise TypeError(type(self))

    def __repr__(self) -> str:
        return f"Condition({self.predicate})"


class Index(Symbolic):
    """An integer expression over positions; supports `+ - * // % abs` and comparisons, and `/` for a Real."""

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, *cases: Case) -> None:
        self.cases = cases

    @classmethod
    def of(cls, expr: sympy.Expr) -> Index:
        """Return `expr` as an index with a single case."""
        return cls((TRUE, expr))

    def real(self) -> sympy.Expr:
        """Return the index as a real expression."""
        return chosen([(guard, AsReal(expr)) for guard, expr in self.cases])

    @overload
    def __add__(self, other: Index | int) -> Index: ...
    @overload
    def __add__(self, other: object) -> Any: ...
    def __add__(self, other: object) -> Any:
        return _arithmetic(operator.add, self, other)

    @overload
    def __sub__(self, other: Index | int) -> Index: ...
    @overload
    def __sub__(self, other: object) -> Any: ...
    def __sub__(self, other: object) -> Any:
        return _arithmetic(operator.sub, self, other)

    @overload
    def __rsub__(self, other: Index | int) -> Index: ...
    @overload
    def __rsub__(self, other: object) -> Any: ...
    def __rsub__(self, other: object) -> Any:
        return _arithmetic(operator.sub, other, self)

    @overload
    def __mul__(self, other: Index | int) -> Index: ...
    @overload
    def __mul__(self, other: object) -> Any: ...
    def __mul__(self, other: object) -> Any:
        return _arithmetic(operator.mul, self, other)

    __radd__, __rmul__ = __add__, __mul__

    def __floordiv__(self, other: object) -> Index:
        return _apply(_quotient, self, _divisor(other, "//"))

    def __mod__(self, other: object) -> Index:
        for _, expr in self.cases:
            size.check_dividend(expr)
        return _apply(Mod, self, _divisor(other, "%"))

    def __rfloordiv__(self, other: object) -> Index:
        return index_of(other) // self

    def __rmod__(self, other: object) -> Index:
        return index_of(other) % self

    def __neg__(self) -> Index:
        return _apply(lambda a: -a, self)

    def __pos__(self) -> Index:
        return self

    def __abs__(self) -> Index:
        return _apply(sympy.Abs, self)

    def __truediv__(self, other: object) -> Real:
        return Real(self.real()) / other

    def __rtruediv__(self, other: object) -> Real:
        return other / Real(self.real())

    def __pow__(self, exponent: object) -> Any:
        if not isinstance(exponent, int) or isinstance(exponent, bool) or exponent not in range(-4, 5):
            raise PatternError(
                f"A position was raised to the power {exponent!r}.",
                rule="Powers are integers from 0 to 4, or from -4 where a real number is wanted.",
                fix="Write a product, or attncc.sqrt in a score.",
            )
        return _apply(lambda a: a**exponent, self) if exponent >= 0 else Real(self.real()) ** exponent

    def __rpow__(self, base: object) -> Real:
        return base ** Real(self.real())

    def __and__(self, other: object) -> NoReturn:
        raise PatternError(
            "`&`, `|` or `^` was used on a position.",
            rule="They join comparisons, and bind tighter than < and ==.",
            fix="Put parentheses around each comparison, as in (j <= i) & (i - j < 64).",
        )

    __rand__ = __or__ = __ror__ = __xor__ = __rxor__ = __and__

    def __le__(self, other: object) -> Condition:
        return _compare("ge", index_of(other) - self)

    def __lt__(self, other: object) -> Condition:
        return _compare("ge", index_of(other) - self - 1)

    def __ge__(self, other: object) -> Condition:
        return _compare("ge", self - other)

    def __gt__(self, other: object) -> Condition:
        return _compare("ge", self - other - 1)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return _compare("eq", self - other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return _compare("ne", self - other)

    def __index__(self) -> NoReturn:
        raise PatternError(
            "A position was used where Python needs one integer (a list index, range() or int()).",
            rule="i and j stand for all positions at once.",
            fix="Look data up through a table: annotate the parameter with attncc.Table and write table[i].",
        )

    __int__ = __float__ = __index__

    def new_ones(self, *_: object, **__: object) -> Condition:
        """Return what always holds: FlexAttention's `and_masks` begins with it."""
        return Condition(TRUE)

    def new_zeros(self, *_: object, **__: object) -> Condition:
        """Return what never holds: FlexAttention's `or_masks` begins with it."""
        return Condition(FALSE)

    def __repr__(self) -> str:
        return f"Index({', '.join(str(expr) for _, expr in self.cases)})"


class Table(TableData):
    """Data that a pattern looks up by position, as in `ids[i] == ids[j]` or `mask[i // 64, j // 64]`.

    The index has one or two parts; dimensions in front of those are the batch entry, (B, ...), or batch entry
    and head, (B, H, ...), of size 1 where all share. A boolean table gives a condition.
    """

    def __getitem__(self, key: object) -> Any:
        indices = tuple(index_of(part) for part in (key if isinstance(key, tuple) else (key,)))
        extra = self.data.ndim - len(indices)
        if extra not in (0, 1, 2):
            raise PatternError(
                f"Table {self.name!r} of shape {self.data.shape} was looked up with {len(indices)} indices.",
                rule="The indices address the last dimensions; (B, ...) or (B, H, ...) may stand in front.",
                fix=f"Use {self.data.ndim} indices, or a table with fewer dimensions.",
            )
        leading = [
            Index.of(sympy.S.Zero if size == 1 else s)
            for size, s in zip(self.data.shape[:extra], (B, H)[:extra], strict=True)
        ]
        symbol = TableSymbol(self)
        value = _apply(lambda *parts: Read(symbol, *parts), *leading, *indices)
        return value != 0 if self.is_boolean else value


def minimum(a: object, b: object) -> Any:
    """Return the smaller of two index expressions, or of two numbers."""
    return smaller(a, b) if is_real(a) or is_real(b) else _extremum(sympy.Min, a, b)


def maximum(a: object, b: object) -> Any:
    """Return the larger of two index expressions, or of two numbers."""
    return larger(a, b) if is_real(a) or is_real(b) else _extremum(sympy.Max, a, b)


def _extremum(function: Callable[..., sympy.Expr], a: object, b: object) -> Index:
    for _, args in combinations(a, b):
        size.check_arguments(sum(len(arg.args) if isinstance(arg, sympy.Min | sympy.Max) else 1 for arg in args))
    return _apply(function, a, b)


def where(condition: object, yes: Any, no: Any) -> Any:
    """Return `yes` where `condition` holds, else `no`: both conditions, both index expressions, or both numbers."""
    guard = predicate_of(condition)
    if isinstance(yes, Condition | bool) and isinstance(no, Condition | bool):
        return Condition((guard & predicate_of(yes)) | (~guard & predicate_of(no)))
    if is_real(yes) or is_real(no):
        return Real(chosen([(guard, real_of(yes)), (~guard, real_of(no))]))
    cases = [(guard & g, e) for g, e in index_of(yes).cases] + [(~guard & g, e) for g, e in index_of(no).cases]
    return Index(*_live(cases))


def index_of(value: object) -> Index:
    """Return `value`, an Index or an integer, as an Index."""
    if isinstance(value, Index):
        return value
    if isinstance(value, Condition | bool):
        raise PatternError(
            "A comparison was used as a number.",
            rule="Arithmetic is on positions; comparisons are joined with & | ^ ~.",
            fix="Write attncc.where(condition, 1, 0) for the number, and put parentheses around comparisons.",
        )
    try:
        return Index.of(sympy.Integer(operator.index(value)))  # type: ignore[arg-type]
    except (TypeError, PatternError):
        raise PatternError(
            f"{value!r} ({type(value).__name__}) was used in an index expression.",
            rule="Index expressions are made of positions, integers and tables.",
            fix="Convert it to an int; write `//` instead of `/`.",
        ) from None


def predicate_of(value: object) -> Predicate:
    """Return `value`, a Condition or a Python bool, as a predicate."""
    if isinstance(value, Condition):
        return value.predicate
    if isinstance(value, bool):
        return TRUE if value else FALSE
    raise PatternError(
        f"{value!r} ({type(value).__name__}) stands where a comparison is needed.",
        rule="`&`, `|`, `^` and `~` join comparisons, such as (j <= i) & (i - j < 64).",
        fix="Put parentheses around each comparison: & and | bind tighter than < and ==.",
    )


def combinations(*values: object) -> list[tuple[Predicate, tuple[sympy.Expr, ...]]]:
    """Return every combination of cases of several indices: (guard, their expressions)."""
    combined: list[tuple[Predicate, tuple[sympy.Expr, ...]]] = [(TRUE, ())]
    for value in values:
        cases = index_of(value).cases
        combined = [(guard & g, (*args, e)) for guard, args in combined for g, e in cases]
    return combined


def _apply(function: Callable[..., sympy.Expr], *values: object) -> Index:
    """Apply `function` to every combination of cases."""
    return Index(*_live([(guard, size.checked(function(*args))) for guard, args in combinations(*values)]))


def _arithmetic(function: Callable[[Any, Any], Any], a: object, b: object) -> Any:
    """Apply an operator to two indices, or, if one of them has left the integers, to two real expressions."""
    if is_real(a) or is_real(b):
        return Real(function(real_of(a), real_of(b)))
    return _apply(function, a, b)


def _live(cases: list[Case]) -> list[Case]:
    live = [(guard, expr) for guard, expr in cases if guard != FALSE]
    if len(live) > MAX_CASES:
        raise PatternError(
            f"`where` splits an expression into {len(live)} cases.",
            rule=f"At most {MAX_CASES} cases are supported.",
            fix="Put the choices into a table and look it up.",
        )
    return live


def _compare(relation: Comparator, difference: Index) -> Condition:
    parts = [conjunction([guard, comparison(relation, expr)]) for guard, expr in difference.cases]
    return Condition(disjunction(parts))


def _quotient(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """Return a // b; where sympy finds a part of it exact, as in (2 * i + 2 * j) * i // 2, without fractions."""
    found = sympy.floor(a / b)
    whole = all(term.as_coeff_Mul()[0].is_Integer for term in sympy.Add.make_args(found))
    return found if whole else sympy.expand(found)


def _divisor(value: object, sign: str) -> Index:
    divisor = index_of(value)
    for _, expr in divisor.cases:
        bad = expr.is_Integer and expr <= 0
        if bad or {I, J} & expr.free_symbols or expr.has(Read):
            raise PatternError(
                f"`{sign} {expression(expr)}` in an index expression.",
                rule="Divisors and moduli are positive and don't depend on i, j or a table.",
                fix="Use a positive integer, a parameter, or an expression of n_q and n_k.",
            )
    return divisor
