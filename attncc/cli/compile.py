"""`attncc compile`: a pattern's kernels for a GPU that need not be there, as files."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from attncc.cli import kernels, output
from attncc.cli.options import AsJson, Parameters, PatternName, SeqLen, pattern_from
from attncc.cli.scores import ScoreName, ScoreParameters, score_from
from attncc.errors import ConfigError


def compile_pattern(
    pattern: PatternName,
    out: Annotated[Path, typer.Option(metavar="DIR", help="Where the files go.")],
    target: kernels.TargetName = "h100",
    param: Parameters = None,
    score: ScoreName = None,
    score_param: ScoreParameters = None,
    seq_len: SeqLen = 16384,
    dtype: kernels.Dtype = "bf16",
    head_dim: kernels.HeadDim = 128,
    value_dim: kernels.ValueDim = None,
    heads: kernels.QueryHeads = 1,
    kv_heads: kernels.KvHeads = None,
    batch: kernels.Batch = 1,
    backward: Annotated[bool, typer.Option(help="Compile the gradients too.")] = True,
    config: kernels.Changes = None,
    as_json: AsJson = False,
) -> None:
    """Compile a pattern's kernels: binaries, assembly, manifest.json, and a loader that needs PyTorch only.

    Example: attncc compile strided -p l=128 --score softcap -s cap=50 --target h100 --head-dim 128 --out kernels
    """
    from attncc.storage import check_folder

    check_folder(out, "--out")
    program = kernels.lowered(
        pattern_from(pattern, param),
        score_from(score, score_param, heads),
        target,
        dtype,
        head_dim,
        seq_len=seq_len,
        value_dim=value_dim,
        heads=heads,
        kv_heads=kv_heads,
        batch=batch,
        changes=config,
    )
    from attncc.backends.triton.package import Package
    from attncc.backends.triton.variants import variants
    from attncc.targets import gpu

    found = gpu(target)
    with output.progress(len(variants(program, dtype, backward=backward)) + 1) as on_step:
        on_step("compiling")
        made = Package.made(program, dtype, target, found, backward=backward, on_done=on_step)
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
        return
    listing = output.table(
        f"{program.plan.pattern!r} for {target}, {dtype}, head size {head_dim}: {out}",
        "kernel", "registers", "stack", "shared", "warps", "blocks",
        numbers=("registers", "stack", "shared", "warps", "blocks"),
    )  # fmt: skip
    for name, (_, compiled) in made.kernels.items():
        taken = compiled.resources
        counts = (taken.registers, taken.stack, taken.shared, taken.warps, taken.occupancy(found))
        listing.add_row(name, *(f"{count:,}" for count in counts))
    output.show(listing)
