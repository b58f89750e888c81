"""Regressions: each test holds the rule that a bug broke."""

from __future__ import annotations

import copy
import gc
import math
import pickle

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.torch.config import Tiling
from attncc.backends.torch.lower import schedule
from attncc.frontend.language import Index, maximum, minimum
from attncc.ir.diagonals import depends_on_gap
from attncc.ir.evaluate import evaluate_predicate
from attncc.ir.notation import condition as written
from attncc.ir.score import ScoreExpression, by_key
from attncc.ir.symbols import SCORE, B, I, J
from attncc.ir.unfold import by_cases
from attncc.runtime import executables
from attncc.testing import check_pattern

i, j, b = map(Index.of, (I, J, B))


def drawn(condition) -> attncc.Pattern:
    return attncc.Pattern([condition.predicate], "drawn")


def test_empty_and_full_patterns_have_distinct_keys() -> None:
    everything, nothing = drawn(i % 2 < 2), drawn((i < 3) & (i > 5))
    assert everything.key != nothing.key
    assert attncc.plan(nothing, 4).nnz == 0
    assert attncc.plan(everything, 4).nnz == 16


def test_patterns_that_reduce_to_no_batch_dependence_have_no_batch_dimension() -> None:
    plain, seeming = drawn(j <= i), drawn((j <= i) | ((j <= i) & (b % 3 == 1)))
    assert plain.key == seeming.key
    assert attncc.plan(seeming, 100, batch=2).mask_shape == attncc.plan(plain, 100, batch=2).mask_shape == (100, 100)
    assert attncc.dense_mask(seeming, 5, batch=2).shape == (5, 5)


def test_upper_bounds_round_down() -> None:
    assert attncc.plan(drawn(3 * i < i), 4).nnz == 0
    assert attncc.plan(drawn(2 * j <= 7 - 2 * i), 9).nnz == int(attncc.dense_mask(drawn(2 * j <= 7 - 2 * i), 9).sum())


def test_tiles_do_not_share_masks_that_depend_on_the_query() -> None:
    check_pattern(drawn((j <= i) | (i % 3 < 1)), lengths=(128, 200), heads=1, batch=1)


def test_unequal_has_the_key_of_less_or_greater() -> None:
    assert drawn(i != j).key == drawn((i < j) | (j < i)).key


def test_intermediate_results_do_not_overflow() -> None:
    fourth = drawn(i**4 <= j)
    assert attncc.plan(fourth, 300).nnz == int(attncc.dense_mask(fourth, 300).sum())
    with pytest.raises(attncc.PatternError, match="64 bits"):
        attncc.plan(fourth, 300_000)


