"""Sets in mathematical notation."""

from __future__ import annotations

import pytest

import attncc
from attncc.frontend.language import Index, Table, maximum, minimum
from attncc.ir.notation import condition, connectivity
from attncc.ir.symbols import NQ, I, J

i, j, n_q = Index.of(I), Index.of(J), Index.of(NQ)
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
        (j // 16 < i // 16, "⌊j / 16⌋ ≤ ⌊i / 16⌋ − 1"),
        ((ids[j] <= ids[i]) & (ids[i] < ids[j] + i), "ids[i] − i + 1 ≤ ids[j] ≤ ids[i]"),
        ((i // 2 - 3 <= j // 4) & (j // 4 <= n_q), "⌊i / 2⌋ − 3 ≤ ⌊j / 4⌋ ≤ n_q"),
        (j % 8 <= minimum(i % 8, 9), "j mod 8 ≤ i mod 8"),
        ((i - j) * (i - j) < 100, "j² − 2·i·j ≤ 99 − i²"),
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


def test_coordinates_of_grids_have_names() -> None:
    image = attncc.load("neighborhood_2d", height=8, width=6, kernel_h=3, kernel_w=3)
    assert condition(image.predicate) == (
        "min(3, max(0, i₂ − 1)) ≤ j₂ ≤ max(0, i₂ − 1) + 2 ∧ min(5, max(0, min(7, i₁) − 1)) ≤ j₁ ≤ "
        "max(0, min(7, i₁) − 1) + 2 ∧ j₁ ≤ 7, where (i₁, i₂) = (⌊i / 6⌋, i mod 6), j likewise, n_k = 48"
    )
    (frame, row, column), (key_frame, key_row, key_column) = (attncc.grid(x - 1, (4, 5, 6)) for x in (i, j))
    seen = (key_frame <= frame) & (key_row <= row) & (abs(column - key_column) <= 1)
    assert condition(seen.predicate) == (
        "j₂ ≤ i₂ ∧ i₃ − 1 ≤ j₃ ≤ i₃ + 1 ∧ j₁ ≤ i₁, where (i₁, i₂, i₃) = (⌊(i − 1) / 30⌋, ⌊(i − 1) / 6⌋ mod 5, "
        "(i + 5) mod 6), j likewise"
    )


@attncc.score
def far(score, i, j, n_q, n_k):
    (row, column), (key_row, key_column) = attncc.grid(i, (4, 6), length=n_q), attncc.grid(j, (4, 6), length=n_k)
    return score - 2.0 * (abs(row - key_row) + abs(column - key_column))


def test_scores_on_grids_print_their_lengths_once() -> None:
    written = "score − 2·(|i mod 6 − j mod 6| + |⌊i / 6⌋ − ⌊j / 6⌋|), where n_k = 24, n_q = 24"
    assert str(far().expression) == written
