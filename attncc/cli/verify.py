"""`attncc verify`: prove or refute properties of a pattern at a length."""

from __future__ import annotations

import typer
from rich.text import Text

from attncc.cli import options, output
from attncc.cli.progress import progress

STYLES = {"proved": "green", "refuted": "red", "undecided": "yellow"}


def verify(
    pattern: options.PatternName,
    param: options.Parameters = None,
    seq_len: options.SeqLen = 256,
    heads: options.Heads = 1,
    as_json: options.AsJson = False,
) -> None:
    """Prove or refute: causal, no query without keys, factorisation; exits with 1 unless all are proved.

    Example: attncc verify strided -p l=16 --seq-len 256
    """
    from attncc.proof import verify as prove

    with progress() as on_step:
        chosen = options.pattern_from(pattern, param)
        on_step("proving")
        findings = prove(chosen, seq_len, heads=heads)
    if as_json:
        output.show_json({"pattern": repr(chosen), "seq_len": seq_len, "findings": [f.describe() for f in findings]})
    else:
        listing = output.table(f"{chosen!r} at {seq_len:,} positions", "property", "", "")
        for finding in findings:
            mark = Text(finding.verdict, style=STYLES[finding.verdict])
            listing.add_row(finding.name, mark, finding.detail)
        output.show(listing)
    if not all(finding.holds for finding in findings):
        raise typer.Exit(1)
