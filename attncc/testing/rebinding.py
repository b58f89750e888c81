"""Rebinding: a drawn pattern's template with other tables and lengths, and the mask that it must have then."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np

from attncc.frontend.lists import Lists
from attncc.frontend.patterns import Pattern
from attncc.ir.tables import Array
from attncc.testing.strategies import Case, mask_of, numeric


def rebound(case: Case, seed: int, q_len: int, kv_len: int) -> Case:
    """Return a case with its tables shuffled, each by the seed, and lengths of at most its own."""

    def other(data: Any) -> Array:
        array = np.asarray(data)
        return np.random.default_rng(seed).permutation(array.ravel()).reshape(array.shape)

    tables = [type(table)(other(table.data), table.name) for table in case.pattern.tables]
    names = numeric(q_len, kv_len, case.q_offset, case.heads, case.batch)
    shuffled = replace(
        names,
        table=lambda data: names.table(other(data)),
        is_in=lambda number, lists, row: names.is_in(number, other(Lists(lists).data), row),
    )
    mask = mask_of(case.subsets, shuffled, (case.batch, case.heads, q_len, kv_len))
    pattern = Pattern(case.pattern.template, "drawn", None, tables)
    return replace(case, pattern=pattern, q_len=q_len, kv_len=kv_len, mask=mask)
