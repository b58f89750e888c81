"""Train a small byte-level language model at 8192 tokens of context, with sparse attention.

The text is the source code of Python's standard library, which every machine has. With `--dense` the same model, with
the same seed, uses PyTorch's dense attention under the same mask. The losses are the same, the speed isn't.
"""

from __future__ import annotations

import json
import math
import sys
import sysconfig
import time
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn
from torch import Tensor, nn

import attncc
from attncc.frontend.catalog import factory, parse_parameters

VOCABULARY = 256
FOREIGN = {"site-packages", "dist-packages"}  # other packages, which differ between machines
HELD_OUT_SHARE = 20  # one file in 20 is held out
HELD_OUT_WINDOWS = 4
EVALUATIONS = 5  # on the held-out text, in one run

#: (query, key, value) -> out, all of them (B, H, N, D).
Attend = Callable[[Tensor, Tensor, Tensor], Tensor]
#: (bytes, the bytes that follow each) -> bits per byte of a model.
Bits = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Settings:
    """The sizes of the model, and the length and pace of its training."""

    context: int = 8192
    layers: int = 2
    heads: int = 4
    width: int = 128
    steps: int = 200
    batch: int = 1
    learning_rate: float = 3e-3
    seed: int = 0

    def __post_init__(self) -> None:
        if self.width % (2 * self.heads):
            raise typer.BadParameter(f"--width {self.width} is not a multiple of twice the {self.heads} heads.")


@dataclass(frozen=True)
class Corpus:
    """Bytes to train on, and bytes of other files to evaluate on; uint8, one dimension."""

    train: Tensor
    held_out: Tensor


@dataclass
class History:
    """The results so far: bits per byte of each step, (step, bits) on the held-out text, and speed."""

    train: list[float] = field(default_factory=list)
    held_out: list[tuple[int, float]] = field(default_factory=list)
    tokens_per_second: float = 0.0  # of training steps, without the first one, which warms up
    interrupted: bool = False


def is_held_out(name: str) -> bool:
    """Decide by the file's relative name: the answer is the same on every machine and in every version."""
    return zlib.crc32(name.encode()) % HELD_OUT_SHARE == 0


def split_files(root: Path) -> tuple[list[Path], list[Path]]:
    """Return the Python files under `root` to train on, and those to hold out."""
    names = sorted(path.relative_to(root).as_posix() for path in root.rglob("*.py") if path.is_file())
    own = [name for name in names if FOREIGN.isdisjoint(name.split("/"))]
    return [root / name for name in own if not is_held_out(name)], [root / name for name in own if is_held_out(name)]


def read_corpus(root: Path, least: int) -> Corpus:
    """Return the text under `root`; raises BadParameter if either part has fewer than `least` bytes."""
    train, held_out = (_joined(paths) for paths in split_files(root))
    if min(len(train), len(held_out)) < least:
        raise typer.BadParameter(
            f"{root} has {len(train):,} bytes to train on and {len(held_out):,} held out; a window takes {least:,}."
        )
    return Corpus(train, held_out)


def _joined(paths: list[Path]) -> Tensor:
    text = b"\0".join(path.read_bytes() for path in paths)  # Python files hold no zero byte: it marks the end of one
    return torch.frombuffer(bytearray(text), dtype=torch.uint8) if text else torch.empty(0, dtype=torch.uint8)


def windows(text: Tensor, starts: Tensor, context: int) -> tuple[Tensor, Tensor]:
    """Return the windows of `text` at `starts`, and the next byte of each position; int64, (B, N)."""
    rows = text[starts[:, None] + torch.arange(context + 1)].long()
    return rows[:, :-1], rows[:, 1:]


