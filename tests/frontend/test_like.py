"""Masks of peers by their own parameters: against the peers' code where it runs on a CPU, else by their definitions."""

from __future__ import annotations

import numpy as np
import pytest
import torch

import attncc
from attncc import like
from attncc.errors import ParameterError

LENGTHS = [(6, 6), (3, 7), (7, 3), (1, 5)]


def mask(pattern: attncc.Pattern, n_q: int, n_k: int) -> torch.Tensor:
    found = attncc.dense_mask(pattern, n_q, n_k)
    return found.expand(n_q, n_k)


def between(n_q: int, n_k: int, left: float, right: float, *, bottom_right: bool) -> torch.Tensor:
    """The keys of row r from p - left to p + right, p being r or r + n_k - n_q."""
    row, key = torch.arange(n_q)[:, None], torch.arange(n_k)
    position = row + (n_k - n_q if bottom_right else 0)
    return (position - left <= key) & (key <= position + right)


ANY = float("inf")


@pytest.mark.parametrize(("n_q", "n_k"), LENGTHS)
@pytest.mark.parametrize(
    ("arguments", "left", "right"),
    [
        ({}, ANY, ANY),
        ({"causal": True}, ANY, 0),
        ({"causal": True, "window_size": (2, 0)}, 2, 0),
        ({"causal": True, "window_size": (2, 5)}, 2, 0),
        ({"window_size": (2, 1)}, 2, 1),
        ({"window_size": (-1, 1)}, ANY, 1),
    ],
)
def test_flash_attention_counts_keys_beside_the_own_one_from_bottom_right(n_q, n_k, arguments, left, right) -> None:
    wanted = between(n_q, n_k, left, right, bottom_right=True)
    torch.testing.assert_close(mask(like.flash_attn(**arguments), n_q, n_k), wanted)


def test_the_matrices_of_flash_attentions_docstring_are_reproduced() -> None:
    causal = like.flash_attn(causal=True)
    assert mask(causal, 2, 5).int().tolist() == [[1, 1, 1, 1, 0], [1, 1, 1, 1, 1]]
    assert mask(causal, 5, 2).int().tolist() == [[0, 0], [0, 0], [0, 0], [1, 0], [1, 1]]


@pytest.mark.parametrize(("n_q", "n_k"), LENGTHS)
def test_flashinfer_counts_keys_before_the_own_one(n_q: int, n_k: int) -> None:
    wanted = between(n_q, n_k, 2, 0, bottom_right=True)
    torch.testing.assert_close(mask(like.flashinfer(causal=True, window_left=2), n_q, n_k), wanted)


@pytest.mark.parametrize(("n_q", "n_k"), LENGTHS)
def test_jax_counts_an_integer_on_both_sides_from_top_left(n_q: int, n_k: int) -> None:
    both, one = like.jax(local_window_size=2), like.jax(is_causal=True, local_window_size=(2, 1))
    torch.testing.assert_close(mask(both, n_q, n_k), between(n_q, n_k, 2, 2, bottom_right=False))
    torch.testing.assert_close(mask(one, n_q, n_k), between(n_q, n_k, 2, 0, bottom_right=False))


@pytest.mark.parametrize(("n_q", "n_k"), LENGTHS)
@pytest.mark.parametrize(
    ("name", "sizes", "left", "right", "bottom_right"),
    [
        ("LowerTriangularMask", {}, ANY, 0, False),
        ("LowerTriangularFromBottomRightMask", {}, ANY, 0, True),
        ("LowerTriangularFromBottomRightLocalAttentionMask", {"window_size": 3}, 2, 0, True),
        ("LocalAttentionFromBottomRightMask", {"window_left": 1, "window_right": 2}, 1, 2, True),
    ],
)
def test_xformers_biases_go_by_their_classes(n_q, n_k, name, sizes, left, right, bottom_right) -> None:
    wanted = between(n_q, n_k, left, right, bottom_right=bottom_right)
    torch.testing.assert_close(mask(like.xformers(name, **sizes), n_q, n_k), wanted)


@pytest.mark.parametrize("causal", [True, False])
@pytest.mark.parametrize(("n_q", "n_k"), [(6, 6), (3, 7), (7, 3)])
def test_torch_aligns_at_the_top_left(n_q: int, n_k: int, causal: bool) -> None:
    query, key, value = (torch.randn(1, 2, n, 8, dtype=torch.float64) for n in (n_q, n_k, n_k))
    wanted = torch.nn.functional.scaled_dot_product_attention(query, key, value, is_causal=causal)
    torch.testing.assert_close(attncc.attention(query, key, value, like.torch_sdpa(is_causal=causal)), wanted)


