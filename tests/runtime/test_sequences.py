"""Batches of sequences with offsets and numbers of keys of their own: results and gradients are each one's alone."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sequence_cases import SequenceCase, sequence_cases
from torch import Tensor
from torch._dynamo.testing import CompileCounterWithBackend

import attncc
from attncc.errors import AttnccError, ShapeError
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem
from attncc.testing.score_strategies import score_cases

pytestmark = pytest.mark.timeout(600)

LENGTHS = [40, 17, 0, 9]
PATTERNS = [
    attncc.load("causal"),
    attncc.load("full"),
    attncc.load("sliding_window", window=5),
    attncc.load("strided", l=4).union(),
    attncc.load("fixed", l=4, c=1).heads(),
    attncc.load("block_diagonal", block=4),
]


def drawn(q_len: int, dtype: torch.dtype, kv_heads: int = 2, dim: int = 8) -> list[Tensor]:
    """Return query, key and value; what lies beyond a sequence's keys is NaN."""
    generator = torch.Generator().manual_seed(0)
    shapes = [(len(LENGTHS), heads, n, dim) for heads, n in ((4, q_len), (kv_heads, 40), (kv_heads, 40))]
    query, key, value = (torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype) for shape in shapes)
    for b, n in enumerate(LENGTHS):
        key[b, :, n:] = value[b, :, n:] = torch.nan
    return [x.requires_grad_() for x in (query, key, value)]


@pytest.mark.parametrize("backend", ["torch", "triton", "reference"])
@pytest.mark.parametrize("q_len", [1, 7])
@pytest.mark.parametrize("pattern", PATTERNS, ids=lambda pattern: pattern.name)
def test_each_sequence_is_what_attention_returns_for_it_alone(
    pattern: attncc.Pattern, q_len: int, backend: str
) -> None:
    dtype = torch.float32 if backend == "triton" else torch.float64
    inputs = drawn(q_len, dtype)
    offsets = torch.tensor(LENGTHS) - q_len
    query, key, value = inputs
    arguments = {"enable_gqa": True, "return_lse": True}
    out, lse = attncc.attention(*inputs, pattern, q_offset=offsets, kv_len=LENGTHS, backend=backend, **arguments)
    found = [*torch.autograd.grad(out.sum() + lse[lse > -torch.inf].sum(), inputs)]
    if backend == "triton":  # the rows of values that are NaN themselves, as docs/backends.md says
        found[1] = found[1].nan_to_num()
    assert not any(x.isnan().any() for x in (out, lse, *found))
    for b, n in enumerate(LENGTHS):
        own = [x.detach().double().requires_grad_() for x in (query[b : b + 1], key[b : b + 1, :, :n])]
        own.append(value[b : b + 1, :, :n].detach().double().requires_grad_())
        wanted, wanted_lse = attncc.attention(*own, pattern, q_offset=n - q_len, backend="reference", **arguments)
        gradients = torch.autograd.grad(wanted.sum() + wanted_lse[wanted_lse > -torch.inf].sum(), own)
        close = {"rtol": 1e-4, "atol": 1e-4} if dtype == torch.float32 else {"rtol": 1e-9, "atol": 1e-9}
        torch.testing.assert_close(out[b : b + 1].double(), wanted, **close)
        torch.testing.assert_close(lse[b : b + 1].double(), wanted_lse, **close)
        torch.testing.assert_close(found[0][b : b + 1].double(), gradients[0], **close)
        for d_found, d_wanted in zip(found[1:], gradients[1:], strict=True):
            torch.testing.assert_close(d_found[b : b + 1, :, :n].double(), d_wanted, **close)
            assert not d_found[b, :, n:].any()


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_keys_beyond_a_sequence_are_not_read_where_each_pair_is_evaluated(backend: str) -> None:
    @attncc.pattern
    def chequered(i, j):
        return (j >= i) ^ ((i + j) % 2 == 1)

    inputs = [x.detach() for x in drawn(8, torch.float32)]
    out = attncc.attention(*inputs, chequered, q_offset=35, kv_len=LENGTHS, enable_gqa=True, backend=backend)
    assert out.isfinite().all()


@settings(max_examples=100)
@given(sequence_cases(), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]), st.data())
def test_attention_and_gradients_of_sequences_agree_with_the_oracle(
    case: SequenceCase, dtype: torch.dtype, data: st.DataObject
) -> None:
    check_attention(case.sequences.pattern(case.pattern), torch.tensor(case.mask), problem_for(case, dtype, data))


@settings(max_examples=60)
@given(sequence_cases(), st.data())
def test_scores_of_sequences_and_all_gradients_agree_with_the_oracle(case: SequenceCase, data: st.DataObject) -> None:
    check_scored(case, torch.float64, None, data)


@settings(max_examples=6)
@given(sequence_cases(), st.data())
def test_kernels_of_sequences_and_all_gradients_agree_with_the_oracle(case: SequenceCase, data: st.DataObject) -> None:
    check_scored(case, torch.float32, "triton", data)


