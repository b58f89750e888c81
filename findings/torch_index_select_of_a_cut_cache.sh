#!/usr/bin/env bash
# PyTorch 2.13.0, CPU: index_select along positions is many times slower on a cut of a key cache, cache[:, :, :n], than
# on a contiguous tensor of the same values. A decoding step that gathers some keys spends its time there. Copying the
# whole cut first costs more still. Taking the rows, which are contiguous, from a view of all rows of the cache costs
# little more than the contiguous case.
# Seen, one thread, 8 heads, 290 of 4,000 keys of 64: the cut 18 x, the view of all rows 2 x the contiguous tensor's time.
# This script fails if the cut takes less than 5 x, or the view more than half of the cut's time.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet "torch==2.13.0" "numpy==2.4.6"
"$folder/venv/bin/python" - <<'PYTHON'
import statistics
import time

import torch

torch.set_num_threads(1)
HEADS, LONGEST, LENGTH, SIZE = 8, 4200, 4000, 64
cache = torch.randn(1, HEADS, LONGEST, SIZE)
cut = cache[:, :, :LENGTH]
whole = cut.contiguous()
index = torch.cat([torch.arange(0, 3700, 120), torch.arange(3740, LENGTH)])
rows = (torch.arange(HEADS)[:, None] * LONGEST + index).reshape(-1)


def of_all_rows():
    return cache.view(-1, SIZE).index_select(0, rows).view(1, HEADS, len(index), SIZE)


ways = {
    "contiguous": lambda: whole.index_select(2, index),
    "cut": lambda: cut.index_select(2, index),
    "view of all rows": of_all_rows,
}
seconds = {name: [] for name in ways}
for _ in range(100):
    for name, way in ways.items():
        begin = time.perf_counter()
        found = way()
        seconds[name].append(time.perf_counter() - begin)
        assert torch.equal(found, whole[:, :, index])
taken = {name: statistics.median(samples) for name, samples in seconds.items()}
for name, median in taken.items():
    print(f"torch {torch.__version__}, {name}: {1e6 * median:.0f} us, {median / taken['contiguous']:.1f} x")
assert taken["cut"] > 5 * taken["contiguous"]
assert taken["view of all rows"] < taken["cut"] / 2
PYTHON
