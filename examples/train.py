"""Train a byte-level language model with what saves memory in training, or size afterwards.

Gradient checkpointing, mixed precision and micro-batches save memory; tied layers, pruning and distillation save size.
Each is an option, and PyTorch's own tool where there is one. `--compare` trains with each by itself and prints what it
takes and what it costs. The text and its split are those of bytes_lm.py.
"""

from __future__ import annotations

import io
import json
import statistics
import sys
import sysconfig
import time
import zlib
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from functools import partial
from pathlib import Path
from typing import Annotated

import torch
import torch.nn.functional as F
import typer
from bytes_lm import (
    VOCABULARY,
    AsJson,
    Batch,
    Context,
    Corpus,
    Count,
    LearningRate,
    Parameters,
    PatternName,
    Seed,
    Settings,
    Width,
    bits_per_byte,
    drawn,
    evaluate,
    optimiser_of,
    pattern_of,
    read_corpus,
)
from rich.console import Console
from rich.progress import track
from torch import Tensor, nn
from torch.nn.utils import prune
from torch.utils.checkpoint import checkpoint

import attncc
from attncc.measure.memory import peak
from attncc.nn import Attention, Block, LanguageModel

CPU = torch.device("cpu")
TEMPERATURE = 2.0  # of distillation (Hinton et al. 2015, section 2)
MEBIBYTE = 1 << 20

