"""The symbols: query and key position, head, batch entry, the two lengths, and the score of a pair."""

from __future__ import annotations

import sympy

#: Absolute query position, row + q_offset; negative under a negative offset.
I = sympy.Symbol("i", integer=True)
#: Key position, 0 <= j < n_k.
J = sympy.Symbol("j", integer=True, nonnegative=True)
#: Query head and batch entry.
H = sympy.Symbol("h", integer=True, nonnegative=True)
B = sympy.Symbol("b", integer=True, nonnegative=True)
#: Number of queries and of keys.
NQ = sympy.Symbol("n_q", integer=True, nonnegative=True)
NK = sympy.Symbol("n_k", integer=True, nonnegative=True)

#: The scaled score of a pair, scale * <q, k>, in the expression of a score.
SCORE = sympy.Symbol("score", real=True)

#: By the name that a pattern function gives them.
BY_NAME: dict[str, sympy.Symbol] = {symbol.name: symbol for symbol in (I, J, H, B, NQ, NK)}

#: Positions are below this bound in size: a predicate that holds for all of them is simplified to TRUE.
MAX_POSITION = 1 << 31