@pytest.mark.parametrize(
    "arguments",
    [
        {"causal": True},
        {"causal": False},
        {"causal": True, "look_backward": 2},
        {"causal": False, "look_backward": 0, "look_forward": 2},
        {"causal": True, "exact_windowsize": True},
        {"causal": False, "exact_windowsize": True},
        {"causal": True, "look_backward": 2, "exact_windowsize": True},
    ],
)
def test_local_attention_runs_as_its_module(arguments: dict[str, object]) -> None:
    """With a `mask`, without which the zeros that it pads with are keys as well."""
    made = pytest.importorskip("local_attention").LocalAttention
    module = made(window_size=4, use_rotary_pos_emb=False, autopad=True, **arguments)
    for n in (16, 13):
        query, key, value = torch.randn(3, 1, 2, n, 8)
        wanted = module(query, key, value, mask=torch.ones(1, n, dtype=torch.bool))
        torch.testing.assert_close(
            attncc.attention(query, key, value, like.local_attention(4, **arguments)), wanted, rtol=1e-5, atol=1e-5
        )


@pytest.mark.parametrize("causal", [True, False])
def test_x_transformers_runs_as_its_module(causal: bool) -> None:
    x_transformers = pytest.importorskip("x_transformers")
    torch.manual_seed(0)
    module = x_transformers.Attention(dim=16, heads=2, dim_head=8, causal=causal, max_attend_past=3)
    x = torch.randn(1, 12, 16)

    def heads(projected: torch.Tensor) -> torch.Tensor:
        return projected.unflatten(-1, (2, 8)).transpose(1, 2)

    query, key, value = heads(module.to_q(x)), heads(module.to_k(x)), heads(module.to_v(x))
    pattern = like.x_transformers(causal=causal, max_attend_past=3)
    out = module.to_out(attncc.attention(query, key, value, pattern).transpose(1, 2).flatten(2))
    torch.testing.assert_close(out, module(x), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(
    ("fields", "layer", "function"),
    [
        ({"model_type": "llama"}, 0, lambda m: m.causal_mask_function),
        ({"sliding_window": 4}, 0, lambda m: m.sliding_window_causal_mask_function(4)),
        (
            {"sliding_window": 4, "layer_types": ["sliding_attention", "full_attention"]},
            1,
            lambda m: m.causal_mask_function,
        ),
        (
            {"attention_chunk_size": 5, "layer_types": ["chunked_attention"]},
            0,
            lambda m: m.chunked_causal_mask_function(5, torch.zeros(1, dtype=torch.int64)),
        ),
        ({"model_type": "bert", "is_decoder": False}, 0, lambda m: m.bidirectional_mask_function),
        (
            {"sliding_window": 2, "layer_types": ["sliding_attention"], "model_type": "modernbert"},
            0,
            lambda m: m.sliding_window_bidirectional_mask_function(2),
        ),
        (
            {"sliding_window": 2, "layer_types": ["sliding_attention"], "is_causal": False},
            0,
            lambda m: m.sliding_window_bidirectional_mask_function(2),
        ),
    ],
)
def test_transformers_layers_go_by_their_types(fields, layer, function) -> None:
    masking = pytest.importorskip("transformers.masking_utils")
    wanted = attncc.dense_mask(attncc.from_mask_mod(function(masking)), 17, 17, batch=1)
    torch.testing.assert_close(mask(like.transformers(fields, layer), 17, 17), wanted.reshape(17, 17))


def test_natten_takes_one_number_or_one_for_each_axis() -> None:
    both = like.natten((6, 12), (3, 5), dilation=(1, 2), is_causal=(False, True))
    wanted = attncc.load(
        "neighborhood_2d",
        height=6,
        width=12,
        kernel_h=3,
        kernel_w=5,
        dilation_w=2,
        causal_w=True,
    )
    assert both == wanted
    assert like.natten((16,), 5) == attncc.load("neighborhood_1d", length=16, kernel=5)
    assert like.natten((4, 4, 4), 3, stride=2).parameters["stride_d"] == 2


def test_longformer_takes_the_masks_of_its_model() -> None:
    kept, far = torch.tensor([[1] * 10 + [0] * 2]), torch.tensor([[1] + [0] * 11])
    found = attncc.dense_mask(like.longformer(4, kept, far), 12, batch=1).reshape(12, 12)
    row, key = torch.arange(12)[:, None], torch.arange(12)
    wanted = ((row - key).abs() <= 2) | (row == 0) | (key == 0)
    wanted = wanted & (key < 10) & (row < 10)
    torch.testing.assert_close(found, wanted)


@pytest.mark.parametrize(
    ("call", "names"),
    [
        (lambda: like.flash_attn(window_size=(-2, 0)), "window_size"),
        (lambda: like.flash_attn(window_size=256), "window_size"),
        (lambda: like.jax(local_window_size=-1), "local_window_size"),
        (lambda: like.natten((2, 2, 2, 2), 3), "shape"),
        (lambda: like.natten((8, 8), (3, 3, 3)), "kernel"),
        (lambda: like.longformer(3, [[1, 1]]), "attention_window"),
        (lambda: like.xformers("LowerTriangular"), "attn_bias"),
        (lambda: like.xformers("LowerTriangularFromBottomRightLocalAttentionMask"), "window_size"),
        (lambda: like.xformers("LowerTriangularMask", window_size=4), "window_size"),
        (lambda: like.local_attention(0), "window_size"),
        (lambda: like.local_attention(4, causal=True, look_forward=1), "look_forward"),
        (lambda: like.x_transformers(max_attend_past=-1), "max_attend_past"),
        (lambda: like.transformers({"layer_types": ["linear_attention"]}), "layer_types"),
        (lambda: like.transformers({"layer_types": ["sliding_attention"]}), "sliding_window"),
        (lambda: like.transformers("mistral"), "config"),
        (lambda: like.transformers({"sliding_windows": 256}), "config"),
        (lambda: like.transformers({"sliding_window": 3}, -1), "layer_idx"),
        (lambda: like.torch_sdpa(is_causal="no"), "is_causal"),
        (lambda: like.flash_attn(causal=(1,)), "causal"),
        (lambda: like.local_attention(4, exact_windowsize=float("nan")), "exact_windowsize"),
        (lambda: like.natten(2.5, 3), "shape"),
    ],
)
def test_errors_name_the_peers_parameter(call, names: str) -> None:
    with pytest.raises(ParameterError, match=names):
        call()


def test_numbers_of_numpy_count_as_integers_and_an_integer_as_an_axis() -> None:
    assert like.flash_attn(window_size=(np.int64(3), np.int32(0))) == like.flash_attn(window_size=(3, 0))
    assert like.jax(local_window_size=np.int64(2), is_causal=np.True_) == like.jax(local_window_size=2, is_causal=True)
    assert like.natten(9, 3) == like.natten((9,), 3)


def test_a_model_may_leave_its_window_unused() -> None:
    unused = like.transformers({"sliding_window": 3, "use_sliding_window": False})
    torch.testing.assert_close(mask(unused, 9, 9), mask(attncc.load("causal"), 9, 9))


GYM = {
    "causal_mask": {},
    "generate_sliding_window": {"window_size": 3},
    "generate_dilated_sliding_window": {"window_size": 4, "dilation": 2},
    "generate_prefix_lm_mask": {"prefix_length": 4},
    "generate_global_sliding_window": {"window_size": 2, "is_global": torch.arange(12) % 5 == 0},
}


@pytest.mark.parametrize("name", GYM)
def test_masks_of_attn_gym_are_those_of_its_functions(name: str) -> None:
    masks = pytest.importorskip("attn_gym.masks")
    parameters = GYM[name]
    theirs = getattr(masks, name)(**parameters) if parameters else getattr(masks, name)
    assert like.attn_gym(name, **parameters) == attncc.from_mask_mod(theirs)


def test_another_mask_of_attn_gym_is_refused() -> None:
    with pytest.raises(ParameterError, match="generate_sliding_window"):
        like.attn_gym("generate_natten")
    with pytest.raises(ParameterError, match="window"):
        like.attn_gym("generate_sliding_window", window=3)


def test_bigbird_has_windows_of_blocks_two_global_ones_and_those_drawn() -> None:
    drawn = torch.tensor([[[0, 0], [0, 4], [5, 0], [1, 1]], [[3, 4], [4, 5], [1, 5], [1, 2]]])
    wanted = torch.zeros(1, 2, 12, 12, dtype=torch.bool)
    for head in range(2):
        for block in range(6):
            seen = {0, 5, *range(max(block - 1, 0), min(block + 2, 6))}
            seen |= set(range(6)) if block in (0, 5) else set(drawn[head, block - 1].tolist())
            for other in seen:
                wanted[0, head, 2 * block : 2 * block + 2, 2 * other : 2 * other + 2] = True
    found = attncc.dense_mask(like.bigbird(12, block_size=2, rand_attn=drawn), 12, heads=2)
    assert torch.equal(found.reshape(wanted.shape), wanted)
    assert like.bigbird(12, block_size=2) == like.bigbird(12, block_size=2, rand_attn=torch.zeros(1, 4, 3, dtype=int))


@pytest.mark.parametrize(
    "parameters", [{"seq_len": 13}, {"seq_len": 8}, {"seq_len": 12, "rand_attn": torch.zeros(1, 6, 3, dtype=int)}]
)
def test_lengths_that_bigbird_pads_are_refused(parameters) -> None:
    with pytest.raises(ParameterError, match="seq_len"):
        like.bigbird(**parameters, block_size=2)
