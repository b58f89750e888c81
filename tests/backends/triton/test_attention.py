"""Generated kernels against dense attention in float64: outputs, lse and all gradients."""

from __future__ import annotations

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.base import Saved
from attncc.backends.logsum import LogSum
from attncc.backends.reference.mask import as_broadcast, dense_mask
from attncc.backends.triton import BACKEND
from attncc.backends.triton.config import KernelConfig
from attncc.backends.triton.launch import HeadShape
from attncc.backends.triton.lower import Lowering
from attncc.backends.triton.lowered_plan import LoweredPlan
from attncc.ir.score import IDENTITY
from attncc.runtime.call import AttentionCall
from attncc.runtime.executables import executable_for
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem

HEAD_DIMS = (16, 40, 64, 80, 128)
LENGTHS = (1, 15, 63, 64, 65, 113, 127, 129, 203)
GROUPS = (1, 2, 4)
DTYPES = (torch.float32, torch.bfloat16, torch.float16)
#: Small blocks, so that short sequences have many tiles.
KERNELS = ("forward", "query_gradient", "key_gradient")
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in ("m", "n")}
SPLIT = {f"{kernel}.item_tiles": 2 for kernel in KERNELS}


@attncc.pattern
def sparse_rows(i, j):
    """Every third query sees nothing."""
    return (i % 3 != 0) & (j <= i)