def check_scored(case: SequenceCase, dtype: torch.dtype, backend: str | None, data: st.DataObject) -> None:
    scored = data.draw(score_cases(case, case.heads))
    problem = problem_for(case, dtype, data).with_weights(scored.weights)
    pattern, score = case.sequences.pattern(case.pattern), case.sequences.score(scored.score)
    check_attention(pattern, torch.tensor(case.mask), problem, score=score, formula=scored.formula, backend=backend)


def problem_for(case: SequenceCase, dtype: torch.dtype, data: st.DataObject) -> Problem:
    return Problem.drawn(
        case.q_len,
        case.kv_len,
        batch=len(case.lengths),
        heads=case.heads,
        kv_heads=data.draw(st.sampled_from([1, case.heads])),
        head_dim=data.draw(st.sampled_from([1, 8, 24])),
        value_dim=data.draw(st.sampled_from([8, 17])),
        dtype=dtype,
    )


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_scores_see_a_sequences_own_positions(backend: str) -> None:
    slopes = torch.tensor([0.1, 0.2, 0.3, 0.4])
    query, key, value = (x.detach().nan_to_num() for x in drawn(3, torch.float32, kv_heads=4))
    offsets = [n - 3 for n in LENGTHS]
    score = attncc.alibi(slopes=slopes)
    out = attncc.attention(
        query, key, value, PATTERNS[0], score=score, q_offset=offsets, kv_len=LENGTHS, backend=backend
    )
    for b, n in enumerate(LENGTHS):
        own = (query[b : b + 1], key[b : b + 1, :, :n], value[b : b + 1, :, :n])
        torch.testing.assert_close(
            out[b : b + 1], attncc.attention(*own, PATTERNS[0], score=score, q_offset=n - 3), rtol=1e-4, atol=1e-5
        )


@pytest.mark.parametrize("kind", [list, tuple, np.array, torch.tensor, lambda x: torch.tensor(x, dtype=torch.int32)])
def test_numbers_of_sequences_are_integers_of_any_kind(kind) -> None:
    inputs = [x.detach() for x in drawn(1, torch.float32)]
    wanted = attncc.attention(*inputs, PATTERNS[0], q_offset=[39, 16, -1, 8], kv_len=LENGTHS, enable_gqa=True)
    found = attncc.attention(
        *inputs, PATTERNS[0], q_offset=kind([39, 16, -1, 8]), kv_len=kind(LENGTHS), enable_gqa=True
    )
    assert torch.equal(found, wanted)


@pytest.mark.parametrize("kind", [int, np.int64, np.array, torch.tensor])
def test_one_number_stands_for_all_sequences(kind) -> None:
    query, key, value = (x.detach().nan_to_num() for x in drawn(2, torch.float32))
    found = attncc.attention(query, key, value, PATTERNS[0], q_offset=kind(7), kv_len=kind(9), enable_gqa=True)
    wanted = attncc.attention(query, key[:, :, :9], value[:, :, :9], PATTERNS[0], q_offset=7, enable_gqa=True)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize("numbers", [3, [], torch.tensor([], dtype=torch.int32)])
def test_a_batch_without_entries_has_offsets_and_lengths(numbers) -> None:
    inputs = [x.detach()[:0] for x in drawn(2, torch.float32, kv_heads=4)]
    assert attncc.attention(*inputs, PATTERNS[0], q_offset=numbers, kv_len=numbers).shape == (0, 4, 2, 8)
    with pytest.raises(ShapeError, match="there are 0 batch entries"):
        attncc.attention(*inputs, PATTERNS[0], kv_len=[3])


def test_numbers_that_are_changed_in_place_are_read_again() -> None:
    inputs = [x.detach() for x in drawn(1, torch.float32)]
    lengths = torch.tensor(LENGTHS)
    attncc.attention(*inputs, PATTERNS[1], kv_len=lengths, enable_gqa=True)
    lengths[0] = 3
    found = attncc.attention(*inputs, PATTERNS[1], kv_len=lengths, enable_gqa=True)
    assert torch.equal(found, attncc.attention(*inputs, PATTERNS[1], kv_len=[3, 17, 0, 9], enable_gqa=True))


@pytest.mark.parametrize(
    ("given", "problem"),
    [
        ({"q_offset": [1, 2]}, "q_offset has shape (2,), and there are 4 batch entries"),
        ({"q_offset": torch.zeros(4)}, "q_offset has shape (4,) and dtype float32"),
        ({"q_offset": [[0], [1]]}, "q_offset has shape (2, 1)"),
        ({"q_offset": 0.5}, "q_offset=0.5"),
        ({"kv_len": [1, 2, 3]}, "kv_len has shape (3,)"),
        ({"kv_len": [1, 2, 3, 41]}, "kv_len has 41, and there are 40 keys"),
        ({"kv_len": 41}, "kv_len has 41, and there are 40 keys"),
        ({"kv_len": -1}, "kv_len has shape (4,) and entries from -1 to -1"),
        ({"kv_len": 2.5}, "kv_len has shape (4,) and dtype float64"),
        ({"kv_len": True}, "kv_len has shape (4,) and dtype bool"),
    ],
)
def test_numbers_that_fit_no_batch_are_refused(given, problem: str) -> None:
    inputs = [x.detach() for x in drawn(1, torch.float32)]
    with pytest.raises(ShapeError) as refused:
        attncc.attention(*inputs, PATTERNS[0], enable_gqa=True, **given)
    assert problem in refused.value.problem
    assert refused.value.rule
    assert refused.value.fix


