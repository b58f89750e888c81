"""batch_invariant=True: a sequence's results are the same, bit for bit, alone and in every batch, at every place."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from torch import Tensor

import attncc
from attncc.backends.triton import execute
from attncc.backends.triton.bound import CallSite
from attncc.backends.triton.launch import Launch
from attncc.errors import ShapeError

pytestmark = pytest.mark.timeout(600)

WINDOW = attncc.load("sliding_window", window=100)
STRIDED = attncc.load("strided", l=16).union()
CAUSAL = attncc.load("causal")
#: The keys of a sequence, and those of others that are beside it: where they are as many, a plan has them together.
OWN, OTHERS = 333, [17, 333, 90, 1, 512, 64, 333]
HEADS, DIM = 4, 24
#: Heads of interpreted kernels, which run one after the other.
FEW = 2


@pytest.fixture(autouse=True)
def two_threads() -> Iterator[None]:
    """Share work among threads, which PyTorch cuts by the size of the batch."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)


def drawn(seed: int, q_len: int, keys: int, dtype: torch.dtype, heads: int = HEADS) -> list[Tensor]:
    """Return query, key and value of one sequence, (H, N, D)."""
    generator = torch.Generator().manual_seed(seed)
    return [torch.randn(heads, n, DIM, generator=generator).to(dtype) for n in (q_len, keys, keys)]


def batch_of(lengths: list[int], seeds: list[int], q_len: int, dtype: torch.dtype, heads: int) -> list[Tensor]:
    """Return a batch, keys padded on the right by NaN."""
    longest = max(lengths) + 3
    batch = [torch.full((len(lengths), heads, n, DIM), torch.nan, dtype=dtype) for n in (q_len, longest, longest)]
    for b, (n, seed) in enumerate(zip(lengths, seeds, strict=True)):
        for whole, own in zip(batch, drawn(seed, q_len, n, dtype, heads), strict=True):
            whole[b, :, : own.shape[1]] = own
    return [x.requires_grad_() for x in batch]


def batches() -> Iterator[tuple[int, list[int], list[int]]]:
    """Yield the place of the sequence with seed 0, the lengths, and the seeds: alone, in batches of 3 and of 8."""
    yield 0, [OWN], [0]
    for size, places in ((3, (0, 2)), (8, (0, 3, 7))):
        for place in places:
            lengths, seeds = (OTHERS * 2)[place : place + size - 1], list(range(1, size))
            yield place, [*lengths[:place], OWN, *lengths[place:]], [*seeds[:place], 0, *seeds[place:]]


def results(
    place: int, lengths: list[int], seeds: list[int], q_len: int, dtype: torch.dtype, heads: int = HEADS, **given
) -> list[Tensor]:
    """Return out, lse and gradients of the sequence with seed 0."""
    inputs = batch_of(lengths, seeds, q_len, dtype, heads)
    out, lse = attncc.attention(
        *inputs, q_offset=[n - q_len for n in lengths], kv_len=lengths, batch_invariant=True, return_lse=True, **given
    )
    found = torch.autograd.grad(out.square().sum() + lse[lse > -torch.inf].sum(), inputs)
    d_query, d_key, d_value = (x[place] for x in found)
    return [out[place], lse[place], d_query, d_key[:, :OWN], d_value[:, :OWN]]


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("q_len", [1, 40])
@pytest.mark.parametrize("pattern", [CAUSAL, WINDOW, STRIDED], ids=lambda pattern: pattern.name)
def test_a_sequence_has_the_same_bits_in_every_batch(pattern: attncc.Pattern, q_len: int, dtype: torch.dtype) -> None:
    first, *others = (results(*case, q_len, dtype, pattern=pattern) for case in batches())
    for found in others:
        assert all(map(torch.equal, found, first))


@pytest.mark.parametrize("q_len", [1, 20])
@pytest.mark.parametrize("pattern", [CAUSAL, STRIDED], ids=lambda pattern: pattern.name)
def test_kernels_give_a_sequence_the_same_bits_in_every_batch(pattern: attncc.Pattern, q_len: int) -> None:
    """Of interpreted kernels the way that work is cut is tested, since numpy sums in the order that they have."""
    cases = [case for case in batches() if len(case[1]) < 8 or case[0] == 3]
    first, *others = (results(*case, q_len, torch.float32, FEW, pattern=pattern, backend="triton") for case in cases)
    for found in others:
        assert all(map(torch.equal, found, first))


def test_splits_of_long_rows_come_from_the_sequence_alone() -> None:
    """With tiles of 16 keys a row of 333 is split, and those of others are or aren't."""
    config = {"forward.block_n": 16, "forward.item_tiles": 4}
    cases = [case for case in batches() if len(case[1]) < 8]
    first, *others = (
        results(*case, 1, torch.float32, FEW, pattern=CAUSAL, backend="triton", config=config) for case in cases
    )
    for found in others:
        assert all(map(torch.equal, found, first))


