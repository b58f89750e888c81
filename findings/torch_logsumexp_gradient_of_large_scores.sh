#!/usr/bin/env bash
# PyTorch 2.13.0: the gradient of torch.logsumexp is the softmax, but PyTorch computes it as exp(x - result) from the
# rounded result. Of four entries of -1e9 in float32 each gets a gradient of 1 instead of 1/4, since log(4) is lost
# beside 1e9. In float64 this happens at -1e30. For rows that are masked by a large finite number, such a gradient is
# too large by a factor of the number of entries. torch.softmax of the same entries is right.
# Seen: gradients 1.0, softmax 0.25. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import torch

for value, dtype in ((-1e9, torch.float32), (-1e30, torch.float64)):
    x = torch.full((4,), value, dtype=dtype, requires_grad=True)
    (gradient,) = torch.autograd.grad(torch.logsumexp(x, 0), x)
    print("torch", torch.__version__, value, dtype, "gradient", gradient[0].item(), "softmax", x.softmax(0)[0].item())
    assert gradient.tolist() == [1.0] * 4
    assert x.softmax(0).tolist() == [0.25] * 4
PYTHON