def test_numbers_in_text_are_refused() -> None:
    inputs = [x.detach() for x in drawn(1, torch.float32)]
    with pytest.raises(AttnccError):
        attncc.attention(*inputs, PATTERNS[0], enable_gqa=True, kv_len=["a", "b", "c", "d"])


def test_patterns_of_sequences_that_are_made_before_are_traced() -> None:
    inputs = [x.detach() for x in drawn(1, torch.float32)]
    graphs = []

    def counting(graph, _):
        graphs.append(graph)
        return graph.forward

    @torch.compile(backend=counting, fullgraph=True)
    def run(query: Tensor, key: Tensor, value: Tensor, pattern: attncc.Pattern) -> Tensor:
        return attncc.attention(query, key, value, pattern, enable_gqa=True)

    for step in range(3):
        offsets, lengths = [38 + step, 15, 2, 8], [39 + min(step, 1), 16, 3, 9]
        pattern = attncc.Sequences(offsets, lengths).pattern(PATTERNS[2])
        wanted = attncc.attention(*inputs, PATTERNS[2], q_offset=offsets, kv_len=lengths, enable_gqa=True)
        torch.testing.assert_close(run(*inputs, pattern), wanted, equal_nan=True)
    assert len(graphs) == 1


def in_a_graph(query, key, value, offsets, lengths, slopes):
    """Attention of a window, and of everything under a score, in sequences that are values of the graph."""
    options = {"q_offset": offsets, "kv_len": lengths, "enable_gqa": True}
    near = attncc.attention(query, key, value, PATTERNS[2], **options)
    scored = attncc.alibi(slopes=slopes).then(attncc.softcap(cap=3.0))
    return near + attncc.attention(query, key, value, PATTERNS[0], score=scored, **options)


def sequences_for_a_graph(q_len: int, lengths: list[int]) -> list[Tensor]:
    n = torch.tensor(lengths)
    slopes = torch.tensor([0.1, 0.2, 0.3, 0.4], dtype=torch.float64)
    return [*(x.detach().nan_to_num(1.0) for x in drawn(q_len, torch.float64)), n - q_len, n, slopes]


IN_A_GRAPH = [(3, [40, 17, 5, 9]), (3, [31, 18, 9, 40]), (5, [12, 30, 5, 22]), (4, [12, 31, 6, 22])]


def test_numbers_are_inputs_of_graphs() -> None:
    """New ones need no new graph, and a number of queries one that is for all of them."""
    torch._dynamo.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(in_a_graph, fullgraph=True, backend=counter)
    for case in IN_A_GRAPH:
        inputs = sequences_for_a_graph(*case)
        leaves = [inputs[n].requires_grad_() for n in (0, 1, 2, 5)]
        found, wanted = compiled(*inputs), in_a_graph(*inputs)
        torch.testing.assert_close(found, wanted)
        gradients = [torch.autograd.grad(x.square().sum(), leaves) for x in (found, wanted)]
        torch.testing.assert_close(*gradients)
    assert counter.frame_count == 2


def test_an_exported_program_takes_numbers() -> None:
    program = torch.export.export(Stepping(), tuple(sequences_for_a_graph(*IN_A_GRAPH[0]))).module()
    for case in IN_A_GRAPH[:2]:
        inputs = sequences_for_a_graph(*case)
        torch.testing.assert_close(program(*inputs), in_a_graph(*inputs))


class Stepping(torch.nn.Module):
    def forward(self, *inputs: Tensor) -> Tensor:
        return in_a_graph(*inputs)


@pytest.mark.parametrize(("offsets", "lengths"), [(30, 34), ([0, 4, 8, 30], 34), (2, [3, 40, 9, 0])])
def test_a_graph_takes_lists_and_one_number_for_all(offsets, lengths) -> None:
    query, key, value, *_ = sequences_for_a_graph(*IN_A_GRAPH[0])

    def step(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        options = {"q_offset": offsets, "kv_len": lengths, "enable_gqa": True}
        return attncc.attention(query, key, value, PATTERNS[0], **options)

    torch._dynamo.reset()
    compiled = torch.compile(step, fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(compiled(query, key, value), step(query, key, value))


def test_a_graph_refuses_numbers_that_fit_no_batch() -> None:
    inputs = sequences_for_a_graph(*IN_A_GRAPH[0])
    torch._dynamo.reset()
    compiled = torch.compile(in_a_graph, fullgraph=True, backend="aot_eager")
    with pytest.raises(ShapeError, match=r"kv_len has shape \(3,\), and there are 4 batch entries"):
        compiled(*inputs[:4], inputs[4][:3], inputs[5])
    with pytest.raises(RuntimeError, match="kv_len has more keys than the tensors"):
        compiled(*inputs[:4], inputs[4] + 1, inputs[5])
