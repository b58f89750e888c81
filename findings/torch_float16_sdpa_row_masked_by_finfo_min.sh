#!/usr/bin/env bash
# PyTorch 2.13.0, CPU: scaled_dot_product_attention with an additive mask of finfo(dtype).min over a whole row. In float16
# the row attends to all keys by its scores, as if there were no mask. In float32 and bfloat16 it gets the mean of the
# values. The cause: adding the number to the scores in float32, where -65504 leaves their differences intact; the least
# number of float32 and bfloat16 swallows them. Masks of booleans, or of -inf, give zeros in all three.
# Seen: full, mean, mean; zeros elsewhere. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import torch
from torch.nn.functional import scaled_dot_product_attention as attend

torch.manual_seed(0)
kept = torch.ones(4, 4, dtype=torch.bool)
kept[1] = False  # the second query sees no key
found = {}
for dtype in (torch.float16, torch.float32, torch.bfloat16):
    query, key, value = (torch.randn(1, 1, 4, 8).to(dtype) for _ in range(3))
    mean, full = value.mean(2)[0, 0].float(), attend(query, key, value)[0, 0, 1].float()

    def kind(mask):
        row = attend(query, key, value, mask)[0, 0, 1].float()
        if not row.any():
            return "zeros"
        return next((name for name, like in (("mean", mean), ("full", full)) if torch.allclose(row, like, atol=0.02)), "?")

    least, infinite = (torch.zeros(4, 4, dtype=dtype).masked_fill(~kept, x) for x in (torch.finfo(dtype).min, -math.inf))
    found[str(dtype)] = kind(least), kind(infinite), kind(kept)
print("torch", torch.__version__, found)
assert found == {
    "torch.float16": ("full", "zeros", "zeros"),
    "torch.float32": ("mean", "zeros", "zeros"),
    "torch.bfloat16": ("mean", "zeros", "zeros"),
}
PYTHON
