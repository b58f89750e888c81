"""Key limits: the first and the last key that a predicate leaves to any query, as its comparisons of j alone tell."""

from __future__ import annotations

from attncc.ir.predicate import FALSE, And, Atom, Or, Predicate
from attncc.ir.symbols import J

#: No keys.
NONE = range(0)


def key_limits(predicate: Predicate, kv_len: int) -> range:
    """Return keys outside of which no query sees one, whatever else the predicate compares.

    So it leaves out those beyond a sequence's own in a longer cache.
    """
    return _limits(predicate, range(kv_len), {FALSE: NONE})


def _limits(part: Predicate, keys: range, done: dict[Predicate, range]) -> range:
    """Return the limits of a part of a predicate; `done` has those of parts that occurred before."""
    if part not in done:
        match part:
            case Atom():
                done[part] = _of_comparison(part, keys)
            case And(args):
                several = [_limits(arg, keys, done) for arg in args]
                done[part] = range(max(one.start for one in several), min(one.stop for one in several))
            case Or(args):
                several = [limits for arg in args if (limits := _limits(arg, keys, done))] or [NONE]
                done[part] = range(min(one.start for one in several), max(one.stop for one in several))
            case _:
                done[part] = keys
    return done[part]


def _of_comparison(atom: Atom, keys: range) -> range:
    """Return the keys that a comparison of j with a number leaves; all of them for another one."""
    for sign in (1, -1):
        number = J - sign * atom.expr  # the expression is j - number, or number - j
        if number.is_Integer and atom.relation != "ne":
            start = keys.start if atom.relation == "ge" and sign < 0 else max(keys.start, int(number))
            stop = keys.stop if atom.relation == "ge" and sign > 0 else min(keys.stop, int(number) + 1)
            return range(start, stop)
    return keys
