#!/usr/bin/env bash
# Triton 3.7.1 (3.6.0 and 3.9.0 alike): the interpreter keeps bfloat16 as the unsigned integers of its bits, and computes
# with these. 1 + 1 is 1.7e38 in bfloat16: 0x3f80 + 0x3f80 = 0x7f00. A test of a kernel under TRITON_INTERPRET=1 that adds,
# multiplies or compares in bfloat16 proves nothing; conversions to float32 are right.
# Seen: 1.7014118346046923e+38, and 2.0 after a conversion. Fails if that changes.
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
