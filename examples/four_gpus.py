"""Compare the Sparse Transformer's strided attention on several GPUs with dense attention on one of them.

    torchrun --nproc-per-node 4 examples/four_gpus.py --topology 4xrtx4090
    torchrun --nproc-per-node 2 examples/four_gpus.py --device cpu --seq-len 512

The survey that attncc follows reports for 131,072 tokens almost 40 times the speed of dense attention, on four GPUs. It
doesn't say which dense attention that was. The script measures flash attention, and vanilla attention (scores in
memory) in blocks of rows that fit. Rank 0 prints the survey's figure beside what it has measured.
"""

from __future__ import annotations

import json
import math
import os
import statistics
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Annotated

import torch
import torch.distributed as dist
import typer
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

import attncc
import attncc.distributed
from attncc._util.machine import devices
from attncc.distributed import Topology
from attncc.measure.timing import elapsed

#: What the survey reports for the strided Sparse Transformer at 131,072 tokens on four GPUs, times dense attention.
SURVEY = 40.0
#: Bytes of scores that vanilla attention has at a time.
SCORES = 1 << 30


@dataclass(frozen=True)
class Sizes:
    """What is measured: one sequence of `length` tokens, its heads, and how often."""

    length: int
    heads: int
    head_dim: int
    stride: int
    rounds: int
    device: torch.device
    topology: Topology | None

    def drawn(self) -> list[Tensor]:
        """Return query, key and value, (1, H, N, D), the same on every rank; bf16 on a GPU."""
        dtype = torch.bfloat16 if self.device.type == "cuda" else torch.float32
        generator = torch.Generator().manual_seed(0)
        shape = 1, self.heads, self.length, self.head_dim
        return [torch.randn(shape, generator=generator).to(self.device, dtype) for _ in range(3)]


def vanilla(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention with its scores in memory, a block of rows at a time, (1, H, N, D)."""
    length, scale = query.shape[2], query.shape[3] ** -0.5
    rows = max(1, SCORES // (query.shape[1] * length * query.element_size()))
    position, outs = torch.arange(length, device=query.device), []
    for first in range(0, length, rows):
        block = query[:, :, first : first + rows]
        later = position > position[first : first + rows, None]
        scores = (block @ key.mT * scale).masked_fill_(later, -math.inf)
        outs.append(scores.softmax(-1) @ value)
    return torch.cat(outs, 2)


def flash(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
    """Causal attention by PyTorch's own kernel, (1, H, N, D)."""
    return scaled_dot_product_attention(query, key, value, is_causal=True)


def seconds(run: Callable[[], object], sizes: Sizes) -> float:
    """Return the median of the seconds of a call, after one that isn't counted."""
    run()
    return statistics.median(elapsed(run, sizes.device) for _ in range(sizes.rounds))


def slowest(run: Callable[[], object], sizes: Sizes) -> float:
    """Return the median of the seconds that the slowest rank takes for a call; ranks begin together."""
    run()
    taken = []
    for _ in range(sizes.rounds):
        dist.barrier()
        own = torch.tensor(elapsed(run, sizes.device), dtype=torch.float64, device=sizes.device)
        dist.all_reduce(own, dist.ReduceOp.MAX)
        taken.append(float(own))
    return statistics.median(taken)


def forward_of(run: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], object]:
    """Return a call that runs forward without gradients."""
    return torch.no_grad()(partial(run, *inputs))


def both_of(run: Callable[..., Tensor], inputs: list[Tensor]) -> Callable[[], object]:
    """Return a call that runs forward and backward."""
    leaves = [x.detach().requires_grad_() for x in inputs]

    def both() -> object:
        out = run(*leaves)
        return torch.autograd.grad(out, leaves, torch.ones_like(out))

    return both


