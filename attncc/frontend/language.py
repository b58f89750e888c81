"""What the body of a pattern or score sees: `Index` for positions, `Condition` for comparisons, and `Table`.

An Index is a list of guarded cases, (guard, expression), whose guards are disjoint and cover everything: that
is how `where` and conditions inside index arithmetic disappear before anything else looks at the predicate.
Arithmetic that leaves the integers gives a Real.
"""

from __future__ import annotations

import operator
from collections.abc import Callable
from functools import partial
from typing import Any, NoReturn, overload

import sympy

from attncc.errors import PatternError
from attncc.frontend.real import Real, chosen, is_real, larger, real_of, smaller
from attncc.ir import cases, size
from attncc.ir.bits import MAX_SHIFT, BitOr, BitXor, LeftShift, RightShift, masked
from attncc.ir.cases import Cases
from attncc.ir.condition import Condition, RealCondition, Symbolic, condition_of, predicate_of, refuse_as_number
from attncc.ir.functions import AsReal, Choice
from attncc.ir.lists import IsMember
from attncc.ir.notation import expression
from attncc.ir.placeholders import Placeholder
from attncc.ir.predicate import Comparator
from attncc.ir.quotient import quotient
from attncc.ir.remainder import Mod
from attncc.ir.symbols import B, H
from attncc.ir.tables import Read, TableData, TableSymbol


class Index(Symbolic):
    """An integer expression over positions.

    It has `+ - * // % abs`, `& | ^ ~ << >>` on its bits, comparisons, and `/`, which gives a `Real`.
    """

    __hash__ = None  # type: ignore[assignment]

    def __init__(self, cases: Cases) -> None:
        self.cases = cases

    @classmethod
    def of(cls, expr: sympy.Expr) -> Index:
        """Return `expr` as an index with a single case."""
        return Index(cases.of_one(expr))

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
        return applied(quotient, self, _divisor(other, "//"))

    def __mod__(self, other: object) -> Index:
        for _, expr in self.cases:
            size.check_dividend(expr)
        return applied(Mod, self, _divisor(other, "%"))

    def __rfloordiv__(self, other: object) -> Index:
        return index_of(other) // self

    def __rmod__(self, other: object) -> Index:
        return index_of(other) % self

    def __neg__(self) -> Index:
        return applied(lambda a: -a, self)

    def __pos__(self) -> Index:
        return self

    def __abs__(self) -> Index:
        return applied(sympy.Abs, self)

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
        return applied(lambda a: a**exponent, self) if exponent >= 0 else Real(self.real()) ** exponent

    def __rpow__(self, base: object) -> Real:
        return base ** Real(self.real())

    def __and__(self, other: object) -> Index:
        return applied(_masked, self, other)

    def __or__(self, other: object) -> Index:
        return applied(BitOr, self, other)

    def __xor__(self, other: object) -> Index:
        return applied(BitXor, self, other)

    __rand__, __ror__, __rxor__ = __and__, __or__, __xor__

    def __invert__(self) -> Index:
        return -self - 1

    def __lshift__(self, other: object) -> Index:
        return applied(LeftShift, self, _shift(other, "<<"))

    def __rshift__(self, other: object) -> Index:
        return applied(RightShift, self, _shift(other, ">>"))

    def __rlshift__(self, other: object) -> Index:
        return index_of(other) << self

    def __rrshift__(self, other: object) -> Index:
        return index_of(other) >> self

    def __le__(self, other: object) -> Condition:
        return Real(self.real()) <= other if is_real(other) else _compare("ge", index_of(other) - self)

    def __lt__(self, other: object) -> Condition:
        return Real(self.real()) < other if is_real(other) else _compare("ge", index_of(other) - self - 1)

    def __ge__(self, other: object) -> Condition:
        return Real(self.real()) >= other if is_real(other) else _compare("ge", self - index_of(other))

    def __gt__(self, other: object) -> Condition:
        return Real(self.real()) > other if is_real(other) else _compare("ge", self - index_of(other) - 1)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return Real(self.real()) == other if is_real(other) else _compare("eq", self - index_of(other))

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return Real(self.real()) != other if is_real(other) else _compare("ne", self - index_of(other))

    def isin(self, row: ListRow) -> Flag:
        """Return whether the number is in a row of lists, as in `(j // 64).isin(blocks[i // 64])`.

        Raises:
            PatternError: For anything but a row of `attncc.Lists`.
        """
        if not isinstance(row, ListRow):
            raise PatternError(
                f"isin({_told(row)}).",
                rule="It takes a row of lists: a parameter annotated with attncc.Lists, with an index.",
                fix="Write (j // 64).isin(blocks[i // 64]) for `*, blocks: attncc.Lists`; an entry of an attncc.Table "
                "is compared with ==.",
            )
        lists = TableSymbol(row.lists)
        return Flag(applied(lambda *args: IsMember(lists, *args), *row.indices, self))

    def __index__(self) -> NoReturn:
        raise PatternError(
            "A position was used where Python needs one integer (a list index, range() or int()).",
            rule="i and j stand for all positions at once.",
            fix="Look data up through a table: annotate the parameter with attncc.Table and write table[i].",
        )

    __int__ = __float__ = __index__

    def __repr__(self) -> str:
        return f"Index({', '.join(str(expr) for _, expr in self.cases)})"