@pytest.mark.parametrize(
    ("folded", "plain"),
    [
        (abs(i - j) <= 4, (i - j <= 4) & (j - i <= 4)),
        (abs(i // 8 - j // 8) < 2, (i // 8 - j // 8 < 2) & (j // 8 - i // 8 < 2)),
        (j >= maximum(i - 4, 8), (j >= i - 4) & (j >= 8)),
        (minimum(i, j) >= 3, (i >= 3) & (j >= 3)),
        (maximum(i, j) > 9, (i > 9) | (j > 9)),
        (maximum(i, j) == 7, ((i == 7) & (j <= 7)) | ((j == 7) & (i <= 7))),
    ],
    ids=lambda condition: written(condition.predicate),
)
def test_bands_with_abs_minimum_or_maximum_are_unfolded(folded, plain) -> None:
    assert drawn(folded).key == drawn(plain).key
    assert attncc.plan(drawn(folded), 40).nnz == int(attncc.dense_mask(drawn(folded), 40).sum())


def test_two_sided_windows_slice_keys_and_share_a_mask() -> None:
    passes = attncc.plan(drawn((i - j <= 64) & (j - i <= 64)), 8192).groups[0].passes
    works = schedule(passes, 8192, Tiling()).tile_batches
    most = max(works, key=lambda work: work.rows.items)
    assert most.rows.items > 200
    assert most.cols.index is None
    assert most.mask is not None
    assert most.mask.shared


def test_temporary_patterns_and_scores_live_until_the_backward() -> None:
    @attncc.score
    def capped(score, *, c: float):
        return c * attncc.tanh(score / c)

    query, key, value = (torch.randn(1, 1, 9, 4, requires_grad=True) for _ in range(3))
    for _ in range(2):  # the second is equal to the first, which the cache of plans keeps alive
        out = attncc.attention(query, key, value, attncc.load("strided", l=3), score=capped(c=2.0))
        executables._lowered.cache_clear()
        gc.collect()
        out.sum().backward()


def test_freeing_a_score_keeps_an_equal_one() -> None:
    first, second = ScoreExpression(SCORE * 3), ScoreExpression(3 * SCORE)
    key = first.key
    del first
    gc.collect()
    assert by_key(key) is second


def test_attention_runs_on_meta_tensors() -> None:
    query = torch.empty(1, 2, 64, 8, device="meta")
    assert attncc.attention(query, query, query, attncc.load("causal")).shape == (1, 2, 64, 8)


def test_guards_hold_inside_absolute_values() -> None:
    table = attncc.Table(np.arange(8) % 2)
    near = drawn((abs(i - j) < 8) & (table[7 - abs(i - j)] != 0))
    assert attncc.plan(near, 100).nnz == int(attncc.dense_mask(near, 100).sum())
    with pytest.raises(attncc.TableError, match="8 entries"):
        attncc.plan(drawn((abs(i - j) < 9) & (table[abs(i - j)] != 0)), 100)


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: j <= i & i - j < 4, "parentheses around each comparison"),
        (lambda: max(i, 3), "attncc.maximum"),
        (lambda: attncc.load("causal") & 3, "not a pattern"),
        (lambda: attncc.load("strided").layers(0.5), "residual block"),
        (lambda: attncc.pattern(3), "stands on a function"),
        (lambda: attncc.plan(attncc.load("causal"), 9, tile=128), "a pair"),
    ],
)
def test_common_mistakes_are_attncc_errors(call, says: str) -> None:
    with pytest.raises(attncc.AttnccError, match=says):
        call()


def test_dependence_on_the_gap_considers_both_sides_of_the_diagonal() -> None:
    assert not depends_on_gap(((maximum(i, j) - i) * j <= 5).predicate)  # 0 wherever i >= j
    assert depends_on_gap((abs(i - j) <= 5).predicate)


def test_scores_that_compose_to_infinity_are_score_errors() -> None:
    @attncc.score
    def nothing(score):
        return score * 0

    @attncc.score
    def inverse(score):
        return 1 / score

    with pytest.raises(attncc.ScoreError, match="numbers are finite"):
        nothing().then(inverse())


def test_patterns_without_a_return_value_are_refused() -> None:
    @attncc.pattern
    def forgot(i, j):
        _ = j <= i

    with pytest.raises(attncc.PatternError, match=r"'forgot' returned None"):
        forgot()


def test_patterns_that_raise_system_exit_are_refused() -> None:
    @attncc.pattern
    def leaves(i, j):
        raise SystemExit(4)

    with pytest.raises(attncc.PatternError, match="'leaves' raised SystemExit: 4"):
        leaves()


def test_and_masks_and_or_masks_of_flex_attention_are_accepted() -> None:
    from torch.nn.attention.flex_attention import and_masks, or_masks

    def causal(b, h, q_idx, kv_idx):
        return q_idx >= kv_idx

    def near(b, h, q_idx, kv_idx):
        return q_idx - kv_idx <= 3

    def sink(b, h, q_idx, kv_idx):
        return kv_idx == 0

    @attncc.pattern
    def joined(b, h, i, j):
        return or_masks(and_masks(causal, near), sink)(b, h, i, j)

    rows, cols = torch.arange(40).unsqueeze(1), torch.arange(40)
    dense = ((rows >= cols) & (rows - cols <= 3)) | (cols == 0)
    assert torch.equal(torch.as_tensor(attncc.dense_mask(joined(), 40)), dense)
    assert attncc.plan(joined(), 40).nnz == int(dense.sum())


def test_results_beyond_all_floats_are_reported() -> None:
    huge = (((j**4) ** 4) ** 4) ** 4
    with pytest.raises(attncc.PatternError, match=r"reach \d\.\d\de\+6\d\d at"):
        attncc.plan(drawn(huge > i), 300)


