"""A training loop by Hugging Face Accelerate's conventions, over a model of Transformers whose attention is attncc's.

Accelerate moves the model and the batches to a device, accumulates gradients, and divides batches among processes. None
of it asks what attention does. The same script is for one process or several:

    python examples/accelerate_transformers.py
    torchrun --nproc-per-node 2 examples/accelerate_transformers.py
"""

from __future__ import annotations

from typing import Annotated

import torch
import typer
from accelerate import Accelerator
from finetune_transformers import counted, small_model
from torch.utils.data import DataLoader

from attncc.integrations.transformers import register


def main(
    pattern: Annotated[str, typer.Option(help="A pattern in text, joined to the causal mask.")] = "strided(l=16)",
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 60,
    context: Annotated[int, typer.Option(help="Tokens of a sequence.")] = 256,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps on short sequences.")] = False,
) -> None:
    """Train a small Llama, two batches a step, and print the first and last loss."""
    if quick:
        steps, context = 12, 64
    torch.manual_seed(0)
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), gradient_accumulation_steps=2)
    model = small_model(context)
    model.set_attn_implementation(register(pattern))
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    generator = torch.Generator().manual_seed(0)
    sequences = torch.cat([counted(context, generator) for _ in range(2 * steps * accelerator.num_processes)])
    model, optimizer, batches = accelerator.prepare(model, optimizer, DataLoader(sequences, batch_size=8))
    losses = []
    for tokens in batches:
        with accelerator.accumulate(model):
            loss = model(tokens, labels=tokens, use_cache=False).loss
            accelerator.backward(loss)
            if accelerator.sync_gradients:
                accelerator.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()
            optimizer.zero_grad()
        losses.append(accelerator.reduce(loss.detach(), "mean").item())
    accelerator.print(f"attncc:{pattern}, {accelerator.num_processes} processes: {losses[0]:.3f} -> {losses[-1]:.3f}")
    accelerator.end_training()


if __name__ == "__main__":
    typer.run(main)
