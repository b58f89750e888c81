#!/usr/bin/env bash
# PyTorch 2.13.0: torch.load can't load a graph of make_fx that torch.save has written, unless the process has imported
# torch._dynamo. It raises AttributeError: module 'torch._higher_order_ops' has no attribute 'triton_kernel_wrap'. After
# `import torch._dynamo` the graph loads and runs.
# Seen: the error without the import, tensor([1., 1.]) with it. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
cd "$folder"
"$folder/venv/bin/python" - <<'PYTHON'
import torch
from torch.fx.experimental.proxy_tensor import make_fx

torch.save(make_fx(lambda x: x + 1)(torch.zeros(2)), "graph.pt")
PYTHON
use='graph = torch.load("graph.pt", weights_only=False); print(torch.__version__, graph(torch.zeros(2)))'
if "$folder/venv/bin/python" -c "import torch; $use" 2> said; then
    echo "it loads without torch._dynamo"
    exit 1
fi
tail -n 1 said
grep -q "no attribute 'triton_kernel_wrap'" said
"$folder/venv/bin/python" -c "import torch, torch._dynamo; $use" | grep "tensor(\[1., 1.\])"