@attncc.pattern
def blocks(i, j, *, chosen: attncc.Table):
    """Blocks of 16 that a table names, and the last 16 keys."""
    return (chosen[i // 16, j // 16] == 1) & (j <= i) | (i - j < 16) & (j <= i)


@attncc.pattern
def listed(i, j, *, keys: attncc.Lists, routed: attncc.Lists):
    """Blocks that a list names, also where none is named, and keys one by one."""
    return (j // 16).isin(routed[i // 16]) | (j.isin(keys[i]) & ~(j % 5).isin(routed[i // 16]))


def _patterns(length: int) -> dict[str, attncc.Pattern]:
    random = np.random.default_rng(length)
    count = -(-length // 16)
    documents = np.sort(random.integers(0, 4, length))
    return {
        "causal": attncc.load("causal"),
        "window": attncc.load("sliding_window", window=20),
        "strided": attncc.load("strided", l=8),
        "strided by head": attncc.load("strided", l=8).heads(),
        "fixed": attncc.load("fixed", l=16, c=3),
        "document": attncc.load("document", ids=documents),
        "document by batch entry": attncc.load("document", ids=np.stack([documents, np.zeros_like(documents)])),
        "table": blocks(chosen=random.integers(0, 2, (count, count))),
        "lists": listed(
            keys=random.integers(-1, length, (700, 5)), routed=random.integers(-2, 2 * count, (2, 1, -(-700 // 16), 3))
        ),
        "empty rows": sparse_rows(),
        "per head": attncc.per_head([attncc.load("causal"), sparse_rows(), attncc.load("prefix", length=9)]),
    }


def check(pattern: attncc.Pattern, q_len: int, kv_len: int | None = None, *, q_offset=0, config=None, **sizes) -> None:
    problem = Problem.drawn(q_len, kv_len or q_len, **sizes)
    heads, batch = sizes.get("heads", 1), sizes.get("batch", 1)
    mask = dense_mask(pattern, q_len, kv_len or q_len, q_offset=q_offset, heads=heads, batch=batch)
    check_attention(pattern, as_broadcast(mask, pattern), problem, q_offset=q_offset, backend="triton", config=config)


NAMES = list(_patterns(16))
#: Those whose tables differ by batch entry.
BY_BATCH = ("document by batch entry", "lists")
COMBINED = list(itertools.product(LENGTHS, HEAD_DIMS))
#: Short sequences keep the interpreter quick; each pattern has tiles of all classes at this length.
SHORT = 49


@pytest.mark.parametrize(("length", "head_dim"), COMBINED)
def test_lengths_and_head_sizes_agree_with_the_oracle(length: int, head_dim: int) -> None:
    number = COMBINED.index((length, head_dim))
    name, group, dtype = NAMES[number % len(NAMES)], GROUPS[number % 3], DTYPES[number // 3 % 3]
    kv_heads = 1 if group > 1 else 2
    sizes = {"heads": kv_heads * group, "kv_heads": kv_heads, "head_dim": head_dim, "value_dim": head_dim}
    check(_patterns(length)[name], length, batch=2 if name in BY_BATCH else 1, dtype=dtype, **sizes)


@pytest.mark.parametrize("dtype", DTYPES, ids=str)
@pytest.mark.parametrize("name", NAMES)
def test_small_blocks_agree_with_the_oracle(name: str, dtype: torch.dtype) -> None:
    """Of all patterns in all dtypes; `test_kernels_write_every_output` has several batch entries and heads of each."""
    heads = 3 if name == "per head" else 2
    batch = 2 if name in BY_BATCH else 1
    check(_patterns(SHORT)[name], SHORT, batch=batch, heads=heads, kv_heads=heads, dtype=dtype, config=SMALL)


@pytest.mark.parametrize("name", ["causal", "strided", "strided by head", "table"])
def test_split_items_agree_with_the_oracle(name: str) -> None:
    config = {**SMALL, **SPLIT}
    check(_patterns(97)[name], 97, heads=4, kv_heads=2, value_dim=40, config=config)


@pytest.mark.parametrize("name", ["strided by head", "table"])
def test_the_dense_plan_agrees_with_the_oracle(name: str) -> None:
    config = {**SMALL, "forward.plan": "dense", "backward.plan": "dense"}
    check(_patterns(65)[name], 65, heads=2, kv_heads=2, config=config)


@pytest.mark.parametrize("name", ["window", "strided by head", "table"])
def test_atomic_query_gradients_agree_with_the_oracle(name: str) -> None:
    check(_patterns(65)[name], 65, heads=4, kv_heads=2, head_dim=40, config={**SMALL, "atomic": True})


@pytest.mark.parametrize(("q_len", "kv_len", "q_offset"), [(20, 65, 45), (65, 20, 0), (1, 97, 96), (31, 33, 500)])
@pytest.mark.parametrize("name", ["causal", "strided", "fixed"])
def test_query_and_key_lengths_may_differ(name: str, q_len: int, kv_len: int, q_offset: int) -> None:
    check(_patterns(700)[name], q_len, kv_len, q_offset=q_offset, heads=2, kv_heads=2, config=SMALL)


@pytest.mark.parametrize("group", [1, 3, 8])
@pytest.mark.parametrize("q_len", [1, 3, 16])
def test_decoding_splits_the_keys(q_len: int, group: int) -> None:
    pattern = attncc.load("sliding_window", window=150)
    config = {"forward.item_tiles": 1, "forward.block_n": 16}
    check(pattern, q_len, 203, q_offset=203 - q_len, heads=2 * group, kv_heads=2, batch=2, config=config)


OWN = {  # patterns of 8 query heads, two key heads; how the heads of each group are laid out
    "all alike": (["causal"] * 8, [True]),
    "in turn": (["causal", "local"] * 4, [True, True]),
    "some alone": (["causal", "causal", "causal", "local", "causal", "local", "full", "local"], [True, True, False]),
    "each key head its own": (["causal"] * 4 + ["local"] * 4, [True, True]),
    "none together": (["causal", "local", "full", "strided"] * 2, [False] * 4),
}
DECLARED = {
    "causal": attncc.load("causal"),
    "local": attncc.load("sliding_window", window=30),
    "full": attncc.load("full"),
    "strided": attncc.load("strided", l=8).layers(1),
}


@pytest.mark.parametrize("config", [{}, {"forward.item_tiles": 1, "forward.block_n": 16}], ids=["whole", "split"])
@pytest.mark.parametrize("q_len", [1, 3])
@pytest.mark.parametrize("name", OWN)
def test_heads_that_share_keys_and_a_pattern_are_packed(name: str, q_len: int, config, poisoned) -> None:
    names, wanted = OWN[name]
    pattern = attncc.per_head([DECLARED[each] for each in names])
    offset = 60 - q_len  # so that even a single query tells causal and full apart
    check(pattern, q_len, 65, q_offset=offset, heads=8, kv_heads=2, batch=2, config=config)
    plan = attncc.plan(pattern, q_len, 65, q_offset=offset, heads=8, batch=2, tile=BACKEND.tile)
    lowering = Lowering(HeadShape(16, 16, 4, 4), KernelConfig.default("any", 16, 4), 1)
    lowered = LoweredPlan(plan, lowering, 2, 8, 2, torch.device("cpu"))
    packed = [launch.spec.packed for launch in lowered.forward.launches if launch.spec.role != "join"]
    assert sorted(packed, reverse=True) == wanted


@pytest.mark.parametrize("config", [SMALL, {**SMALL, **SPLIT}], ids=["whole", "split"])
@pytest.mark.parametrize("name", NAMES)
def test_kernels_write_every_output(name: str, config, poisoned) -> None:
    check(_patterns(33)[name], 33, batch=2, heads=4, kv_heads=2, config=config)


@pytest.mark.parametrize(("q_len", "kv_len"), [(0, 5), (5, 0)])
def test_inputs_without_queries_or_keys_give_zeros(q_len: int, kv_len: int, poisoned) -> None:
    query, key = torch.randn(1, 2, q_len, 16, requires_grad=True), torch.randn(1, 2, kv_len, 16, requires_grad=True)
    run = attncc.compile(attncc.load("full"), q_len, kv_len, return_lse=True, backend="triton")
    out, lse = run(query, key, key)
    assert (out == 0).all()
    assert (lse == -torch.inf).all()
    d_query, d_key = torch.autograd.grad(out.sum(), (query, key))
    assert not d_query.any()
    assert not d_key.any()


@pytest.mark.parametrize("scale", [-0.5, 0.0, 1e-60])
def test_scales_need_not_be_positive(scale: float) -> None:
    pattern = attncc.load("strided", l=8)
    leaves = [torch.randn(1, 2, 65, 16, requires_grad=True) for _ in range(3)]
    results = []
    for backend in ("triton", "reference"):
        out = attncc.attention(*leaves, pattern, scale=scale, backend=backend)
        results.append([out, *torch.autograd.grad(out.square().sum(), leaves)])
    for found, wanted in zip(*results, strict=True):
        torch.testing.assert_close(found, wanted, atol=1e-4, rtol=1e-4)


def test_rows_far_apart_are_reached_by_64_bit_offsets() -> None:
    """The rows lie more than 2^31 elements apart; only their pages of the storage are touched."""
    pattern, rows = attncc.load("strided", l=4), 20
    distance = -(-(1 << 31) // (rows - 1))
    storage = torch.empty(rows * distance, dtype=torch.float16)
    spaced = [storage.as_strided((1, 1, rows, 16), (0, 0, distance, 1), offset) for offset in (0, 16, 32)]
    for x in spaced:
        x.copy_(torch.randn(1, 1, rows, 16))
    found = attncc.attention(*spaced, pattern, backend="triton", config=SMALL)
    wanted = attncc.attention(*(x.contiguous() for x in spaced), pattern, backend="reference")
    torch.testing.assert_close(found, wanted, atol=2e-3, rtol=2e-3)


def test_lse_may_be_a_slice(device: str) -> None:
    """Partitioned schedules compute gradients of some rows from slices of the forward's results."""
    pattern, whole = attncc.load("causal"), [torch.randn(2, 3, 24, 16) for _ in range(3)]
    rows = slice(5, 24)
    query, key, value = (x[:, :, rows] for x in whole)
    call = AttentionCall(pattern.handle, IDENTITY.key, 0, "triton", "{}")
    executable = executable_for(query, key, value, "forward", call)
    out, lse = executable.forward(query, key, value, (), 0.25)
    spaced = torch.randn(2, 3, 24)[:, :, rows]
    spaced.copy_(lse.value)
    grad = torch.randn_like(out)
    saved = Saved(query, key, value, (), out, lse)
    wanted = executable.backward(saved, grad, None, 0.25, False)
    found = executable.backward(replace(saved, lse=LogSum(spaced)), grad, None, 0.25, False)
    for a, b in zip(found[:3], wanted[:3], strict=True):
        torch.testing.assert_close(a, b)


def test_nan_in_row_0_does_not_spread_to_others(device: str) -> None:
    """Keys beyond a gathered axis must not read row 0: 0 * NaN is NaN."""
    pattern = attncc.load("strided", l=4).layers(1)
    query, key, value = (torch.randn(1, 1, 21, 16) for _ in range(3))
    value[:, :, 0] = torch.nan
    out = attncc.attention(query, key, value, pattern, backend="triton", config=SMALL)
    clean = attncc.attention(query, key, value.nan_to_num(), pattern, backend="reference")
    last = torch.arange(21) % 4 == 3  # sorted by class, their tile of keys holds only their own class
    torch.testing.assert_close(out[:, :, last], clean[:, :, last], atol=1e-5, rtol=1e-5)


def test_distinct_arrays_have_distinct_tensors() -> None:
    """The id of a freed host array may be reused, so it identifies no tensor."""
    plan = attncc.plan(attncc.load("strided", l=32), 2048, tile=(128, 64))
    config = KernelConfig.default("any", 64, 2)
    lowered = LoweredPlan(plan, Lowering(HeadShape(64, 64, 2, 1), config, 132), 1, 8, 8, torch.device("meta"))
    for launch in (*lowered.launches("forward"), *lowered.launches("backward")):
        assert all(array.device.type == "meta" for array in launch.arrays.values())
    for number, (array, tensor) in lowered._resident.items():
        assert id(array) == number
        assert array.shape == tuple(tensor.shape)
