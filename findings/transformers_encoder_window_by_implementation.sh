#!/usr/bin/env bash
# Transformers 5.24.0: the window of an encoder's layer has another size by implementation. The mask functions of sdpa,
# eager and flex keep |i - j| <= sliding_window, which are 2 w + 1 keys. FlashAttention gets window_size=(w - 1, w - 1),
# which are 2 w - 1. A comment beside that code says that encoders must align with 2 w + 1.
# Seen: 9 keys for a window of 4, and (3, 3), which are 7. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "transformers==5.24.0"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
from collections import defaultdict

import torch
import transformers
from transformers import modeling_flash_attention_utils as flash
from transformers.masking_utils import sliding_window_bidirectional_mask_function

window = 4
keep = sliding_window_bidirectional_mask_function(window)
keys = sum(bool(keep(0, 0, torch.tensor(20), torch.tensor(j))) for j in range(41))
flags = defaultdict(bool, window_size=True)
given = flash._process_flash_attention_kwargs(
    41, 41, is_causal=False, dropout=0.0, softmax_scale=1.0, sliding_window=window, supports_mapping=flags
)["window_size"]
print("transformers", transformers.__version__, "sdpa:", keys, "keys; flash:", given, "which are", sum(given) + 1)
assert keys == 9
assert given == (3, 3)
PYTHON
