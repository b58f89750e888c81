#!/usr/bin/env bash
# PyTorch 2.13.0 on a CPU: aten._scaled_dot_product_flash_attention_for_cpu returns a log-sum-exp of 0 for a row whose
# keys are all masked by -inf. The sum of no exponentials is 0, and its logarithm is -inf. If partial results are merged
# by their log-sum-exp, an empty part then counts with weight exp(0) = 1. The row's output is 0, which is right.
# Seen: out 0, log-sum-exp 0. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import math

import torch

query, key = torch.ones(1, 1, 2, 8), torch.ones(1, 1, 4, 8)
mask = torch.zeros(2, 4)
mask[0] = -math.inf
out, lse = torch.ops.aten._scaled_dot_product_flash_attention_for_cpu(query, key, key, 0.0, False, attn_mask=mask)
print("torch", torch.__version__, "masked row: out", out[0, 0, 0].abs().max().item(), "lse", lse[0, 0, 0].item())
assert out[0, 0, 0].abs().max() == 0
assert lse[0, 0, 0] == 0
PYTHON
