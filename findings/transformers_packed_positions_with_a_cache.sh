#!/usr/bin/env bash
# Transformers 5.24.0: position_ids that start again, without an attention mask, keep packed documents apart, but only in a
# call without a cache. With use_cache=True, which is the default of a configuration and holds in training mode, too, the
# second document sees the first one. The cause: masking_utils looks for packed sequences only where `cache is None`.
# Seen: logits of the second document equal those of the document alone with use_cache=False, and differ with True.
# This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "transformers==5.24.0"
HF_HUB_OFFLINE=1 "$folder/venv/bin/python" - <<'PYTHON'
import torch
import transformers
from transformers import LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
sizes = dict(vocab_size=64, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4)
model = LlamaForCausalLM(LlamaConfig(**sizes, attn_implementation="sdpa")).train()
first, second = torch.randint(0, 64, (1, 6)), torch.randint(0, 64, (1, 5))
packed = torch.cat([first, second], 1)
positions = torch.cat([torch.arange(6), torch.arange(5)])[None]
alone = model(second, use_cache=False).logits
found = {}
for cached in (False, True, None):
    arguments = {} if cached is None else {"use_cache": cached}
    logits = model(packed, position_ids=positions, **arguments).logits[:, 6:]
    found[cached] = torch.allclose(logits, alone, atol=1e-5)
print("transformers", transformers.__version__, "equal to the document alone, by use_cache:", found)
assert found == {False: True, True: False, None: False}
PYTHON
