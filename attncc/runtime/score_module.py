"""Scores as modules: weights are parameters and buffers; a warning tells of parameters that no module holds."""

from __future__ import annotations

import warnings
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from attncc._util.tracing import constant
from attncc.errors import AttnccWarning, ScoreError
from attncc.frontend.accepted import AnyScore
from attncc.frontend.scores import Score

#: (score, weights) that users have been warned of.
_warned: set[tuple[str, str]] = set()


class ScoreModule(torch.nn.Module):
    """A score whose weights PyTorch may replace: an nn.Parameter is a parameter, another tensor a buffer.

    They have their own names, and each call reads the present ones: after load_state_dict, to() or to_empty(), under
    torch.func.functional_call and parametrizations, and in replicas.
    """

    def __init__(self, score: Score) -> None:
        super().__init__()
        assert score.tensors is not None  # raises for weights that are missing
        self._score = score.unbound()
        for name, tensor in score.weights.items():
            if hasattr(self, name):
                raise ScoreError(
                    f"Score {score.name!r} has weights {name!r}.",
                    rule="A module holds them under their names, and torch.nn.Module has another use for this one.",
                    fix="Rename that parameter of the declared score.",
                )
            if isinstance(tensor, torch.nn.Parameter):
                self.register_parameter(name, tensor)
            else:
                self.register_buffer(name, tensor)

    def forward(self) -> Score:
        """Return the score on the present weights."""
        return self._score.on([getattr(self, name) for name in self._score.template.names])

    def __getstate__(self) -> dict[str, Any]:
        """Return the state of a copy or pickle: as a score's, it has the expression, not the declaration."""
        return {**self.__dict__, "_score": self().fixed().unbound()}

    def extra_repr(self) -> str:
        """Return the score, for the printed module."""
        return repr(self())


def warn_of_captured(score: AnyScore, given: Mapping[str, Tensor] | None) -> None:
    """Warn once of a parameter that a score has captured, rather than been `given` at the call.

    A score_mod is run at each call, and reads what is in its place then.
    """
    if not isinstance(score, Score):
        return
    for name, tensor in score.weights.items():
        if name not in (given or ()) and isinstance(tensor, torch.nn.Parameter):
            _warn(score.name, name)


@constant
def _warn(score: str, name: str) -> None:
    if (score, name) not in _warned:
        _warned.add((score, name))
        warnings.warn(
            f"Score {score!r} was made with an nn.Parameter as its weights {name!r}. "
            "A score that is kept goes on with that tensor when PyTorch puts another in its place "
            "(load_state_dict(assign=True), functional_call, parametrizations). "
            f'Write attention(..., score={score}, weights={{"{name}": ...}}), or hold the score by attncc.compile.',
            AttnccWarning,
            stacklevel=4,
        )
