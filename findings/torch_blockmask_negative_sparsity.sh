#!/usr/bin/env bash
# PyTorch 2.13.0: BlockMask.sparsity() is negative if a length isn't a multiple of the block size: -63.84 % for a mask
# of all pairs at length 100. It counts whole blocks, but divides by the area without padding. In the same masks the
# last block counts as partial although the mask is True everywhere. Its keys are then masked one by one.
# Seen: sparsity -63.84 at 100, 0 at 128; at 200 one full block, and two partial ones in the last row. This script fails
# if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.nn.attention.flex_attention import create_block_mask

found = {}
for length in (100, 128, 200):
    mask = create_block_mask(lambda b, h, q, k: q >= 0, None, None, length, length, device="cpu")
    found[length] = round(mask.sparsity(), 2), mask.full_kv_num_blocks.tolist(), mask.kv_num_blocks.tolist()
    print("torch", torch.__version__, "length", length, "sparsity, full, partial:", *found[length])
assert found[100] == (-63.84, [[[0]]], [[[1]]])
assert found[128] == (0.0, [[[1]]], [[[0]]])
assert found[200] == (-63.84, [[[1, 0]]], [[[1, 2]]])
PYTHON
