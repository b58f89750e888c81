#!/usr/bin/env bash
# PyTorch 2.13.0: what torch.compile expects of the backward of elu isn't what the operator returns. For a gradient and an
# input of different strides aten.elu_backward takes the gradient's layout, and its meta function the input's. A graph that
# runs the operator as it is (backend="aot_eager") then fails with "view size is not compatible with input tensor's size
# and stride", if a view follows. Inductor, which writes the formula out, is right.
# Seen: strides (144, 36, 4, 1) and, on meta, (144, 4, 16, 1); aot_eager raises. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import torch


def strides(device):
    gradient = torch.ones(2, 4, 9, 4, device=device)
    heads = torch.ones(2, 9, 4, 4, device=device).transpose(1, 2)  # as attention's heads are
    return torch.ops.aten.elu_backward(gradient, 1.0, 1, 1, False, heads).stride()


def features(x, other):
    heads = x.view(2, 9, 4, 4).transpose(1, 2)
    return torch.nn.functional.elu(heads) @ other


print("torch", torch.__version__, "cpu", strides("cpu"), "meta", strides("meta"))
assert strides("cpu") == (144, 36, 4, 1)
assert strides("meta") == (144, 4, 16, 1)
x, other = torch.randn(2, 9, 16, requires_grad=True), torch.randn(2, 4, 4, 3)
features(x, other).sum().backward()
try:
    torch.compile(features, backend="aot_eager")(x, other).sum().backward()
except RuntimeError as error:
    print("aot_eager:", str(error).splitlines()[0])
else:
    raise SystemExit("aot_eager runs")
PYTHON
