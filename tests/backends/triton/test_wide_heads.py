"""Heads beyond 256 and of odd sizes, values that are views of their keys, and packs of the heads of a key head."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attncc
from attncc.backends.head_chunks import WHOLE, begins_with, chunks, padded
from attncc.backends.inputs import Inputs
from attncc.backends.reference.mask import as_broadcast, dense_mask
from attncc.backends.triton import BACKEND, aot, lower
from attncc.backends.triton.defaults import MAX_HEAD_DIM
from attncc.backends.triton.modules import render
from attncc.backends.triton.pack_gqa import GridHeads
from attncc.targets import gpu, target
from attncc.testing.check import check_attention
from attncc.testing.oracle import Problem

KERNELS = ("forward", "query_gradient", "key_gradient")
SMALL = {f"{kernel}.block_{axis}": 16 for kernel in KERNELS for axis in ("m", "n")}
SPLIT = {f"{kernel}.item_tiles": 1 for kernel in KERNELS}
CAUSAL, STRIDED = attncc.load("causal"), attncc.load("strided", l=8)


def check(pattern: attncc.Pattern, q_len: int, kv_len: int, config, **sizes) -> None:
    problem, q_offset = Problem.drawn(q_len, kv_len, **sizes), kv_len - q_len
    mask = as_broadcast(dense_mask(pattern, q_len, kv_len, q_offset=q_offset), pattern)
    check_attention(pattern, mask, problem, q_offset=q_offset, backend="triton", config=config)


def test_heads_are_cut_into_at_most_two_powers_of_two() -> None:
    for size in range(1, MAX_HEAD_DIM + 1):
        found = chunks(size)
        assert len(found) == 1 or (len(found) == 2 and size > WHOLE and found[0] < size)
        assert all(each >= 16 and each & (each - 1) == 0 for each in found)
        assert size <= padded(size) < max(17, 2 * size)
    assert chunks(576) == (512, 64)


@pytest.mark.parametrize(("head_dim", "value_dim", "wanted"), [(576, 512, True), (576, 64, False), (96, 96, True)])
def test_values_of_a_key_are_whole_chunks_of_it(head_dim: int, value_dim: int, wanted: bool) -> None:
    assert begins_with(head_dim, value_dim) == wanted


@pytest.mark.parametrize("dtype", [torch.float32, torch.float16], ids=str)
@pytest.mark.parametrize(("head_dim", "value_dim"), [(576, 512), (300, 330), (512, 576)])
def test_wide_heads_agree_with_the_oracle(head_dim: int, value_dim: int, dtype: torch.dtype, poisoned) -> None:
    sizes = {"heads": 2, "kv_heads": 1, "head_dim": head_dim, "value_dim": value_dim}
    check(STRIDED, 33, 33, {**SMALL, **SPLIT}, dtype=dtype, **sizes)


def test_wide_heads_that_fit_no_blocks_are_refused() -> None:
    plan, inputs = attncc.plan(CAUSAL, 256, target="rtx4090"), Inputs.given(1, 1, None, 576, 512, "fp32")
    with pytest.raises(attncc.BackendError, match=r"fp32 fit sm_89 with head sizes 1 to 256"):
        aot.lower(plan, gpu("rtx4090"), inputs)
    with pytest.raises(attncc.ConfigError, match=r"heads to 256 in fp32 on sm_89"):
        BACKEND.default(inputs, target("rtx4090"))


def test_atomic_gradients_of_wide_heads_agree_with_the_oracle() -> None:
    check(CAUSAL, 20, 20, {**SMALL, "atomic": True}, head_dim=300, value_dim=16)


@pytest.mark.parametrize(
    ("head_dim", "value_dim"), [(1, 1), (1, 40), (72, 40), (80, 1), (96, 112), (112, 96), (192, 128)]
)
def test_odd_head_sizes_agree_with_the_oracle(head_dim: int, value_dim: int) -> None:
    sizes = {"heads": 2, "kv_heads": 1, "head_dim": head_dim, "value_dim": value_dim}
    check(STRIDED, 17, 17, SMALL, dtype=torch.float16, **sizes)


@pytest.mark.parametrize("q_len", [1, 3])
def test_decoding_packs_many_heads_of_a_wide_key(q_len: int, poisoned) -> None:
    config = {"forward.block_m": 16, "forward.block_n": 16, "forward.item_tiles": 1}
    sizes = {"heads": 40, "kv_heads": 1, "head_dim": 272, "value_dim": 256}
    check(CAUSAL, q_len, 33, config, **sizes)


@pytest.mark.parametrize(("rows", "most", "packs"), [(1, 128, 1), (1, 64, 2), (3, 64, 7), (64, 64, None), (0, 16, 8)])
def test_packs_hold_as_many_heads_as_a_block_has_room_for(rows: int, most: int, packs: int | None) -> None:
    found = GridHeads(256, 2).packed(rows, most)
    if packs is None or found is None:
        assert found is packs
        return
    assert found.keys == 2 * packs
    assert found.group_size * rows <= most


def test_packs_of_listed_heads_share_a_key_head() -> None:
    groups = np.array([[0, 5], [5, 6], [6, 10]], np.int32)
    found = GridHeads(10, 3, np.arange(10, dtype=np.int32), groups).packed(1, 2)
    assert found is not None
    assert found.kv_groups is not None
    assert found.kv_groups.tolist() == [[0, 2], [2, 4], [4, 5], [5, 6], [6, 8], [8, 10]]


@pytest.mark.parametrize(("head_dim", "value_dim", "reads_once"), [(320, 256, True), (48, 48, True), (48, 24, False)])
def test_values_that_are_views_of_keys_agree_with_the_reference(
    head_dim: int, value_dim: int, reads_once: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The two gradients of the key's memory add up, and one tile serves as key and value."""
    specs, spec_of = [], lower.Lowering.spec
    monkeypatch.setattr(lower.Lowering, "spec", lambda *rest: specs.append(spec_of(*rest)) or specs[-1])
    query, key = torch.randn(2, 3, 33, head_dim), torch.randn(2, 1, 33, head_dim)

    def results(backend: str, dtype: torch.dtype) -> list[torch.Tensor]:
        leaves = [x.to(dtype).requires_grad_() for x in (query, key)]
        config = SMALL if backend == "triton" else None
        out, lse = attncc.attention(
            *leaves,
            leaves[1][..., :value_dim],
            STRIDED,
            enable_gqa=True,
            return_lse=True,
            backend=backend,
            config=config,
        )
        return [out, *torch.autograd.grad(out.sin().sum() + lse.sin().sum(), leaves)]

    wanted = results("reference", torch.float64)
    for found, exact in zip(results("triton", torch.float32), wanted, strict=True):
        torch.testing.assert_close(found.double(), exact, atol=2e-5, rtol=2e-5)
    assert {spec.latent for spec in specs} == {reads_once}


def test_kernels_of_latent_attention_load_no_values() -> None:
    plan, inputs = attncc.plan(CAUSAL, 256, target="h100"), Inputs.given(1, 2, 1, 576, 512, "bf16")
    for latent in (False, True):
        lowered = aot.lower(plan, gpu("h100"), inputs, latent=latent)
        texts = [render(each.spec) for each in aot.variants(lowered, "bf16") if each.spec.visits_tiles]
        assert {"tl.load(V " in text for text in texts} == {not latent}
