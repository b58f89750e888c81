"""`attncc targets`: the devices that plans and kernels are made for."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import options, output

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.targets import Gpu, Target


def targets(
    name: Annotated[str | None, typer.Argument(help="One target, or an architecture such as sm_90.")] = None,
    as_json: options.AsJson = False,
) -> None:
    """List all targets, or all facts about one; the files in attncc/targets name the source of each figure.

    Example: attncc targets h100
    """
    from attncc.targets import names, target

    listed = [target(each) for each in ([name] if name else names())]
    if as_json:
        output.show_json({"targets": [asdict(each) for each in listed]})
    elif name:
        output.show(_facts(listed[0]))
    else:
        output.show(_listing(listed))


def _listing(listed: list[Target]) -> RenderableType:
    numbers = ("SMs", "clock", "memory", "bandwidth", "fp16, dense", "shared")
    listing = output.table("", "target", "arch", *numbers, numbers=numbers)
    for each in listed:
        listing.add_row(each.name, *(_row(each.gpu) if each.gpu else [""] * 7))
    return listing


def _row(gpu: Gpu) -> list[str]:
    return [
        gpu.arch,
        str(gpu.multiprocessors),
        output.quantity(gpu.clock, "Hz"),
        output.quantity(gpu.memory, "B"),
        output.quantity(gpu.bandwidth, "B/s"),
        output.quantity(gpu.tensor["fp16"], "FLOP/s"),
        f"{gpu.shared_per_block // 1024} KiB",
    ]


def _facts(described: Target) -> RenderableType:
    planner = ("flops", "bandwidth", "elements", "masked", "launch")
    rows = {f"planner: {name}": f"{getattr(described, name):.3g}" for name in planner}
    gpu = asdict(described.gpu) if described.gpu else {}
    for name, value in gpu.items():
        if isinstance(value, dict):
            rows |= {f"{name}: {key}": f"{each:,.10g}" for key, each in value.items()}
        else:
            rows[name.replace("_", " ")] = value if isinstance(value, str) else f"{value:,.10g}"
    return output.facts(f"{described.name}: {described.title}", rows)