def test_splits_on_many_processors_come_from_the_sequence_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Long rows are split where a call has few heads for its processors: alone these are, in a usual batch not."""
    monkeypatch.setattr(execute, "processors", lambda device: 8)
    launched: list[Launch] = []
    launch = CallSite.launch
    monkeypatch.setattr(CallSite, "launch", lambda site, own, *rest: (launched.append(own), launch(site, own, *rest)))

    def run(seeds: list[int], **given: bool) -> tuple[Tensor, list[object]]:
        launched.clear()
        inputs = [x.detach() for x in batch_of([OWN] * len(seeds), seeds, 1, torch.float32, FEW)]
        given |= {"q_offset": [OWN - 1] * len(seeds), "kv_len": [OWN] * len(seeds)}
        out = attncc.attention(*inputs, CAUSAL, backend="triton", config={"forward.block_n": 16}, **given)
        return out[seeds.index(0)], [(own.spec.role, own.blocks) for own in launched]

    seeds = [1, 2, 0, 3, 4, 5]
    (alone, first), (beside, together) = run([0], batch_invariant=True), run(seeds, batch_invariant=True)
    assert torch.equal(beside, alone)
    assert together == first
    assert [role for role, _ in first] == ["split", "join"]
    usual, launches = run(seeds)
    assert "split" not in [role for role, _ in launches]
    assert not torch.equal(usual, alone)
    torch.testing.assert_close(usual, alone)


def test_keys_beyond_a_sequence_have_no_gradient() -> None:
    inputs = [x.detach().nan_to_num().requires_grad_() for x in batch_of([5, 40, 0], [0, 1, 2], 2, torch.float32, FEW)]
    given = {"q_offset": [3, 38, 0], "kv_len": [5, 40, 0]}
    found = []
    for batch_invariant in (True, False):
        out = attncc.attention(*inputs, CAUSAL, batch_invariant=batch_invariant, backend="triton", **given)
        found.append([out, *torch.autograd.grad(out.square().sum(), inputs)])
    torch.testing.assert_close(*found)
    assert not found[0][2][0, :, 5:].any()


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_a_sequence_in_pages_has_the_same_bits_in_every_batch(backend: str) -> None:
    found = []
    for place, lengths, seeds in list(batches())[:: 1 if backend == "torch" else 2]:
        size, order = 16, torch.randperm(400, generator=torch.Generator().manual_seed(len(found))).int()
        k_cache, v_cache = torch.full((2, 400, size, HEADS, DIM), torch.nan).unbind()
        table, q = torch.full((len(lengths), 60), -1, dtype=torch.int32), torch.empty(len(lengths), 1, HEADS, DIM)
        for b, (n, seed) in enumerate(zip(lengths, seeds, strict=True)):
            query, key, value = (x.transpose(0, 1) for x in drawn(seed, 1, n, torch.float32))
            q[b], pages = query, order[b * 45 : b * 45 + -(-n // size)]
            table[b, : len(pages)] = pages
            for cache, rows in ((k_cache, key), (v_cache, value)):
                for page, part in zip(pages.tolist(), rows.split(size), strict=True):
                    cache[page, : len(part)] = part
        out = attncc.paged_attention(q, k_cache, v_cache, table, lengths, WINDOW, batch_invariant=True, backend=backend)
        found.append(out[place])
    assert all(torch.equal(x, found[0]) for x in found)


@attncc.pattern
def labelled(i, j, b, *, ids: attncc.Table, width: attncc.Table):
    return (ids[i] == ids[j]) & (i - j < width[b])


@attncc.score
def shifted(score, i, h, b, n_k, *, shift: attncc.Weights):
    return score + shift[b, h] * (b + 1) + (n_k - i) * 0.01


@pytest.mark.parametrize(("backend", "dtype"), [("torch", torch.float64), ("triton", torch.float32)])
def test_entries_have_their_own_tables_weights_and_sinks(backend: str, dtype: torch.dtype) -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = torch.randn(3, 3, HEADS, 20, 8, generator=generator, dtype=dtype).unbind()
    shift, sink = torch.randn(2, 3, HEADS, generator=generator, dtype=dtype).unbind()
    leaves = [x.clone().requires_grad_() for x in (query, key, value, shift, sink)]
    ids = torch.randint(0, 3, (3, 22), generator=generator)
    found = []
    for batch_invariant in (False, True):
        out, lse = attncc.attention(
            *leaves[:3],
            labelled(ids=ids, width=[3, 9, 17]),
            score=shifted(shift=leaves[3]),
            sink=leaves[4],
            return_lse=True,
            q_offset=[0, 1, 2],
            kv_len=[20, 18, 7],
            batch_invariant=batch_invariant,
            backend=backend,
        )
        found.append([out, lse, *torch.autograd.grad(out.square().sum() + lse.sum(), leaves)])
    torch.testing.assert_close(*found)


def test_tuned_configurations_are_not_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attncc.runtime.executables.looked_up", None)
    query = torch.randn(2, 1, 5, 8)
    attncc.attention(query, query, query, CAUSAL, batch_invariant=True)
    with pytest.raises(TypeError):
        attncc.attention(query, query, query, CAUSAL)


def test_a_batch_without_entries_has_no_results() -> None:
    query = torch.randn(0, 2, 5, 8)
    assert attncc.attention(query, query, query, CAUSAL, batch_invariant=True).shape == query.shape


def test_tensors_that_fit_no_batch_are_refused() -> None:
    query, key = torch.randn(3, 2, 1, 8), torch.randn(2, 2, 5, 8)
    with pytest.raises(ShapeError, match=r"key \(2, 2, 5, 8\)"):
        attncc.attention(query, key, key, CAUSAL, batch_invariant=True)
    with pytest.raises(ShapeError, match="q_offset has shape"):
        attncc.attention(query, query, query, CAUSAL, q_offset=[1], batch_invariant=True)
