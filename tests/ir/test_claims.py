"""Claims on tables: what a declaration says of entries holds, or the table is an error by every door."""

from __future__ import annotations

import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from torch._subclasses import FakeTensorMode
from typer.testing import CliRunner

import attncc
from attncc.cli.app import app
from attncc.errors import PatternError, TableError
from attncc.ir.claims import Claim, check, described, parsed
from attncc.ir.tables import TableData

N = 16


@attncc.pattern
def claimed(
    i,
    j,
    *,
    ids: Annotated[attncc.Table, attncc.Sorted()] = (0,) * N,
    order: Annotated[attncc.Table, attncc.Distinct()] = tuple(range(N)),
    limit: Annotated[attncc.Table, attncc.Bounds(minimum=0, maximum=N)] = (0,) * N,
):
    return (ids[i] == ids[j]) & (order[i] >= order[j]) & (limit[i] <= j)


@attncc.pattern
def listed(i, j, *, blocks: Annotated[attncc.Lists, attncc.Bounds(minimum=1, maximum=5)]):
    return j.isin(blocks[i])


#: By the parameter: a table that keeps the claim, one that breaks it, and what the error says.
TABLES = {
    "ids": ([0] * 8 + [3] * 8, [0] * 8 + [3] * 4 + [2] * 4, r"'ids' has 2 at \[12\], after 3"),
    "order": ([*range(N)], [*range(N - 1), 4], r"'order' has 4 at \[15\]"),
    "limit": ([0, N] * 8, [0, N, N + 1, 0] * 4, r"'limit' has 17 at \[2\]"),
}
RULES = {"ids": "never fall", "order": "differ from each other", "limit": "at least 0 and at most 16"}
Q = torch.randn(1, 1, N, 8)


def by_attention(**tables: Any) -> Any:
    return attncc.attention(Q, Q, Q, claimed(**tables))


def by_plan(**tables: Any) -> Any:
    return attncc.plan(claimed(**tables), N)


def by_compile(**tables: Any) -> Any:
    return attncc.compile(claimed(**tables), N)(Q, Q, Q)


def by_varlen(**tables: Any) -> Any:
    q, ends = Q[0].transpose(0, 1), torch.tensor([0, 3, N])
    return attncc.varlen_attention(q, q, q, ends, ends, claimed(**tables))


def in_a_graph(**tables: Any) -> Any:
    torch._dynamo.reset()
    [(name, table)] = tables.items()
    call = torch.compile(lambda x, table: attncc.attention(x, x, x, claimed(**{name: table})), backend="eager")
    return call(Q, torch.tensor(table))


def by_a_score(**tables: Any) -> Any:
    @attncc.score
    def moved(i, *, ids: Annotated[attncc.Table, attncc.Sorted()]):
        return ids[i] / 4

    return attncc.attention(Q, Q, Q, claimed(), score=moved(**tables))


DOORS = [by_attention, by_plan, by_compile, by_varlen, in_a_graph]


@pytest.mark.parametrize("name", TABLES)
@pytest.mark.parametrize("door", DOORS)
def test_a_broken_claim_is_an_error_by_every_door(door: Callable[..., Any], name: str) -> None:
    kept, broken, message = TABLES[name]
    door(**{name: kept})
    with pytest.raises(TableError, match=message) as error:
        door(**{name: broken})
    assert RULES[name] in error.value.rule
    assert "without that claim" in error.value.fix


def test_a_score_claims_too() -> None:
    by_a_score(ids=[*range(N)])
    with pytest.raises(TableError, match=r"'ids' has 3 at \[1\], after 4"):
        by_a_score(ids=[4, 3] * 8)


MINE = """
from typing import Annotated
import attncc

@attncc.pattern
def mine(i, j, *, ids: Annotated[attncc.Table, attncc.Sorted()]):
    return ids[i] == ids[j]
"""


@pytest.mark.parametrize("as_file", [False, True])
def test_a_broken_claim_is_an_error_on_the_command_line(tmp_path: Path, as_file: bool) -> None:
    (tmp_path / "mine.py").write_text(MINE)

    def run(table: list[int]) -> Any:
        np.save(tmp_path / "table.npy", table)
        text = f"@{tmp_path / 'table.npy'}" if as_file else ",".join(map(str, table))
        return CliRunner().invoke(app, ["plan", f"{tmp_path}/mine.py:mine", "--seq-len", "4", "-p", f"ids={text}"])

    assert run([0, 1, 1, 2]).exit_code == 0
    found = run([0, 1, 2, 1])
    assert found.exit_code
    assert "has 1 at [3], after 2" in str(found.exception)


