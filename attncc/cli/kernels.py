"""What `attncc inspect` and `attncc compile` share: options, and a pattern lowered to kernels for a target."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from attncc.errors import ConfigError

if TYPE_CHECKING:
    from attncc.backends.triton.program import Program
    from attncc.patterns import Pattern
    from attncc.scores import Score

Dtype = Annotated[str, typer.Option(help="Element type: fp16, bf16 or fp32.")]
HeadDim = Annotated[int, typer.Option(help="Size of a head, 1 to 256.")]
ValueDim = Annotated[int | None, typer.Option(help="Size of a value head, if it isn't that of the keys.")]
QueryHeads = Annotated[int, typer.Option("--heads", help="Query heads.")]
KvHeads = Annotated[int | None, typer.Option(help="Key heads, a divisor of the query heads.")]
Batch = Annotated[int, typer.Option(help="Batch entries.")]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-c", "--config", metavar="KEY=VALUE", help="A choice of the backend; repeatable.", show_default=False
    ),
]


def _complete_target(incomplete: str) -> list[str]:
    from attncc.targets import names

    return [name for name in names() if name.startswith(incomplete)]


TargetName = Annotated[
    str, typer.Option(help="A GPU from `attncc targets`, or an architecture.", autocompletion=_complete_target)
]


def lowered(
    pattern: Pattern,
    score: Score | None,
    target: str,
    dtype: str,
    head_dim: int,
    *,
    seq_len: int,
    value_dim: int | None,
    heads: int,
    kv_heads: int | None,
    batch: int,
    changes: list[str] | None,
) -> Program:
    """Plan a pattern for a GPU and lower it, under a score; raises attncc's errors."""
    from attncc.backends.triton import BACKEND, aot
    from attncc.errors import ShapeError
    from attncc.planner.search import plan
    from attncc.targets import gpu

    if kv_heads is not None and (kv_heads < 1 or heads % kv_heads):
        raise ShapeError(
            f"{heads} query heads, {kv_heads} key heads.",
            rule="The query heads are a multiple of the key heads.",
            fix="Give fewer --kv-heads.",
        )
    found = gpu(target)
    made = plan(pattern, seq_len, heads=heads, batch=batch, tile=BACKEND.tile, target=target)
    return aot.program(
        made,
        found,
        dtype,
        head_dim,
        value_dim=value_dim,
        kv_heads=kv_heads,
        config=_parsed(changes or []),
        score=None if score is None else score.expression,
    )


def _parsed(changes: list[str]) -> dict[str, Any]:
    """Return choices written KEY=VALUE, with numbers and true/false as such."""
    found: dict[str, Any] = {}
    for change in changes:
        key, sign, value = change.partition("=")
        if not sign:
            raise ConfigError(
                f"--config {change}.", rule="A choice is KEY=VALUE.", fix="For example -c forward.num_warps=8"
            )
        truth = {"true": True, "false": False}
        found[key] = truth[value] if value in truth else int(value) if value.lstrip("-").isdigit() else value
    return found
