"""Limits of a pattern's size: sizes at a limit work, larger ones are refused with value, rule and fix."""

from __future__ import annotations

from functools import reduce
from operator import or_

import numpy as np
import pytest

import attncc
from attncc.errors import PatternError
from attncc.frontend.language import Condition, Index, Table, maximum
from attncc.ir import size
from attncc.ir.symbols import I, J

i, j = Index.of(I), Index.of(J)
TABLE = Table(np.arange(64))


def nested_functions(number: int) -> Condition:
    return reduce(lambda x, k: (x + j) % (k + 5), range(number), i) == 3


def nested_look_ups(number: int) -> Condition:
    return reduce(lambda x, _: TABLE[x], range(number), i) != 0


def nested_condition(number: int) -> Condition:
    return reduce(lambda x, k: x ^ (j % (k + 2) == 1), range(number // 2), j <= i)


def remainder(number: int) -> Condition:
    return sum((TABLE[k * j] for k in range(1, number)), start=i) % 97 == 3


def extremum(number: int) -> Condition:
    return reduce(lambda x, k: maximum(x, k * i - k * k * j), range(2, number + 1), i) == 5


def expanded(number: int) -> Condition:
    first, second = (sum((TABLE[k * x] for k in range(2, 18)), start=i * 0) for x in (i, j))
    return first * second + (j if number > size.MAX_EXPANDED else 0) == 9


def comparisons(number: int) -> Condition:
    return Condition(reduce(or_, ((i == 3 * k).predicate for k in range(number))))


LIMITS = [
    (nested_functions, size.MAX_FUNCTIONS, "nests 33 of // %"),
    (nested_look_ups, size.MAX_DEPTH, "nests 129 operations"),
    (nested_condition, size.MAX_DEPTH, "nests 130 operations"),
    (remainder, size.MAX_TERMS, "`%` was taken of 25 terms"),
    (extremum, size.MAX_ARGUMENTS, "has 17 arguments"),
    (expanded, size.MAX_EXPANDED, "has 257 terms"),
    (comparisons, size.MAX_COMPARISONS, "has 4,097 comparisons"),
]


@pytest.mark.parametrize(("build", "most", "says"), LIMITS, ids=lambda value: getattr(value, "__name__", ""))
def test_sizes_beyond_a_limit_are_refused(build, most: int, says: str) -> None:
    condition = build(most)
    assert attncc.Pattern([condition.predicate], "largest").key
    with pytest.raises(PatternError, match=says) as caught:
        build(most + 1 if build is not nested_condition else most + 2)
    assert f"At most {most:,}" in caught.value.rule
    assert caught.value.fix


def test_symbols_and_tables_are_counted_together() -> None:
    conditions = [(Table(np.arange(9) + k)[i] != k).predicate for k in range(size.MAX_NAMES)]
    assert attncc.Pattern([reduce(or_, conditions[:-1])], "largest").key
    with pytest.raises(PatternError, match="257 symbols and tables"):
        attncc.Pattern(conditions, "too many")


def test_patterns_at_the_nesting_limit_are_planned_and_explained() -> None:
    for build in (nested_condition, nested_look_ups):
        pattern = attncc.Pattern([build(size.MAX_DEPTH).predicate], "deep")
        plan = attncc.plan(pattern, 64)
        assert plan.nnz == int(attncc.dense_mask(pattern, 64).sum())
        assert plan.explain()


def test_declared_patterns_report_the_limit() -> None:
    @attncc.pattern
    def deep(i, j):
        return reduce(lambda x, k: (x + j) % (k + 5), range(40), i) == 3

    with pytest.raises(PatternError, match="nests 33 of // %"):
        deep()
