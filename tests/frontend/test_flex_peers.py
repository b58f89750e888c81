"""Mask and score functions of others as they are: those of attn-gym 0.0.17 and of Transformers 5.24."""

from __future__ import annotations

import warnings

import pytest
import torch
from torch.nn.attention.flex_attention import create_mask, flex_attention

import attncc
from attncc.errors import ScoreError
from attncc.ir import symbols

masks = pytest.importorskip("attn_gym.masks")
mods = pytest.importorskip("attn_gym.mods")
masking = pytest.importorskip("transformers.masking_utils")

B, H, N = 2, 4, 64
CUTS = torch.tensor([0, 10, 30, N])
PADDING = torch.tensor([0, 3])
PACKED = torch.tensor([[0] * 20 + [1] * 44, [0] * 30 + [1] * 34])
GROUPS = torch.cat([-torch.ones(10), torch.zeros(20), -torch.ones(14), torch.ones(20)]).long().expand(B, N)
POSITIONS = torch.cat([torch.arange(20), torch.arange(44)]).expand(B, N)
FLAGS = torch.arange(N) % 7 == 0
ANCESTORS = (torch.arange(N)[:, None] % 3 == torch.arange(N) % 3).tril()
TILES = torch.randint(0, 8, (B, H, 8, 3), generator=torch.Generator().manual_seed(0))

MASKS = {
    "causal": masks.causal_mask,
    "batchify": masks.batchify_mask_mod(masks.causal_mask, 16),
    "block_diffusion": masks.generate_block_diffusion_mask(32, 8),
    "dilated": masks.generate_dilated_sliding_window(8, 2),
    "document": masks.generate_doc_mask_mod(masks.causal_mask, CUTS),
    "packed causal": masks.generate_packed_causal_doc_mask_mod(CUTS),
    "global": masks.generate_global_sliding_window(4, FLAGS),
    "prefix": masks.generate_prefix_lm_mask(10),
    "shared prefix": masks.generate_shared_prefix_mask_mod(CUTS, torch.tensor([0, 0, 0])),
    "sliding": masks.generate_sliding_window(8),
    "spatial": masks.generate_spatial_head_mask_mod(4, 10, 6, 2, True, 4),
    "temporal": masks.generate_temporal_head_mask_mod(4, 10, 6, 2),
    "natten": masks.generate_natten(8, 8, 3, 3),
    "tiled natten": masks.generate_tiled_natten(8, 8, 3, 3, 4, 4),
    "morton natten": masks.generate_morton_natten(8, 8, 3, 3),
    "sta 2d": masks.generate_sta_mask_mod_2d((8, 6), (4, 6), (2, 2), 16),
    "sta 3d": masks.generate_sta_mask_mod_3d((4, 4, 4), (2, 2, 2), (2, 2, 2), 0),
    "flamingo": masks.generate_vision_cross_attention_mask_mod(torch.tensor([[0, 10], [10, N]]), 32),
    "jetspec training": masks.generate_jetspec_training_mask_mod(16, 8),
    "jetspec tree": masks.generate_jetspec_tree_causal_mask_mod(0, ANCESTORS),
    "vsa": masks.generate_vsa_mask_mod(TILES, 8),
    "vsa with edges": masks.generate_vsa_mask_mod(TILES, 8, torch.full((8,), 6)),
    "transformers causal": masking.causal_mask_function,
    "transformers bidirectional": masking.bidirectional_mask_function,
    "transformers sliding": masking.sliding_window_causal_mask_function(8),
    "transformers sliding overlay": masking.sliding_window_overlay(8),
    "transformers sliding bidirectional": masking.sliding_window_bidirectional_mask_function(8),
    "transformers chunked": masking.chunked_causal_mask_function(16, PADDING),
    "transformers chunked overlay": masking.chunked_overlay(16, PADDING),
    "transformers blockwise": masking.or_masks(masking.causal_mask_function, masking.blockwise_overlay(GROUPS)),
    "transformers padded": masking.and_masks(
        masking.causal_mask_function, masking.padding_mask_function(torch.arange(N) >= PADDING[:, None])
    ),
    "transformers packed": masking.packed_sequence_mask_function(PACKED),
    "transformers positions": masking.remap_positions_for_packed_sequence(
        masking.sliding_window_causal_mask_function(8), POSITIONS
    ),
    "transformers offsets": masking.add_offsets_to_mask_function(masking.causal_mask_function, 5, 0),
}


@pytest.mark.parametrize("name", MASKS)
def test_mask_mods_of_others_run_as_they_are(name: str) -> None:
    pattern = attncc.from_mask_mod(MASKS[name])
    mask = attncc.dense_mask(pattern, N, batch=B, heads=H)
    if mask.ndim == 3 and symbols.B in pattern.free:
        mask = mask[:, None]
    torch.testing.assert_close(mask.expand(B, H, N, N), create_mask(MASKS[name], B, H, N, N, device="cpu"))


def graph() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    adjacent = torch.rand(B, N, N, generator=torch.Generator().manual_seed(0)) > 0.9
    kinds = torch.arange(N).expand(B, N, N) % 3
    return (mods.shortest_path_distances(adjacent, 4), *mods.shortest_path_edge_types(adjacent, kinds, 3))


def weights(*shape: int) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(1))


SCORES = {
    "activation": lambda: mods.generate_activation_score_mod(),
    "activation relu": lambda: mods.generate_activation_score_mod(torch.nn.functional.relu),
    "alibi": lambda: mods.generate_alibi_bias(H),
    "graphormer spatial": lambda: mods.generate_graphormer_spatial_bias(weights(H, 6), graph()[0]),
    "graphormer edge": lambda: mods.generate_graphormer_edge_bias(weights(H, 3, 3), *graph()[1:]),
    "sandwich": lambda: mods.generate_sandwich_bias(H, N),
    "softcap": lambda: mods.generate_tanh_softcap(20),
}


@pytest.mark.parametrize("name", SCORES)
def test_score_mods_of_others_run_as_they_are(name: str) -> None:
    query, key, value = torch.randn(3, B, H, N, 16)
    score_mod = SCORES[name]()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # that it isn't compiled
        wanted = flex_attention(query, key, value, score_mod=score_mod)
    found = attncc.attention(query, key, value, attncc.load("full"), score=score_mod)
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-5)


def test_a_product_of_vectors_is_refused_in_words() -> None:
    score_mod = mods.generate_mla_rope_score_mod(weights(B, H, N, 8), weights(B, 1, N, 8), H)
    with pytest.raises(ScoreError, match="'dot' was called with a row"):
        attncc.from_score_mod(score_mod)