def sparse_attention(pattern: attncc.Pattern, settings: Settings) -> Attend:
    """Return attention over the keys of `pattern`; the plan is made here, once."""
    compiled = attncc.compile(pattern, settings.context, heads=settings.heads)

    def attend(query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        out = compiled(query, key, value)
        assert isinstance(out, Tensor)  # a tuple only with return_lse=True
        return out

    return attend


def dense_attention(pattern: attncc.Pattern, settings: Settings) -> Attend:
    """Return PyTorch's attention over all keys, with a mask of the keys outside of `pattern`."""
    mask = attncc.dense_mask(pattern, settings.context, heads=settings.heads)
    return partial(F.scaled_dot_product_attention, attn_mask=mask)


def rotary_turns(context: int, head_size: int) -> Tensor:
    """Return the rotation of each position and pair of features: complex numbers (context, head_size / 2)."""
    speeds = 10_000.0 ** (-torch.arange(0, head_size, 2) / head_size)
    angles = torch.outer(torch.arange(context), speeds)
    return torch.polar(torch.ones_like(angles), angles)


def rotated(x: Tensor, turns: Tensor) -> Tensor:
    """Return x, (B, H, N, D), with each pair of features rotated by its position (RoPE)."""
    pairs = torch.view_as_complex(x.reshape(*x.shape[:-1], -1, 2))
    return torch.view_as_real(pairs * turns).flatten(-2)


class Block(nn.Module):
    """Attention and a two-layer perceptron, each on normalised input, with residual connections."""

    def __init__(self, width: int, heads: int, attend: Attend) -> None:
        super().__init__()
        self.heads, self.attend = heads, attend
        self.attention_norm, self.mlp_norm = nn.LayerNorm(width), nn.LayerNorm(width)
        self.qkv, self.merge = nn.Linear(width, 3 * width, bias=False), nn.Linear(width, width, bias=False)
        self.mlp = nn.Sequential(nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width))

    def forward(self, x: Tensor, turns: Tensor) -> Tensor:
        rows: Tensor = self.qkv(self.attention_norm(x))
        query, key, value = rows.view(*x.shape[:2], 3, self.heads, -1).permute(2, 0, 3, 1, 4)  # each (B, H, N, D)
        out = self.attend(rotated(query, turns), rotated(key, turns), value)
        x = x + self.merge(out.transpose(1, 2).flatten(-2))
        added: Tensor = self.mlp(self.mlp_norm(x))
        return x + added


