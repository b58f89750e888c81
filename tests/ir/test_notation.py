"""Sets in mathematical notation."""

from __future__ import annotations

import pytest

import attncc
from attncc.frontend.language import Index, Table, maximum
from attncc.ir.notation import condition, connectivity
from attncc.ir.symbols import I, J

i, j = Index.of(I), Index.of(J)
ids = Table([3, 1, 4, 1, 5, 9, 2, 6], "ids")  # equal tables are one, under the name of the first


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ((j <= i) & (i - j < 128), "i − 127 ≤ j ≤ i"),
        (j <= i + 3, "j ≤ i + 3"),
        ((i - j) % 8 == 0, "(i − j) mod 8 = 0"),
        (i // 16 == j // 16, "⌊i / 16⌋ = ⌊j / 16⌋"),
        (j % 16 >= 12, "12 ≤ j mod 16"),
        (ids[i] == ids[j], "ids[i] = ids[j]"),
        (abs(i - j) <= 4, "i − 4 ≤ j ≤ i + 4"),
        (abs(i - j) % 3 == 0, "|i − j| mod 3 = 0"),
        (i != j + 2, "i − j ≠ 2"),
        (maximum(i, j) < 9, "i ≤ 8 ∧ j ≤ 8"),
        ((i < 3) | (j < 2), "i ≤ 2 ∨ j ≤ 1"),
        ((i < 3) & (i > 3), "false"),
    ],
)
def test_conditions_print_as_mathematics(written, text: str) -> None:
    assert condition(written.predicate) == text


def test_subsets_are_numbered() -> None:
    fixed = attncc.load("fixed", l=16, c=4)
    assert [connectivity(subset, m) for m, subset in enumerate(fixed.subsets, 1)] == [
        "A⁽¹⁾ᵢ = { j : j ≤ i ∧ ⌊i / 16⌋ = ⌊j / 16⌋ }",
        "A⁽²⁾ᵢ = { j : j ≤ i ∧ 12 ≤ j mod 16 }",
    ]
