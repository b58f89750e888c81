"""Scores on the command line: the ready-made ones by name, or those of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from attncc.errors import ParameterError, ScoreError, nearest

if TYPE_CHECKING:
    from torch import Tensor

    from attncc.ir.score import ScoreExpression
    from attncc.scores import ScoreFactory

READY_MADE = ("alibi", "softcap", "t5_bias")
ScoreName = Annotated[
    str | None,
    typer.Option(
        "--score", metavar="SCORE", help=f"{', '.join(READY_MADE)}, or file.py:name.", autocompletion=lambda: READY_MADE
    ),
]
ScoreParameters = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--score-param",
        metavar="NAME=VALUE",
        help="A parameter of the score; weights by their shape, as in weights=8x32; repeatable.",
        show_default=False,
    ),
]


def score_from(name: str | None, parameters: list[str] | None) -> ScoreExpression | None:
    """Return the score that the command line names, on weights of the shapes it gives; raises attncc's errors."""
    from attncc.catalog import parse_parameters
    from attncc.ir.weights import Weights

    if name is None:
        if parameters:
            raise ParameterError(f"-s {parameters[0]} without --score.", fix="Name the score that it is for.")
        return None
    declared = _factory(name)
    weights = {parameter.name for parameter in declared.parameters if parameter.type is Weights}
    shapes = {text.partition("=")[0]: text for text in parameters or [] if text.partition("=")[0] in weights}
    others = parse_parameters(declared, [text for text in parameters or [] if text not in shapes.values()])
    return declared(**others, **{name: _weights(text) for name, text in shapes.items()}).expression


def _factory(name: str) -> ScoreFactory:
    """Return the declared score: a ready-made one, or one of a file."""
    from attncc import biases
    from attncc.catalog import from_file, is_of_file
    from attncc.scores import ScoreFactory

    if is_of_file(name):
        return from_file(name, ScoreFactory)
    if name not in READY_MADE:
        raise ScoreError(
            f"Unknown score {name!r}.",
            rule=f"Scores are {', '.join(READY_MADE)}, or from a file, as in mine.py:capped.",
            fix=nearest(name, READY_MADE),
        )
    found = vars(biases)[name]
    assert isinstance(found, ScoreFactory)
    return found


def _weights(text: str) -> Tensor:
    """Return weights of a shape written NAME=8x32; kernels depend on nothing else of them."""
    import torch

    name, _, shape = text.partition("=")
    sizes = shape.split("x")
    if not all(size.isdecimal() and int(size) > 0 for size in sizes):
        raise ParameterError(
            f"{text}.", rule="Weights are given by their shape.", fix=f"As in -s {name}=8 or -s {name}=8x32."
        )
    return torch.empty([int(size) for size in sizes], device="meta")