class ByteModel(nn.Module):
    """A pre-norm transformer from bytes, (B, N), to logits of the next byte, (B, N, 256)."""

    turns: Tensor

    def __init__(self, settings: Settings, attend: Attend) -> None:
        super().__init__()
        width, heads = settings.width, settings.heads
        self.embedding = nn.Embedding(VOCABULARY, width)
        self.blocks = nn.ModuleList(Block(width, heads, attend) for _ in range(settings.layers))
        self.norm, self.head = nn.LayerNorm(width), nn.Linear(width, VOCABULARY, bias=False)
        self.register_buffer("turns", rotary_turns(settings.context, width // heads), persistent=False)

    def forward(self, tokens: Tensor) -> Tensor:
        x = self.embedding(tokens)
        for block in self.blocks:
            x = block(x, self.turns)
        logits: Tensor = self.head(self.norm(x))
        return logits


def bits_per_byte(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
    """Return the mean of -log2 p(next byte)."""
    return F.cross_entropy(model(inputs).flatten(0, 1), targets.flatten()) / math.log(2)


@torch.no_grad()
def evaluate(bits: Bits, text: Tensor, context: int) -> float:
    """Return bits per byte of a few evenly spaced windows, computed one at a time to save memory."""
    starts = torch.linspace(0, len(text) - context - 1, HELD_OUT_WINDOWS).long()
    return sum(bits(*windows(text, start[None], context)).item() for start in starts) / len(starts)


def is_evaluated(step: int, steps: int) -> bool:
    """Decide whether to evaluate after a step; the first step is 1."""
    return step % math.ceil(steps / EVALUATIONS) == 0 or step == steps


def learning_rate_factor(step: int, steps: int) -> float:
    """Rise linearly over the first tenth of the steps (20 at least), then fall along a cosine to a tenth."""
    warmup = max(20, steps // 10)
    if step < warmup:
        return (step + 1) / warmup
    return 0.55 + 0.45 * math.cos(math.pi * (step - warmup) / max(1, steps - warmup))


def optimiser_of(model: nn.Module, settings: Settings) -> tuple[torch.optim.AdamW, torch.optim.lr_scheduler.LambdaLR]:
    """Return the optimiser and its learning-rate schedule."""
    optimizer = torch.optim.AdamW(model.parameters(), lr=settings.learning_rate, betas=(0.9, 0.95), weight_decay=0.1)
    return optimizer, torch.optim.lr_scheduler.LambdaLR(
        optimizer, lambda step: learning_rate_factor(step, settings.steps)
    )


def drawn(text: Tensor, settings: Settings, draw: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return the next windows to train on, and the next byte of each position."""
    starts = torch.randint(len(text) - settings.context, (settings.batch,), generator=draw)
    return windows(text, starts, settings.context)


def training_steps(model: nn.Module, text: Tensor, settings: Settings) -> Iterator[float]:
    """Take the optimiser's steps; yield the bits per byte of each, measured before its update."""
    optimizer, schedule = optimiser_of(model, settings)
    draw = torch.Generator().manual_seed(settings.seed)  # its own, so that the model's sizes don't change the text
    for _ in range(settings.steps):
        bits = bits_per_byte(model, *drawn(text, settings, draw))
        optimizer.zero_grad()
        torch.autograd.backward(bits)
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield bits.item()


def train(model: nn.Module, corpus: Corpus, settings: Settings, show: Callable[[History], None]) -> History:
    """Train `model` in place, and call `show` after every step; Ctrl-C ends the training and keeps its results."""
    history, seconds = History(), []
    begin = time.perf_counter()
    try:
        for step, bits in enumerate(training_steps(model, corpus.train, settings), start=1):
            seconds.append(time.perf_counter() - begin)
            timed = seconds[1:] or seconds
            history.tokens_per_second = settings.batch * settings.context * len(timed) / sum(timed)
            history.train.append(bits)
            if is_evaluated(step, settings.steps):
                bits_of = partial(bits_per_byte, model)
                history.held_out.append((step, evaluate(bits_of, corpus.held_out, settings.context)))
            show(history)
            begin = time.perf_counter()
    except KeyboardInterrupt:
        history.interrupted = True
    return history


@contextmanager
def progress_bar(steps: int) -> Iterator[Callable[[History], None]]:
    """Show a progress bar on stderr; yields a function to call with the history after each step."""
    columns = (BarColumn(), MofNCompleteColumn(), TimeRemainingColumn(), TextColumn("{task.description}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bar:
        task = bar.add_task("starting", total=steps)

        def show(history: History) -> None:
            held_out = f", held out {history.held_out[-1][1]:.3f}" if history.held_out else ""
            speed = f"{history.tokens_per_second:,.0f} tokens/s"
            bar.update(task, advance=1, description=f"train {history.train[-1]:.3f}{held_out} bits/byte, {speed}")

        yield show


def report(title: str, history: History) -> None:
    """Print the result for people, on stdout."""
    print(title)
    for step, bits in history.held_out:
        recent = history.train[max(0, step - 20) : step]  # a mean, since windows differ a lot
        print(f"step {step:6,}: train {sum(recent) / len(recent):.3f} bits/byte, held out {bits:.3f}")
    if history.interrupted:
        reached = f", at {history.train[-1]:.3f} bits/byte" if history.train else ""
        print(f"interrupted after {len(history.train):,} steps{reached}")
    print(f"{history.tokens_per_second:,.0f} tokens/s")


#: Options of a command that trains.
PatternName = Annotated[str, typer.Option(help="A name from `attncc list`, or file.py:name.")]
Parameters = Annotated[list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="A pattern's parameter.")]
Count = Annotated[int, typer.Option(min=1)]
Context = Annotated[int, typer.Option(min=1, help="Tokens in a window.")]
Batch = Annotated[int, typer.Option(min=1, help="Windows in a step.")]
Width = Annotated[int, typer.Option(min=2, help="A multiple of twice the heads.")]
LearningRate = Annotated[float, typer.Option(min=0.0)]
Seed = Annotated[int, typer.Option(min=0, help="Seed of the weights and of the windows.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object, with the curves.")]


def pattern_of(name: str, parameters: list[str] | None) -> attncc.Pattern:
    """Return the pattern that the command line names."""
    declared = factory(name)
    return declared(**parse_parameters(declared, parameters or []))


def main(
    pattern: PatternName = "strided",
    param: Parameters = None,
    dense: Annotated[bool, typer.Option("--dense", help="Use PyTorch's dense attention under the same mask.")] = False,
    steps: Count = Settings.steps,
    context: Context = Settings.context,
    batch: Batch = Settings.batch,
    layers: Count = Settings.layers,
    heads: Count = Settings.heads,
    width: Width = Settings.width,
    learning_rate: LearningRate = Settings.learning_rate,
    seed: Seed = Settings.seed,
    as_json: AsJson = False,
) -> None:
    """Train a byte-level language model on the Python standard library's sources, with sparse attention.

    Example: python examples/bytes_lm.py --pattern fixed -p l=256 -p c=16 --steps 50
    """
    settings = Settings(context, layers, heads, width, steps, batch, learning_rate, seed)
    chosen = pattern_of(pattern, param)
    causal = chosen.union().causal()  # or else a pattern with later keys could copy the targets
    corpus = read_corpus(Path(sysconfig.get_paths()["stdlib"]), context + 1)
    torch.manual_seed(seed)
    model = ByteModel(settings, (dense_attention if dense else sparse_attention)(causal, settings))
    with progress_bar(steps) as show:
        history = train(model, corpus, settings, show)
    run = {"pattern": repr(chosen), "dense": dense, "settings": asdict(settings)}
    if as_json:
        print(json.dumps({**run, **asdict(history)}))
    else:
        report(f"{chosen!r}, {'dense' if dense else 'sparse'} attention, {context:,} tokens of context", history)
    if history.interrupted:
        raise typer.Exit(130)


if __name__ == "__main__":
    try:
        typer.run(main)
    except attncc.AttnccError as error:
        sys.exit(f"error: {error}")
