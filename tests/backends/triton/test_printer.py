"""Printed predicates agree with the mask in arithmetic that divides towards zero, as a GPU's does."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from attncc.backends.triton.printer import TritonPrinter, named_tables
from attncc.errors import BackendError
from attncc.frontend.language import Index
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.symbols import I, J
from attncc.planner.shape import Shape
from attncc.planner.specialise import specialise
from attncc.testing.strategies import Case, cases


class Truncated(np.ndarray):
    """int64 values with C's division: the quotient is rounded towards zero, the remainder has the dividend's sign."""

    def __floordiv__(self, other):
        return np.trunc(np.asarray(self) / np.asarray(other)).astype(np.int64).view(Truncated)

    def __mod__(self, other):
        return np.fmod(np.asarray(self), np.asarray(other)).view(Truncated)


def language(tables: dict[str, np.ndarray]) -> dict[str, object]:
    """Return what printed source refers to."""
    pointers = {name: _Pointer(data.astype(np.int64).ravel()) for name, data in tables.items()}
    functions = SimpleNamespace(minimum=np.minimum, maximum=np.maximum, abs=np.abs, load=lambda at: at.entries())
    functions.int64, functions.cast = np.int64, lambda x, dtype: np.asarray(x).astype(dtype).view(Truncated)
    return {"tl": functions, "is_member": _is_member, **pointers}


def _is_member(row: _Pointer, number: np.ndarray, size: int, steps: int) -> np.ndarray:
    assert 1 << steps > size
    entries = np.stack([(row + n).entries() for n in range(size)], axis=-1)
    return (((entries == np.asarray(number)[..., None]).any(-1) & (number >= 0)) * 1).view(Truncated)


class _Pointer:
    def __init__(self, data: np.ndarray, offset: np.ndarray | int = 0) -> None:
        self.data, self.offset = data, offset

    def __add__(self, offset: np.ndarray) -> _Pointer:
        return _Pointer(self.data, self.offset + offset)

    def entries(self) -> np.ndarray:
        return self.data[np.asarray(self.offset)].view(Truncated)


@given(cases(), st.data())
def test_printed_predicates_agree_with_the_mask(case: Case, data: st.DataObject) -> None:
    shape = Shape(case.q_len, case.kv_len, case.q_offset, case.heads, case.batch)
    head, entry = data.draw(st.integers(0, case.heads - 1)), data.draw(st.integers(0, case.batch - 1))
    predicate = specialise(case.pattern.predicate, shape, entry, head)
    tables = named_tables(predicate.tables)
    source = TritonPrinter(tables, signed=case.q_offset < 0).predicate(predicate)
    i, j = np.arange(case.q_len)[:, None] + case.q_offset, np.arange(case.kv_len)[None, :]
    names = language({name: table.data for name, table in tables})
    found = eval(source, {**names, "i": i.view(Truncated), "j": j.view(Truncated)})
    wanted = evaluate_predicate(predicate, {I: i, J: j})
    np.testing.assert_array_equal(
        np.broadcast_to(found, case.mask.shape[2:]), np.broadcast_to(wanted, case.mask.shape[2:])
    )


def test_predicates_too_long_to_print_are_refused() -> None:
    chain = Index.of(J) <= Index.of(I)
    for k in range(2, 13):
        chain = chain ^ (Index.of(J) % k == 1)
    with pytest.raises(BackendError, match="comparisons") as caught:
        TritonPrinter(()).predicate(chain.predicate)
    assert "at most 1,024" in caught.value.rule
