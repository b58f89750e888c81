"""`attncc verify`: prove or refute properties of a pattern at a length."""

from __future__ import annotations

from attncc.cli import options
from attncc.cli.findings_view import show_findings
from attncc.cli.progress import progress


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
    told: dict[str, object] = {"pattern": repr(chosen), "seq_len": seq_len}
    title = f"{chosen!r} at {seq_len:,} positions"
    show_findings(findings, title=title, column="property", told=told, as_json=as_json)
