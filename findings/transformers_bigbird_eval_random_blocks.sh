#!/usr/bin/env bash
# transformers 5.24.0: BigBird's block-sparse attention has no random blocks in eval(). All of its "random" blocks are
# block 0. Block 0 is also a global block. So its keys count several times in the softmax, once more for each "random"
# block. With three random blocks and equal scores, a query in the middle gives block 0 a weight of 4/8. If each key
# counted once, the weight would be 1/5.
# Seen: weight of block 0 in eval() 0.5; in train() 0.125, with three random blocks that aren't block 0. This script
# fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "transformers==5.24.0" "numpy==2.4.6"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON' 2>/dev/null
import torch
import transformers
from transformers import BigBirdConfig, BigBirdModel
from transformers.models.big_bird.modeling_big_bird import BigBirdBlockSparseAttention

BLOCK, BLOCKS, SIZE = 16, 32, 8
config = BigBirdConfig(
    vocab_size=70, hidden_size=SIZE, num_attention_heads=1, num_hidden_layers=1, intermediate_size=SIZE,
    attention_type="block_sparse", block_size=BLOCK, num_random_blocks=3, max_position_embeddings=BLOCK * BLOCKS,
)
attention = BigBirdBlockSparseAttention(config)
with torch.no_grad():
    for part in (attention.query, attention.key, attention.value):
        part.weight.zero_()
        if part.bias is not None:
            part.bias.zero_()
    attention.value.weight.copy_(torch.eye(SIZE))
hidden = torch.zeros(1, BLOCK * BLOCKS, SIZE)
hidden[:, :BLOCK] = 1.0  # so that the output is the weight of block 0
blocked, band, rows, cols = BigBirdModel.create_masks_for_block_sparse_attn(torch.ones(1, BLOCK * BLOCKS), BLOCK)
found = {}
for mode in ("eval", "train"):
    getattr(attention, mode)()
    with torch.no_grad():
        out = attention(hidden, band, rows, cols, blocked, blocked)[0]
    found[mode] = out[0, BLOCK * BLOCKS // 2, 0].item()
print("transformers", transformers.__version__, "weight of block 0 for a query in the middle:", found)
assert abs(found["eval"] - 4 / 8) < 1e-6
assert abs(found["train"] - 1 / 8) < 1e-6
PYTHON
