"""Train a byte-level language model on the Python standard library's own sources, at 8192 tokens of context.

python examples/bytes_lm.py --steps 100
python examples/bytes_lm.py --steps 20 --dense     # the same model with PyTorch's dense attention, same mask
"""

from __future__ import annotations

import json
import math
import sysconfig
import time
import zlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import torch
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, scaled_dot_product_attention

import attncc

Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
#: One file in this many is held out.
HELD_OUT = 20


@dataclass(frozen=True)
class Sizes:
    """Sizes of the model."""

    context: int = 8192
    width: int = 128
    heads: int = 4
    layers: int = 2


def is_held_out(path: Path, root: Path) -> bool:
    """Return whether a file is kept apart, by a stable hash of its name."""
    return zlib.crc32(path.relative_to(root).as_posix().encode()) % HELD_OUT == 0


def sources(*, held_out: bool) -> Tensor:
    """Return the standard library's sources as bytes, uint8 (N,)."""
    root = Path(sysconfig.get_paths()["stdlib"])
    files = sorted(path for path in root.rglob("*.py") if "site-packages" not in path.parts)
    text = b"".join(path.read_bytes() for path in files if is_held_out(path, root) == held_out)
    return torch.frombuffer(bytearray(text), dtype=torch.uint8)


def batch(data: Tensor, context: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return a random stretch of `context` bytes and the bytes that follow each, (1, N) int64."""
    start = int(torch.randint(len(data) - context - 1, (), generator=generator))
    stretch = data[start : start + context + 1].long()[None]
    return stretch[:, :-1], stretch[:, 1:]


class Block(nn.Module):
    """A pre-norm transformer block."""

    def __init__(self, sizes: Sizes, attend: Attend) -> None:
        super().__init__()
        self.heads, self.attend = sizes.heads, attend
        self.norm_1, self.norm_2 = nn.LayerNorm(sizes.width), nn.LayerNorm(sizes.width)
        self.qkv = nn.Linear(sizes.width, 3 * sizes.width, bias=False)
        self.project = nn.Linear(sizes.width, sizes.width, bias=False)
        self.mlp = nn.Sequential(
            nn.Linear(sizes.width, 4 * sizes.width), nn.GELU(), nn.Linear(4 * sizes.width, sizes.width)
        )

    def forward(self, x: Tensor) -> Tensor:
        query, key, value = self.qkv(self.norm_1(x)).unflatten(-1, (3, self.heads, -1)).permute(2, 0, 3, 1, 4)
        seen = self.attend(query, key, value)
        x = x + self.project(seen.transpose(1, 2).flatten(2))
        return x + self.mlp(self.norm_2(x))


class Model(nn.Module):
    """Bytes in, logits of the next byte out."""

    def __init__(self, sizes: Sizes, attend: Attend) -> None:
        super().__init__()
        self.embed = nn.Embedding(256, sizes.width)
        self.place = nn.Parameter(0.02 * torch.randn(sizes.context, sizes.width))
        self.blocks = nn.Sequential(*(Block(sizes, attend) for _ in range(sizes.layers)))
        self.head = nn.Sequential(nn.LayerNorm(sizes.width), nn.Linear(sizes.width, 256))

    def forward(self, tokens: Tensor) -> Tensor:
        return self.head(self.blocks(self.embed(tokens) + self.place))


def attention_for(pattern: attncc.Pattern, context: int, *, dense: bool) -> Attend:
    """Return attention over (B, H, N, D): attncc's, or PyTorch's under the same mask."""
    if not dense:
        return attncc.compile(pattern, context)  # type: ignore[return-value]
    mask = attncc.dense_mask(pattern, context)
    return lambda query, key, value: scaled_dot_product_attention(query, key, value, attn_mask=mask)


def bits(loss: Tensor) -> float:
    """Return nats as bits."""
    return loss.item() / math.log(2)


def train(sizes: Sizes, attend: Attend, steps: int, rate: float, seed: int) -> dict[str, object]:
    """Train and return the curve, the held-out bits per byte, and the tokens per second."""
    torch.manual_seed(seed)
    model = Model(sizes, attend)
    optimiser = torch.optim.AdamW(model.parameters(), lr=rate)
    warm = torch.optim.lr_scheduler.LambdaLR(optimiser, lambda step: min(1.0, (step + 1) / 20))
    data, generator = sources(held_out=False), torch.Generator().manual_seed(seed)
    curve: list[float] = []
    columns = TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn()
    begin = time.perf_counter()
    with Progress(*columns, console=Console(stderr=True)) as progress:
        task = progress.add_task("training", total=steps)
        for _ in range(steps):
            tokens, following = batch(data, sizes.context, generator)
            loss = cross_entropy(model(tokens).flatten(0, 1), following.flatten())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimiser.step()
            warm.step()
            curve.append(bits(loss))
            progress.update(task, advance=1, description=f"{curve[-1]:.3f} bits per byte")
    speed = steps * sizes.context / (time.perf_counter() - begin)
    return {"train": curve, "held_out": evaluate(model, sizes.context), "tokens_per_second": speed}


@torch.no_grad()
def evaluate(model: Model, context: int, batches: int = 4) -> float:
    """Return bits per byte on held-out files."""
    data, generator = sources(held_out=True), torch.Generator().manual_seed(0)
    losses = []
    for _ in range(batches):
        tokens, following = batch(data, context, generator)
        losses.append(bits(cross_entropy(model(tokens).flatten(0, 1), following.flatten())))
    return sum(losses) / batches


def main(
    steps: Annotated[int, typer.Option(min=1, help="Training steps.")] = 100,
    context: Annotated[int, typer.Option(min=2, help="Tokens of context.")] = Sizes.context,
    stride: Annotated[int, typer.Option(min=1, help="l of the strided pattern.")] = 128,
    layers: Annotated[int, typer.Option(min=1)] = Sizes.layers,
    width: Annotated[int, typer.Option(min=1)] = Sizes.width,
    rate: Annotated[float, typer.Option(help="Learning rate after 20 steps of warm-up.")] = 1e-3,
    seed: Annotated[int, typer.Option()] = 0,
    dense: Annotated[bool, typer.Option("--dense", help="Use PyTorch's dense attention under the same mask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object.")] = False,
) -> None:
    """Train a byte-level language model. Example: python examples/bytes_lm.py --steps 100"""
    sizes = Sizes(context=context, width=width, layers=layers)
    pattern = attncc.load("strided", l=stride)
    found = train(sizes, attention_for(pattern, context, dense=dense), steps, rate, seed)
    if as_json:
        print(json.dumps(found))
        return
    curve = found["train"]
    assert isinstance(curve, list)
    print(f"train {curve[-1]:.3f}, held out {found['held_out']:.3f} bits per byte")
    print(f"{found['tokens_per_second']:,.0f} tokens per second")


if __name__ == "__main__":
    typer.run(main)
