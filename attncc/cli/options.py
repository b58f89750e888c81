"""Arguments and options that several commands share, and what they stand for."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable
from contextlib import nullcontext, redirect_stdout
from typing import TYPE_CHECKING, Annotated

import typer

from attncc.cli import wording
from attncc.errors import ParameterError

if TYPE_CHECKING:
    from attncc.frontend.patterns import Pattern
    from attncc.frontend.scores import Score


def _completing(names: Callable[[], Iterable[str]]) -> Callable[[str], list[str]]:
    """Return a completion: the names that begin with the typed text."""

    def complete(incomplete: str) -> list[str]:
        return [name for name in names() if name.startswith(incomplete) and name.isprintable()]

    return complete


def _patterns() -> list[str]:
    from attncc.frontend.catalog import factories

    return [pattern.name for _, pattern in factories()]


def _targets() -> Iterable[str]:
    from attncc.targets import names

    return names()


def _topologies() -> Iterable[str]:
    from attncc.distributed.topology import Topology

    return Topology.names()


# What is attended to how.
PatternName = Annotated[
    str,
    typer.Argument(
        metavar="PATTERN",
        help="A name from `attncc list`, plugin:name, or file.py:name.",
        autocompletion=_completing(_patterns),
        show_default=False,
    ),
]
Parameters = Annotated[
    list[str] | None,
    typer.Option(
        "-p",
        "--param",
        metavar="NAME=VALUE",
        help="One parameter of the pattern; write -p again for the next. A number: l=128. A flag: causal=true. "
        "A table, an integer for each position: ids=0,0,1. Lists, with ; between rows, and quotes for the shell: "
        "'blocks=0;0,1'. A table or lists of any shape from a file that numpy.save wrote: ids=@ids.npy.",
        show_default=False,
    ),
]
ScoreName = Annotated[
    str | None,
    typer.Option("--score", metavar="SCORE", help="A name, such as alibi, softcap or t5_bias, or file.py:name."),
]
ScoreParameters = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--score-param",
        metavar="NAME=VALUE",
        help="One parameter of the score; write -s again for the next. A number: cap=50. Weights by their shape, with "
        "drawn values: weights=8x32, or scalar for a single number. Weights from a file that numpy.save wrote: "
        "weights=@weights.npy.",
        show_default=False,
    ),
]
Direction = Annotated[str, typer.Option(help="fwd, bwd or both.")]

# Sizes of query, key and value.
SeqLen = Annotated[int, typer.Option("--seq-len", "-n", help="Number of queries (and of keys).", show_default=True)]
KvLen = Annotated[int | None, typer.Option(help="Number of keys, if it differs from the number of queries.")]
QOffset = Annotated[int, typer.Option(help="Position of the first query.")]
Heads = Annotated[int, typer.Option(help="Number of query heads.")]
KvHeads = Annotated[int | None, typer.Option(help="Number of key heads; it divides the number of query heads.")]
HeadDim = Annotated[int, typer.Option(help="Size of a query or key head.")]
ValueDim = Annotated[int | None, typer.Option(help="Size of a value head, if it differs from --head-dim.")]
Batch = Annotated[int, typer.Option(help="Number of batch entries.")]
Dtype = Annotated[str, typer.Option(help="Element type: fp64, fp32, bf16 or fp16.")]
KernelDtype = Annotated[str, typer.Option("--dtype", help="Element type: fp32, bf16 or fp16.")]

# Where it runs, and how.
BackendName = Annotated[str | None, typer.Option(help="The backend, in place of the preferred one.")]
GpuName = Annotated[
    str,
    typer.Option(
        "--target", help="A GPU from `attncc targets`, or an architecture.", autocompletion=_completing(_targets)
    ),
]
Changes = Annotated[
    list[str] | None,
    typer.Option(
        "-c", "--config", metavar="KEY=VALUE", help="A key of the configuration; repeatable.", show_default=False
    ),
]
_TOPOLOGY = typer.Option(
    metavar="NAME_OR_FILE",
    help="Devices that share the sequence: a name from `attncc topologies`, or a file that ends in .toml.",
    autocompletion=_completing(_topologies),
    show_default=False,
)
TopologyName = Annotated[str, _TOPOLOGY]
MaybeTopology = Annotated[str | None, _TOPOLOGY]
Ranks = Annotated[int | None, typer.Option(min=1, help="How many of the topology's devices to use.")]

# What comes of it.
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object on stdout and nothing else there.")]


def pattern_from(name: str, parameters: list[str] | None) -> Pattern:
    """Return the pattern that the command line names; raises attncc's errors."""
    from attncc.frontend.catalog import declared, made, parse_parameters
    from attncc.frontend.patterns import Pattern

    with redirect_stdout(sys.stderr):  # what its function prints is no result of attncc's
        declaration = declared(name)
        if isinstance(declaration, Pattern):
            return made(declaration, name, dict.fromkeys(parameters or ()))
        with wording.of_parameters(declaration, "-p"):
            return made(declaration, name, parse_parameters(declaration, parameters or ()))


def example_from(name: str, parameters: list[str] | None, length: int | None, least: int) -> tuple[Pattern, str | None]:
    """Return the pattern, with drawn values for what it needs and -p doesn't give, and what was drawn, if anything."""
    from attncc.frontend.catalog import declared, parse_parameters
    from attncc.frontend.patterns import Pattern
    from attncc.visualization.examples import drawn_example

    with redirect_stdout(sys.stderr):
        declaration = declared(name)
        if isinstance(declaration, Pattern):
            return pattern_from(name, parameters), None
        with wording.of_parameters(declaration, "-p"):
            example = drawn_example(declaration, parse_parameters(declaration, parameters or ()), length, least)
    return example.pattern, example.told if example.drawn else None


def score_from(name: str | None, parameters: list[str] | None, heads: int) -> Score | None:
    """Return the score that the command line names, for a number of heads; raises attncc's errors."""
    if name is None:
        if parameters:
            raise ParameterError(f"-s {parameters[0]} without --score.", fix="Name the score that it is for.")
        return None
    from attncc.frontend.score_catalog import declared, named
    from attncc.frontend.scores import Score

    with redirect_stdout(sys.stderr):
        declaration = declared(name)
        words = nullcontext() if isinstance(declaration, Score) else wording.of_parameters(declaration, "-s")
        with words:
            return named(name, parameters or (), heads=heads)