@pytest.mark.parametrize("name", ["causal", "strided", "full"])
@pytest.mark.parametrize("scale", [0.0, -1.0, -0.3, 1e-320])
@pytest.mark.parametrize("score", [None, "alibi"])
def test_scales_of_zero_or_below_give_no_nan(name: str, scale: float, score: str | None) -> None:
    torch.manual_seed(0)
    inputs = [torch.randn(1, 2, 40, 8, dtype=torch.float64) for _ in range(3)]
    bias = None if score is None else attncc.alibi(slopes=torch.tensor([0.5, 0.25]))
    found = {}
    for backend in ("reference", "torch"):
        leaves = [x.clone().requires_grad_() for x in inputs]
        out = attncc.attention(*leaves, attncc.load(name), scale=scale, score=bias, backend=backend)
        out.square().sum().backward()
        found[backend] = [out.detach(), *(x.grad for x in leaves)]
    for ours, expected in zip(found["torch"], found["reference"], strict=True):
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-8)


@pytest.mark.parametrize(("dtype", "scale"), [(torch.float32, 1e30), (torch.bfloat16, -1e7), (torch.float64, 1e16)])
def test_scales_beyond_the_precision_are_refused(dtype: torch.dtype, scale: float) -> None:
    query = torch.randn(1, 1, 8, 4, dtype=dtype)
    with pytest.raises(attncc.ShapeError, match=r"(?s)scale=.*at most.*Divide the query"):
        attncc.attention(query, query, query, attncc.load("causal"), scale=scale)
    leaves = [query.clone().requires_grad_() for _ in range(3)]
    attncc.attention(*leaves, attncc.load("causal"), scale=2.0**23).sum().backward()
    assert all(x.grad.isfinite().all() for x in leaves)


@attncc.score
def with_constants(score, i, j):
    scaled = score / attncc.sqrt(2) + score * attncc.exp(2) * 0.1
    return scaled + abs(attncc.exp(1) - 3) * score + attncc.tanh(1) + 0.01 * i * attncc.log(attncc.exp(1))


@pytest.mark.parametrize("backend", ["torch", "triton"])
def test_functions_of_numbers_are_evaluated_in_scores(backend: str) -> None:
    """sqrt(2) is a number of a score, and kernels contain floats in place of tl.exp(2) and E."""
    torch.manual_seed(0)
    query, key, value = torch.randn(3, 1, 1, 40, 16)
    factor = 1 / math.sqrt(2) + math.exp(2) * 0.1 + 3 - math.e
    causal = attncc.load("causal")  # the additive part is the same for all keys of a query
    expected = attncc.attention(query, key, value, causal, scale=0.25 * factor, backend="reference")
    found = attncc.attention(query, key, value, causal, scale=0.25, score=with_constants, backend=backend)
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def test_tiles_given_as_lists_are_refused() -> None:
    with pytest.raises(attncc.ConfigError, match=r"tile=\[64, 64\]"):
        attncc.plan(attncc.load("causal"), 64, tile=[64, 64])


WRONG = [None, "x", [1], {"a": 1}, 1.5, -1, 1 << 40, object()]
CAUSAL = attncc.load("causal")


@pytest.mark.parametrize(
    "ask",
    [
        lambda x: attncc.plan(CAUSAL, x),
        lambda x: attncc.plan(CAUSAL, 8, q_offset=x if x != -1 else -1 << 31),
        lambda x: attncc.plan(CAUSAL, 8, target=x),
        lambda x: attncc.dense_mask(CAUSAL, x),
        lambda x: attncc.compile(CAUSAL, [x]),
        lambda x: attncc.compile(CAUSAL, 8, backend=[x]),
        lambda x: attncc.attention(*torch.randn(3, 1, 1, 8, 4), CAUSAL, q_offset=-1 << 31 if x in (-1, [1]) else x),
        lambda x: attncc.explain_config(CAUSAL, x),
        lambda x: attncc.explain_config(CAUSAL, 8, backend=[x]),
        lambda x: attncc.autotune(CAUSAL, 8, budget=[x]),
        lambda x: attncc.autotune(CAUSAL, 8, trials=str(x)),
        lambda x: attncc.autotune(CAUSAL, 8, workers=None if x is None else [x]),
        lambda x: attncc.distributed.Topology.load(x),
        lambda x: attncc.distributed.Topology.load("8xh100").subset([x]),
        lambda x: attncc.per_head(x),
        lambda x: attncc.alibi_slopes(x),
        lambda x: attncc.t5_buckets(x),
        lambda x: attncc.load("strided", l=np.array([x, x], object)),
    ],
)
def test_arguments_of_a_wrong_type_are_attncc_errors(ask) -> None:
    """Python's own TypeErrors must not escape, as from a sum of a length and None."""
    for wrong in WRONG:
        with pytest.raises(attncc.AttnccError) as refused:
            ask(wrong)
        assert refused.value.fix, wrong


