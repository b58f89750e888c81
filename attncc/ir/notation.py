"""Mathematical notation: sympy expressions and predicates as one line of Unicode text."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from types import MappingProxyType
from typing import NamedTuple

import sympy
from sympy.printing.precedence import PRECEDENCE
from sympy.printing.str import StrPrinter

from attncc.ir.arithmetic import floor_quotient
from attncc.ir.grid_names import GridNames, without_lengths
from attncc.ir.lists import IsMember
from attncc.ir.normal import Clause, TooManyClausesError, clauses
from attncc.ir.predicate import And, Atom, Connective, Constant, Predicate
from attncc.ir.span import Span
from attncc.ir.symbols import I, J
from attncc.ir.tables import Read

_SIGN = {"ge": "≥", "eq": "=", "ne": "≠"}
_FUNCTIONS = {"Logarithm": "log", "Smaller": "min", "Larger": "max", "Sign": "sign"}
_FUNCTIONS |= {"Sine": "sin", "Cosine": "cos", "ErrorFunction": "erf"}
_INFIX = {"BitAnd": "&", "BitOr": "|", "BitXor": "^", "LeftShift": "<<", "RightShift": ">>"}
_INFIX |= {"Below": "<", "AtMost": "≤", "Same": "=", "Conjunction": "∧", "Disjunction": "∨"}
#: Comparisons, each as often as it occurs, beyond which a predicate of too many clauses isn't written out.
MAX_WRITTEN = 128
_SUPERSCRIPT = str.maketrans("0123456789", "⁰¹²³⁴⁵⁶⁷⁸⁹")


class _Printer(StrPrinter):  # type: ignore[misc]
    """sympy's line printer with the signs of the papers: ⌊x / m⌋, x mod m, |x|, table[x], x ∈ lists[y].

    Bits are written as Python has them.
    """

    printmethod = "_notation"  # which no node has: a condition as it reads, not the hash that stands for it

    def __init__(self, names: Mapping[sympy.Expr, str] = MappingProxyType({})) -> None:
        super().__init__()
        self.names = names

    def _print(self, expr: sympy.Expr, **settings: object) -> str:
        name = self.names.get(expr) if isinstance(expr, sympy.Expr) else None
        return str(super()._print(expr, **settings)) if name is None else name

    def _print_Max(self, expr: sympy.Max) -> str:
        return f"max({', '.join(map(self._print, sorted(expr.args, key=str)))})"

    def _print_Min(self, expr: sympy.Min) -> str:
        below = [int(arg.args[1]) for arg in expr.args if isinstance(arg, sympy.Mod) and arg.args[1].is_Integer]
        args = [arg for arg in expr.args if not (arg.is_Integer and any(arg >= modulus - 1 for modulus in below))]
        printed = [self._print(arg) for arg in sorted(args, key=str)]
        return printed[0] if len(printed) == 1 else f"min({', '.join(printed)})"

    def _print_floor(self, expr: sympy.floor) -> str:
        numerator, denominator = floor_quotient(expr)
        while isinstance(numerator, sympy.floor) and numerator not in self.names and denominator.is_Integer:
            numerator, inner = floor_quotient(numerator)
            denominator *= inner
        return f"⌊{self._operand(numerator)} / {self._operand(denominator)}⌋"

    _print_FloorDiv = _print_floor

    def _print_Mod(self, expr: sympy.Mod) -> str:
        dividend, modulus = map(self._operand, expr.args)
        return f"{dividend} mod {modulus}"

    def _as_ordered_terms(self, expr: sympy.Add, order: object = None) -> list[sympy.Expr]:
        """Return the terms with one first that is added, if there is one."""
        terms = super()._as_ordered_terms(expr, order)
        added = [term for term in terms if not term.could_extract_minus_sign()]
        first = min(added, key=lambda term: term.is_Number, default=terms[0])
        return [first, *(term for term in terms if term is not first)] if terms[0] not in added else list(terms)

    def _operand(self, expr: sympy.Expr) -> str:
        return f"({self._print(expr)})" if expr.is_Add else str(self._print(expr))

    def _print_Abs(self, expr: sympy.Abs) -> str:
        return f"|{self._print(expr.args[0])}|"

    def _print_Read(self, expr: sympy.Expr) -> str:
        indices = ", ".join(self._print(index) for index in expr.indices)
        return f"{expr.table.name}[{indices}]" if indices else str(expr.table.name)

    def _print_IsMember(self, expr: IsMember) -> str:
        return f"[{self._print(expr.value)} ∈ {self._print_Read(expr)}]"

    def _print_AsReal(self, expr: sympy.Expr) -> str:
        inner = self._print(expr.args[0])
        return f"({inner})" if expr.args[0].is_Add else str(inner)

    def _print_Lookup(self, expr: sympy.Expr) -> str:
        indices = ", ".join(self._print(index) for index in expr.indices)
        return f"{expr.weights.label}[{indices}]" if indices else str(expr.weights.label)

    def _print_Choice(self, expr: sympy.Expr) -> str:
        holds, yes, no = (self._print(arg) for arg in expr.args)
        return f"({yes} if {holds} else {no})"

    def _print_ConditionSymbol(self, expr: sympy.Expr) -> str:
        return condition(expr.predicate)

    def _print_Negation(self, expr: sympy.Expr) -> str:
        inner = str(self._print(expr.args[0]))
        return f"¬{inner}" if inner.startswith("(") else f"¬({inner})"

    def _print_Integer(self, expr: sympy.Integer) -> str:
        beyond = abs(expr) >= 1 << 63  # of a score, since positions are computed in 64 bits
        return f"{float(expr):g}" if beyond else str(super()._print_Integer(expr))

    def _print_NegativeInfinity(self, expr: sympy.Expr) -> str:
        return "−∞"

    def _print_Magnitude(self, expr: sympy.Expr) -> str:
        return self._print_Abs(expr)

    def _print_Root(self, expr: sympy.Expr) -> str:
        return f"√({self._print(expr.args[0])})"

    def _print_Pow(self, expr: sympy.Pow, rational: bool = False) -> str:
        if expr.exp.is_Integer and expr.exp > 1:
            return f"{self.parenthesize(expr.base, PRECEDENCE['Pow'])}{str(expr.exp).translate(_SUPERSCRIPT)}"
        return str(super()._print_Pow(expr, rational)).replace("**", "^")

    def _print_Function(self, expr: sympy.Function) -> str:
        name = type(expr).__name__
        if name in _INFIX:
            return f"({f' {_INFIX[name]} '.join(map(self._side, expr.args))})"
        return f"{_FUNCTIONS.get(name, name)}({', '.join(map(self._print, expr.args))})"

    def _side(self, expr: sympy.Expr) -> str:
        """Return a side of a sign that binds no tighter than what is on it."""
        printed = str(self._print(expr))
        closed = type(expr).__name__ in _INFIX or printed.startswith("¬")
        return printed if closed or " " not in printed else f"({printed})"

    def doprint(self, expr: sympy.Expr) -> str:
        return str(super().doprint(expr)).replace("*", "·").replace(" - ", " − ").replace("<=", "≤")


def expression(expr: sympy.Expr) -> str:
    """Return an integer or real expression, such as `⌊i / 64⌋` or `score − slopes[h]·|i − j|`."""
    return _Printer().doprint(expr)


def formula(expr: sympy.Expr) -> str:
    """Return an expression at the lengths that its grids are for, which follow: `score − ⌊i / 8⌋, where n_q = 64`."""
    text, legend = expression(without_lengths(expr)), replace(GridNames.of([expr]), coordinates=()).legend(expression)
    return f"{text}, where {legend}" if legend else text


def condition(predicate: Predicate) -> str:
    """Return a predicate as a union of clauses, such as `0 ≤ i − j ≤ 128 ∧ (i − j) mod 128 = 0`.

    The coordinates of positions on a grid have names, which follow: `i₂ = j₂, where (i₁, i₂) = (⌊i / 64⌋, i mod 64)`.
    One of too many clauses is returned as it is written, or, beyond MAX_WRITTEN comparisons, as their number.
    """
    try:
        found = clauses(predicate)
    except TooManyClausesError:
        return _tree(predicate)
    if not found:
        return "false"
    names = GridNames.of(form for clause in found for form in clause.spans)
    parts = [_clause(clause, names) for clause in found]
    text = parts[0] if len(parts) == 1 else " ∨ ".join(f"({part})" if " ∧ " in part else part for part in parts)
    legend = names.legend(expression)
    return f"{text}, where {legend}" if legend else text


def connectivity(subset: Predicate, number: int | None = None) -> str:
    """Return a set in the notation of Child et al. (2019): `A⁽¹⁾ᵢ = { j : ... }`."""
    label = "" if number is None else f"⁽{str(number).translate(_SUPERSCRIPT)}⁾"
    return f"A{label}ᵢ = {{ j : {condition(subset)} }}"


def _clause(clause: Clause, names: GridNames) -> str:
    printed = _Printer(names.named()).doprint
    spans = [replace(span, form=without_lengths(span.form)) for span in clause.spans.values()]
    shown: list[_Bounded] = []
    for span in sorted(spans, key=lambda span: (span.form != I - J, str(span.form))):
        for each in _bounded(span, printed):
            same = [n for n, other in enumerate(shown) if other.joins(each)]
            if same:
                shown[same[0]] = _Bounded(
                    each.low or shown[same[0]].low, each.subject, each.high or shown[same[0]].high
                )
            else:
                shown.append(each)
    return " ∧ ".join(" ≤ ".join(filter(None, each)) for each in shown) or "true"


class _Bounded(NamedTuple):
    """What is printed between its limits; "" is no limit."""

    low: str
    subject: str
    high: str

    def joins(self, other: _Bounded) -> bool:
        """Return whether both can be printed as one."""
        return self.subject == other.subject and not (self.low and other.low) and not (self.high and other.high)

    def joined(self, other: _Bounded) -> _Bounded:
        """Return both as one."""
        return _Bounded(self.low or other.low, self.subject, self.high or other.high)


def _bounded(span: Span, printed: Callable[[sympy.Expr], str]) -> Iterator[_Bounded]:
    """Yield a span as limits of what it says of the key, or else of the query, and numbers that are left out."""
    if span.value is not None:
        yield _Bounded("", _equation(span.form, span.value, printed), "")
        return
    subject, rest, is_negative = _subject(span.form)
    low = None if span.low is None else span.low - rest
    high = None if span.high is None else span.high - rest
    if is_negative:
        low, high = (None if limit is None else -limit for limit in (high, low))
    if low is not None or high is not None:
        yield _Bounded("" if low is None else printed(low), printed(subject), "" if high is None else printed(high))
    for hole in sorted(span.holes):
        yield _Bounded("", f"{printed(span.form)} ≠ {hole}", "")


def _subject(form: sympy.Expr) -> tuple[sympy.Expr, sympy.Expr, bool]:
    """Return (subject, rest, is_negative): a form is the rest, and plus or minus what it has of a position."""
    terms = sympy.Add.make_args(form)
    own = next(filter(None, ([term for term in terms if x in term.free_symbols] for x in (J, I))), terms)
    subject = sympy.Add(*own)
    is_negative = all(term.could_extract_minus_sign() for term in own)
    return (-subject if is_negative else subject), form - subject, is_negative


def _equation(form: sympy.Expr, value: int, printed: Callable[[sympy.Expr], str]) -> str:
    if isinstance(form, IsMember):
        sign = "∈" if value else "∉"
        return f"{printed(form.value)} {sign} {printed(Read(*form.args[:-1]))}"
    if value == 0 and isinstance(form, sympy.Add) and len(form.args) == 2:
        plus = [term for term in form.args if not term.could_extract_minus_sign()]
        if len(plus) == 1:
            return f"{printed(plus[0])} = {printed(plus[0] - form)}"
    return f"{printed(form)} = {value}"


def _tree(predicate: Predicate) -> str:
    if predicate.occurrences > MAX_WRITTEN:
        return f"a predicate of {len(predicate.atoms):,} comparisons"
    if isinstance(predicate, Connective):
        sign = " ∧ " if isinstance(predicate, And) else " ∨ "
        return sign.join(sorted(f"({_tree(arg)})" for arg in predicate.args))
    if isinstance(predicate, Atom):
        return f"{expression(predicate.expr)} {_SIGN[predicate.relation]} 0"
    assert isinstance(predicate, Constant)
    return str(predicate.value).lower()