def test_entries_of_lists_are_bounded_and_none_is_none() -> None:
    listed(blocks=[[-1, 5], [1, -7]])
    for wrong in ([[1, 2], [6, 3]], [[0, 1], [2, 3]]):
        with pytest.raises(TableError, match=r"Lists 'blocks' has (6|0) at \[(0|1)\]\."):
            listed(blocks=wrong)


def test_claims_count_along_the_last_dimension() -> None:
    claimed(ids=[[0] * 15 + [1], [5] * 16])
    with pytest.raises(TableError, match=r"has 4 at \[1, 3\], after 5"):
        claimed(ids=[[0] * 16, [5] * 3 + [4] * 13])


def rising(i, j, *, width: Annotated[int, attncc.Sorted()]):
    return i - j < width


def apart(i, j, *, blocks: Annotated[attncc.Lists, attncc.Distinct()]):
    return j.isin(blocks[i])


@pytest.mark.parametrize("function", [rising, apart])
def test_a_claim_on_a_number_is_refused(function: Callable[..., Any]) -> None:
    with pytest.raises(PatternError, match=f"Pattern {function.__name__!r} claims of"):
        attncc.pattern(function)


CLAIMS = st.one_of(
    st.just(attncc.Sorted()),
    st.just(attncc.Distinct()),
    st.builds(attncc.Bounds, st.none() | st.integers(-3, 3), st.none() | st.integers(-3, 3)),
)


@given(arrays.arrays(np.int64, arrays.array_shapes(max_dims=3, max_side=5), elements=st.integers(-4, 4)), CLAIMS)
def test_a_table_keeps_a_claim_as_numpy_says(data: np.ndarray, claim: Claim) -> None:
    rows = data.reshape(-1, data.shape[-1]).tolist()
    match claim:
        case attncc.Sorted():
            holds = all(row == sorted(row) for row in rows)
        case attncc.Distinct():
            holds = all(len(row) == len(set(row)) for row in rows)
        case _:
            holds = all(claim.allows(entry) for row in rows for entry in row)
    if holds:
        check(TableData(data), "drawn", [claim])
        return
    with pytest.raises(TableError, match="Table 'drawn' has"):
        check(TableData(data), "drawn", [claim])


@given(CLAIMS)
def test_claims_are_written_and_read(claim: Claim) -> None:
    assert parsed(described(claim)) == claim
    assert pickle.loads(pickle.dumps(claim)) == claim


@pytest.mark.parametrize("text", [None, [], ["sorted", 1], ["bounds", 1], ["bounds", "a", None], ["bounds", True, 1]])
def test_malformed_claims_are_refused(text: object) -> None:
    with pytest.raises(ValueError, match=r"claim|bounds"):
        parsed(text)


def test_bounds_of_a_table_decide_comparisons() -> None:
    [limit] = [table for table in claimed().template.placeholders.values() if table.name == "limit"]
    assert (limit.least, limit.most) == (0, N)


@pytest.fixture
def checking(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ATTNCC_CHECK", "1")


def there(name: str, entries: Any) -> TableData:
    kind = attncc.Lists if name == "blocks" else attncc.Table
    return kind.unread(torch.tensor(entries), name)


LISTED = {"blocks": ([[1, -1], [5, 2]], [[1, 6], [0, -1]], "")}


@pytest.mark.parametrize("name", [*TABLES, "blocks"])
def test_a_table_that_is_not_read_is_checked_where_it_lies(name: str, checking: None) -> None:
    kept, broken, _ = (TABLES | LISTED)[name]
    claims = (listed if name == "blocks" else claimed).parameter(name).claims
    check(there(name, kept), name, claims)
    with pytest.raises(RuntimeError, match=f"{name!r} breaks the claim {type(claims[0]).__name__}"):
        check(there(name, broken), name, claims)


def test_a_check_on_a_device_waits_for_nothing(checking: None) -> None:
    with FakeTensorMode():
        for name in TABLES:
            table = attncc.Table.unread(torch.empty(N, dtype=torch.int64), name)
            check(table, name, claimed.parameter(name).claims)
            assert table.is_unread
            assert not table.kept_claims


def test_without_a_check_on_a_device_nothing_is_asked() -> None:
    table = there("ids", TABLES["ids"][1])
    check(table, "ids", claimed.parameter("ids").claims)
    assert table.is_unread
    assert not table.kept_claims


def test_tables_that_are_read_after_all_are_checked() -> None:
    tables = [there(name, TABLES[name][name == "ids"]) for name in TABLES]
    known = claimed()
    pattern = attncc.Pattern(known.template, known.name, known.parameters, tables)
    with pytest.raises(TableError, match=r"'ids' has 2 at \[12\], after 3"):
        attncc.attention(Q, Q, Q, pattern, backend="torch")
