"""The catalogue of scores: those of attncc.frontend.biases and of files by name, with parameters from text."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch

from attncc.errors import ParameterError, ScoreError, nearest
from attncc.frontend import biases
from attncc.frontend.catalog import member, module_of, parse_parameters
from attncc.frontend.scores import Score, ScoreFactory

Declared = Score | ScoreFactory


def names() -> list[str]:
    """Return the names of the scores that need no file."""
    return [name for name, value in vars(biases).items() if isinstance(value, ScoreFactory)]


def named(name: str, parameters: Sequence[str] = (), *, heads: int = 1) -> Score:
    """Return the score `name` with its parameters as texts: `named("softcap", ["cap=50"])`.

    `name` is one of attncc.frontend.biases ("alibi"), or of a file ("mine.py:capped"), which may hold a score that is
    ready. Weights are written as catalog.parse_parameters reads them. Where those of attncc.frontend.biases are left
    out, they are what a model of `heads` heads begins with.
    Raises ScoreError, PatternError, ParameterError or TableError.
    """
    found = declared(name)
    if isinstance(found, Score):
        if parameters:
            raise ParameterError(
                f"Score {name!r} is ready, but {parameters[0]!r} was given.",
                rule="Parameters are for a declared score, a function under @attncc.score.",
                fix="Leave the parameter out.",
            )
        return _with_weights(found)
    given = {key: _on_torch(value) for key, value in parse_parameters(found, parameters).items()}
    return _with_weights(found(**(biases.initial_weights(found, heads) | given)))


def _with_weights(score: Score) -> Score:
    """Return a score that has all of its weights; raises ParameterError for another one."""
    for name in score.template.names:
        if name not in score.weights:
            raise ParameterError(
                f"Score {score.name!r} has no weights {name!r}.",
                rule="Its kernels depend on their shape.",
                fix=f"Give it: -s {name}=8, {name}=8x32, {name}=scalar or {name}=@{name}.npy.",
            )
    return score


def declared(name: str) -> Declared:
    """Return the score `name`, declared or ready; see `named` for the forms of names."""
    place, _, score = name.rpartition(":")
    if name.endswith(".py") or place.endswith(".py"):
        return _of_file(name, "") if name.endswith(".py") else _of_file(place, score)
    if name not in names():
        raise ScoreError(
            f"Unknown score {name!r}.",
            rule=f"A score is one of {', '.join(names())}, or of a file, as in mine.py:capped.",
            fix=nearest(name, names()),
        )
    found: ScoreFactory = getattr(biases, name)
    return found


def _of_file(path: str, name: str) -> Declared:
    known = {key: each for key, each in vars(module_of(Path(path))).items() if isinstance(each, Declared)}
    return member(known, name, f"File {path!r}", ScoreFactory)


def _on_torch(value: Any) -> Any:
    """Return weights as the tensors that scores take."""
    return torch.from_numpy(value) if isinstance(value, np.ndarray) else value
