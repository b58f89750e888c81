#!/usr/bin/env bash
# Triton 3.7.1: in one kernel -7 // 3 is -3 if -7 is a tl.constexpr, and -2 if it is an argument. -7 % 3 is 2 and -1.
# Python computes with a constant, and rounds down. An argument is divided as in C, towards zero. So results change when
# an argument becomes a constexpr. This script uses the interpreter (TRITON_INTERPRET=1), which does the same as the
# compiler here.
# Seen: argument -2 and -1, constexpr -3 and 2. This script fails if that changes.
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
def divide(n, out, CONSTANT: tl.constexpr):
    tl.store(out, n // 3)
    tl.store(out + 1, n % 3)
    tl.store(out + 2, CONSTANT // 3)
    tl.store(out + 3, CONSTANT % 3)


out = torch.zeros(4, dtype=torch.int64)
divide[(1,)](-7, out, CONSTANT=-7)
print("triton", triton.__version__, "-7 // 3 and -7 % 3: argument", out[:2].tolist(), "constexpr", out[2:].tolist())
assert out.tolist() == [-2, -1, -3, 2]
PYTHON
TRITON_INTERPRET=1 "$folder/venv/bin/python" "$folder/kernel.py"
