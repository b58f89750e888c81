"""How ranks divide heads and tokens, and what they exchange."""

from __future__ import annotations

import by_hand
import numpy as np
import pytest

import attncc
from attncc.backends.inputs import Inputs
from attncc.distributed.schedules.sharing import Sharing, kept, steps


@pytest.mark.parametrize("kind", ["contiguous", "striped", "one idle", "moved"])
@pytest.mark.parametrize(("n", "parts", "spread"), [(61, 2, 3), (5, 3, 2), (1, 2, 2), (40, 1, 4), (40, 4, 1)])
def test_ranks_own_slices_of_their_part(kind: str, n: int, parts: int, spread: int) -> None:
    sharing = Sharing(heads=2, parts=parts, ulysses_degree=spread)
    partition = by_hand.partition(kind, n, 1, parts)
    own = [sharing.positions(partition, rank) for rank in range(sharing.ranks)]
    for part in range(parts):
        found = own[part * spread : (part + 1) * spread]
        assert np.array_equal(np.concatenate(found), partition.tokens(part))
        assert max(map(len, found)) - min(map(len, found)) <= 1
    assert [len(each) for each in own] == sharing.tokens(partition.counts).tolist()
    half = len(own) // 2
    assert all(np.array_equal(*pair) for pair in zip(own[:half], own[half:], strict=True))


def test_ulysses_exchanges_the_expected_bytes() -> None:
    schedule = by_hand.schedule(attncc.load("causal"), by_hand.partition("contiguous", 12, 1, 2), heads=4, kv_heads=2)
    inputs, sharing = Inputs(3, 4, 2, 8, 16, "bf16"), Sharing(parts=2, ulysses_degree=2)
    for lse in (0, 4):
        there, *_, back = steps(schedule, inputs, sharing, "forward", lse)
        row = 3 * (2 * 8 + 8 + 16) * 2
        assert there.flow.bytes.tolist() == [3 * row] * 4
        assert back.flow.bytes.tolist() == [3 * 3 * 2 * (16 * 2 + lse)] * 4
        first, *_, last = steps(schedule, inputs, sharing, "backward", lse)
        assert (first.flow.total, last.flow.total) == (back.flow.total, there.flow.total)


def test_ranks_keep_the_expected_bytes() -> None:
    schedule = by_hand.schedule(attncc.load("causal"), by_hand.partition("contiguous", 12, 1, 2), heads=4, kv_heads=2)
    inputs = Inputs(3, 4, 2, 8, 16, "bf16")
    assert kept(schedule, inputs, Sharing(parts=2)).tolist() == [0, 6 * 3 * 2 * 24 * 2]
    assert kept(schedule, inputs, Sharing(parts=2, ulysses_degree=2)).tolist() == [0, 0, 6 * 3 * 24 * 2, 6 * 3 * 24 * 2]
