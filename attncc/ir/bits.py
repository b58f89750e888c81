"""Bitwise operations on integers, as Python has them: two's complement without an end, `>>` rounding down.

All arithmetic on positions is in 64 bits, where they are the same: the planner shows that operands fit, and that
shifts are by 0 to MAX_SHIFT.
"""

from __future__ import annotations

import operator
from collections import Counter
from collections.abc import Callable, Iterable
from functools import reduce
from typing import Any, ClassVar

import numpy as np
import sympy

from attncc.ir.quotient import quotient
from attncc.ir.remainder import Mod

Array = np.ndarray[Any, np.dtype[Any]]
Range = tuple[Array, Array]

#: Shifts are by 0 to this many bits, so that no power of two leaves 64 bits; another number counts as the nearest.
MAX_SHIFT = 62


class Bitwise(sympy.Function):  # type: ignore[misc]
    """Base of `&`, `|` and `^` of two or more integers, in a fixed order, numbers put together."""

    is_integer = True
    #: Of Python's integers and of arrays; what leaves an operand as it is; what leaves nothing of it (None: none).
    function: ClassVar[Callable[[Any, Any], Any]]
    neutral: ClassVar[int]
    zero: ClassVar[int | None] = None

    @classmethod
    def eval(cls, *args: sympy.Expr) -> sympy.Expr | None:
        """Return what the operation simplifies to, None where it is kept."""
        parts = [part for arg in args for part in (arg.args if isinstance(arg, cls) else (arg,))]
        number = reduce(cls.function, (int(part) for part in parts if part.is_Integer), cls.neutral)
        rest = cls._different(part for part in parts if not part.is_Integer)
        if number == cls.zero or not rest:
            return sympy.Integer(number)
        kept = (*sorted(rest, key=sympy.default_sort_key), *([sympy.Integer(number)] * (number != cls.neutral)))
        return None if kept == args else kept[0] if len(kept) == 1 else cls(*kept)

    @classmethod
    def _different(cls, parts: Iterable[sympy.Expr]) -> Iterable[sympy.Expr]:
        return set(parts)


class BitAnd(Bitwise):
    """`a & b`."""

    function, neutral, zero = operator.and_, -1, 0

    def _eval_is_nonnegative(self) -> bool | None:
        return any(arg.is_nonnegative for arg in self.args) or None


class BitOr(Bitwise):
    """`a | b`."""

    function, neutral, zero = operator.or_, 0, -1

    def _eval_is_nonnegative(self) -> bool | None:
        return all(arg.is_nonnegative for arg in self.args) or None


class BitXor(Bitwise):
    """`a ^ b`."""

    function, neutral = operator.xor, 0

    @classmethod
    def _different(cls, parts: Iterable[sympy.Expr]) -> Iterable[sympy.Expr]:
        return [part for part, times in Counter(parts).items() if times % 2]

    def _eval_is_nonnegative(self) -> bool | None:
        return all(arg.is_nonnegative for arg in self.args) or None


class _Shift(sympy.Function):  # type: ignore[misc]
    """A shift by an expression; by a number it is a product or a quotient."""

    is_integer = True

    def _eval_is_nonnegative(self) -> bool | None:
        nonnegative: bool | None = self.args[0].is_nonnegative
        return nonnegative or None


class LeftShift(_Shift):
    """`a << n`."""

    @classmethod
    def eval(cls, a: sympy.Expr, n: sympy.Expr) -> sympy.Expr | None:
        return a * 2 ** int(n) if _is_shift(n) else None


class RightShift(_Shift):
    """`a >> n`."""

    @classmethod
    def eval(cls, a: sympy.Expr, n: sympy.Expr) -> sympy.Expr | None:
        return quotient(a, sympy.Integer(2 ** int(n))) if _is_shift(n) else None


def _is_shift(n: sympy.Expr) -> bool:
    return bool(n.is_Integer and 0 <= n <= MAX_SHIFT)


def masked(a: sympy.Expr, b: sympy.Expr) -> sympy.Expr:
    """Return a & b; bits that are side by side, or all but the lowest, are taken out by arithmetic, which has algebra.

    `i & 7` is i % 8, `i & 48` is i // 16 % 4 * 16, `i & ~7` is i // 8 * 8.
    """
    number, other = (a, b) if a.is_Integer else (b, a)
    if not number.is_Integer or other.is_Integer or number in (0, -1):
        return BitAnd(a, b)
    mask = int(number)
    lowest = mask & -mask
    width = mask // lowest + 1  # 0 where all bits from the lowest one on are set, a power of two if they are adjacent
    if width & (width - 1):
        return BitAnd(a, b)
    taken = quotient(other, sympy.Integer(lowest))
    return lowest * (Mod(taken, sympy.Integer(width)) if width else taken)


def bounds(expr: Bitwise, ranges: list[Range]) -> Range:
    """Return bounds of an operation given bounds of its operands, which are exact for aligned blocks of 2^k."""
    return reduce(lambda a, b: _bounds(type(expr), a, b), ranges)


def _bounds(kind: type[Bitwise], a: Range, b: Range) -> Range:
    """Return bounds of an operation on two operands: what bits of both all values have, and which they may have."""
    (always_a, maybe_a), (always_b, maybe_b) = _bits(a), _bits(b)
    if kind is BitXor:
        open_ = (always_a ^ maybe_a) | (always_b ^ maybe_b)
        least = (always_a ^ always_b) & ~open_
        most = least | open_
    else:
        least, most = kind.function(always_a, always_b), kind.function(maybe_a, maybe_b)
    reach = _filled(np.maximum.reduce([np.maximum(end, ~end) for end in (*a, *b)]))
    either = (most < 0) & (least >= 0)  # of either sign, where the order of bits isn't that of numbers
    low, high = np.where(either, ~reach, least), np.where(either, reach, most)
    for own_low, own_high in (a, b):  # a part of what isn't negative is no more, and what has it as a part no less
        if kind is BitAnd:
            high = np.where(own_low >= 0, np.minimum(high, own_high), high)
    if kind is BitOr:
        low = np.where((a[0] >= 0) & (b[0] >= 0), np.maximum(low, np.maximum(a[0], b[0])), low)
    return low, high


def _bits(ends: Range) -> Range:
    """Return (bits that all numbers from low to high have, bits that some may have)."""
    low, high = ends
    differ = _filled(low ^ high)
    return low & ~differ, low | differ


def _filled(x: Array) -> Array:
    """Return x with all bits below its highest one set; -1 for a negative one."""
    if x.dtype == object:
        found: Array = np.array([-1 if n < 0 else (1 << int(n).bit_length()) - 1 for n in x.flat], object)
        return found.reshape(x.shape)
    for step in (1, 2, 4, 8, 16, 32):
        x = x | x >> step
    return x


def left_shifted(a: Range, n: Range) -> Range:
    """Return bounds of `a << n`."""
    return _corners(operator.lshift, a, n)


def right_shifted(a: Range, n: Range) -> Range:
    """Return bounds of `a >> n`."""
    return _corners(operator.rshift, a, n)


def _corners(shift: Callable[[Any, Any], Any], a: Range, n: Range) -> Range:
    corners = [shift(x, np.clip(by, 0, MAX_SHIFT)) for x in a for by in n]
    return np.minimum.reduce(corners), np.maximum.reduce(corners)