class Flag(Condition, Index):  # type: ignore[misc]  # bits of one bit are conditions
    """An entry of a boolean table: a condition, and the number 0 or 1 where arithmetic needs one."""

    __hash__ = None

    def __init__(self, entry: Index) -> None:
        self.cases = entry.cases
        Condition.__init__(self, cases.related("ne", entry.cases))

    def real(self) -> sympy.Expr:
        """Return the entry as a real number."""
        return Index.real(self)

    def __eq__(self, other: object) -> Condition:  # type: ignore[override]
        return Condition.__eq__(self, other) if _is_condition(other) else Index.__eq__(self, other)

    def __ne__(self, other: object) -> Condition:  # type: ignore[override]
        return Condition.__ne__(self, other) if _is_condition(other) else Index.__ne__(self, other)

    def __repr__(self) -> str:
        return f"Flag({self.predicate})"


class Table(TableData):
    """Data that a pattern looks up by position, as in `ids[i] == ids[j]` or `mask[i // 64, j // 64]`.

    A look-up has one or two index expressions. Dimensions in front of those are the batch entry, (B, ...), or batch
    entry and head, (B, H, ...); one of size 1 is shared. An entry of a boolean table is a condition, and 0 or 1 in
    arithmetic.
    """

    def __getitem__(self, key: object) -> Any:
        symbol = TableSymbol(self)
        value = applied(lambda *parts: Read(symbol, *parts), *addressed(self, self.ndim, key))
        return Flag(value) if self.is_boolean else value


class TablePlaceholder(Placeholder, Table):
    """What a declared function gets in place of a table, once for all tables of its kind."""


class ListRow:
    """A row of lists: what `isin` takes, and nothing else."""

    def __init__(self, lists: TableData, indices: list[Index]) -> None:
        self.lists, self.indices = lists, indices

    def _refuse(self, *_: object) -> NoReturn:
        raise PatternError(
            f"A row of lists {self.lists.name!r} was used as a number.",
            rule="A row holds several entries, of which a pattern asks whether a number is among them.",
            fix=f"Write (j // 64).isin({self.lists.name}[i // 64]); annotate a parameter with attncc.Table to look one "
            "entry up.",
        )

    __eq__ = __ne__ = __lt__ = __le__ = __gt__ = __ge__ = __contains__ = __getitem__ = _refuse
    __add__ = __radd__ = __sub__ = __rsub__ = __mul__ = __rmul__ = __floordiv__ = __mod__ = __neg__ = _refuse
    __bool__ = __iter__ = __len__ = __index__ = __and__ = __or__ = __xor__ = __invert__ = _refuse
    __hash__ = None  # type: ignore[assignment]


def minimum(a: object, b: object) -> Any:
    """Return the smaller of two index expressions, or of two numbers."""
    return smaller(a, b) if is_real(a) or is_real(b) else applied(partial(size.extremum, sympy.Min), a, b)


