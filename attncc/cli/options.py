"""Arguments and options that several commands share."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from attncc.patterns import Pattern


def _complete_pattern(incomplete: str) -> list[str]:
    from attncc.catalog import factories

    return [pattern.name for _, pattern in factories() if pattern.name.startswith(incomplete)]


def complete_topology(incomplete: str) -> list[str]:
    """Return the shipped topologies whose names begin so."""
    from attncc.distributed.topology import Topology

    return [name for name in Topology.names() if name.startswith(incomplete)]


PatternName = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A name from `attncc list`, plugin:name, or file.py:name.",
        autocompletion=_complete_pattern,
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option("-p", "--param", metavar="NAME=VALUE", help="A parameter; repeatable.", show_default=False),
]
SeqLen = Annotated[int, typer.Option("--seq-len", "-n", help="Number of queries (and of keys).", show_default=True)]
Heads = Annotated[int, typer.Option(help="Query heads; they matter to patterns that depend on h.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout, nothing else.")]


def pattern_from(name: str, parameters: list[str] | None) -> Pattern:
    """Return the pattern that the command line names; raises attncc's errors."""
    from attncc.catalog import factory, parse_parameters

    declared = factory(name)
    return declared(**parse_parameters(declared, parameters or []))
