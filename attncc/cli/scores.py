"""Scores on the command line: the ready-made ones by name, or those of a file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from attncc.errors import ParameterError

if TYPE_CHECKING:
    from attncc.scores import Score

ScoreName = Annotated[
    str | None,
    typer.Option("--score", metavar="SCORE", help="alibi, softcap, t5_bias, or file.py:name."),
]
ScoreParameters = Annotated[
    list[str] | None,
    typer.Option(
        "-s",
        "--score-param",
        metavar="NAME=VALUE",
        help="A parameter of the score; weights by their shape, as in weights=8x32, or @file.npy; repeatable.",
        show_default=False,
    ),
]


def score_from(name: str | None, parameters: list[str] | None, heads: int) -> Score | None:
    """Return the score that the command line names, for so many heads; raises attncc's errors."""
    if name is None:
        if parameters:
            raise ParameterError(f"-s {parameters[0]} without --score.", fix="Name the score that it is for.")
        return None
    from attncc.score_catalog import named

    return named(name, parameters or (), heads=heads)