@pytest.mark.parametrize(
    "product",
    [
        lambda i, j: (i + j) * (i % 3) % 7,
        lambda i, j: (i - j) * (j % 5) * (i % 3) % 8,
        lambda i, j: 5 * j * (i % 3) % 3,
        lambda i, j: (4 * j * (i % 6) + i) % 9,
        lambda i, j: -(i % 6) % 4,
        lambda i, j: (2 * i + 2 * j) * i // 2 % 5,
        lambda i, j: (2 * i + 2 * j) * (i // 3) // 2 % 5,
        lambda i, j: ((2 * i + 2 * j) * (3 * i + 3) // 6 + i // 4) % 5,
    ],
)
def test_simplified_products_keep_their_value(product) -> None:
    """sympy squares remainders that are factors, and moves halves of even sums out of a quotient."""
    pattern = attncc.pattern(lambda i, j: product(i, j) < 2)
    wanted = np.broadcast_to(product(np.arange(40)[:, None], np.arange(40)[None, :]) < 2, (40, 40))
    assert np.array_equal(attncc.dense_mask(pattern, 40).numpy(), wanted)
    assert attncc.plan(pattern, 40).nnz == wanted.sum()


def test_case_analysis_keeps_the_value_of_remainders() -> None:
    condition = minimum(i % 3, j) * i % 7 < 2
    rows, cols = np.arange(40)[:, None], np.arange(40)[None, :]
    wanted = np.minimum(rows % 3, cols) * rows % 7 < 2
    assert np.array_equal(evaluate_predicate(by_cases(condition.predicate), {I: rows, J: cols}), wanted)


@pytest.mark.parametrize("copied", [copy.deepcopy, lambda it: pickle.loads(pickle.dumps(it))], ids=["copy", "pickle"])
@pytest.mark.parametrize("name", ["strided", "document"])
def test_planned_modules_survive_copying_and_pickling(copied, name: str) -> None:
    given = {"l": 4} if name == "strided" else {"ids": torch.arange(40) // 7}
    made = attncc.compile(attncc.load(name, **given), 40, config={"forward.plan": "fused"})
    again = copied(made)
    x = torch.randn(1, 1, 40, 8)
    assert torch.equal(again(x, x, x), made(x, x, x))
    assert str(again.plan) == str(made.plan)
    assert [g.alternatives[0].name for g in again.plan.groups] == [g.alternatives[0].name for g in made.plan.groups]


def test_declarations_pickle_by_name() -> None:
    for declared in (attncc.alibi, attncc.factory("strided")):
        assert pickle.loads(pickle.dumps(declared)) is declared
        assert copy.deepcopy(declared) is copy.copy(declared) is declared

    @attncc.pattern
    def local(i, j):
        return j <= i

    assert copy.deepcopy(local) is local
    assert pickle.loads(pickle.dumps(local())) == local()
    with pytest.raises(attncc.PatternError, match="can't be pickled"):
        pickle.dumps(local)


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors:UserWarning")
def test_nested_tensors_are_refused() -> None:
    x = torch.nested.nested_tensor([torch.randn(1, 4, 8), torch.randn(1, 5, 8)])
    with pytest.raises(attncc.ShapeError, match="query is a nested tensor"):
        attncc.attention(x, x, x, attncc.load("causal"))


def test_scales_beyond_all_floats_are_refused() -> None:
    x = torch.randn(1, 1, 4, 8)
    with pytest.raises(attncc.ShapeError, match="finite"):
        attncc.attention(x, x, x, attncc.load("causal"), scale=10**400)


def test_masks_in_place_of_a_pattern_are_refused_with_a_fix() -> None:
    x, mask = torch.randn(1, 1, 6, 8), torch.ones(6, 6, dtype=torch.bool).tril()
    with pytest.raises(attncc.PatternError, match=r"A Tensor of shape \(6, 6\) .*\n.*\n.*mask\[i, j\]"):
        attncc.attention(x, x, x, mask)

    @attncc.pattern
    def masked(i, j, *, mask: attncc.Table):
        return mask[i, j]

    assert torch.equal(attncc.dense_mask(masked(mask=mask), 6), mask)
