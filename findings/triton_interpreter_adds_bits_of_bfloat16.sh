#!/usr/bin/env bash
# Triton 3.7.1 (also 3.6.0 and 3.9.0): the interpreter stores a bfloat16 as the unsigned integer with the same bits, and
# computes with these integers. 1 + 1 is 1.7e38: 0x3f80 + 0x3f80 = 0x7f00. A test under TRITON_INTERPRET=1 proves
# nothing about a kernel that adds, multiplies or compares in bfloat16. Conversions to float32 are right.
# Seen: 1.7014118346046923e+38, and 2.0 after a conversion. This script fails if that changes.
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
def twice(x, out, CONVERT: tl.constexpr):
    entry = tl.load(x)
    if CONVERT:
        entry = entry.to(tl.float32)
    tl.store(out, (entry + entry).to(tl.bfloat16))


found = []
for convert in (False, True):
    out = torch.zeros(1, dtype=torch.bfloat16)
    twice[(1,)](torch.ones(1, dtype=torch.bfloat16), out, CONVERT=convert)
    found.append(out.item())
print("triton", triton.__version__, "1 + 1 in bfloat16:", found[0], "; converted to float32 first:", found[1])
assert found == [1.7014118346046923e38, 2.0]
PYTHON
TRITON_INTERPRET=1 "$folder/venv/bin/python" "$folder/kernel.py"
