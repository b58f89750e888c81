"""Findings on the screen, and the exit status that they are worth."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import typer
from rich.text import Text

from attncc.cli import output

if TYPE_CHECKING:  # at run time it would import the prover, for the help too
    from attncc.proof.finding import Finding

STYLES = {"proved": "green", "refuted": "red", "undecided": "yellow"}


def show_findings(
    findings: Sequence[Finding], *, title: str, column: str, told: dict[str, object], as_json: bool
) -> None:
    """Show findings, `told` before them in JSON; raises typer.Exit(1) unless all hold."""
    if as_json:
        output.show_json({**told, "findings": [finding.describe() for finding in findings]})
    else:
        listing = output.table(title, column, "", "")
        for finding in findings:
            listing.add_row(finding.name, Text(finding.verdict, style=STYLES[finding.verdict]), finding.detail)
        output.show(listing)
    if not all(finding.holds for finding in findings):
        raise typer.Exit(1)
