"""Generate and compile one forward kernel in this process; print how long it took. Run by test_machine_code.py."""

from __future__ import annotations

import json
import time

import attncc
from attncc.backends.inputs import Inputs
from attncc.backends.triton import BACKEND, aot
from attncc.machine_code.compiler import compile
from attncc.targets import gpu

import triton.compiler  # isort: skip  # what is timed is the work, not the import

plan = attncc.plan(attncc.load("sliding_window", window=256), 16384, tile=BACKEND.tile, target="h100")
begin = time.perf_counter()
lowered = aot.lower(plan, gpu("h100"), Inputs.given(1, 1, None, 64, None, "fp16"))
compiled = [compile(each.source, gpu("h100")) for each in aot.variants(lowered, "fp16", backward=False)]
print(json.dumps({"seconds": time.perf_counter() - begin, "kernels": len(compiled), "triton": triton.__version__}))
