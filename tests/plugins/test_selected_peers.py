"""selected against the sparse models of Transformers 5.24: DeepSeek V3.2's indexer, and MiniMax M3's blocks.

The modules are modeling_deepseek_v32.py and modeling_minimax_m3_vl.py. Their rotations are left out: angles are 0.
"""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

import attncc
from attncc_selected.choosing import indexed_tokens

transformers = pytest.importorskip("transformers")
B, N, HIDDEN, HEADS, DIM = 2, 45, 16, 4, 8


def drawn(module: nn.Module) -> tuple[nn.Module, Tensor, tuple[Tensor, Tensor]]:
    """Return a module with weights that are drawn, hidden states and the cosines and sines of no rotation."""
    generator = torch.Generator().manual_seed(0)
    for parameter in module.parameters():
        nn.init.normal_(parameter, generator=generator)
    return module, torch.randn(B, N, HIDDEN, generator=generator), (torch.ones(B, N, DIM), torch.zeros(B, N, DIM))


@pytest.mark.parametrize("top", [1, 7, N])
def test_tokens_are_those_of_deepseeks_indexer(top: int) -> None:
    from transformers.models.deepseek_v32 import DeepseekV32Config
    from transformers.models.deepseek_v32.modeling_deepseek_v32 import DeepseekV32Indexer

    heads = 24  # so many that no pair fits none of them: scores of 0 would be equal
    sizes = {"index_n_heads": heads, "index_head_dim": 2 * DIM, "qk_rope_head_dim": DIM, "index_topk": top}
    indexer, hidden, angles = drawn(
        DeepseekV32Indexer(DeepseekV32Config(hidden_size=HIDDEN, q_lora_rank=HIDDEN, **sizes), 0)
    )
    causal = torch.ones(N, N, dtype=torch.bool).tril()
    with torch.no_grad():
        theirs = indexer(hidden, hidden, angles, causal, torch.arange(N)).long()
        query = indexer.wq_b(hidden).view(B, N, heads, 2 * DIM).transpose(1, 2)
        key, weights = indexer.k_norm(indexer.wk(hidden)), indexer.weights_proj(hidden).transpose(1, 2)
    mask = torch.zeros(B, N, N, dtype=torch.bool).scatter(-1, theirs, True) & causal
    tokens = indexed_tokens(query, key, weights, top)
    assert torch.equal(attncc.dense_mask(attncc.load("selected_tokens", tokens=tokens), N, batch=B), mask)


@pytest.mark.parametrize(("top", "block"), [(2, 8), (3, 16), (1, 5)])
def test_lists_of_minimax_are_lists_of_blocks(top: int, block: int) -> None:
    from transformers.models.minimax_m3_vl.configuration_minimax_m3_vl import MiniMaxM3VLTextConfig
    from transformers.models.minimax_m3_vl.modeling_minimax_m3_vl import MiniMaxM3VLIndexer

    sizes = {"index_n_heads": HEADS, "index_head_dim": DIM, "index_block_size": block, "index_topk_blocks": top}
    config = MiniMaxM3VLTextConfig(
        hidden_size=HIDDEN, index_local_blocks=1, num_attention_heads=HEADS, num_key_value_heads=HEADS, **sizes
    )
    indexer, hidden, angles = drawn(MiniMaxM3VLIndexer(config, 0))
    positions = torch.arange(N).expand(B, N)
    with torch.no_grad():
        blocks = indexer(hidden, angles, None, positions)
        theirs = indexer.build_block_mask(blocks, None, N, torch.float32, hidden.device, positions) == 0
    pattern = attncc.load("selected_blocks", blocks=blocks, block=block)
    assert torch.equal(attncc.dense_mask(pattern, N, heads=HEADS, batch=B), theirs)