#: (model, bytes, the bytes that follow each) -> what is made small.
Loss = Callable[[nn.Module, Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Recipe:
    """What saves memory or size.

    Attributes:
        checkpointing: Whether a block's activations are computed again in the backward pass (Chen et al. 2016).
        mixed_precision: Whether matrix products are in bfloat16.
        micro_batches: Parts of a batch that run one after the other, and add up their gradients.
        tied: Whether all layers have the same weights (Lan et al. 2020). The head has the embedding's anyway.
        pruned: The share of the blocks' weights that are zero from half of the steps on, the smallest ones.
        student: Layers of a student, which the trained model teaches; 0 for none.
    """

    checkpointing: bool = False
    mixed_precision: bool = False
    micro_batches: int = 1
    tied: bool = False
    pruned: float = 0.0
    student: int = 0


@dataclass(frozen=True)
class Outcome:
    """What a training takes and gives.

    Attributes:
        peak_bytes: Most memory of a step above what was held before it.
        seconds: The median of a step.
        parameters: Numbers that were trained, each once.
        stored_bytes: Size of the compressed `state_dict`.
        held_out: Bits per byte on the held-out text.
    """

    peak_bytes: int
    seconds: float
    parameters: int
    stored_bytes: int
    held_out: float


class Checkpointed(nn.Module):
    """A layer that keeps its input alone for the backward pass."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.layer = layer

    def forward(self, hidden: Tensor) -> Tensor:
        found: Tensor = checkpoint(self.layer, hidden, use_reentrant=False)
        return found


def model_of(pattern: attncc.Pattern, settings: Settings, recipe: Recipe) -> LanguageModel:
    """Return a language model with new weights."""

    def block() -> Block:
        return Block(settings.width, Attention(settings.width, settings.heads, pattern, rotary=True))

    blocks: list[nn.Module] = [block()] * settings.layers if recipe.tied else [block() for _ in range(settings.layers)]
    blocks = [Checkpointed(each) for each in blocks] if recipe.checkpointing else blocks
    return LanguageModel(VOCABULARY, settings.width, blocks)


def distillation(teacher: nn.Module) -> Loss:
    """Return the mean of the bits per byte, and of the divergence from a teacher's softened shares."""

    def loss(model: nn.Module, inputs: Tensor, targets: Tensor) -> Tensor:
        with torch.no_grad():
            taught = (teacher(inputs) / TEMPERATURE).log_softmax(-1).flatten(0, 1)
        logits = model(inputs).flatten(0, 1)
        learnt = (logits / TEMPERATURE).log_softmax(-1)
        soft = F.kl_div(learnt, taught, reduction="batchmean", log_target=True) * TEMPERATURE**2
        return (F.cross_entropy(logits, targets.flatten()) + soft) / 2

    return loss


def training_steps(model: nn.Module, text: Tensor, settings: Settings, recipe: Recipe, loss: Loss) -> Iterator[float]:
    """Take the optimiser's steps; yield the seconds of each."""
    optimizer, schedule = optimiser_of(model, settings)
    draw = torch.Generator().manual_seed(settings.seed)
    for step in range(settings.steps):
        begin = time.perf_counter()
        if recipe.pruned and step == settings.steps // 2:
            prune.global_unstructured(prunable(model), prune.L1Unstructured, amount=recipe.pruned)
        optimizer.zero_grad()
        parts = (each.chunk(recipe.micro_batches) for each in drawn(text, settings, draw))
        for inputs, targets in zip(*parts, strict=True):
            with torch.autocast("cpu", torch.bfloat16, recipe.mixed_precision):
                found = loss(model, inputs, targets)
            torch.autograd.backward(found * (len(inputs) / settings.batch))
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        yield time.perf_counter() - begin
    for module, name in prunable(model):
        if prune.is_pruned(module):
            prune.remove(module, name)  # the zeros stay


def prunable(model: nn.Module) -> list[tuple[nn.Module, str]]:
    """Return the affine maps, and the names of their weights."""
    return [(module, "weight") for module in model.modules() if isinstance(module, nn.Linear)]


def stored_bytes(model: nn.Module) -> int:
    """Return the size of the compressed `state_dict`, in which zeros take little, and shared weights count once."""
    content = io.BytesIO()
    torch.save(model.state_dict(), content)
    return len(zlib.compress(content.getvalue()))


def trained(
    title: str, model: nn.Module, corpus: Corpus, settings: Settings, recipe: Recipe, loss: Loss = bits_per_byte
) -> Outcome:
    """Train a model in place."""
    steps = training_steps(model, corpus.train, settings, recipe, loss)
    next(steps)  # makes plans, and the optimiser's state
    peak_bytes = peak(lambda: next(steps), CPU)
    shown = track(steps, title, settings.steps - 2, console=Console(stderr=True), transient=True)
    seconds = statistics.median(shown)
    parameters = sum(parameter.numel() for parameter in model.parameters())
    held_out = evaluate(partial(bits_per_byte, model), corpus.held_out, settings.context)
    return Outcome(peak_bytes, seconds, parameters, stored_bytes(model), held_out)


def outcome_of(title: str, pattern: attncc.Pattern, corpus: Corpus, settings: Settings, recipe: Recipe) -> Outcome:
    """Train by a recipe; return the outcome of the student if there is one."""
    torch.manual_seed(settings.seed)
    model = model_of(pattern, settings, recipe)
    found = trained(title, model, corpus, settings, recipe)
    if not recipe.student:
        return found
    smaller = replace(settings, layers=recipe.student)
    torch.manual_seed(settings.seed)
    return trained(title, model_of(pattern, smaller, recipe), corpus, smaller, recipe, distillation(model))


def variants(settings: Settings) -> dict[str, tuple[Settings, Recipe]]:
    """Return the trainings that `--compare` compares."""
    parts, half = min(4, settings.batch), max(1, settings.layers // 2)
    memory = Recipe(checkpointing=True, mixed_precision=True, micro_batches=parts)
    recipes = {
        "plain": Recipe(),
        "gradient checkpointing": Recipe(checkpointing=True),
        "mixed precision": Recipe(mixed_precision=True),
        f"{parts} micro-batches": Recipe(micro_batches=parts),
        "these three": memory,
        "tied layers": Recipe(tied=True),
        "90% pruned": Recipe(pruned=0.9),
        f"distilled into {half} layers": Recipe(student=half),
    }
    alone = {f"{half} layers without a teacher": (replace(settings, layers=half), Recipe())}
    return {title: (settings, recipe) for title, recipe in recipes.items()} | alone


def row(title: str, found: Outcome) -> str:
    """Return a row of the table."""
    peak_size, size = (f"{each / MEBIBYTE:.1f}" for each in (found.peak_bytes, found.stored_bytes))
    cells = peak_size, f"{found.seconds * 1000:.0f}", f"{found.parameters:,}", size, f"{found.held_out:.3f}"
    return f"| {title} | {' | '.join(cells)} |"


HEADER = """| training | peak of a step, MiB | ms a step | parameters | compressed file, MiB | held out, bits per byte |
| --- | ---: | ---: | ---: | ---: | ---: |"""


def main(
    checkpointing: Annotated[bool, typer.Option("--checkpointing", help="Compute activations again.")] = False,
    mixed_precision: Annotated[bool, typer.Option("--mixed-precision", help="Products in bfloat16.")] = False,
    micro_batches: Annotated[int, typer.Option(min=1, help="Parts of a batch, one after the other.")] = 1,
    tied: Annotated[bool, typer.Option("--tied", help="The same weights in all layers.")] = False,
    pruned: Annotated[float, typer.Option("--prune", min=0.0, max=0.99, help="Share of weights to drop.")] = 0.0,
    student: Annotated[int, typer.Option("--distil", min=0, help="Layers of a student to teach.")] = 0,
    compare: Annotated[bool, typer.Option("--compare", help="Train with each by itself, and print a table.")] = False,
    pattern: PatternName = "strided",
    param: Parameters = None,
    steps: Annotated[int, typer.Option(min=3)] = 60,
    context: Context = 512,
    batch: Batch = 4,
    layers: Count = 4,
    heads: Count = Settings.heads,
    width: Width = Settings.width,
    learning_rate: LearningRate = Settings.learning_rate,
    seed: Seed = Settings.seed,
    as_json: AsJson = False,
) -> None:
    """Train a byte-level language model by a recipe; print its memory, size, time and held-out loss.

    Example: python examples/train.py --checkpointing --mixed-precision --micro-batches 4
    """
    if micro_batches > batch:
        raise typer.BadParameter(f"--micro-batches {micro_batches} of a batch of {batch}.")
    settings = Settings(context, layers, heads, width, steps, batch, learning_rate, seed)
    recipe = Recipe(checkpointing, mixed_precision, micro_batches, tied, pruned, student)
    causal = pattern_of(pattern, param).union().causal()  # or else a pattern with later keys could copy the targets
    corpus = read_corpus(Path(sysconfig.get_paths()["stdlib"]), context + 1)
    asked = variants(settings) if compare else {"this one": (settings, recipe)}
    runs = {}
    if not as_json:
        print(HEADER)
    for title, each in asked.items():
        found = outcome_of(title, causal, corpus, *each)
        runs[title] = asdict(each[1]) | asdict(found)
        if not as_json:
            print(row(title, found), flush=True)
    if as_json:
        print(json.dumps({"settings": asdict(settings), "runs": runs}))


if __name__ == "__main__":
    try:
        typer.run(main)
    except attncc.AttnccError as error:
        sys.exit(f"error: {error}")
