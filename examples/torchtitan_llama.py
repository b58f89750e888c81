"""A training step by torchtitan's conventions: its Llama 3, whose inner attention is attncc's.

torchtitan's blocks take any module with a `Config` as `inner_attention`. This one takes the mask that torchtitan makes
of the batch's positions (causal, documents apart), and joins a pattern to it. Where torchtitan trains, the module goes
into a model's config in the same way, and its trainer does the rest.

torchtitan brings data sets and loggers of its own: pip install "torchtitan>=0.3"
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any

import torch
import torch.nn.functional as F
import typer
from torch import Tensor
from torchtitan.models.common.attention import FlexAttention
from torchtitan.models.llama3 import llama3_configs

import attncc


class AttnccAttention(FlexAttention):
    """torchtitan's FlexAttention, computed by attncc over the pairs that the batch's mask and a pattern connect."""

    @dataclass(kw_only=True, slots=True)
    class Config(FlexAttention.Config):
        pattern: str = "causal"
        parameters: dict[str, Any] = field(default_factory=dict)

    def __init__(self, config: Config) -> None:
        super().__init__(config)
        self.pattern = attncc.load(config.pattern, **config.parameters)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        *,
        attention_masks: Any,
        scale: float | None = None,
        enable_gqa: bool = False,
        **_: Any,
    ) -> Tensor:
        """Return attention of (B, N, H, D), which is torchtitan's order."""
        pattern = self.pattern & attncc.from_mask_mod(attention_masks.mask_mod)
        rows = (x.transpose(1, 2) for x in (query, key, value))
        return attncc.attention(*rows, pattern, scale=scale, enable_gqa=enable_gqa).transpose(1, 2)


def small_model(pattern: str, **parameters: Any) -> Any:
    """Return torchtitan's Llama 3 for tests with one layer, and attncc's attention in it."""
    config = llama3_configs["debugmodel"](attn_backend="flex")
    config.layers = config.layers[:1]
    for layer in config.layers:
        layer.attention.inner_attention = AttnccAttention.Config(pattern=pattern, parameters=parameters)
    model = config.build()
    model.init_states()
    return model


def documents(context: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Return tokens (4, context + 1) of two documents a row that go on in steps of one, and positions (4, context)."""
    first = torch.randint(0, 512, (4, 2, 1), generator=generator)
    tokens = (first + torch.arange(context // 2 + 1)) % 512
    positions = torch.arange(context // 2).repeat(2).expand(4, -1)
    return torch.cat([tokens[:, 0, :-1], tokens[:, 1]], dim=1), positions


def main(
    stride: Annotated[int, typer.Option(help="l of the strided pattern.")] = 16,
    steps: Annotated[int, typer.Option(help="Steps of the optimizer.")] = 30,
    context: Annotated[int, typer.Option(help="Tokens of a row, an even number.")] = 256,
    quick: Annotated[bool, typer.Option("--quick", help="A few steps on short rows.")] = False,
) -> None:
    """Train for some steps, and print the first and the last loss."""
    if quick:
        steps, context = 6, 64
    torch.manual_seed(0)
    model, generator = small_model("strided", l=stride), torch.Generator().manual_seed(0)
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        tokens, positions = documents(context, generator)
        masks = model.get_attention_masks(positions)
        logits = model(tokens[:, :-1], positions=positions, attention_masks=masks)
        loss = F.cross_entropy(logits.flatten(0, 1).float(), tokens[:, 1:].flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    typer.echo(f"strided(l={stride}) in torchtitan's Llama 3: {losses[0]:.3f} -> {losses[-1]:.3f}")


if __name__ == "__main__":
    typer.run(main)
