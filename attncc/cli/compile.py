"""`attncc compile`: a pattern's kernels for a GPU that need not be there, as files."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import kernels, options, output
from attncc.cli.progress import progress
from attncc.errors import ConfigError

if TYPE_CHECKING:
    from rich.console import RenderableType

    from attncc.backends.triton.package import Package
    from attncc.targets import Gpu


def compile_pattern(
    pattern: options.PatternName,
    out: Annotated[Path, typer.Option(metavar="DIR", help="The folder to write to.")],
    target: options.GpuName = "h100",
    param: options.Parameters = None,
    score: options.ScoreName = None,
    score_param: options.ScoreParameters = None,
    seq_len: options.SeqLen = 16384,
    dtype: options.KernelDtype = "bf16",
    head_dim: options.HeadDim = 128,
    value_dim: options.ValueDim = None,
    heads: options.Heads = 1,
    kv_heads: options.KvHeads = None,
    batch: options.Batch = 1,
    backward: Annotated[bool, typer.Option(help="Compile the backward, too.")] = True,
    config: options.Changes = None,
    as_json: options.AsJson = False,
) -> None:
    """Compile a pattern's kernels: binaries, assembly, manifest.json, and a loader that needs PyTorch only.

    Example: attncc compile strided -p l=128 --score softcap -s cap=50 --target h100 --head-dim 128 --out kernels
    """
    from attncc._util.storage import check_folder
    from attncc.backends.inputs import Inputs

    check_folder(out, "--out")
    inputs = Inputs.given(batch, heads, kv_heads, head_dim, value_dim, dtype)
    with progress() as on_step:
        on_step("planning and lowering")
        chosen, scored = options.pattern_from(pattern, param), options.score_from(score, score_param, heads)
        lowered = kernels.lowered(chosen, scored, seq_len, inputs, target, config)
        from attncc.backends.triton.aot import variants
        from attncc.backends.triton.package import Package
        from attncc.targets import gpu

        device = gpu(target)
        on_step.expect(len(variants(lowered, dtype, backward=backward)) + 1)
        on_step("compiling the kernels")
        made = Package.made(lowered, dtype, target, device, backward=backward, on_done=on_step)
    try:
        files = made.write(out)
    except OSError as error:
        raise ConfigError(
            f"--out {out}: {error.strerror}.",
            rule="It is a folder that files can be written in.",
            fix="Choose another folder.",
        ) from error
    if as_json:
        output.show_json({"files": [str(file) for file in files], "manifest": made.manifest()})
    else:
        title = f"{lowered.plan.pattern!r} for {target}, {dtype}, head size {head_dim}: {out}"
        output.show(_listing(title, made, device))


def _listing(title: str, made: Package, gpu: Gpu) -> RenderableType:
    """Return the resources of each kernel."""
    listing = output.table(
        title,
        "kernel", "registers", "stack", "shared", "warps", "blocks",
        numbers=("registers", "stack", "shared", "warps", "blocks"),
    )  # fmt: skip
    for name, (_, compiled) in made.kernels.items():
        taken = compiled.resources
        counts = (taken.registers, taken.stack, taken.shared, taken.warps, taken.occupancy(gpu))
        listing.add_row(name, *(f"{count:,}" for count in counts))
    return listing