def measured(sizes: Sizes) -> dict[str, dict[str, float]]:
    """Return the seconds of each contestant by direction, on every rank; dense attention runs on rank 0 alone."""
    pattern = attncc.load("strided", l=sizes.stride).union()
    dtype = "bf16" if sizes.device.type == "cuda" else "fp32"
    tensors = {"heads": sizes.heads, "kv_heads": sizes.heads, "head_dim": sizes.head_dim, "dtype": dtype}
    op = attncc.distributed.compile(pattern, sizes.length, **tensors, topology=sizes.topology)
    whole = sizes.drawn()
    own = [op.shard(x).contiguous() for x in whole]
    _check(op, own, whole, pattern)
    found: dict[str, dict[str, float]] = {}
    for direction, make in (("forward", forward_of), ("forward and backward", both_of)):
        ours = slowest(make(op, own), sizes)
        found[direction] = {f"strided on {dist.get_world_size()}": ours}
        if dist.get_rank() == 0:
            alone = {"strided on 1": partial(attncc.attention, pattern=pattern), "flash on 1": flash}
            found[direction] |= {name: seconds(make(run, whole), sizes) for name, run in alone.items()}
            if direction == "forward":
                found[direction]["vanilla on 1"] = seconds(make(vanilla, whole), sizes)
        dist.barrier()
    return found


def _check(op: Callable[..., Tensor], own: list[Tensor], whole: list[Tensor], pattern: attncc.Pattern) -> None:
    """Raise an AssertionError unless the ranks together compute what one does."""
    with torch.no_grad():
        wanted = op.shard(attncc.attention(*whole, pattern))
        torch.testing.assert_close(op(*own), wanted, rtol=2e-2, atol=2e-2)


def report(sizes: Sizes, found: dict[str, dict[str, float]]) -> str:
    """Return the table that people read."""
    ranks = dist.get_world_size()
    lines = [f"{sizes.length:,} tokens, {sizes.heads} heads of {sizes.head_dim}, strided l = {sizes.stride}"]
    for direction, taken in found.items():
        ours = taken[f"strided on {ranks}"]
        lines.append(f"{direction}: {1e3 * ours:.3g} ms on {ranks} devices")
        lines += [f"  {name}: {1e3 * each:.3g} ms, {each / ours:.1f} x" for name, each in taken.items() if each != ours]
    lines.append(f"The survey reports for 131,072 tokens on four GPUs: almost {SURVEY:.0f} x dense attention")
    return "\n".join(lines)


@contextmanager
def world(device: str) -> Iterator[torch.device]:
    """Join the ranks that torchrun has started: one GPU each, or processes of a CPU."""
    if "RANK" not in os.environ:
        sys.exit("Start this with torchrun: torchrun --nproc-per-node 4 examples/four_gpus.py")
    if device == "cuda":
        here = torch.device("cuda", int(os.environ["LOCAL_RANK"]))
        torch.cuda.set_device(here)
    else:
        here = torch.device("cpu")
    dist.init_process_group("nccl" if device == "cuda" else "gloo")
    try:
        yield here
    finally:
        dist.destroy_process_group()


def main(
    seq_len: Annotated[int, typer.Option(help="Tokens.", min=2)] = 131_072,
    heads: Annotated[int, typer.Option(help="Heads.", min=1)] = 8,
    head_dim: Annotated[int, typer.Option(help="Channels of a head.", min=1)] = 64,
    rounds: Annotated[int, typer.Option(help="Calls that are measured.", min=1)] = 5,
    device: Annotated[str, typer.Option(help="cuda, or cpu to try the script.")] = "cuda",
    topology: Annotated[str, typer.Option(help="Take the schedule that is the fastest there, by simulation.")] = "",
    json_: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Measure, and print the survey's figure beside the measured ones."""
    with world(device) as here:
        there = Topology.load(topology) if topology else None
        sizes = Sizes(seq_len, heads, head_dim, math.isqrt(seq_len), rounds, here, there)
        found = measured(sizes)
        if dist.get_rank() == 0:
            data = {"seq_len": seq_len, "ranks": dist.get_world_size(), "devices": devices(), "seconds": found}
            print(json.dumps(data | {"survey_times_dense": SURVEY}) if json_ else report(sizes, found))


if __name__ == "__main__":
    typer.run(main)
