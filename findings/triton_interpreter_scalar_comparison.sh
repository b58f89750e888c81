#!/usr/bin/env bash
# Triton 3.7.1 (also 3.9.0) under TRITON_INTERPRET=1: a kernel loads a scalar and compares it. When the result is
# broadcast to a tile, it has the scalar's type and not bool. `(tile < 2.0) | (scalar < 1.0)` compiles for GPUs, but
# raises a TypeError here: numpy's bitwise_or refuses booleans with floats. It works if the scalar is broadcast before
# the comparison.
# Seen: the error, and [1, 1, 1, 1] for the scalar that was broadcast first. This script fails if that changes.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "triton==3.7.1" "numpy==2.4.6"
cat > "$folder/kernel.py" <<'PYTHON'
import torch
import triton
import triton.language as tl


@triton.jit
def either(x, out, SPREAD: tl.constexpr):
    tile, scalar = tl.arange(0, 4).to(tl.float32), tl.load(x)
    if SPREAD:
        scalar = tl.full((4,), 0.0, tl.float32) + scalar
    tl.store(out + tl.arange(0, 4), ((tile < 2.0) | (scalar < 1.0)).to(tl.int32))


out = torch.zeros(4, dtype=torch.int32)
try:
    either[(1,)](torch.zeros(1), out, SPREAD=False)
    said = "no error"
except Exception as error:
    said = str(error)
print("triton", triton.__version__, said)
assert "bitwise_or" in said
either[(1,)](torch.zeros(1), out, SPREAD=True)
assert out.tolist() == [1, 1, 1, 1]
PYTHON
TRITON_INTERPRET=1 "$folder/venv/bin/python" "$folder/kernel.py"
