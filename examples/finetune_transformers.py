"""Fine-tune a small model of Transformers with another attention pattern.

A causal Llama of random weights learns to go on in steps of one size, as in 3 5 7 9. Then it is trained on with a
pattern: each query sees the keys near it, and every l-th one before. The printed losses are the first and the last.
"""

from __future__ import annotations

from typing import Annotated

import torch
import transformers
import typer
from torch import Tensor

from attncc.integrations.transformers import register

VOCABULARY = 64


def small_model(context: int) -> transformers.LlamaForCausalLM:
    """Return a Llama of two layers; real ones come from `from_pretrained`."""
    config = transformers.LlamaConfig(
        hidden_size=64,
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        vocab_size=VOCABULARY,
        max_position_embeddings=context,
    )
    return transformers.LlamaForCausalLM._from_config(config, attn_implementation=register())


def counted(context: int, generator: torch.Generator) -> Tensor:
    """Return tokens (8, context), of which each row goes on in steps of its own size."""
    first, step = (torch.randint(0, VOCABULARY, (8, 1), generator=generator) for _ in range(2))
    return (first + step % 4 * torch.arange(context)) % VOCABULARY


def train(model: transformers.LlamaForCausalLM, steps: int, context: int, seed: int) -> list[float]:
    """Return the loss of each step."""
    optimizer, losses = torch.optim.AdamW(model.parameters(), lr=3e-3), []
    generator = torch.Generator().manual_seed(seed)
    for _ in range(steps):
        tokens = counted(context, generator)
        loss = model(tokens, labels=tokens, use_cache=False).loss
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    return losses


def main(
    pattern: Annotated[str, typer.Option(help="A pattern in text, joined to the causal mask.")] = "strided(l=16)",
    steps: Annotated[int, typer.Option(help="Steps under each pattern.")] = 100,
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 256,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps on short sequences.")] = False,
) -> None:
    """Train with the model's own mask, then with a pattern, and print the first and last loss of each."""
    if quick:
        steps, context = 12, 64
    torch.manual_seed(0)
    model = small_model(context)
    for seed, name in enumerate((register(), register(pattern))):
        model.set_attn_implementation(name)
        losses = train(model, steps, context, seed)
        typer.echo(f"{name}: {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    typer.run(main)
