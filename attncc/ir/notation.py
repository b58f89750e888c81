"""Mathematical notation: sympy expressions and predicates as one line of Unicode text."""

from __future__ import annotations

import sympy
from sympy.printing.str import StrPrinter

from attncc.ir.arithmetic import floor_quotient
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

    def _print_floor(self, expr: sympy.floor) -> str:
        numerator, denominator = floor_quotient(expr)
        return f"⌊{self._operand(numerator)} / {self._operand(denominator)}⌋"

    _print_FloorDiv = _print_floor

    def _print_Mod(self, expr: sympy.Mod) -> str:
        dividend, modulus = map(self._operand, expr.args)
        return f"{dividend} mod {modulus}"

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


def condition(predicate: Predicate) -> str:
    """Return a predicate as a union of clauses, such as `0 ≤ i − j ≤ 128 ∧ (i − j) mod 128 = 0`.

    One of too many clauses is returned as it is written, or, beyond MAX_WRITTEN comparisons, as their number.
    """
    try:
        found = clauses(predicate)
    except TooManyClausesError:
        return _tree(predicate)
    if not found:
        return "false"
    parts = [clause_text(clause) for clause in found]
    return parts[0] if len(parts) == 1 else " ∨ ".join(f"({part})" if " ∧ " in part else part for part in parts)


def connectivity(subset: Predicate, number: int | None = None) -> str:
    """Return a set in the notation of Child et al. (2019): `A⁽¹⁾ᵢ = { j : ... }`."""
    label = "" if number is None else f"⁽{str(number).translate(_SUPERSCRIPT)}⁾"
    return f"A{label}ᵢ = {{ j : {condition(subset)} }}"


def clause_text(clause: Clause) -> str:
    """Return a clause as its spans joined by ∧."""
    ordered = sorted(clause.spans.values(), key=lambda span: (span.form != I - J, str(span.form)))
    return " ∧ ".join(_span(span) for span in ordered) or "true"


def _span(span: Span) -> str:
    form, low, high = span.form, span.low, span.high
    shown = f"{expression(form)}"
    holes = [f"{shown} ≠ {hole}" for hole in sorted(span.holes)]
    if span.value is not None:
        return _equation(form, span.value)
    if J not in (form + J).free_symbols:
        return " ∧ ".join([_band(form + J, low, high)] * (low is not None or high is not None) + holes)
    bounds = (f"{low} ≤ " if low is not None else "") + shown + (f" ≤ {high}" if high is not None else "")
    return " ∧ ".join([bounds] * (low is not None or high is not None) + holes)


def _band(query: sympy.Expr, low: int | None, high: int | None) -> str:
    """`low <= query - j <= high` read as bounds of j."""
    left = f"{expression(query - high)} ≤ " if high is not None else ""
    right = f" ≤ {expression(query - low)}" if low is not None else ""
    return f"{left}j{right}"


def _equation(form: sympy.Expr, value: int) -> str:
    if isinstance(form, IsMember):
        sign = "∈" if value else "∉"
        return f"{expression(form.value)} {sign} {expression(Read(*form.args[:-1]))}"
    if value == 0 and isinstance(form, sympy.Add) and len(form.args) == 2:
        plus = [term for term in form.args if not term.could_extract_minus_sign()]
        if len(plus) == 1:
            return f"{expression(plus[0])} = {expression(plus[0] - form)}"
    return f"{expression(form)} = {value}"


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
