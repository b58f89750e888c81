"""Time candidates for the triton backend's default blocks on the local GPU; run from the repository's root:

    python bench/measure_blocks.py --head-dim 64 --head-dim 128 --output measured.json

For each kernel and head size, candidates are compiled side by side, then timed one after the other inside CUDA graphs,
so that launching costs nothing, and listed by their time over the default's: the geometric mean over the patterns.
bench/choose_blocks.py predicts the same for absent GPUs; attncc/backends/triton/defaults.toml has the choice.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import statistics
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, astuple, dataclass
from itertools import product
from pathlib import Path
from typing import Annotated

import torch
import typer

import attncc
from attncc._util import storage
from attncc.backends.base import Saved
from attncc.backends.device import architecture
from attncc.backends.triton.config import DIRECTIONS, KERNELS, Blocks, KernelConfig
from attncc.configs.encoding import encoded
from attncc.ir.score import IDENTITY
from attncc.runtime.call import AttentionCall
from attncc.runtime.executables import executable_for

HEADS, LENGTH = 16, 16384
PATTERNS = {"causal": attncc.load("causal"), "256-window": attncc.load("sliding_window", window=256)}
#: block_m, block_n, warps and stages that candidates are made of, by kernel: all that hold no more scores and sums of
#: rows than threads have registers for.
CHOICES = {
    "forward": ((64, 128), (32, 64, 128), (4, 8), (2, 3)),
    "query_gradient": ((64, 128), (32, 64, 128), (4, 8), (1, 2, 3)),
    "key_gradient": ((32, 64, 128), (64, 128), (4, 8), (1, 2, 3)),
}
#: 32-bit numbers of a tile and of sums that a thread may hold.
NUMBERS = 210
CALLS, REPLAYS = 4, 7


@dataclass(frozen=True)
class Candidate:
    """Blocks of one kernel for one head size."""

    kernel: str
    head_dim: int
    blocks: Blocks

    @property
    def config(self) -> dict[str, object]:
        return {f"{self.kernel}.{name}": value for name, value in asdict(self.blocks).items()}

    @property
    def described(self) -> dict[str, object]:
        """The candidate as JSON-able data; blocks as in defaults.toml."""
        return {"kernel": self.kernel, "head_dim": self.head_dim, "blocks": astuple(self.blocks)[:4]}


def candidates(kernel: str, head_dim: int, arch: str) -> list[Candidate]:
    """Return the default, then what may be better."""
    default = getattr(KernelConfig.default(arch, head_dim, 2), kernel)
    made = [Blocks(*each) for each in product(*CHOICES[kernel])]
    fitting = [each for each in made if _numbers(kernel, each, head_dim) <= NUMBERS and each != default]
    return [Candidate(kernel, head_dim, each) for each in (default, *fitting)]


def _numbers(kernel: str, blocks: Blocks, head_dim: int) -> float:
    """Return how many 32-bit numbers of scores (two in a backward) and of sums a thread holds at least."""
    scores = blocks.block_m * blocks.block_n
    sums = {"forward": blocks.block_m, "query_gradient": blocks.block_m, "key_gradient": 2 * blocks.block_n}
    held = scores * (1 if kernel == "forward" else 2) + sums[kernel] * head_dim
    return held / (32 * blocks.num_warps)


def call(candidate: Candidate, pattern: str, length: int = LENGTH) -> Callable[[], object]:
    """Return a call of the candidate's direction; all kernels but its own have their default blocks."""
    shape = (1, HEADS, length, candidate.head_dim)
    query, key, value, grad = (torch.randn(shape, device="cuda", dtype=torch.bfloat16) for _ in range(4))
    asked = AttentionCall(PATTERNS[pattern].handle, IDENTITY.key, 0, "triton", encoded(candidate.config))
    direction = DIRECTIONS[candidate.kernel]
    found, scale = executable_for(query, key, value, direction, asked), candidate.head_dim**-0.5
    out, lse = found.forward(query, key, value, (), scale)
    if direction == "forward":
        return lambda: found.forward(query, key, value, (), scale)
    saved = Saved(query, key, value, (), out, lse)
    return lambda: found.backward(saved, grad, None, scale, False)


def compiled(candidate: Candidate) -> str:
    """Compile what the candidate needs, in this process, for all; return why it can't run, or ""."""
    try:
        for pattern in PATTERNS:
            call(candidate, pattern, 1024)()
    except attncc.AttnccError as error:
        return str(error).splitlines()[0]
    return ""


def milliseconds(run: Callable[[], object]) -> float:
    """Return the median time of a call that is replayed without its launches."""
    for _ in range(2):
        run()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        for _ in range(CALLS):
            run()
    samples = []
    for _ in range(REPLAYS):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        end.synchronize()
        samples.append(begin.elapsed_time(end) / CALLS)
    return statistics.median(samples)


def main(
    head_dim: Annotated[list[int], typer.Option(help="Head sizes.")],
    kernel: Annotated[list[str], typer.Option(help="Kernels.")] = list(KERNELS),  # noqa: B006
    output: Annotated[Path | None, typer.Option(help="Write all times to this file, as JSON.")] = None,
) -> None:
    """Time candidates for the default blocks on the local GPU."""
    arch = architecture(torch.device("cuda"))
    assert arch is not None
    tasks = list(product(kernel, head_dim))
    listed = [each for task in tasks for each in candidates(*task, arch)]
    with ProcessPoolExecutor(max(1, (os.cpu_count() or 1) - 2), multiprocessing.get_context("spawn")) as pool:
        refusals = dict(zip(listed, pool.map(compiled, listed), strict=True))
    rows = []
    for name, size in tasks:
        times: dict[Candidate, dict[str, float]] = {}
        for each in candidates(name, size, arch):
            if refusals[each]:
                rows.append({**each.described, "refused": refusals[each]})
                continue
            times[each] = {pattern: milliseconds(call(each, pattern)) for pattern in PATTERNS}
            rows.append({**each.described, "ms": times[each]})
        _show(name, size, times)
    if output:
        lines = ",\n".join(map(json.dumps, rows))
        text = f'{{"device": "{torch.cuda.get_device_name()}", "measured": [\n{lines}\n]}}\n'
        storage.save(output, text.encode(), "--output")


def _show(kernel: str, head_dim: int, times: dict[Candidate, dict[str, float]]) -> None:
    """Print the default, and the five best, with their times over the default's."""
    default = next(iter(times))

    def ratio(each: Candidate) -> float:
        return math.exp(statistics.fmean(math.log(times[each][p] / times[default][p]) for p in PATTERNS))

    for each in [default, *sorted(times, key=ratio)[:5]]:
        found = "  ".join(f"{pattern} {took:.3f} ms" for pattern, took in times[each].items())
        print(f"{kernel} D={head_dim} {list(astuple(each.blocks))[:4]}: {ratio(each):.3f} x  {found}", flush=True)


if __name__ == "__main__":
    typer.run(main)
