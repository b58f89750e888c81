"""Programs as text round-trip; anything else is refused."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable
from typing import Any

import pytest
import sympy
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import attncc
from attncc.errors import ExportError
from attncc.frontend.patterns import Pattern
from attncc.ir import codec
from attncc.ir.codec import Program, fingerprint, read, written
from attncc.ir.predicate import Atom
from attncc.ir.symbols import SCORE, I, J
from attncc.ir.tables import TableData
from attncc.testing.score_strategies import score_cases
from attncc.testing.strategies import Case, cases


def by_digest(tables: Iterable[TableData]) -> dict[str, TableData]:
    return {table.digest: table for table in tables}


def assert_read_back(program: Program, tables: Iterable[TableData]) -> None:
    found = read(written(program), program.kind, by_digest(tables))
    assert found == program
    assert fingerprint(found) == fingerprint(program)


@settings(max_examples=60)
@given(cases())
def test_patterns_round_trip(case: Case) -> None:
    tables = {table for subset in case.pattern.subsets for table in subset.tables}
    assert_read_back(case.pattern.program, tables)
    assert_read_back(case.pattern.union().program, tables)


@settings(max_examples=60)
@given(cases(), st.data())
def test_scores_round_trip(case: Case, data: st.DataObject) -> None:
    score = data.draw(score_cases(case, 2)).score.expression
    assert_read_back(score.program, score.tables)
    assert_read_back(Program("score", "derivative", (score.derivative,)), score.tables)


@attncc.score
def everything(score, i, j, h, n_k, *, slopes: attncc.Weights, ids: attncc.Table, cap: float):
    near = attncc.where((ids[i] == ids[j]) | (i - j > n_k // 3), attncc.minimum(score, 1.5), -math.inf)
    far = attncc.tanh(near / cap) * attncc.exp(1.0) + attncc.log(attncc.sqrt(abs(slopes[h] - 0.1)))
    return attncc.maximum(far, i / 8) ** 3


def test_every_function_of_a_score_round_trips() -> None:
    score = everything(slopes=torch.ones(2), ids=[0, 1, 1], cap=3.7).expression
    assert_read_back(score.program, score.tables)
    assert_read_back(Program("score", "derivative", (score.derivative,)), score.tables)


def test_chains_of_xor_are_written_in_linear_size() -> None:
    @attncc.pattern
    def chain(i, j):
        found = i >= j
        for n in range(2, 40):
            found = found ^ ((i - j) % n == 0)
        return found

    made = chain()
    assert made.predicate.occurrences > 1 << 30
    assert len(written(made.program)) < 20_000
    assert_read_back(made.program, ())


@pytest.mark.parametrize("score", [SCORE, sympy.S.NegativeInfinity, sympy.Integer(10) ** 30, sympy.Float(-3.4e38)])
def test_numbers_keep_every_digit(score: sympy.Expr) -> None:
    assert_read_back(Program("score", "number", (score,)), ())


def test_numbers_beyond_doubles_are_refused() -> None:
    with pytest.raises(ExportError, match="not a double"):
        written(Program("score", "large", (sympy.Float(10) ** 400 * SCORE,)))


def test_nodes_without_an_entry_are_refused() -> None:
    with pytest.raises(ExportError, match="zeta has no entry"):
        written(Program("score", "strange", (sympy.zeta(SCORE),)))


CAUSAL = Pattern([Atom("ge", I - J)], "causal").program


def changed(**parts: Any) -> str:
    """The text of a causal pattern with parts of its document replaced."""
    document = json.loads(written(CAUSAL)) | parts
    return json.dumps(document, sort_keys=True, separators=(",", ":"))


def nodes(*lines: list[Any], roots: tuple[int, ...] = (-1,)) -> str:
    return changed(nodes=list(lines), roots=[root % len(lines) for root in roots])


SYMBOLS = [["symbol", "i"], ["symbol", "j"]]
DEEP = [["score"], *(["tanh", n] for n in range(300))]
WIDE = [["score"], *(["larger", n, n] if n % 2 else ["add", n, n] for n in range(60))]
MALFORMED = {
    "no JSON": ("{", "JSONDecodeError"),
    "a list": ("[]", "its parts are not"),
    "brackets": ("[" * 100_000, "RecursionError"),
    "another kind": (changed(kind="score"), "it is a score of format 1"),
    "another format": (changed(format=2), "a pattern of format 2"),
    "a boolean format": (changed(format=True), "its format is True"),
    "another name's type": (changed(name=7), "its name is 7"),
    "one part more": (changed(more=1), "its parts are not"),
    "spaces": (written(CAUSAL).replace(",", ", ", 1), "isn't in the form"),
    "an unknown tag": (nodes(["lambda", 0]), "none that this version"),
    "a node that is a number": (changed(nodes=[3]), "none that this version"),
    "a later node": (nodes(["ge", 1], *SYMBOLS), "not the number of a node before"),
    "a negative node": (nodes(*SYMBOLS, ["add", 0, -1]), "not the number of a node before"),
    "a boolean node": (nodes(*SYMBOLS, ["add", 0, True]), "not the number of a node before"),
    "no root": (changed(roots=[99]), "not the number of a node before"),
    "another symbol": (nodes(["symbol", "x"]), "'x' is not one of"),
    "too few fields": (nodes(["symbol"]), "TypeError"),
    "a number as a number": (nodes(["integer", 3]), "not a whole number"),
    "a number with a plus": (nodes(["integer", "+3"]), "not a whole number"),
    "a long number": (nodes(["integer", "9" * 401]), "at most 400 digits"),
    "a longer number": (f'{{"nodes":[["ge",{"9" * 5000}]]}}', "ValueError"),
    "a fraction by 0": (nodes(["fraction", "1", "0"]), "not a denominator"),
    "NaN": (nodes(["float", "nan"]), "not a finite number"),
    "infinity": (nodes(["float", "inf"]), "not a finite number"),
    "a power of a number": (nodes(["integer", "9"], ["pow", 0, 0]), "9 is raised to the power 9"),
    "a power tower": (nodes(SYMBOLS[0], ["integer", "999999"], ["pow", 0, 1]), "raised to the power 999999"),
    "a sum of one": (nodes(*SYMBOLS, ["add", 0]), "doesn't take index"),
    "a sum of nothing": (nodes(["add"]), "doesn't take nothing"),
    "a score as an index": (nodes(["score"], ["ge", 0]), "doesn't take real"),
    "a condition as an index": (nodes(*SYMBOLS, ["ge", 0], ["add", 0, 2]), "doesn't take"),
    "a fraction as an index": (nodes(["fraction", "1", "2"], SYMBOLS[0], ["mul", 0, 1], ["ge", 2]), "doesn't take"),
    "a reciprocal as an index": (nodes(SYMBOLS[0], ["integer", "-1"], ["pow", 0, 1], ["ge", 2]), "doesn't take"),
    "a position as a real number": (nodes(SYMBOLS[0], ["tanh", 0]), "doesn't take"),
    "a table that isn't there": (nodes(["table", "ids", "0" * 64]), "none of the tables beside it is 'ids'"),
    "weights of no sizes": (nodes(["weights", 0, 3, "w"]), "not the slot, the sizes"),
    "weights of many sizes": (nodes(["weights", 0, [2] * 5, "w"]), "not the slot, the sizes"),
    "an index too few": (nodes(["weights", 0, [3, 3], "w"], SYMBOLS[0], ["lookup", 0, 1]), "doesn't take weights"),
    "weights of a negative slot": (nodes(["weights", -1, [3], "w"]), "not the slot, the sizes"),
    "numbers that grow": (nodes(["integer", "900"], ["exp", 0], ["exp", 1]), "the number exp"),
    "a logarithm of -1": (nodes(["integer", "-1"], ["log", 0]), "the number nan"),
    "minus minus infinity": (nodes(["integer", "-1"], ["-inf"], ["mul", 0, 1]), "the number oo"),
    "a deep score": (nodes(*DEEP), "nests 193 nodes"),
    "a score of many paths": (nodes(*WIDE), "and at most 65,536 are read"),
    "many nodes": (nodes(*[["score"]] * ((1 << 16) + 1)), "65,537 nodes"),
    "a sum that is none": (nodes(SYMBOLS[0], ["integer", "0"], ["add", 0, 1], ["ge", 2]), "isn't in the form"),
    "a node twice": (nodes(SYMBOLS[0], SYMBOLS[0], ["ge", 0]), "isn't in the form"),
    "a comparison of what always holds": (nodes(["constant", 1]), "not true or false"),
}


@pytest.mark.parametrize("name", MALFORMED)
def test_malformed_programs_are_refused(name: str) -> None:
    text, says = MALFORMED[name]
    with pytest.raises(ExportError, match=says) as caught:
        read(text, "pattern", {})
    assert caught.value.rule
    assert caught.value.fix


def test_long_texts_are_refused_unparsed() -> None:
    with pytest.raises(ExportError, match="at most 4,194,304"):
        read(" " * (codec.MAX_BYTES + 1), "pattern", {})


@attncc.pattern
def listed(i, j, *, blocks: attncc.Lists):
    return (j // 8).isin(blocks[i // 8]) | ~(i // 4).isin(blocks[j // 8])


def test_memberships_round_trip() -> None:
    made = listed(blocks=[[3, 1, -1], [0, 0, 7]])
    assert_read_back(made.program, made.predicate.tables)


@pytest.mark.parametrize("data", [[[3, 1]], [[1, 1]], [[True, False]], [[-7, 2]]])
def test_rows_that_do_not_ascend_are_no_lists(data: list[list[int]]) -> None:
    """A search in them would miss entries."""
    table = TableData(data, "blocks")
    text = nodes(["table", "blocks", table.digest], *SYMBOLS, ["member", 0, 1, 2], ["ge", 3])
    with pytest.raises(ExportError, match="aren't lists"):
        read(text, "pattern", {table.digest: table})


TABLED = attncc.load("document", ids=[0, 0, 1, 2]).causal()
TEXT = written(TABLED.program)


@settings(max_examples=300)
@given(st.integers(0, len(TEXT) - 1), st.characters(max_codepoint=255), st.booleans())
def test_damaged_texts_are_refused_or_read_literally(at: int, put: str, insert: bool) -> None:
    """No other error is raised, and the program equals the damaged text."""
    damaged = TEXT[:at] + put + TEXT[at + (not insert) :]
    try:
        found = read(damaged, "pattern", by_digest(TABLED.predicate.tables))
    except ExportError:
        return
    assert written(found) == damaged