def maximum(a: object, b: object) -> Any:
    """Return the larger of two index expressions, or of two numbers."""
    return larger(a, b) if is_real(a) or is_real(b) else applied(partial(size.extremum, sympy.Max), a, b)


def where(condition: object, yes: Any, no: Any) -> Any:
    """Return `yes` where `condition` holds, else `no`.

    Args:
        condition: A condition, or True or False.
        yes: A condition, an index expression or a real expression.
        no: The same kind.

    Raises:
        PatternError: Where the kinds don't fit.
    """
    if _is_condition(yes) and _is_condition(no):
        holds = condition if isinstance(condition, Condition) else Condition(predicate_of(condition))
        return (holds & yes) | (~holds & no)
    if isinstance(condition, RealCondition) or is_real(yes) or is_real(no):
        return Real(Choice(condition_of(condition), real_of(yes), real_of(no)))
    return Index(cases.chosen(predicate_of(condition), index_of(yes).cases, index_of(no).cases))


def index_of(value: object) -> Index:
    """Return `value`, an Index or an integer, as an Index."""
    if isinstance(value, Index):
        return value
    if _is_condition(value):
        refuse_as_number()
    if isinstance(value, ListRow):
        value._refuse()
    try:
        return Index.of(sympy.Integer(operator.index(value)))  # type: ignore[arg-type]
    except (TypeError, PatternError):
        raise PatternError(
            f"{value!r} ({type(value).__name__}) was used in an index expression.",
            rule="Index expressions are made of positions, integers and tables.",
            fix="Convert it to an int; write `//` instead of `/`, and `1 << h` instead of `2 ** h`.",
        ) from None


def _told(value: object) -> str:
    return repr(value) if isinstance(value, TableData) else f"a {type(value).__name__}"


def _is_condition(value: object) -> bool:
    return isinstance(value, Condition | bool)


def applied(function: Callable[..., sympy.Expr], *values: object) -> Index:
    """Return a function of index expressions, applied to every combination of their cases."""
    return Index(cases.applied(function, *(index_of(value).cases for value in values)))


def _arithmetic(function: Callable[[Any, Any], Any], a: object, b: object) -> Any:
    """Apply an operator to two indices, or, if one of them has left the integers, to two real expressions."""
    if is_real(a) or is_real(b):
        return Real(function(real_of(a), real_of(b)))
    return applied(function, a, b)


def _compare(relation: Comparator, difference: Index) -> Condition:
    return Condition(cases.related(relation, difference.cases))


def _masked(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    for part in (a, b):
        size.check_dividend(part)
    return masked(a, b)


def addressed(table: TableData, axes: int, key: object) -> list[Index]:
    """Return the indices of a look-up along the first axes of a table; batch entry and head stand in front."""
    indices = [index_of(part) for part in (key if isinstance(key, tuple) else (key,))]
    extra = axes - len(indices)
    if extra not in (0, 1, 2):
        raise PatternError(
            f"{table!r} was looked up with {len(indices)} indices.",
            rule="The indices address the last dimensions; (B, ...) or (B, H, ...) may stand in front.",
            fix=f"Use {axes} indices, or fewer dimensions.",
        )
    leading = (sympy.S.Zero if table.is_shared(axis) else symbol for axis, symbol in enumerate((B, H)[:extra]))
    return [*map(Index.of, leading), *indices]


def _divisor(value: object, sign: str) -> Index:
    return _in_range(value, sign, 1, None, "Divisors and moduli are positive", "a positive integer")


def _shift(value: object, sign: str) -> Index:
    rule = f"Shifts are by 0 to {MAX_SHIFT} bits"
    return _in_range(value, sign, 0, MAX_SHIFT, rule, "such a number, or attncc.minimum and attncc.maximum")


def _in_range(value: object, sign: str, least: int, most: int | None, rule: str, fix: str) -> Index:
    """Return an operand; raises PatternError for a number out of range. The planner bounds other expressions."""
    found = index_of(value)
    for _, expr in found.cases:
        if expr.is_Integer and (expr < least or (most is not None and expr > most)):
            raise PatternError(
                f"`{sign} {expression(expr)}` in an index expression.", rule=f"{rule}.", fix=f"Use {fix}."
            )
    return found
